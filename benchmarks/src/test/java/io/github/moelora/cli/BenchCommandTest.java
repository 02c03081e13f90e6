package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class BenchCommandTest {
  @TempDir private Path directory;

  /** OLMoE: H = 2048, I = 1024, E = 64, K = 8. */
  private static CommandRun bench(Object... args) {
    Object[] words = new Object[args.length + 13];
    Object[] fixed = {
      "bench",
      "--preset",
      "olmoe",
      "--tokens",
      "1,3",
      "--ranks",
      4,
      "--adapters",
      1,
      "--bandwidth",
      10,
      "--seconds",
      0.02
    };
    System.arraycopy(fixed, 0, words, 0, fixed.length);
    System.arraycopy(args, 0, words, fixed.length, args.length);
    return CommandRun.of(words);
  }

  @Test
  void sweepsAndWritesTableJsonAndPlot() throws IOException {
    Path json = directory.resolve("bench.json");
    Path png = directory.resolve("plot");
    CommandRun run = bench("--json", json, "--plot", png);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out().lines().findFirst().orElse(""))
        .matches("backend cpu on CPU, .*; floor at 10.0 GB/s");
    assertThat(run.line("time / floor")).startsWith("shape  projection  rank  tokens  time us");
    assertThat(run.out().lines().filter(line -> line.startsWith("olmoe"))).hasSize(4);

    JsonNode document = Output.json().readTree(json.toFile());
    assertThat(document.path("passed").asBoolean()).isTrue();
    assertThat(document.path("bytes_per_second").asDouble()).isEqualTo(10e9);
    JsonNode cells = document.path("cells");
    assertThat(cells).hasSize(4);
    assertThat(cells.findValuesAsText("projection"))
        .containsExactly("gate/up", "down", "gate/up", "down");
    assertThat(cells.findValuesAsText("tokens")).containsExactly("1", "1", "3", "3");
    // a token hits 8 experts: weights once, x once, y read and written, all of 2 bytes
    double gateUp = 2 * (8 * 4 * (2 * 2048 + 2 * 1024) + 2048 + 2 * 8 * 2 * 1024);
    double down = 2 * (8 * 4 * (1024 + 2048) + 8 * 1024 + 2 * 8 * 2048);
    assertThat(cells.get(0).path("floor_micros").asDouble())
        .isCloseTo(gateUp / 10e9 * 1e6, within(1e-9));
    assertThat(cells.get(1).path("floor_micros").asDouble())
        .isCloseTo(down / 10e9 * 1e6, within(1e-9));
    for (JsonNode cell : cells) {
      assertThat(cell.path("micros").asDouble()).isPositive();
      assertThat(cell.path("worst").asDouble()).isBetween(0.0, 1.0).isNotZero();
      assertThat(cell.path("gigabytes_per_second").asDouble())
          .isCloseTo(
              cell.path("floor_micros").asDouble() * 10 / cell.path("micros").asDouble(),
              within(1e-9));
    }
    PlotCommandTest.requireLines(ImageIO.read(png.toFile()), 1);
  }

  @Test
  void aWrongResultFails() {
    CommandRun run = bench("--backend", "wrong", "--tokens", 1);
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.out()).endsWith("FAIL: an element is outside its bound\n");
  }

  @Test
  void shapesThatNeedTooMuchMemoryAreLeftOut() {
    CommandRun run =
        CommandRun.of(
            "bench", "--preset", "all", "--ranks", "16", "--memory", "0.001", "--bandwidth", 10);
    assertThat(run.exitCode()).isEqualTo(2);
    // qwen3-30b-a3b: 128 experts, rank 16, 2 * 2048 + 1536 + 768 + 2048 columns, 2 adapters
    assertThat(run.out().lines())
        .hasSize(5)
        .first()
        .isEqualTo(
            "qwen3-30b-a3b rank 16 left out: 66.0 MiB of weights, --memory allows 0.00100 GiB");
    assertThat(run.err())
        .isEqualTo("moe-lora: --memory must allow at least one cell, got 0.00100 GiB\n");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "--tokens 1,0 | --tokens must be at least 1, got 0",
        "--ranks -1 | --ranks must be at least 1, got -1",
        "--ranks 513 --memory 1000 --bandwidth 10 | maxRank must be in [1, 513), got 513",
        "--adapters 0 | --adapters must be at least 1, got 0",
        "--memory 0 | --memory must be more than 0, got 0.0",
        "--seconds NaN | --seconds must be in (0, 3600], got NaN",
        "--bandwidth -1 | --bandwidth must be finite and not negative, got -1.0",
        "--backend abacus | --backend must be one of cpu, crashing, missing, tunable, wrong, got"
            + " abacus",
        "--preset gpt-2 | --preset must be one of qwen3-30b-a3b, mixtral-8x7b, deepseek-v3,"
            + " gpt-oss-20b, olmoe, got gpt-2",
        "--plot /nowhere/x.png | --plot must lie in an existing folder, got /nowhere/x.png",
      })
  void wrongUsageIsToldInASentence(String args, String message) {
    CommandRun run = CommandRun.of((Object[]) ("bench " + args).split(" ", -1));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).isEqualTo("moe-lora: " + message + "\n");
  }
}
