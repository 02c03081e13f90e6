package io.github.moelora.bench;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.util.List;
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
 * Loads one layer of an adapter into a slot that holds another one: pack, commit, free the old.
 *
 * <p>Shape: Qwen3-30B-A3B ({@code H = 2048}, {@code I = 768}, {@code E = 128}), bfloat16; 33 MiB at
 * rank 16. At set-up one token is checked against the reference after a swap there and back.
 *
 * <p>Command: {@code scripts/bench-jmh AdapterSwap}.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 10, time = 1)
public class AdapterSwapBenchmark {
  private static final int TOKENS = 8;

  /** Rank of the adapters. */
  @Param({"16", "64"})
  public int rank;

  private Workload workload;
  private LoraAdapter first;
  private LoraAdapter second;
  private boolean swapped;

  /** Loads the adapters, swaps twice and checks a step. */
  @Setup(Level.Trial)
  public void open() {
    workload =
        Workload.open(Workload.Sizes.bf16(Preset.of("qwen3-30b-a3b"), 1, rank, TOKENS), "cpu", 1);
    first = workload.loaded(0);
    second = workload.adapter("other");
    load();
    load();
    Batch batch = workload.batch(TOKENS);
    try (Arena arena = Arena.ofShared()) {
      for (ProjectionCall call : List.of(ProjectionCall.gateUp(0), ProjectionCall.down(0))) {
        Matrix y = workload.y(arena, call, batch);
        double worst = workload.check(call, batch, workload.x(arena, call, batch), y);
        if (!(worst <= 1)) {
          throw new IllegalStateException("the result must be within its bound, got " + worst);
        }
      }
    }
  }

  /** The measured swap. */
  @Benchmark
  public void load() {
    swapped = !swapped;
    workload.lora().load(0, swapped ? second : first);
  }

  /** Frees the slots. */
  @TearDown(Level.Trial)
  public void close() {
    workload.close();
  }
}
