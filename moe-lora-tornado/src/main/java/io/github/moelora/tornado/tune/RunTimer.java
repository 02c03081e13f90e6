package io.github.moelora.tornado.tune;

import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.step.ProjectionGraphs;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.lang.foreign.Arena;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Times whole runs of a projection as the host sees them, x and y on the host: with the portable
 * kernels the block size decides how many rows travel, too.
 */
final class RunTimer implements TuningTimer {
  private static final int MOST_RUNS = 30;
  private static final int LEAST_RUNS = 3;
  private static final long WARM_UP_NANOS = 30_000_000;

  /** Slow batches are run less often, so that a time takes no longer than that by much. */
  private static final long MOST_NANOS = 500_000_000;

  private final ProjectionGraphs plan;
  private final ProjectionCall call;
  private final Arena arena = Arena.ofShared();
  private final Matrix x;
  private final Matrix y;

  RunTimer(MoeLoraConfig config, ProjectionWeights weights, ChosenDevice device) {
    plan = new ProjectionGraphs(config, weights, null, device);
    plan.storeTable();
    boolean gateUp = weights.projection() == Projection.GATE_UP;
    call = gateUp ? ProjectionCall.gateUp(weights.layer()) : ProjectionCall.down(weights.layer());
    int xRows = call.pairRows() ? config.maxPairs() : config.maxTokens();
    // zeros take as long as any other numbers
    x = matrix(config, xRows, config.model().inputWidth(weights.projection()));
    y = matrix(config, config.maxPairs(), config.model().outputWidth(weights.projection()));
  }

  private Matrix matrix(MoeLoraConfig config, int rows, int columns) {
    long bytes = (long) rows * columns * config.weightType().bytes();
    return Matrix.of(arena.allocate(bytes, Float.BYTES), config.weightType(), rows, columns);
  }

  @Override
  public void upload() {
    plan.storePiece();
    plan.storeTable();
  }

  @Override
  public double nanos(Routing routing, int kernel, @Nullable OneShotTiling oneShot) {
    long end = System.nanoTime() + WARM_UP_NANOS;
    long last;
    do {
      last = run(routing);
    } while (System.nanoTime() < end);
    long[] nanos = new long[Math.clamp(MOST_NANOS / last, LEAST_RUNS, MOST_RUNS)];
    Arrays.setAll(nanos, _ -> run(routing));
    Arrays.sort(nanos);
    return nanos[nanos.length / 2];
  }

  private long run(Routing routing) {
    long start = System.nanoTime();
    plan.run(routing, call, x, y);
    return Math.max(1, System.nanoTime() - start);
  }

  @Override
  public void close() {
    plan.close();
    arena.close();
  }
}
