package io.github.moelora.bench;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.Routing;
import io.github.moelora.Step;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * One plan: validation, stable counting sort by (adapter, expert), block list.
 *
 * <p>Shape: {@code E = 128}, {@code K = 8}, 16 adapters, each token with one of them at random;
 * 4096 tokens should take less than 1 ms. At set-up the plan is checked pair by pair.
 *
 * <p>Command: {@code scripts/bench-jmh Routing -prof gc}; {@code gc.alloc.rate.norm} shows that a
 * plan allocates nothing.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 10, time = 1)
public class RoutingBenchmark {
  private static final int EXPERTS = 128;
  private static final int EXPERTS_PER_TOKEN = 8;
  private static final int ADAPTERS = 16;

  /** Tokens of a plan. */
  @Param({"1", "64", "4096"})
  public int tokens;

  private Workload workload;
  private Step step;
  private MemorySegment expertIds;
  private MemorySegment routingWeights;
  private MemorySegment adapterIds;

  /** Fills the slots with tiny adapters, routes the batch and checks its plan. */
  @Setup(Level.Trial)
  public void open() {
    MoeModel model = new MoeModel(16, 16, EXPERTS, GateUp.HALVES, List.of(0));
    Preset preset = new Preset("tiny", model, EXPERTS_PER_TOKEN);
    workload =
        Workload.open(
            new Workload.Sizes(preset, 1, ADAPTERS, 1, tokens, DType.F32, DType.F32), "cpu", 1);
    step = workload.step();
    Batch batch = workload.batch(tokens);
    int[] adapters = new Random(1).ints(tokens, 0, ADAPTERS).toArray();
    expertIds = MemorySegment.ofArray(batch.expertIds());
    routingWeights = MemorySegment.ofArray(batch.routingWeights());
    adapterIds = MemorySegment.ofArray(adapters);
    plan();
    requireEveryPairInItsBlock(step.routing(), batch.expertIds(), adapters);
  }

  private static void requireEveryPairInItsBlock(Routing routing, int[] experts, int[] adapters) {
    boolean[] seen = new boolean[experts.length];
    int count = 0;
    for (int position = 0; position < routing.numTokensPostPadded(); position++) {
      int pair = routing.sortedTokenId(position);
      if (pair == experts.length) {
        continue;
      }
      int block = position / routing.blockSize();
      if (seen[pair]
          || routing.blockExpert(block) != experts[pair]
          || routing.blockAdapter(block) != adapters[pair / EXPERTS_PER_TOKEN]) {
        throw new IllegalStateException("pair %d must be in a block of its own".formatted(pair));
      }
      seen[pair] = true;
      count++;
    }
    if (count != experts.length) {
      throw new IllegalStateException(
          "the plan must hold %d pairs, got %d".formatted(experts.length, count));
    }
  }

  /** The measured plan. */
  @Benchmark
  public void plan() {
    step.plan(tokens, expertIds, routingWeights, adapterIds);
  }

  /** Frees the slots. */
  @TearDown(Level.Trial)
  public void close() {
    workload.close();
  }
}
