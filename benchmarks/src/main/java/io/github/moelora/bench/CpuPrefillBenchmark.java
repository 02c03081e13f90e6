package io.github.moelora.bench;

import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
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
 * One prefill step of one layer on the CPU backend: plan, gate and up, down.
 *
 * <p>Shape: Qwen3-30B-A3B ({@code H = 2048}, {@code I = 768}, {@code E = 128}, {@code K = 8}), 1024
 * tokens, two adapters, bfloat16. {@code flops.ratio} compares the rate with the single-precision
 * FMA peak of all cores and should be at least 0.3. One token is checked against the reference.
 *
 * <p>Command: {@code scripts/bench-jmh CpuPrefill}.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 10, time = 1)
public class CpuPrefillBenchmark {
  private static final int LAYERS = 2;

  /** Tokens of a step. */
  @Param("1024")
  public int tokens;

  /** Rank of the adapters. */
  @Param({"16", "64"})
  public int rank;

  private LayerSteps steps;

  /** Loads the adapters and checks one step. */
  @Setup(Level.Trial)
  public void open() {
    steps =
        new LayerSteps(
            Workload.Sizes.bf16(Preset.of("qwen3-30b-a3b"), LAYERS, rank, tokens), 1, "cpu");
  }

  /** The measured step. */
  @Benchmark
  public void step() {
    steps.run();
  }

  /** Frees the adapters. */
  @TearDown(Level.Trial)
  public void close() {
    steps.close();
  }
}
