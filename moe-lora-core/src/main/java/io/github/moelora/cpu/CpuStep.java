package io.github.moelora.cpu;

import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.BackendStep;
import io.github.moelora.spi.PlanFormat;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One step on the CPU: two phases, {@link ShrinkPhase} and {@link ExpandPhase}, each spread over
 * the worker pool. Where a block has more than {@link Kernels#ROWS} rows, the first ones read the
 * weights from memory and the others from the second-level cache.
 */
final class CpuStep implements BackendStep {
  /** Rows of a block where experts see many pairs: weights read from memory serve so many rows. */
  private static final int LARGE_BLOCK = 64;

  private static final int SMALL_BLOCK = 16;

  /** Tasks per thread, so that threads which finish early find more work. */
  private static final int TASKS_PER_THREAD = 4;

  private final WorkerPool pool;
  private final CpuRun run;
  private final ShrinkPhase shrink;
  private final ExpandPhase expand;

  CpuStep(MoeLoraConfig config, Kernels kernels, WorkerPool pool, @Nullable PackedAdapter[] slots) {
    this.pool = pool;
    run = new CpuRun(config, kernels, slots);
    Scratch[] scratch = new Scratch[pool.threads()];
    Arrays.setAll(scratch, i -> new Scratch(LARGE_BLOCK, config.weightType()));
    shrink = new ShrinkPhase(kernels, run, scratch);
    expand = new ExpandPhase(kernels, run, scratch);
  }

  /**
   * Checks that z of the largest batch fits into one array.
   *
   * @throws IllegalArgumentException with the product that is too large
   */
  static void requireFits(MoeLoraConfig config) {
    requireRoom(config);
    config.model().dense().stream().limit(1).map(config::ofDense).forEach(CpuStep::requireRoom);
  }

  private static void requireRoom(MoeLoraConfig config) {
    long elements = (long) PlanFormat.sortedCapacity(config, LARGE_BLOCK) * CpuRun.zStride(config);
    if (elements > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "padded maxTokens * expertsPerToken * 2 * maxRank must be at most %d, got %d"
              .formatted(Integer.MAX_VALUE, elements));
    }
  }

  @Override
  public int maxBlockSize() {
    return LARGE_BLOCK;
  }

  @Override
  public int blockSize(int activePairs, int groups) {
    if (activePairs == groups) {
      return 1;
    }
    return activePairs < 8L * groups ? SMALL_BLOCK : LARGE_BLOCK;
  }

  @Override
  public void planned(Routing plan) {
    run.planned(plan);
  }

  @Override
  public void plannedDense(Routing plan) {
    run.plannedDense(plan);
  }

  @Override
  public void run(ProjectionCall call, Matrix x, Matrix y) {
    requireAccess("x", x);
    requireAccess("y", y);
    run.begin(call, x, y);
    int wanted = TASKS_PER_THREAD * pool.threads();
    runTasks(shrink.divide(wanted), shrink);
    runTasks(expand.divide(wanted), expand);
    run.end();
  }

  private void runTasks(int tasks, WorkerPool.Job job) {
    if (tasks > 0) {
      pool.run(tasks, job);
    }
  }

  private void requireAccess(String name, Matrix matrix) {
    if (!pool.canAccess(matrix.data())) {
      throw new IllegalArgumentException(
          ("%s.data must be accessible to all threads, as memory of Arena.ofShared() or the heap"
                  + " is, got a confined segment")
              .formatted(name));
    }
  }

  /** Parts of each block that make about the wanted number of tasks. */
  static int parts(int blocks, int wanted, int most) {
    return Math.clamp(Math.ceilDiv(wanted, blocks), 1, most);
  }

  @Override
  public void close() {
    // the arrays are the heap's, the threads the backend's
  }
}
