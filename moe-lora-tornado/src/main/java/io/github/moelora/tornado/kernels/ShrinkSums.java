package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.ArrayHeaders;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** Stages of {@link MmaShrink}: from a warp's sums to z, on chip where warps share the steps. */
final class ShrinkSums {
  /** Floats that keep the rows of sums in different banks. */
  private static final int PAD = 8;

  private ShrinkSums() {}

  /** Floats of a row on chip. */
  static int stride(int itemTiles) {
    return 8 * itemTiles + PAD;
  }

  /** Floats on chip: the sums of each share of the steps, if there are several. */
  static int floats(int stepWarps, int rows, int itemTiles) {
    return stepWarps > 1 ? ArrayHeaders.LOCAL_FLOATS + stepWarps * rows * stride(itemTiles) : 1;
  }

  /**
   * Stores the sums of a warp's 16 rows.
   *
   * @param tiles of 8 ranks: 1, 2, 4 or 8
   */
  static void store(
      KernelContext ctx,
      float[] c0,
      float[] c1,
      float[] c2,
      float[] c3,
      float[] c4,
      float[] c5,
      float[] c6,
      float[] c7,
      FloatArray to,
      int row,
      int rank,
      int stride,
      int tiles) {
    ctx.mmaStore(c0, to, row, rank, stride);
    if (tiles > 1) {
      ctx.mmaStore(c1, to, row, rank + 8, stride);
    }
    if (tiles > 2) {
      ctx.mmaStore(c2, to, row, rank + 16, stride);
      ctx.mmaStore(c3, to, row, rank + 24, stride);
    }
    if (tiles > 4) {
      ctx.mmaStore(c4, to, row, rank + 32, stride);
      ctx.mmaStore(c5, to, row, rank + 40, stride);
      ctx.mmaStore(c6, to, row, rank + 48, stride);
      ctx.mmaStore(c7, to, row, rank + 56, stride);
    }
  }

  /**
   * Number of an element of an item that a thread adds up.
   *
   * @param ranks any number from 0 on: it keeps the compiler, which does not know that, from
   *     holding all addresses from item to item
   */
  static int index(int tid, int i, int threads, int ranks) {
    return (tid ^ (ranks >> 31)) + i * threads;
  }

  /** Where the first share's sum of an element lies. */
  static int at(int index, int itemTiles) {
    int ranks = 8 * itemTiles;
    return ArrayHeaders.LOCAL_FLOATS + index / ranks * stride(itemTiles) + index % ranks;
  }

  /**
   * Stores an element in z, if it is of a rank that the site has.
   *
   * @param row first of the item in z
   */
  static void put(
      FloatArray z,
      float sum,
      int index,
      int itemTiles,
      int validTiles,
      int row,
      int firstTile,
      int zStride) {
    int ranks = 8 * itemTiles;
    int rank = index % ranks;
    if (rank < 8 * validTiles) {
      z.set((row + index / ranks) * zStride + firstTile * 8 + rank, sum);
    }
  }
}
