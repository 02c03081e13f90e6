package io.github.moelora.bench;

import java.util.Arrays;

/**
 * Times a short action: warms it up until the compiler has done its work, then takes the median, or
 * the quartiles, too.
 */
public final class Timing {
  private static final long WINDOW_NANOS = 50_000_000;

  /** Code that calls the Vector API runs a thousand times slower before it is compiled. */
  private static final long LONGEST_WARM_UP_NANOS = 4_000_000_000L;

  private static final int QUIET_WINDOWS = 3;
  private static final int LEAST_RUNS = 5;
  private static final int MOST_RUNS = 1000;

  /**
   * Three of many sorted numbers.
   *
   * @param low a quarter is less than this
   * @param median half are less than this
   * @param high a quarter is more than this
   */
  public record Quartiles(double low, double median, double high) {
    /** Each of them over a positive number. */
    public Quartiles over(double divisor) {
      return new Quartiles(low / divisor, median / divisor, high / divisor);
    }
  }

  private Timing() {}

  /**
   * Runs until the median of a window has not fallen by a tenth for some windows.
   *
   * @param leastNanos how long to go on in any case
   */
  public static void warmUp(Runnable action, long leastNanos) {
    long begin = System.nanoTime();
    double best = Double.POSITIVE_INFINITY;
    int quiet = 0;
    while (System.nanoTime() - begin < leastNanos
        || (quiet < QUIET_WINDOWS && System.nanoTime() - begin < LONGEST_WARM_UP_NANOS)) {
      double median = medianNanos(action, WINDOW_NANOS);
      quiet = median < 0.9 * best ? 0 : quiet + 1;
      best = Math.min(best, median);
    }
  }

  /**
   * Median time of a run.
   *
   * @param budgetNanos about how long to go on; a few runs are made in any case
   */
  public static double medianNanos(Runnable action, long budgetNanos) {
    return quartileNanos(action, budgetNanos).median();
  }

  /**
   * Quartiles of the time of a run.
   *
   * @param budgetNanos about how long to go on; a few runs are made in any case
   */
  public static Quartiles quartileNanos(Runnable action, long budgetNanos) {
    long[] nanos = new long[MOST_RUNS];
    int runs = 0;
    long end = System.nanoTime() + budgetNanos;
    while (runs < LEAST_RUNS || (runs < MOST_RUNS && System.nanoTime() < end)) {
      long begin = System.nanoTime();
      action.run();
      nanos[runs++] = System.nanoTime() - begin;
    }
    Arrays.sort(nanos, 0, runs);
    return new Quartiles(nanos[runs / 4], nanos[runs / 2], nanos[3 * runs / 4]);
  }
}
