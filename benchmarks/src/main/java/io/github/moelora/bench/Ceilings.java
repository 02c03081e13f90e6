package io.github.moelora.bench;

import com.sun.management.OperatingSystemMXBean;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Predicate;

/**
 * What all cores of this machine can do together at most: read memory that no cache holds, and
 * compute in single precision.
 *
 * <p>A measurement takes 0.1 to 0.2 seconds. Other programs only make it smaller, so the largest of
 * several is the best estimate. Used by one thread at a time.
 */
public final class Ceilings implements AutoCloseable {
  /** Several times the last-level cache of a large server. */
  private static final long MOST_READ_BYTES = 2L << 30;

  /**
   * Parts of that memory which are read and timed one after the other: about 20 ms each, as long as
   * the windows of {@link Meter}, so that a busy machine interrupts both as often.
   */
  private static final int WINDOWS = 4;

  private static final int PAGE = 4096;

  /** About 20 ms too. */
  private static final int TURNS = 12_000_000;

  private final Arena arena = Arena.ofShared();
  private final ExecutorService pool;
  private final boolean vectors;
  private final List<MemorySegment> parts = new ArrayList<>();

  /** Allocates the memory to read. */
  public Ceilings() {
    this(Math.min(MOST_READ_BYTES, physicalMemory() / 4));
  }

  /** The same with a choice of how much memory all threads together read. */
  Ceilings(long bytes) {
    int threads = Runtime.getRuntime().availableProcessors();
    pool = Executors.newFixedThreadPool(threads, Thread.ofPlatform().daemon().factory());
    vectors = ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent();
    long bytesPerThread = bytes / threads / (WINDOWS * PAGE) * (WINDOWS * PAGE);
    for (int i = 0; i < threads; i++) {
      // written, so that no page is the shared zero page
      parts.add(arena.allocate(bytesPerThread, PAGE).fill((byte) 1));
    }
  }

  private static long physicalMemory() {
    return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getTotalMemorySize();
  }

  /**
   * Largest of a few measurements of {@link #readBytesPerSecond}.
   *
   * @param rounds how many, at least 1
   */
  public static double bestReadBytesPerSecond(int rounds) {
    try (Ceilings ceilings = new Ceilings()) {
      double best = 0;
      for (int i = 0; i < rounds; i++) {
        best = Math.max(best, ceilings.readBytesPerSecond());
      }
      return best;
    }
  }

  /**
   * Bytes per second at which all cores read, each its own memory, in the best window.
   *
   * <p>How many streams at once are fastest depends on the machine: eight per core gave 1.24 of the
   * rate of one on one machine, and 0.93 on another. So two and eight are tried.
   */
  public double readBytesPerSecond() {
    double best = bestWindow(Ceilings::halvesAreEqual);
    return vectors ? Math.max(best, bestWindow(part -> VectorLoops.read(part) != 0)) : best;
  }

  private double bestWindow(Predicate<MemorySegment> reader) {
    double best = 0;
    for (int window = 0; window < WINDOWS; window++) {
      best = Math.max(best, readBytesPerSecond(reader, window));
    }
    return best;
  }

  private double readBytesPerSecond(Predicate<MemorySegment> reader, int window) {
    long bytes = 0;
    List<Callable<Boolean>> readers = new ArrayList<>();
    for (MemorySegment part : parts) {
      long windowBytes = part.byteSize() / WINDOWS;
      MemorySegment piece = part.asSlice(window * windowBytes, windowBytes);
      bytes += windowBytes;
      readers.add(() -> reader.test(piece));
    }
    return bytes * 1e9 / nanos(readers);
  }

  /**
   * Reads two streams. Plain Java's fastest way: the comparison is compiled to vector instructions.
   */
  private static boolean halvesAreEqual(MemorySegment part) {
    long half = part.byteSize() / 2;
    return part.asSlice(0, half).mismatch(part.asSlice(half)) == -1;
  }

  /**
   * Floating-point operations per second of fused multiply-adds in registers, two per element.
   *
   * @throws IllegalStateException without the Vector API
   */
  public double fmaFlopsPerSecond() {
    if (!vectors) {
      throw new IllegalStateException(
          "the FMA peak needs the Vector API: start the JVM with --add-modules"
              + " jdk.incubator.vector");
    }
    List<Callable<Boolean>> workers = new ArrayList<>();
    for (int i = 0; i < parts.size(); i++) {
      workers.add(() -> VectorLoops.fma(TURNS, 1) > 0);
    }
    return (double) parts.size() * TURNS * VectorLoops.flopsPerTurn() * 1e9 / nanos(workers);
  }

  private double nanos(List<Callable<Boolean>> work) {
    try {
      long begin = System.nanoTime();
      for (Future<Boolean> done : pool.invokeAll(work)) {
        // looked at, so that the compiler cannot leave the work out
        if (!done.get()) {
          throw new IllegalStateException("a measurement loop gave a wrong result");
        }
      }
      return System.nanoTime() - begin;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while measuring", e);
    } catch (ExecutionException e) {
      throw new IllegalStateException("the measurement failed", e);
    }
  }

  @Override
  public void close() {
    pool.shutdown();
    arena.close();
  }
}
