package io.github.moelora.cpu;

import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * Daemon threads that, with the calling thread, work through numbered tasks. Allocates nothing per
 * call.
 *
 * <p>Workers spin for some tens of microseconds after a job, since the phases of a step follow each
 * other closely, then park. Calls from several threads take turns.
 */
final class WorkerPool implements AutoCloseable {
  /**
   * A decode step's next phase comes within a few microseconds; longer gaps are left to the
   * operating system.
   */
  private static final int SPINS = 10_000;

  /** Tasks {@code 0 .. n-1}, each run once by some thread. */
  interface Job {

    /**
     * Runs one task.
     *
     * @param worker index of the running thread, in {@code [0, threads)}, for scratch memory
     */
    void run(int task, int worker);
  }

  private final Thread[] workers;
  private final AtomicInteger next = new AtomicInteger();
  private final AtomicInteger working = new AtomicInteger();
  private @Nullable Job job;
  private int tasks;
  private volatile int epoch;
  private volatile boolean closed;
  private volatile @Nullable Throwable failure;

  WorkerPool(int threads) {
    workers = new Thread[threads - 1];
    for (int i = 0; i < workers.length; i++) {
      int worker = i + 1;
      workers[i] =
          Thread.ofPlatform().daemon().name("moe-lora-cpu-" + worker).unstarted(() -> work(worker));
    }
    for (Thread worker : workers) {
      worker.start();
    }
  }

  int threads() {
    return workers.length + 1;
  }

  /** Whether every thread may read and write this memory. */
  boolean canAccess(MemorySegment memory) {
    return workers.length == 0 || memory.isAccessibleBy(workers[0]);
  }

  /**
   * Runs all tasks and returns when the last is done. A failure is thrown; tasks that have not
   * begun by then are left out.
   */
  synchronized void run(int count, Job newJob) {
    if (closed) {
      throw new IllegalStateException("WorkerPool is closed");
    }
    if (count <= 1 || workers.length == 0) {
      for (int task = 0; task < count; task++) {
        newJob.run(task, 0);
      }
      return;
    }
    job = newJob;
    tasks = count;
    failure = null;
    next.set(0);
    working.set(workers.length);
    epoch++;
    for (Thread worker : workers) {
      LockSupport.unpark(worker);
    }
    takeTasks(newJob, 0);
    while (working.get() > 0) {
      Thread.onSpinWait();
    }
    job = null;
    Throwable failed = failure;
    if (failed instanceof RuntimeException e) {
      throw e;
    }
    if (failed instanceof Error e) {
      throw e;
    }
  }

  private void takeTasks(Job current, int worker) {
    try {
      for (int task = next.getAndIncrement(); task < tasks; task = next.getAndIncrement()) {
        current.run(task, worker);
      }
    } catch (RuntimeException | Error e) {
      failure = e;
      next.set(tasks);
    }
  }

  private void work(int worker) {
    int seen = 0;
    while (true) {
      int spins = 0;
      while (epoch == seen && !closed) {
        if (spins++ < SPINS) {
          Thread.onSpinWait();
        } else {
          LockSupport.park(this);
        }
      }
      if (closed) {
        return;
      }
      seen++;
      Job current = job;
      if (current != null) {
        takeTasks(current, worker);
      }
      working.decrementAndGet();
    }
  }

  @Override
  public void close() {
    closed = true;
    for (Thread worker : workers) {
      LockSupport.unpark(worker);
    }
  }
}
