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
 */
final class SlotLock {
  private final StampedLock lock = new StampedLock();
  private final ReentrantLock gate = new ReentrantLock(true);

  /** Returns a stamp for {@link #unlockRead}. */
  long readLock() {
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
}
