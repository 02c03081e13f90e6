package io.github.moelora.cpu;

import java.util.concurrent.atomic.AtomicIntegerArray;

/**
 * Which blocks have their z: expand tasks of a block wait for its shrink tasks, and for no others.
 *
 * <p>Whoever waits does so for a task that another thread has taken before, so the wait ends.
 */
final class BlockGates {
  private static final int SPINS = 10_000;

  /** Shrink tasks of each block that are not done. */
  private AtomicIntegerArray left = new AtomicIntegerArray(0);

  private volatile boolean failed;

  /** Closes the gates of blocks {@code 0 .. blocks-1}, each for so many tasks. */
  void close(int blocks, int tasks) {
    if (left.length() < blocks) {
      left = new AtomicIntegerArray(blocks);
    }
    failed = false;
    for (int block = 0; block < blocks; block++) {
      left.setPlain(block, tasks);
    }
  }

  /** One of a block's tasks is done. */
  void pass(int block) {
    left.getAndDecrement(block);
  }

  /** Some task has failed, so others may never be done. */
  void fail() {
    failed = true;
  }

  /** Waits until a block's tasks are done, and says whether they are: false if a task failed. */
  @SuppressWarnings("ThreadPriorityCheck") // the task may be waiting for this very processor
  boolean await(int block) {
    for (int spins = 0; left.get(block) > 0; spins++) {
      if (failed) {
        return false;
      }
      if (spins < SPINS) {
        Thread.onSpinWait();
      } else {
        Thread.yield();
      }
    }
    return true;
  }
}
