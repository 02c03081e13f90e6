package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.LocalTile;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Stages of {@link MmaExpand}: a chunk of B on its way to local memory. */
final class BTiles {
  /** Longs of a 16 x 8 tile. */
  static final int TILE = 32;

  /** Longs of half a tile: 8 ranks of 8 columns. */
  static final int UNIT = 16;

  /** Most longs of a chunk that a thread copies. */
  static final int MOST = 16;

  private BTiles() {}

  /** Longs on chip. */
  private static int longs(int chunk, int maxSteps) {
    return chunk / 8 * maxSteps * TILE;
  }

  /** Longs of a chunk that a thread copies at most. */
  private static int copies(int chunk, int maxSteps) {
    return (longs(chunk, maxSteps) + MmaExpand.THREADS - 1) / MmaExpand.THREADS;
  }

  /**
   * Whether code is straight: one step of the rank makes it so, and few copies leave room for its
   * registers.
   */
  static boolean straight(int chunk, int maxSteps) {
    return maxSteps == 1 && copies(chunk, maxSteps) <= 8;
  }

  /**
   * Whether threads copy little of B. Where they copy much, y a chunk ahead or fewer tiles at once
   * only make B late.
   */
  static boolean few(int chunk, int maxSteps) {
    return copies(chunk, maxSteps) <= 8;
  }

  /** Reads the longs of a chunk that a thread copies; others stay as they are. */
  static void read(
      LongArray pool, long[] next, int[] item, int c, int tid, int chunk, int maxSteps) {
    int chunkLongs = ExpandItem.chunkLongs(item, chunk);
    int from = item[ExpandItem.B] + c * chunkLongs + tid;
    for (int i = 0; i < copies(chunk, maxSteps); i++) {
      if (straight(chunk, maxSteps) || i * MmaExpand.THREADS < chunkLongs) {
        next[i] = pool.get(from + i * MmaExpand.THREADS);
      }
    }
  }

  /**
   * Stores what was read in local memory, the same number of longs for each thread, and behind it
   * longs that were not read, because a condition for each costs five instructions. A unit alone
   * stands in for the step's other one too, where z is 0.
   *
   * @return the tiles
   */
  static int[] store(KernelContext ctx, long[] next, int[] item, int tid, int chunk, int maxSteps) {
    long[] tiles = ctx.allocateLongLocalArray(longs(chunk, maxSteps));
    int chunkLongs = ExpandItem.chunkLongs(item, chunk);
    if (item[ExpandItem.UNITS] > 1) {
      for (int i = 0; i < copies(chunk, maxSteps); i++) {
        tiles[tid + i * MmaExpand.THREADS] = next[i];
      }
    } else {
      for (int i = 0; i < copies(chunk, maxSteps); i++) {
        int index = tid + i * MmaExpand.THREADS;
        if (index < chunkLongs) {
          int to = (index >> 4) * TILE + (index & (UNIT - 1));
          tiles[to] = next[i];
          tiles[to + UNIT] = next[i];
        }
      }
    }
    return LocalTile.ints(tiles);
  }
}
