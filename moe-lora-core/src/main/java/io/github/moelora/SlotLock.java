package io.github.moelora;

import java.util.concurrent.locks.ReentrantLock;
import java.util.concurrent.locks.StampedLock;

/**
 * Lets runs and plans share what a change must have alone. Not reentrant; allocates nothing while
 * no change waits.
 *
 * <p>A bare {@link StampedLock} lets every reader try once to pass waiting writers: two threads
 * whose runs overlap without end would keep a load waiting forever. So a writer closes a gate while
 * it waits, at which later readers queue.
 *
 * <p>Unlocking needs some stack. A thread that has less left than that is refused the lock ({@link
 * StackOverflowError}), since it would keep it for good.
 */
final class SlotLock {
  /**
   * Frames of {@link #requireStack}, at least 100 bytes each, 250 where interpreted. An unlock that
   * wakes the next thread needs some 20 frames.
   */
  private static final int STACK_FRAMES = 64;

  private final StampedLock lock = new StampedLock();
  private final ReentrantLock gate = new ReentrantLock(true);

  /** Returns a stamp for {@link #unlockRead}. */
  long readLock() {
    requireStack();
    if (!gate.isLocked()) {
      return lock.readLock();
    }
    gate.lock();
    try {
      return lock.readLock();
    } finally {
      gate.unlock();
    }
  }

  void unlockRead(long stamp) {
    lock.unlockRead(stamp);
  }

  /** Returns a stamp for {@link #unlockWrite}. */
  long writeLock() {
    requireStack();
    gate.lock();
    try {
      return lock.writeLock();
    } finally {
      gate.unlock();
    }
  }

  void unlockWrite(long stamp) {
    lock.unlockWrite(stamp);
  }

  /** Whether a writer waits for readers to leave. */
  boolean hasWaitingWriter() {
    return gate.isLocked();
  }

  private static void requireStack() {
    if (depth(STACK_FRAMES, 1, 2, 3, 4, 5) == 0) {
      throw new AssertionError("depth counts up");
    }
  }

  /** The arguments are used after the call, so that compiled frames hold them, too. */
  private static long depth(int frames, long a, long b, long c, long d, long e) {
    if (frames == 0) {
      return 1;
    }
    long deeper = depth(frames - 1, b + 1, c + 1, d + 1, e + 1, a + 1);
    return (deeper + (a ^ frames) + (b ^ c) + (d ^ e)) | 1;
  }
}
