package io.github.moelora.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.cache.AdapterSource;
import io.github.moelora.cache.CacheLimits;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import picocli.CommandLine;

/** The load test in a small form; {@code scripts/serving-load} is the full one. */
@Timeout(120)
class ServingLoadTest {
  private static final MoeModel MODEL = new MoeModel(16, 12, 3, GateUp.HALVES, List.of(0));

  @Test
  void manyAdaptersOverFewSlotsGiveTheResultsOfTheirVersions() {
    StringWriter out = new StringWriter();
    int exit =
        new CommandLine(new ServingLoad())
            .setOut(new PrintWriter(out))
            .execute(
                "--adapters=60",
                "--slots=4",
                "--requests=40",
                "--steps=400",
                "--timed-steps=100",
                "--hidden=16",
                "--intermediate=12",
                "--rank=4");
    assertThat(out.toString())
        .contains("check: 60 adapters over 4 slots, 40 requests at once, 400 steps after warm-up")
        .containsPattern("[1-9][0-9]{4,} results of [0-9]+ tokens equal float64")
        .contains("timed: 16 adapters, 40 requests at once, 100 steps each")
        .contains("tokens/s of 4 slots are ")
        .containsPattern("the same steps with all adapters resident: [1-9][0-9]* steps/s; beside")
        .containsPattern("loads: [0-9.]+/s, each [0-9.]+ ms")
        .contains("runs waited ");
    assertThat(exit).isZero();
  }

  /**
   * The check of results must be able to fail: here the reference has another adapter's weights.
   */
  @Test
  void aWrongResultIsFound() {
    try (Arena arena = Arena.ofShared()) {
      LoadAdapters adapters = new LoadAdapters(arena, MODEL, 4, DType.F32, 1);
      AdapterSource wrong = (name, to) -> adapters.make(name + "@0", 77).copyTo(to);
      LoadRun run =
          new LoadRun(
              MoeLoraConfig.of(MODEL, 2, 2).withMaxTokens(8).withMaxRank(4),
              "cpu",
              8,
              CacheLimits.of(0),
              true,
              0);
      assertThatExceptionOfType(IllegalStateException.class)
          .isThrownBy(
              () -> run.run(adapters, wrong, new Trace(1, 5, 1, 8), new LoadRun.Length(1, 5)))
          .withMessageContaining("y[");
    }
  }

  @Test
  void aFailingClientEndsTheRun() {
    try (Arena arena = Arena.ofShared()) {
      LoadAdapters adapters = new LoadAdapters(arena, MODEL, 4, DType.F32, 1);
      AdapterSource broken =
          (name, to) -> {
            // those of the warm-up are whole
            if (name.equals("a0") || name.equals("a1")) {
              return adapters.read(name, to);
            }
            throw new IllegalStateException("broken");
          };
      LoadRun run =
          new LoadRun(
              MoeLoraConfig.of(MODEL, 2, 2).withMaxTokens(8).withMaxRank(4),
              "cpu",
              8,
              CacheLimits.of(0),
              false,
              0);
      assertThatExceptionOfType(ExecutionException.class)
          .isThrownBy(
              () -> run.run(adapters, broken, new Trace(1, 5, 1, 8), new LoadRun.Length(1, 5)))
          .havingRootCause()
          .withMessage("broken");
    }
  }

  /** The steps of a run, told by the adapters of their tokens, can be run again. */
  @Test
  void theStepsOfARunAreThoseOfItsTrace() throws Exception {
    try (Arena arena = Arena.ofShared()) {
      LoadAdapters adapters = new LoadAdapters(arena, MODEL, 4, DType.F32, 1);
      LoadRun run =
          new LoadRun(
              MoeLoraConfig.of(MODEL, 5, 2).withMaxTokens(8).withMaxRank(4),
              "cpu",
              8,
              CacheLimits.of(0),
              false,
              0);
      LoadRun.Length length = new LoadRun.Length(4, 20);
      LoadRun.Result result = run.run(adapters, adapters, new Trace(1, 5, 1, 8), length);
      assertThat(result.batches()).hasSize(24);
      assertThat(result.batches().subList(4, 24).stream().mapToInt(batch -> batch.length).sum())
          .isEqualTo((int) result.tokens());
      for (int[] batch : result.batches()) {
        assertThat(batch).hasSizeBetween(1, 8);
        assertThat(IntStream.of(batch).boxed()).allMatch(adapter -> adapter >= 0 && adapter < 5);
      }
      assertThat(result.stepSeconds()).isPositive().isLessThanOrEqualTo(result.seconds());
      LoadRun.Replay again = run.replay(adapters, result.batches(), length);
      assertThat(again.stepSeconds()).isPositive().isLessThanOrEqualTo(again.seconds());
    }
  }

  @Test
  void theTraceIsTheSameForTheSameSeedAndFavoursTheFirst() {
    Trace trace = new Trace(5, 50, 1, 8);
    Trace again = new Trace(5, 50, 1, 8);
    int[] counts = new int[50];
    for (int request = 0; request < 5000; request++) {
      assertThat(trace.adapter(request)).isEqualTo(again.adapter(request));
      assertThat(trace.tokens(request)).isEqualTo(again.tokens(request)).isBetween(1, 15);
      counts[trace.adapter(request)]++;
    }
    // 1 / H(50) = 22 % and a fiftieth of that
    assertThat(counts[0]).isBetween(900, 1350);
    assertThat(counts[49]).isBetween(1, 60);
  }
}
