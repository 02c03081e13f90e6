package io.github.moelora.tornado;

import io.github.moelora.Routing;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Shrink on tensor cores, for 16-bit types. */
final class TunedShrink {
  /** Ints of a 16 x 16 tile of x, and 8 that keep the tiles of a row in different banks. */
  private static final int X_TILE = 136;

  /** Ints of a tile of A. */
  private static final int A_TILE = PackedLayout.TILE / 2;

  /** Longs of a tile of A. */
  private static final int A_LONGS = PackedLayout.TILE / 4;

  /** Most longs of a stage of A that a thread copies. */
  private static final int MAX_LONGS = 16;

  /** Most rows of a stage of x that a thread copies a word of. */
  private static final int MAX_X = 8;

  private TunedShrink() {}

  /**
   * {@code z[part, block, row, r] = sum_h x[row of pair, h] * a[h, r]} over the part's share of H:
   * one pass over x for the stacked ranks of all slices.
   *
   * <p>Grid: {@code groups} work-groups of {@code 128 * rowWarps} threads take the items (part,
   * rank range, block) in turn. An item is {@code M = 16 * rowTiles * rowWarps} rows times {@code
   * 32 * rankTiles} ranks, of which warp {@code w} computes row tiles from {@code w / 4 * rowTiles}
   * and rank tiles from {@code w % 4 * rankTiles}. While a stage is computed, the next arrives: x
   * by asynchronous copies, A in registers, because its loads are twice as wide. Rows without a
   * pair take the first row of x; nobody reads them.
   *
   * @param sizes in, see {@link Sizes}
   * @param slices in, see {@link SliceTable}
   * @param pool in, 16-bit, A as {@link PackedLayout} says
   * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}, H even
   * @param z out, float32 {@code [parts, blocks, M, zStride]}
   * @param bf16 1 for bfloat16, 0 for float16
   * @param rowTiles 1 or 2
   * @param rankTiles 1, 2 or 4
   * @param steps tiles of 16 elements of H in a stage, 2 or 4
   */
  static void shrink(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      IntArray slices,
      LongArray pool,
      HalfFloatArray x,
      FloatArray z,
      int inputWidth,
      int zStride,
      int bf16,
      int rowWarps,
      int rowTiles,
      int rankTiles,
      int steps,
      int groups) {
    int[] xTiles = ctx.allocateIntLocalArray(2 * rowTiles * rowWarps * steps * X_TILE);
    int[] aTiles = ctx.allocateIntLocalArray(steps * 4 * rankTiles * A_TILE);
    int tid = ctx.localIdx;
    int warp = tid >> 5;
    int threads = 128 * rowWarps;
    int rows = 16 * rowTiles * rowWarps;
    int itemTiles = 4 * rankTiles;
    int xStage = rowTiles * rowWarps * steps * X_TILE;
    int stepLongs = itemTiles * A_LONGS;
    int copies = steps * stepLongs / threads;
    int stageInts = 8 * steps;
    int rowStep = threads / stageInts;
    int xCopies = rows / rowStep;
    int firstRow = tid / stageInts;
    int rowTile = (warp >> 2) * rowTiles;
    int rankTile = (warp & 3) * rankTiles;
    int column = tid & (stageInts - 1);

    int blocks = counts.get(Routing.ACTIVE_BLOCKS);
    int blockSize = counts.get(Routing.BLOCK_SIZE);
    int pairs = counts.get(Routing.PAIRS);
    int ranges = PackedLayout.ranges(slices, 8 * itemTiles);
    int stages = sizes.get(Sizes.STAGES);
    int parts = PackedLayout.parts(sizes, blocks * ranges);
    int share = (stages + parts - 1) / parts;
    int items = blocks * ranges * parts;

    for (int item = ctx.groupIdx; item < items; item += groups) {
      int block = item % blocks;
      int range = item / blocks % ranges;
      int part = item / (blocks * ranges);
      int at =
          (adapterIds.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + expertIds.get(block))
              * SliceTable.INTS;
      int ranks =
          slices.get(at + SliceTable.RANK) + slices.get(at + SliceTable.FIELDS + SliceTable.RANK);
      int stackTiles = PackedLayout.rankTiles(ranks);
      int firstTile = range * itemTiles;
      int validTiles = Math.min(itemTiles, stackTiles - firstTile);
      int first = part * share;
      int end = validTiles > 0 ? Math.min(stages, first + share) : first;
      int lastLong = validTiles * A_LONGS - 1;
      int a = slices.get(at + SliceTable.A) + firstTile * A_LONGS;

      // where the words of x begin that this thread copies
      int[] xFrom = new int[MAX_X];
      for (int i = 0; i < xCopies; i++) {
        int row = firstRow + i * rowStep;
        int position = block * blockSize + Math.min(row, blockSize - 1);
        int pair = sortedTokenIds.get(position);
        xFrom[i] = pair < pairs ? pair / sizes.get(Sizes.PAIRS_PER_ROW) * inputWidth : 0;
      }

      float[] c00 = ctx.mmaFragment(0.0f);
      float[] c01 = ctx.mmaFragment(0.0f);
      float[] c02 = ctx.mmaFragment(0.0f);
      float[] c03 = ctx.mmaFragment(0.0f);
      float[] c10 = ctx.mmaFragment(0.0f);
      float[] c11 = ctx.mmaFragment(0.0f);
      float[] c12 = ctx.mmaFragment(0.0f);
      float[] c13 = ctx.mmaFragment(0.0f);
      long[] next = new long[MAX_LONGS];
      ctx.localBarrier();
      // an item without ranks copies what it finds, and computes nothing
      int opening = Math.min(first, stages - 1);
      for (int i = 0; i < copies; i++) {
        int index = tid + i * threads;
        int from = (steps * opening + index / stepLongs) * stackTiles * A_LONGS;
        next[i] = pool.get(a + from + Math.max(0, Math.min(index % stepLongs, lastLong)));
      }
      for (int i = 0; i < xCopies; i++) {
        int row = firstRow + i * rowStep;
        int h = opening * 2 * stageInts + 2 * column;
        ctx.asyncCopyToLocal(
            xTiles, tileAt(row, column, steps), x, xFrom[i] + withinRow(h, inputWidth));
      }
      ctx.asyncCopyCommit();
      // no branch may lie between the loop and mma: fragments survive only straight-line code
      for (int stage = first; stage < end; stage++) {
        ctx.localBarrier();
        for (int i = 0; i < copies; i++) {
          int to = 2 * (tid + i * threads);
          aTiles[to] = (int) next[i];
          aTiles[to + 1] = (int) (next[i] >>> 32);
        }
        int following = Math.min(stage + 1, end - 1);
        int buffer = (stage - first) & 1;
        for (int i = 0; i < xCopies; i++) {
          int row = firstRow + i * rowStep;
          int h = following * 2 * stageInts + 2 * column;
          ctx.asyncCopyToLocal(
              xTiles,
              (buffer ^ 1) * xStage + tileAt(row, column, steps),
              x,
              xFrom[i] + withinRow(h, inputWidth));
        }
        ctx.asyncCopyCommit();
        for (int i = 0; i < copies; i++) {
          int index = tid + i * threads;
          int from = (steps * following + index / stepLongs) * stackTiles * A_LONGS;
          next[i] = pool.get(a + from + Math.min(index % stepLongs, lastLong));
        }
        ctx.asyncCopyWaitGroup(1);
        ctx.localBarrier();
        for (int k = 0; k < steps; k++) {
          int xAt = 4 * (buffer * xStage + (rowTile * steps + k) * X_TILE);
          int aAt = 4 * (k * itemTiles + rankTile) * A_TILE;
          HalfFloat[] x0 = ctx.mmaLoadA(xTiles, 16, xAt);
          HalfFloat[] x1 = ctx.mmaLoadA(xTiles, 16, xAt + (rowTiles - 1) * 4 * steps * X_TILE);
          HalfFloat[] a0 = ctx.mmaLoadB(aTiles, 16, aAt);
          c00 = product(ctx, x0, a0, c00, bf16);
          if (rowTiles > 1) {
            c10 = product(ctx, x1, a0, c10, bf16);
          }
          if (rankTiles > 1) {
            HalfFloat[] a1 = ctx.mmaLoadB(aTiles, 16, aAt + 4 * A_TILE);
            c01 = product(ctx, x0, a1, c01, bf16);
            if (rowTiles > 1) {
              c11 = product(ctx, x1, a1, c11, bf16);
            }
          }
          if (rankTiles > 2) {
            HalfFloat[] a2 = ctx.mmaLoadB(aTiles, 16, aAt + 8 * A_TILE);
            HalfFloat[] a3 = ctx.mmaLoadB(aTiles, 16, aAt + 12 * A_TILE);
            c02 = product(ctx, x0, a2, c02, bf16);
            c03 = product(ctx, x0, a3, c03, bf16);
            if (rowTiles > 1) {
              c12 = product(ctx, x1, a2, c12, bf16);
              c13 = product(ctx, x1, a3, c13, bf16);
            }
          }
        }
      }
      ctx.asyncCopyWaitGroup(0);

      if (rankTile < validTiles) {
        int row = (part * blocks + block) * rows + rowTile * 16;
        int firstRank = (firstTile + rankTile) * 8;
        ctx.mmaStore(c00, z, row, firstRank, zStride);
        if (rowTiles > 1) {
          ctx.mmaStore(c10, z, row + 16, firstRank, zStride);
        }
        if (rankTiles > 1) {
          ctx.mmaStore(c01, z, row, firstRank + 8, zStride);
          if (rowTiles > 1) {
            ctx.mmaStore(c11, z, row + 16, firstRank + 8, zStride);
          }
        }
        if (rankTiles > 2) {
          ctx.mmaStore(c02, z, row, firstRank + 16, zStride);
          ctx.mmaStore(c03, z, row, firstRank + 24, zStride);
          if (rowTiles > 1) {
            ctx.mmaStore(c12, z, row + 16, firstRank + 16, zStride);
            ctx.mmaStore(c13, z, row + 16, firstRank + 24, zStride);
          }
        }
      }
    }
  }

  /** Int of a stage of x where a word of a row belongs. */
  private static int tileAt(int row, int column, int steps) {
    return ((row >> 4) * steps + (column >> 3)) * X_TILE + (row & 15) * 8 + (column & 7);
  }

  /**
   * Beyond H, where A is padded with zeros, the first element; whether there is a beyond is known
   * when the kernel is compiled.
   */
  private static int withinRow(int h, int inputWidth) {
    return inputWidth % PackedLayout.STAGE_WIDTH == 0 || h < inputWidth ? h : 0;
  }

  private static float[] product(
      KernelContext ctx, HalfFloat[] x, HalfFloat[] a, float[] sum, int bf16) {
    return bf16 != 0
        ? ctx.mmaBF16(x, a, sum, MMAShape.M16N8K16)
        : ctx.mma(x, a, sum, MMAShape.M16N8K16);
  }
}
