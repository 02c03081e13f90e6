package io.github.moelora.bench.gpu;

/**
 * How long each graph runs before it is timed: the first ones longer, because the device falls
 * asleep in the seconds in which kernels are compiled. A graph that was timed on a device that
 * still woke up took up to 1.7 times as long.
 */
final class WarmUp {
  private static final long FIRST_NANOS = 300_000_000;

  /** Where nothing is compiled any more. */
  static final long NANOS = 60_000_000;

  private boolean awake;

  /** Nanoseconds for the next graphs. */
  long nanos() {
    long nanos = awake ? NANOS : FIRST_NANOS;
    awake = true;
    return nanos;
  }
}
