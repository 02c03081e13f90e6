package io.github.moelora.cpu;

import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * Daemon threads that, with the calling thread, work through numbered tasks. Allocates nothing per
 * call.
 *
 * <p>A call ends when its tasks are done, not when all workers have noticed: one that the operating
 * system has put aside holds up nobody. Workers spin for some hundred microseconds after a job,
 * since the phases of a step follow each other closely, then park. Calls from several threads take
 * turns.
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

  /**
   * Number of the call in the upper half, tasks that nobody has taken yet in the lower one. Who
   * counts it down owns a task, and the call cannot end before that task is done; so the {@link
   * #job} read in between is that of the call.
   */
  private final AtomicLong ticket = new AtomicLong();

  private final AtomicInteger done = new AtomicInteger();
  private volatile @Nullable Job job;
  private volatile boolean closed;
  private volatile @Nullable Throwable failure;
  private int calls;

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
    failure = null;
    done.set(0);
    calls++;
    ticket.set(((long) calls << 32) | count);
    for (int i = 0; i < Math.min(workers.length, count - 1); i++) {
      LockSupport.unpark(workers[i]);
    }
    takeTasks(0);
    awaitTasks(count);
    job = null;
    Throwable failed = failure;
    if (failed instanceof RuntimeException e) {
      throw e;
    }
    if (failed instanceof Error e) {
      throw e;
    }
  }

  @SuppressWarnings("ThreadPriorityCheck") // a worker may be waiting for this very processor
  private void awaitTasks(int count) {
    for (int spins = 0; done.get() < count; spins++) {
      if (spins < SPINS) {
        Thread.onSpinWait();
      } else {
        Thread.yield();
      }
    }
  }

  /** Takes tasks, the last first, until none is left. */
  private void takeTasks(int worker) {
    for (long seen = ticket.get(); (int) seen > 0; seen = ticket.get()) {
      Job current = job;
      if (ticket.compareAndSet(seen, seen - 1) && current != null) {
        runTask(current, (int) seen - 1, worker);
      }
    }
  }

  private void runTask(Job current, int task, int worker) {
    try {
      if (failure == null) {
        current.run(task, worker);
      }
    } catch (RuntimeException | Error e) {
      failure = e;
    } finally {
      done.incrementAndGet();
    }
  }

  private void work(int worker) {
    int spins = 0;
    while (!closed) {
      if ((int) ticket.get() > 0) {
        takeTasks(worker);
        spins = 0;
      } else if (spins < SPINS) {
        spins++;
        Thread.onSpinWait();
      } else {
        LockSupport.park(this);
      }
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
