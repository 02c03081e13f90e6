package io.github.moelora.cli;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Measures how fast all cores together read memory that no cache holds. */
final class ReadBandwidth {
  private static final long BYTES_PER_THREAD = 256L << 20;
  private static final int ROUNDS = 5;

  private ReadBandwidth() {}

  /**
   * Bytes per second of the best of a few rounds; each thread compares two halves of its own
   * memory.
   */
  static double measure() {
    int threads = Runtime.getRuntime().availableProcessors();
    try (Arena arena = Arena.ofShared();
        ExecutorService pool = Executors.newFixedThreadPool(threads)) {
      List<Callable<Long>> readers = new ArrayList<>();
      for (int i = 0; i < threads; i++) {
        MemorySegment memory = arena.allocate(BYTES_PER_THREAD, 64);
        MemorySegment first = memory.asSlice(0, BYTES_PER_THREAD / 2);
        MemorySegment second = memory.asSlice(BYTES_PER_THREAD / 2);
        // written once, so that no page is the shared zero page
        memory.fill((byte) 1);
        readers.add(() -> first.mismatch(second));
      }
      double best = 0;
      for (int round = 0; round < ROUNDS; round++) {
        long begin = System.nanoTime();
        for (Future<Long> read : pool.invokeAll(readers)) {
          if (read.get() != -1) {
            throw new IllegalStateException("the halves must be equal");
          }
        }
        best = Math.max(best, threads * BYTES_PER_THREAD * 1e9 / (System.nanoTime() - begin));
      }
      return best;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while measuring", e);
    } catch (ExecutionException e) {
      throw new IllegalStateException("the measurement failed", e);
    }
  }
}
