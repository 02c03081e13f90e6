package io.github.moelora.testkit;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;

/** Measures what code allocates on the calling thread. */
public final class Allocation {
  private static final int ATTEMPTS = 20;
  private static final int CALLS = 200;

  private Allocation() {}

  /**
   * Bytes that a call allocates once it is warm: the least of several attempts, since the compiler
   * may still be at work during the first ones.
   */
  public static long bytesPerCall(Runnable call) {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long least = Long.MAX_VALUE;
    for (int attempt = 0; attempt < ATTEMPTS && least > 0; attempt++) {
      long before = threads.getCurrentThreadAllocatedBytes();
      for (int i = 0; i < CALLS; i++) {
        call.run();
      }
      least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
    }
    return least / CALLS;
  }
}
