package io.github.moelora.bench;

import io.github.moelora.DType;
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
 * One step of one layer on the CPU backend with x and y off the heap, in arrays of their type, and
 * in arrays of bytes: plan, gate and up, down. The latter two should take at most 1.05 times as
 * long.
 *
 * <p>Shape: Qwen3-30B-A3B ({@code H = 2048}, {@code I = 768}, {@code E = 128}, {@code K = 8}), two
 * adapters of rank 16, bfloat16 weights, x and y of bfloat16 or float32. One token is checked
 * against the reference. Each kind of memory has JVMs of its own, whose profiles the others do not
 * touch.
 *
 * <p>Command: {@code scripts/bench-jmh CpuHeap}.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(3)
@Warmup(iterations = 4, time = 1)
@Measurement(iterations = 4, time = 1)
public class CpuHeapBenchmark {
  private static final int LAYERS = 2;
  private static final int RANK = 16;

  /** Where x and y lie. */
  @Param({"NATIVE", "ARRAY", "BYTES"})
  public StepMemory memory = StepMemory.NATIVE;

  /** Type of x and y. */
  @Param({"BF16", "F32"})
  public DType activations = DType.BF16;

  /** Tokens of a step. */
  @Param({"8", "512"})
  public int tokens;

  private LayerSteps steps;

  /** Loads the adapters and checks one step. */
  @Setup(Level.Trial)
  public void open() {
    Workload.Sizes sizes =
        new Workload.Sizes(
            Preset.of("qwen3-30b-a3b"), LAYERS, 2, RANK, tokens, DType.BF16, activations);
    steps = new LayerSteps(sizes, 1, "cpu", memory);
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
