package io.github.moelora.tornado.tune;

import java.util.Arrays;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;

/**
 * Times graphs of a plan. The time of a kernel is the difference between a captured graph that
 * computes once and one that computes many times: what a launch costs the host is in both. Not
 * thread-safe.
 */
public final class CapturedTimer {
  private static final int ROUNDS = 6;
  private static final int RUNS = 12;

  /** After a switch between graphs the first runs hand over the buffers. */
  private static final int DISCARDED = 2;

  /** Slow kernels are run less often, so that a time takes no longer than that by much. */
  private static final long MOST_NANOS = 1_000_000_000;

  private final TornadoExecutionPlan plan;
  private final long warmUpNanos;

  /**
   * @param warmUpNanos for how long each graph runs before it is timed
   */
  public CapturedTimer(TornadoExecutionPlan plan, long warmUpNanos) {
    this.plan = plan;
    this.warmUpNanos = warmUpNanos;
  }

  /**
   * Nanoseconds of a kernel.
   *
   * @param nanos the device's time of one repeat; not positive if it drowned in noise
   * @param callNanos time of one call of the graph with one repeat, as the host sees it
   */
  public record Time(double nanos, double callNanos) {}

  /**
   * Time of one repeat.
   *
   * @param one index of the graph with one repeat
   * @param many index of the graph with {@code repeats}
   * @param repeats more than 1
   * @return a time that is not positive if the difference drowned in noise, twice
   */
  public Time measure(int one, int many, int repeats) {
    Time time = measureOnce(one, many, repeats);
    return time.nanos() > 0 ? time : measureOnce(one, many, repeats);
  }

  private Time measureOnce(int one, int many, int repeats) {
    double[] both = medians(one, many);
    return new Time((both[1] - both[0]) / (repeats - 1), both[0]);
  }

  /**
   * Median times in nanoseconds of graphs whose runs take turns, so that a change of the clock
   * reaches all.
   *
   * @param graphs indices
   */
  public double[] medians(int... graphs) {
    for (int graph : graphs) {
      // compiles, for seconds in which the device falls asleep
      run(graph);
    }
    long slowest = 1;
    for (int graph : graphs) {
      slowest = Math.max(slowest, warmUp(graph));
    }
    int runs = Math.clamp(MOST_NANOS / (ROUNDS * slowest), 1, RUNS);
    long[][] nanos = new long[graphs.length][ROUNDS * runs];
    for (int round = 0; round < ROUNDS; round++) {
      for (int g = 0; g < graphs.length; g++) {
        for (int i = 0; i < DISCARDED && graphs.length > 1; i++) {
          run(graphs[g]);
        }
        for (int i = 0; i < runs; i++) {
          nanos[g][round * runs + i] = run(graphs[g]);
        }
      }
    }
    return Arrays.stream(nanos).mapToDouble(CapturedTimer::median).toArray();
  }

  /** Runs a graph for some time; returns how long the last run took. */
  private long warmUp(int graph) {
    long end = System.nanoTime() + warmUpNanos;
    long nanos;
    do {
      nanos = run(graph);
    } while (System.nanoTime() < end);
    return nanos;
  }

  private long run(int graph) {
    long start = System.nanoTime();
    plan.withGraph(graph).execute();
    return System.nanoTime() - start;
  }

  private static double median(long[] values) {
    Arrays.sort(values);
    return (values[(values.length - 1) / 2] + values[values.length / 2]) / 2.0;
  }
}
