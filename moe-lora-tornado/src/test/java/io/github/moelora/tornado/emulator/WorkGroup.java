package io.github.moelora.tornado.emulator;

import java.lang.StackWalker.StackFrame;
import java.util.Arrays;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.KernelContext;

/**
 * The threads of a work-group, one of which runs at a time; it passes its turn on when it must wait
 * for others. All fields belong to the thread whose turn it is.
 */
final class WorkGroup {

  /** Ends a thread whose work-group has failed. */
  private static final class Abandoned extends Error {
    private static final long serialVersionUID = 1;

    Abandoned() {
      super("work-group has failed", null, false, false);
    }
  }

  /** Where in a kernel a thread is. */
  private record Position(String type, String method, int bytecode, int line) {
    static final Position UNKNOWN = new Position("some", "kernel", 0, 0);

    static Position of(StackFrame frame) {
      return new Position(
          frame.getClassName(),
          frame.getMethodName(),
          frame.getByteCodeIndex(),
          frame.getLineNumber());
    }

    @Override
    public String toString() {
      return "%s.%s:%d".formatted(type.substring(type.lastIndexOf('.') + 1), method, line);
    }
  }

  private static final StackWalker WALKER = StackWalker.getInstance();
  private static final Set<String> OWN =
      Set.of(WorkGroup.class.getName(), EmulatedContext.class.getName());

  private final LocalMemory memory = new LocalMemory();
  private final EmulatedContext[] contexts;
  private final Thread[] threads;
  private final Warp[] warps;
  private final Random random;
  private final boolean exact;
  private final CountDownLatch done = new CountDownLatch(1);
  private final int[] ready;
  private int readyCount;

  /** A warp that lets others go first until the next barrier. */
  private int laggard;

  private final boolean[] waiting;
  private final int[] atBarrier;
  private int atBarrierCount;
  private @Nullable Position barrier;
  private int ended;
  private @Nullable Throwable failure;
  private volatile int turn = -1;

  /**
   * @param exact whether to check that all threads wait at the same barrier, which takes half the
   *     time of small kernels
   */
  WorkGroup(int groups, int size, int index, Random random, boolean exact) {
    this.random = random;
    this.exact = exact;
    contexts = new EmulatedContext[size];
    threads = new Thread[size];
    ready = new int[size];
    waiting = new boolean[size];
    Arrays.fill(waiting, true);
    atBarrier = new int[size];
    warps = new Warp[(size + Fragments.LANES - 1) / Fragments.LANES];
    for (int w = 0; w < warps.length; w++) {
      warps[w] = new Warp(w);
    }
    for (int t = 0; t < size; t++) {
      contexts[t] = new EmulatedContext(this, warps[t / Fragments.LANES], groups, size, index, t);
    }
  }

  LocalMemory memory() {
    return memory;
  }

  /** Runs the kernel in all threads. */
  void run(Consumer<KernelContext> kernel) {
    for (int t = 0; t < threads.length; t++) {
      int thread = t;
      threads[t] = Thread.ofVirtual().unstarted(() -> run(thread, kernel));
      ready[readyCount++] = t;
    }
    for (Thread thread : threads) {
      thread.start();
    }
    passTurn();
    try {
      done.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while a work-group runs", e);
    }
    switch (failure) {
      case null -> {}
      case Error error -> throw error;
      case RuntimeException exception -> throw exception;
      default -> throw new IllegalStateException("kernel failed", failure);
    }
  }

  private void run(int thread, Consumer<KernelContext> kernel) {
    try {
      awaitTurn(thread);
      kernel.accept(contexts[thread]);
    } catch (Abandoned e) {
      // the first failure is kept
    } catch (Throwable e) {
      abandon(e);
    }
    ended++;
    passTurn();
  }

  /** Waits until all threads have come to the same barrier. */
  void awaitBarrier(int thread) {
    Position here = exact ? WALKER.walk(WorkGroup::position) : Position.UNKNOWN;
    if (atBarrierCount == 0) {
      barrier = here;
    } else if (!here.equals(barrier)) {
      throw new EmulationError(
          "all threads must wait at the same barrier, got %s and %s".formatted(barrier, here));
    }
    atBarrier[atBarrierCount++] = thread;
    if (atBarrierCount == threads.length) {
      for (Warp warp : warps) {
        warp.requireConverged();
      }
      System.arraycopy(atBarrier, 0, ready, 0, atBarrierCount);
      readyCount = atBarrierCount;
      atBarrierCount = 0;
      laggard = random.nextInt(warps.length);
    }
    waiting[thread] = true;
    passTurn();
    awaitTurn(thread);
  }

  /** Waits until a lane's operations are done. */
  void awaitWarp(int thread) {
    int first = thread / Fragments.LANES * Fragments.LANES;
    if (warps[thread / Fragments.LANES].upToDate(thread - first)) {
      for (int t = first; t < first + Fragments.LANES; t++) {
        ready[readyCount++] = t;
      }
    }
    waiting[thread] = true;
    passTurn();
    awaitTurn(thread);
  }

  private void awaitTurn(int thread) {
    while (turn != thread) {
      LockSupport.park(this);
    }
    waiting[thread] = false;
    if (failure != null) {
      throw new Abandoned();
    }
  }

  private void passTurn() {
    if (readyCount == 0) {
      if (ended == threads.length) {
        finish();
        return;
      }
      abandon(stuck());
    }
    int pick = random.nextInt(readyCount);
    for (int i = 1; i < readyCount && ready[pick] / Fragments.LANES == laggard; i++) {
      pick = (pick + 1) % readyCount;
    }
    int next = ready[pick];
    ready[pick] = ready[--readyCount];
    turn = next;
    LockSupport.unpark(threads[next]);
  }

  private void finish() {
    if (failure == null) {
      try {
        for (Warp warp : warps) {
          warp.requireConverged();
        }
      } catch (EmulationError e) {
        failure = e;
      }
    }
    done.countDown();
  }

  private EmulationError stuck() {
    if (atBarrierCount > 0) {
      return new EmulationError(
          "barrier at %s must be reached by all %d threads, got %d; %d have ended"
              .formatted(barrier, threads.length, atBarrierCount, ended));
    }
    return new EmulationError(
        "a shuffle must be reached by all lanes of its warp; %d threads of %d wait for others"
            .formatted(threads.length - ended, threads.length));
  }

  /** Lets all threads that have not ended yet do so. */
  private void abandon(Throwable cause) {
    if (failure == null) {
      failure = cause;
      readyCount = 0;
      for (int t = 0; t < threads.length; t++) {
        if (waiting[t]) {
          ready[readyCount++] = t;
        }
      }
    }
  }

  /** Innermost frame that is not the emulator's. */
  private static Position position(Stream<StackFrame> frames) {
    return frames
        .filter(frame -> !OWN.contains(frame.getClassName()))
        .findFirst()
        .map(Position::of)
        .orElseThrow();
  }
}
