package io.github.moelora.tornado;

import java.util.Arrays;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;

/**
 * GPU time of one repeat, from a captured graph with one repeat and one with many: what a launch
 * costs the host is in both, so the difference is the device's time.
 */
final class BenchTimer {
  private static final int ROUNDS = 6;
  private static final int RUNS = 12;

  /** After a switch the first runs hand over the buffers. */
  private static final int DISCARDED = 2;

  private static final long WARM_UP_NANOS = 60_000_000;

  private final TornadoExecutionPlan plan;

  BenchTimer(TornadoExecutionPlan plan) {
    this.plan = plan;
  }

  /**
   * @param micros GPU time of one repeat
   * @param callMicros time of one call of the graph with one repeat, as the host sees it
   */
  record Time(double micros, double callMicros) {}

  /**
   * Runs of both graphs take turns, so that a change of the clock reaches both.
   *
   * @param one index of the graph with one repeat
   * @param many index of the graph with {@code repeats}
   * @return a time that is not positive if the difference drowned in noise, twice
   */
  Time measure(int one, int many, int repeats) {
    Time time = measureOnce(one, many, repeats);
    return time.micros() > 0 ? time : measureOnce(one, many, repeats);
  }

  private Time measureOnce(int one, int many, int repeats) {
    warmUp(one);
    warmUp(many);
    double[] ones = new double[ROUNDS * RUNS];
    double[] manys = new double[ROUNDS * RUNS];
    for (int round = 0; round < ROUNDS; round++) {
      run(one, ones, round * RUNS);
      run(many, manys, round * RUNS);
    }
    double call = median(ones);
    return new Time((median(manys) - call) / (repeats - 1), call);
  }

  private void warmUp(int graph) {
    long end = System.nanoTime() + WARM_UP_NANOS;
    do {
      plan.withGraph(graph).execute();
    } while (System.nanoTime() < end);
  }

  private void run(int graph, double[] micros, int from) {
    for (int i = -DISCARDED; i < RUNS; i++) {
      long start = System.nanoTime();
      plan.withGraph(graph).execute();
      long nanos = System.nanoTime() - start;
      if (i >= 0) {
        micros[from + i] = nanos / 1e3;
      }
    }
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return (sorted[(sorted.length - 1) / 2] + sorted[sorted.length / 2]) / 2;
  }
}
