package io.github.moelora.tornado.device;

import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * Lets one thread of the process compile kernels at a time: drivers have crashed and reported build
 * errors that there were none of when several instances compiled their first kernels at once.
 *
 * <p>Graphs are captured at their first use, too, and what another thread sends to the device
 * meanwhile may spoil a capture. So threads that work beside those that run stay out.
 */
public final class FirstUse {
  private static final ReentrantReadWriteLock LOCK = new ReentrantReadWriteLock();

  private FirstUse() {}

  /** Runs what compiles. */
  public static void run(Runnable compiling) {
    run(LOCK.writeLock(), compiling);
  }

  /** Runs what was compiled before, beside others of its kind but not beside {@link #run}. */
  public static void beside(Runnable compiled) {
    run(LOCK.readLock(), compiled);
  }

  private static void run(Lock lock, Runnable action) {
    lock.lock();
    try {
      action.run();
    } finally {
      lock.unlock();
    }
  }
}
