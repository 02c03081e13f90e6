package io.github.moelora.tornado;

import io.github.moelora.Routing;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Shrink on tensor cores, for 16-bit types. */
final class TunedShrink {
  /** Stages of the pipeline, a power of two; one is computed while the others arrive. */
  private static final int STAGES = 4;

  /** Ints of a row of a stage of x. */
  private static final int STAGE_INTS = PackedLayout.STAGE_WIDTH / 2;

  /** Ints of a 16 x 16 tile of x. */
  private static final int X_TILE = 128;

  /** Ints of a tile of A. */
  private static final int A_TILE = PackedLayout.TILE / 2;

  /** Most rows of a block. */
  static final int MAX_ROWS = 64;

  /** Most stacked ranks of a work-group. */
  static final int MAX_COLUMNS = 128;

  private TunedShrink() {}

  /**
   * {@code z[part, block, row, r] = sum_h x[row of pair, h] * a[h, r]} over the part's share of H:
   * one pass over x for the stacked ranks of all slices.
   *
   * <p>Grid: {@code groups} work-groups of {@code 128 * rowWarps} threads take the items (part,
   * rank range, block) in turn. An item is {@code M = 16 * rowTiles * rowWarps} rows times {@code
   * 32 * rankTiles} ranks, of which warp {@code w} computes row tiles from {@code w / 4 * rowTiles}
   * and rank tiles from {@code w % 4 * rankTiles}. Rows without a pair are computed from what the
   * tile held before; nobody reads them.
   *
   * @param sizes in, see {@link Sizes}
   * @param slices in, see {@link SliceTable}
   * @param pool in, 16-bit, A as {@link PackedLayout} says
   * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}, H even
   * @param z out, float32 {@code [parts, blocks, M, zStride]}
   * @param bf16 1 for bfloat16, 0 for float16
   * @param rowTiles 1 or 2
   * @param rankTiles 1, 2 or 4
   */
  static void shrink(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      IntArray slices,
      HalfFloatArray pool,
      HalfFloatArray x,
      FloatArray z,
      int inputWidth,
      int zStride,
      int bf16,
      int rowWarps,
      int rowTiles,
      int rankTiles,
      int groups) {
    int[] xTiles = ctx.allocateIntLocalArray(STAGES * STAGE_INTS * 16 * rowTiles * rowWarps);
    int[] aTiles = ctx.allocateIntLocalArray(STAGES * STAGE_INTS * 32 * rankTiles);
    int tid = ctx.localIdx;
    int warp = tid >> 5;
    int rows = 16 * rowTiles * rowWarps;
    int itemTiles = 4 * rankTiles;
    int xStage = rows * STAGE_INTS;
    int aStage = 2 * itemTiles * A_TILE;
    int rowTile = (warp >> 2) * rowTiles;
    int rankTile = (warp & 3) * rankTiles;

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
      int a = slices.get(at + SliceTable.A) + firstTile * PackedLayout.TILE;

      // where the rows begin that this thread copies; -1 without a pair
      int[] xFrom = new int[4];
      for (int i = 0; i < 2 * rowTiles; i++) {
        int row = (tid >> 4) + i * 8 * rowWarps;
        int from = -1;
        if (row < blockSize) {
          int pair = sortedTokenIds.get(block * blockSize + row);
          if (pair < pairs) {
            from = pair / sizes.get(Sizes.PAIRS_PER_ROW) * inputWidth;
          }
        }
        xFrom[i] = from;
      }

      float[] c00 = ctx.mmaFragment(0.0f);
      float[] c01 = ctx.mmaFragment(0.0f);
      float[] c02 = ctx.mmaFragment(0.0f);
      float[] c03 = ctx.mmaFragment(0.0f);
      float[] c10 = ctx.mmaFragment(0.0f);
      float[] c11 = ctx.mmaFragment(0.0f);
      float[] c12 = ctx.mmaFragment(0.0f);
      float[] c13 = ctx.mmaFragment(0.0f);
      ctx.localBarrier();
      for (int stage = first; stage < first + STAGES - 1; stage++) {
        if (stage < end) {
          int slot = (stage - first) & (STAGES - 1);
          for (int i = 0; i < 2 * rowTiles; i++) {
            int row = (tid >> 4) + i * 8 * rowWarps;
            copyX(ctx, tid, x, xFrom[i], xTiles, stage, slot * xStage, row, inputWidth);
          }
          copyA(
              ctx, tid, pool, a, aTiles, stage, slot, stackTiles, validTiles, rowWarps, rankTiles);
        }
        ctx.asyncCopyCommit();
      }
      // no branch may lie between the loop and mma: fragments survive only straight-line code
      for (int stage = first; stage < end; stage++) {
        ctx.asyncCopyWaitGroup(STAGES - 2);
        ctx.localBarrier();
        int next = stage + STAGES - 1;
        if (next < end) {
          int slot = (next - first) & (STAGES - 1);
          for (int i = 0; i < 2 * rowTiles; i++) {
            int row = (tid >> 4) + i * 8 * rowWarps;
            copyX(ctx, tid, x, xFrom[i], xTiles, next, slot * xStage, row, inputWidth);
          }
          copyA(ctx, tid, pool, a, aTiles, next, slot, stackTiles, validTiles, rowWarps, rankTiles);
        }
        ctx.asyncCopyCommit();
        int slot = (stage - first) & (STAGES - 1);
        for (int k = 0; k < 2; k++) {
          int xAt = 4 * (slot * xStage + (rowTile * 2 + k) * X_TILE);
          int aAt = 4 * (slot * aStage + (k * itemTiles + rankTile) * A_TILE);
          HalfFloat[] x0 = ctx.mmaLoadA(xTiles, 16, xAt);
          HalfFloat[] x1 = ctx.mmaLoadA(xTiles, 16, xAt + (rowTiles - 1) * 8 * X_TILE);
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

      if (rankTile < validTiles) {
        int row = (part * blocks + block) * rows + rowTile * 16;
        int column = (firstTile + rankTile) * 8;
        ctx.mmaStore(c00, z, row, column, zStride);
        if (rowTiles > 1) {
          ctx.mmaStore(c10, z, row + 16, column, zStride);
        }
        if (rankTiles > 1) {
          ctx.mmaStore(c01, z, row, column + 8, zStride);
          if (rowTiles > 1) {
            ctx.mmaStore(c11, z, row + 16, column + 8, zStride);
          }
        }
        if (rankTiles > 2) {
          ctx.mmaStore(c02, z, row, column + 16, zStride);
          ctx.mmaStore(c03, z, row, column + 24, zStride);
          if (rowTiles > 1) {
            ctx.mmaStore(c12, z, row + 16, column + 16, zStride);
            ctx.mmaStore(c13, z, row + 16, column + 24, zStride);
          }
        }
      }
    }
  }

  /**
   * Starts the copy of the thread's column of a row of a stage of x. Beyond H, where A is padded
   * with zeros, it copies the first column instead.
   */
  private static void copyX(
      KernelContext ctx,
      int tid,
      HalfFloatArray x,
      int from,
      int[] xTiles,
      int stage,
      int stageAt,
      int row,
      int inputWidth) {
    if (from >= 0) {
      int column = tid & (STAGE_INTS - 1);
      int h = stage * PackedLayout.STAGE_WIDTH + 2 * column;
      int to = ((row >> 4) * 2 + (column >> 3)) * X_TILE + (row & 15) * 8 + (column & 7);
      ctx.asyncCopyToLocal(xTiles, stageAt + to, x, from + (h < inputWidth ? h : 0));
    }
  }

  /** Starts the copies of a stage of A. */
  private static void copyA(
      KernelContext ctx,
      int tid,
      HalfFloatArray pool,
      int a,
      int[] aTiles,
      int stage,
      int slot,
      int stackTiles,
      int validTiles,
      int rowWarps,
      int rankTiles) {
    int stageInts = 8 * rankTiles * A_TILE;
    for (int i = 0; i < 4 * rankTiles / rowWarps; i++) {
      int index = tid + i * 128 * rowWarps;
      int tile = index / A_TILE;
      int k = tile / (4 * rankTiles);
      int n = tile - k * 4 * rankTiles;
      if (n < validTiles) {
        int from = a + ((2 * stage + k) * stackTiles + n) * PackedLayout.TILE;
        ctx.asyncCopyToLocal(
            aTiles, slot * stageInts + index, pool, from + 2 * (index & (A_TILE - 1)));
      }
    }
  }

  private static float[] product(
      KernelContext ctx, HalfFloat[] x, HalfFloat[] a, float[] sum, int bf16) {
    return bf16 != 0
        ? ctx.mmaBF16(x, a, sum, MMAShape.M16N8K16)
        : ctx.mma(x, a, sum, MMAShape.M16N8K16);
  }
}
