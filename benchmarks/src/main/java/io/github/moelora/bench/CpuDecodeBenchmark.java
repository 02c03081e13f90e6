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
 * One decode step of one layer on the CPU backend: plan, gate and up, down.
 *
 * <p>Shape: Qwen3-30B-A3B ({@code H = 2048}, {@code I = 768}, {@code E = 128}, {@code K = 8}), two
 * adapters, bfloat16. Steps go round over layers and routings that together hold more weights than
 * a cache does, so {@code weights} is the rate of reading them from memory; {@code weights.ratio}
 * compares it with the read bandwidth of all cores and should be at least 0.5. One token of the
 * first step is checked against the reference.
 *
 * <p>Command: {@code scripts/bench-jmh CpuDecode}; with {@code -prof gc} it shows that a step
 * allocates nothing.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 10, time = 1)
public class CpuDecodeBenchmark {
  /** More than the last-level cache of a large server. */
  private static final long LEAST_WEIGHT_BYTES = 3L << 29;

  /** Tokens whose pairs together hit nearly every (adapter, expert). */
  private static final int TOKENS_OF_A_LAYER = 64;

  /** Tokens of a step. */
  @Param({"1", "8", "64"})
  public int tokens;

  /** Rank of the adapters. */
  @Param({"16", "64"})
  public int rank;

  private LayerSteps steps;

  /** Loads the adapters and checks one step. */
  @Setup(Level.Trial)
  public void open() {
    Preset preset = Preset.of("qwen3-30b-a3b");
    long layerBytes = Workload.Sizes.bf16(preset, 1, rank, tokens).weightBytes();
    int layers = Math.toIntExact(Math.ceilDiv(LEAST_WEIGHT_BYTES, layerBytes));
    int routings = Math.ceilDiv(TOKENS_OF_A_LAYER, tokens);
    steps = new LayerSteps(Workload.Sizes.bf16(preset, layers, rank, tokens), routings, "cpu");
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
