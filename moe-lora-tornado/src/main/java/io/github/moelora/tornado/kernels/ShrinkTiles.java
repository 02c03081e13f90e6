package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.device.Mma;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link MmaShrink}: what arrives of A and x for a stage of H, where it lies on chip, and
 * what a warp makes of it.
 *
 * <p>A stage on chip is the tiles of A, {@code [steps, rank tiles, 16, 8]}, and behind them those
 * of x, {@code [row tiles, steps, 2, 16, 8]}.
 */
final class ShrinkTiles {
  /** Longs of a tile of A. */
  static final int A_TILE = PackedLayout.TILE / PackedLayout.LONG;

  /** Most longs of a stage that a thread copies, of A and of x. */
  static final int MAX_LONGS = 24;

  /** Most rows of x of which a thread copies longs. */
  static final int MAX_X = 8;

  /** Longs of 8 columns of a 16 x 16 tile of x. */
  private static final int X_HALF = 32;

  private ShrinkTiles() {}

  /** Longs of a stage of A. */
  static int aLongs(int itemTiles, int steps) {
    return steps * itemTiles * A_TILE;
  }

  /** Longs of a stage of x, or of its first rows. */
  static int xLongs(int rows, int steps) {
    return rows / 16 * steps * xTile(steps);
  }

  private static int xTile(int steps) {
    return 2 * xHalf(steps);
  }

  /** Longs from one half of a tile of x to the next: those that 16 lanes store differ in banks. */
  private static int xHalf(int steps) {
    return X_HALF + Math.max(2, 8 / steps);
  }

  /** Long of a stage of x where a long of a row belongs. */
  static int xAt(int row, int column, int steps) {
    int half = ((row >> 4) * steps + (column >> 2)) * 2 + ((column >> 1) & 1);
    return half * xHalf(steps) + (row & 15) * 2 + (column & 1);
  }

  /**
   * Where the longs of x begin that a thread copies, each of another row. Rows without a pair take
   * the first row of x.
   *
   * @param xFrom out
   * @param rows of a block on chip, maybe more than a block has
   */
  static void findX(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      int[] xFrom,
      int block,
      int rows,
      int tid,
      int threads,
      int steps,
      int inputWidth) {
    int blockSize = counts.get(PlanFormat.BLOCK_SIZE);
    int pairs = counts.get(PlanFormat.PAIRS);
    int perRow = sizes.get(Sizes.PAIRS_PER_ROW);
    int rowStep = threads / (4 * steps);
    for (int i = 0; i < rows / rowStep; i++) {
      int row = tid / (4 * steps) + i * rowStep;
      int pair = sortedTokenIds.get(block * blockSize + Math.min(row, blockSize - 1));
      xFrom[i] = (pair < pairs ? pair : 0) / perRow * (inputWidth / 4);
    }
  }

  /**
   * Reads the longs of A of a stage that a thread copies.
   *
   * @param next out, from 0
   * @param a where A of the item begins for the thread
   * @param step first of the stage
   * @param ranks of the stack
   */
  static void readA(
      LongArray pool,
      long[] next,
      int a,
      int step,
      int ranks,
      int itemTiles,
      int steps,
      int threads) {
    int stepLongs = itemTiles * A_TILE;
    int stackLongs = PackedLayout.rankTiles(ranks) * A_TILE;
    for (int i = 0; i < steps * stepLongs / threads; i++) {
      int longs = i * threads;
      next[i] = pool.get(a + (step + longs / stepLongs) * stackLongs + longs % stepLongs);
    }
  }

  /**
   * Reads the longs of x of a stage that a thread copies. Beyond H, where A is padded with zeros,
   * it is the first of a row; whether there is a beyond is known when the kernel is compiled.
   *
   * @param next out, behind those of A
   * @param step first of the stage
   */
  static void readX(
      LongArray x,
      long[] next,
      int[] xFrom,
      int step,
      int itemTiles,
      int rows,
      int tid,
      int threads,
      int steps,
      int inputWidth) {
    int column = 4 * step + (tid & (4 * steps - 1));
    boolean within = inputWidth % PackedLayout.STAGE_WIDTH == 0 || 4 * column < inputWidth;
    int first = aLongs(itemTiles, steps) / threads;
    for (int i = 0; i < rows * 4 * steps / threads; i++) {
      next[first + i] = x.get(xFrom[i] + (within ? column : 0));
    }
  }

  /**
   * Stores what was read in one of two buffers on chip.
   *
   * @param buffer where it begins
   * @return both
   */
  static int[] store(
      KernelContext ctx,
      long[] next,
      int buffer,
      int itemTiles,
      int rows,
      int tid,
      int threads,
      int steps) {
    int aLongs = aLongs(itemTiles, steps);
    long[] tiles = ctx.allocateLongLocalArray(2 * (aLongs + xLongs(rows, steps)));
    int aCopies = aLongs / threads;
    for (int i = 0; i < aCopies + rows * 4 * steps / threads; i++) {
      tiles[buffer + to(i, aCopies, aLongs, tid, threads, steps)] = next[i];
    }
    return LocalTile.ints(tiles);
  }

  /** Where in a stage the long belongs that a thread copies as number {@code i}. */
  private static int to(int i, int aCopies, int aLongs, int tid, int threads, int steps) {
    if (i < aCopies) {
      return tid + i * threads;
    }
    int rowLongs = 4 * steps;
    int first = xAt(tid / rowLongs, tid & (rowLongs - 1), steps);
    return aLongs + first + xAt((i - aCopies) * (threads / rowLongs), 0, steps);
  }

  /**
   * Loads a tile of x. {@code mmaLoadA} takes rows of 32 bytes, which would share banks; each lane
   * corrects its own address.
   *
   * @param from where x of the stage begins, or its row tile
   * @param tile row tile times steps, and the step
   */
  static HalfFloat[] loadX(KernelContext ctx, int[] tiles, int from, int tile, int steps, int tid) {
    int lane = tid & 31;
    int correction = (lane >> 4) * (8 * xHalf(steps) - 16) - (lane & 15) * 16;
    return ctx.mmaLoadA(tiles, 16, 8 * (from + tile * xTile(steps)) + correction);
  }

  /**
   * Loads a tile of A, if the warp has so many.
   *
   * @param from where the warp's first tile begins
   * @param other for a tile that it has not
   */
  static HalfFloat[] loadA(
      KernelContext ctx, int[] tiles, int from, int tile, int rankTiles, HalfFloat[] other) {
    return tile < rankTiles ? ctx.mmaLoadB(tiles, 16, 8 * from + 8 * tile * A_TILE) : other;
  }

  /** Adds a product to the sums of a tile, if the warp has so many. */
  static float[] product(
      KernelContext ctx,
      HalfFloat[] x,
      HalfFloat[] a,
      float[] sum,
      int tile,
      int rankTiles,
      int bf16) {
    return tile < rankTiles ? Mma.product(ctx, x, a, sum, bf16) : sum;
  }
}
