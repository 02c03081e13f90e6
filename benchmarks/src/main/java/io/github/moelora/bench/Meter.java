package io.github.moelora.bench;

/**
 * Rates of the operations that a benchmark reports: the best over windows of some milliseconds, as
 * other programs on the machine only make a rate smaller. Allocates nothing. Used by one thread.
 *
 * <p>There is one for the JVM: JMH runs one benchmark in a fork, and {@link CeilingProfiler} reads
 * it there.
 */
final class Meter {
  /** Long enough for a rate that no single lucky operation decides. */
  private static final long WINDOW_NANOS = 20_000_000;

  private static final Meter SHARED = new Meter();

  private long begin;
  private long nanos;
  private double bytes;
  private double flops;
  private double bestBytesPerSecond;
  private double bestFlopsPerSecond;

  private Meter() {}

  static Meter shared() {
    return SHARED;
  }

  /** Called right before an operation. */
  void begin() {
    begin = System.nanoTime();
  }

  /**
   * Called right after it.
   *
   * @param weightBytes bytes of adapter weights that the operation read
   * @param operationFlops floating-point operations that it did
   */
  void end(double weightBytes, double operationFlops) {
    nanos += System.nanoTime() - begin;
    bytes += weightBytes;
    flops += operationFlops;
    if (nanos >= WINDOW_NANOS) {
      bestBytesPerSecond = Math.max(bestBytesPerSecond, bytes * 1e9 / nanos);
      bestFlopsPerSecond = Math.max(bestFlopsPerSecond, flops * 1e9 / nanos);
      nanos = 0;
      bytes = 0;
      flops = 0;
    }
  }

  /** Largest rate at which weights were read; 0 when nothing was measured. */
  double weightBytesPerSecond() {
    return bestBytesPerSecond;
  }

  /** Largest rate of floating-point operations; 0 when nothing was measured. */
  double flopsPerSecond() {
    return bestFlopsPerSecond;
  }
}
