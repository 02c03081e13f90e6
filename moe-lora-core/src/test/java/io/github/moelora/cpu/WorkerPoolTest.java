package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.testkit.Allocation;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(60)
class WorkerPoolTest {

  @ParameterizedTest
  @CsvSource({"1, 0", "1, 7", "2, 1", "2, 2", "3, 2", "3, 1000", "4, 5"})
  void everyTaskRunsOnce(int threads, int tasks) {
    try (WorkerPool pool = new WorkerPool(threads)) {
      assertThat(pool.threads()).isEqualTo(threads);
      for (int round = 0; round < 50; round++) {
        AtomicIntegerArray runs = new AtomicIntegerArray(tasks);
        AtomicInteger wrongWorkers = new AtomicInteger();
        pool.run(
            tasks,
            (task, worker) -> {
              runs.incrementAndGet(task);
              if (worker < 0 || worker >= threads) {
                wrongWorkers.incrementAndGet();
              }
            });
        for (int task = 0; task < tasks; task++) {
          assertThat(runs.get(task)).isEqualTo(1);
        }
        assertThat(wrongWorkers.get()).isZero();
      }
    }
  }

  /** Three tasks that wait for each other need three threads at once. */
  @Test
  void allThreadsWorkAtTheSameTimeEachWithItsOwnIndex() {
    try (WorkerPool pool = new WorkerPool(3)) {
      CountDownLatch allHere = new CountDownLatch(3);
      Set<Integer> workers = ConcurrentHashMap.newKeySet();
      Set<Thread> threads = ConcurrentHashMap.newKeySet();
      pool.run(
          3,
          (task, worker) -> {
            workers.add(worker);
            threads.add(Thread.currentThread());
            allHere.countDown();
            await(allHere);
          });
      assertThat(workers).containsExactlyInAnyOrder(0, 1, 2);
      assertThat(threads).hasSize(3).contains(Thread.currentThread());
      assertThat(threads)
          .filteredOn(thread -> thread != Thread.currentThread())
          .allMatch(Thread::isDaemon)
          .extracting(Thread::getName)
          .containsExactlyInAnyOrder("moe-lora-cpu-1", "moe-lora-cpu-2");
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void workersThatHaveParkedWakeUp() throws Exception {
    try (WorkerPool pool = new WorkerPool(2)) {
      Thread[] worker = new Thread[1];
      bothThreads(pool, worker);
      for (int round = 0; round < 3; round++) {
        while (worker[0].getState() != Thread.State.WAITING) {
          Thread.sleep(1);
        }
        bothThreads(pool, worker);
      }
    }
  }

  /** Returns only if the worker takes part. */
  private static void bothThreads(WorkerPool pool, Thread[] worker) {
    CountDownLatch both = new CountDownLatch(2);
    pool.run(
        2,
        (task, index) -> {
          if (index == 1) {
            worker[0] = Thread.currentThread();
          }
          both.countDown();
          await(both);
        });
  }

  // ---- failures ----

  @Test
  void aFailureOfAWorkerReachesTheCaller() {
    try (WorkerPool pool = new WorkerPool(2)) {
      for (Throwable failure :
          List.of(new IllegalArgumentException("x"), new AssertionError("y"))) {
        CountDownLatch both = new CountDownLatch(2);
        assertThatExceptionOfType(Throwable.class)
            .isThrownBy(
                () ->
                    pool.run(
                        2,
                        (task, worker) -> {
                          both.countDown();
                          await(both);
                          if (worker == 1) {
                            fail(failure);
                          }
                        }))
            .isSameAs(failure);
        // the pool goes on, and the failure is forgotten
        AtomicInteger runs = new AtomicInteger();
        pool.run(10, (task, worker) -> runs.incrementAndGet());
        assertThat(runs.get()).isEqualTo(10);
      }
    }
  }

  private static void fail(Throwable failure) {
    if (failure instanceof Error error) {
      throw error;
    }
    throw (RuntimeException) failure;
  }

  @ParameterizedTest
  @CsvSource({"1", "2"})
  void aFailureOfTheCallerLeavesTheRestOut(int threads) {
    try (WorkerPool pool = new WorkerPool(threads)) {
      AtomicInteger runs = new AtomicInteger();
      CountDownLatch failed = new CountDownLatch(1);
      assertThatIllegalStateException()
          .isThrownBy(
              () ->
                  pool.run(
                      1000,
                      (task, worker) -> {
                        runs.incrementAndGet();
                        if (worker == 0) {
                          failed.countDown();
                          throw new IllegalStateException("task fails");
                        }
                        await(failed);
                        // long enough for the caller to take the rest away
                        LockSupport.parkNanos(1_000_000);
                      }))
          .withMessage("task fails");
      assertThat(runs.get()).isLessThan(1000);
    }
  }

  // ---- several callers, close, cost ----

  @Test
  void callersTakeTurns() throws Exception {
    try (WorkerPool pool = new WorkerPool(2)) {
      AtomicInteger inside = new AtomicInteger();
      AtomicInteger mixed = new AtomicInteger();
      List<Thread> callers = new ArrayList<>();
      for (int caller = 0; caller < 3; caller++) {
        Object own = new Object();
        callers.add(
            Thread.ofPlatform()
                .start(
                    () -> {
                      for (int round = 0; round < 200; round++) {
                        pool.run(
                            4,
                            (task, worker) -> {
                              int others = System.identityHashCode(own);
                              int before = inside.getAndSet(others);
                              if (before != 0 && before != others) {
                                mixed.incrementAndGet();
                              }
                            });
                        // the last task of a call is done when it returns
                        inside.set(0);
                      }
                    }));
      }
      for (Thread caller : callers) {
        caller.join();
      }
      assertThat(callers).noneMatch(Thread::isAlive);
    }
  }

  @Test
  void closeEndsTheThreadsAndRefusesWork() throws Exception {
    Thread[] worker = new Thread[1];
    WorkerPool pool = new WorkerPool(2);
    bothThreads(pool, worker);
    while (worker[0].getState() != Thread.State.WAITING) {
      Thread.sleep(1);
    }
    pool.close();
    worker[0].join();
    pool.close();
    assertThatIllegalStateException()
        .isThrownBy(() -> pool.run(2, (task, index) -> {}))
        .withMessage("WorkerPool is closed");
  }

  @Test
  void aCallAllocatesNothing() {
    try (WorkerPool pool = new WorkerPool(2)) {
      WorkerPool.Job job = (task, worker) -> {};
      assertThat(Allocation.bytesPerCall(() -> pool.run(8, job))).isZero();
    }
  }

  @Test
  void onlyOneThreadCanAccessConfinedMemory() {
    try (Arena arena = Arena.ofConfined();
        WorkerPool one = new WorkerPool(1);
        WorkerPool two = new WorkerPool(2)) {
      MemorySegment confined = arena.allocate(4);
      assertThat(one.canAccess(confined)).isTrue();
      assertThat(two.canAccess(confined)).isFalse();
      assertThat(two.canAccess(Arena.ofAuto().allocate(4))).isTrue();
      assertThat(two.canAccess(MemorySegment.ofArray(new byte[4]))).isTrue();
    }
  }
}
