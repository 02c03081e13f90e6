package io.github.moelora.testkit;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.function.LongSupplier;

/** Measures what code allocates. */
public final class Allocation {
  private static final int ATTEMPTS = 20;
  private static final int CALLS = 200;

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private Allocation() {}

  /** Bytes that a call allocates on the calling thread once it is warm. */
  public static long bytesPerCall(Runnable call) {
    return bytesPerCall(call, THREADS::getCurrentThreadAllocatedBytes);
  }

  /** Bytes that a call allocates, once it is warm, on other threads: those of this prefix. */
  public static long bytesPerCall(Runnable call, String threadPrefix) {
    return bytesPerCall(call, () -> allocatedBytes(threadPrefix));
  }

  /**
   * The least of several attempts, since the compiler may still be at work during the first ones,
   * and a thread may get its first task late on a busy machine.
   */
  private static long bytesPerCall(Runnable call, LongSupplier allocatedBytes) {
    long least = Long.MAX_VALUE;
    for (int attempt = 0; attempt < ATTEMPTS && least > 0; attempt++) {
      long before = allocatedBytes.getAsLong();
      for (int i = 0; i < CALLS; i++) {
        call.run();
      }
      least = Math.min(least, allocatedBytes.getAsLong() - before);
    }
    return least / CALLS;
  }

  private static long allocatedBytes(String threadPrefix) {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().startsWith(threadPrefix))
        .mapToLong(thread -> THREADS.getThreadAllocatedBytes(thread.threadId()))
        .sum();
  }
}
