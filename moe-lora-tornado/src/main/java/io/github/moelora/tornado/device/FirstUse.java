package io.github.moelora.tornado.device;

/**
 * Lets one thread of the process compile kernels at a time: drivers have crashed and reported build
 * errors that there were none of when several instances compiled their first kernels at once.
 */
public final class FirstUse {
  private static final Object LOCK = new Object();

  private FirstUse() {}

  /** Runs what compiles. */
  public static void run(Runnable compiling) {
    synchronized (LOCK) {
      compiling.run();
    }
  }
}
