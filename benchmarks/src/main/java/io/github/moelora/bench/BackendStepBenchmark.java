package io.github.moelora.bench;

import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
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
 * What a step of one layer costs the host on any backend: {@code step} is plan, gate and up, down,
 * with x and y on the host; {@code plan} is the plan alone.
 *
 * <p>Shapes: {@code small} ({@code H = 256}, {@code I = 128}, {@code E = 8}, {@code K = 2}), where
 * the kernels take next to no time, and {@code qwen3-30b-a3b} ({@code H = 2048}, {@code I = 768},
 * {@code E = 128}, {@code K = 8}); two adapters of rank 16, bfloat16, eight routings in turn. One
 * token of the first step is checked against the reference.
 *
 * <p>Command: {@code scripts/bench-jmh --tornado BackendStep -prof gc}; {@code gc.alloc.rate.norm}
 * is what a step allocates, and a plan must allocate nothing.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
public class BackendStepBenchmark {
  private static final int RANK = 16;
  private static final int ROUTINGS = 8;
  private static final Preset SMALL =
      new Preset("small", new MoeModel(256, 128, 8, GateUp.HALVES, List.of(0)), 2);

  /** Name of the backend. */
  @Param("tornado")
  public String backend = "tornado";

  /** {@code small}, or a preset of {@code moe-lora bench}. */
  @Param({"small", "qwen3-30b-a3b"})
  public String shape = "small";

  /** Tokens of a step. */
  @Param({"1", "8", "64"})
  public int tokens;

  private LayerSteps steps;

  /** Loads the adapters and checks one step. */
  @Setup(Level.Trial)
  public void open() {
    Preset preset = shape.equals(SMALL.text()) ? SMALL : Preset.of(shape);
    steps = new LayerSteps(Workload.Sizes.bf16(preset, 1, RANK, tokens), ROUTINGS, backend);
  }

  /** The measured step. */
  @Benchmark
  public void step() {
    steps.run();
  }

  /** The measured plan. */
  @Benchmark
  public void plan() {
    steps.plan();
  }

  /** Frees the adapters. */
  @TearDown(Level.Trial)
  public void close() {
    steps.close();
  }
}
