package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.device.ArrayHeaders;
import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Shrink on tensor cores, for 16-bit types: {@code z[part, block, row, r] = sum_h x[row of pair, h]
 * * a[h, r]} over the part's share of H, in one pass over x for the stacked ranks of all slices.
 *
 * <p>Grid: {@code groups} work-groups take the items (part, rank range, block) in turn. An item is
 * a block's rows times {@code 8 * rankTiles * rankWarps} ranks; a warp computes 16 rows of it, or
 * 32, times {@code 8 * rankTiles} ranks. While a stage is computed, the next arrives in registers,
 * because that is how 64 bits are loaded at once; the stages take turns between two buffers. All
 * loads of a step come before its products; with two row tiles the first of them even before those
 * of the step before, without which NVRTC puts loads between products that wait for them, to save
 * registers of which there are enough. No branch may lie between the loop and {@code mma}:
 * fragments survive only straight-line code. Rows without a pair take the first row of x; nobody
 * reads them. An item without ranks copies what it finds, and computes nothing.
 */
public final class MmaShrink {
  /** Most tiles of ranks of an item. */
  private static final int MAX_TILES = 32;

  /** Longs after the last stack of A, past which an item of more ranks reads. */
  public static final int SPARE = (MAX_TILES - 1) * ShrinkTiles.A_TILE;

  private MmaShrink() {}

  /**
   * Shrink, a warp's sums being of 16 rows. Where warps have shares of the steps, their sums meet
   * in local memory.
   *
   * @param sizes in, see {@link Sizes}
   * @param counts in, see {@link DevicePlan}, like {@code sortedTokenIds}, {@code blockExperts} and
   *     {@code blockAdapters}
   * @param slices in, see {@link SliceTable}
   * @param pool in, 16-bit, A as {@link PackedLayout} says, and {@link #SPARE} longs of anything
   * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}, H a multiple of 4
   * @param z out, float32 {@code [parts, blocks, 16 * rowWarps, zStride]}
   * @param inputWidth H
   * @param zStride floats of a row of z
   * @param bf16 1 for bfloat16, 0 for float16
   * @param rowWarps warps of a work-group that have rows of their own
   * @param rankWarps warps that share these rows: 1, 2 or 4
   * @param stepWarps warps that share the steps of a stage: 1, 2 or 4, at most {@code steps}
   * @param rankTiles tiles of 8 ranks of a warp: 1, 2, 4 or 8
   * @param steps tiles of 16 elements of H in a stage, 2 or 4
   * @param groups work-groups, of {@code 32 * rowWarps * rankWarps * stepWarps} threads
   */
  public static void oneRowTile(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      LongArray pool,
      LongArray x,
      FloatArray z,
      int inputWidth,
      int zStride,
      int bf16,
      int rowWarps,
      int rankWarps,
      int stepWarps,
      int rankTiles,
      int steps,
      int groups) {
    int threads = 32 * rowWarps * rankWarps * stepWarps;
    int rows = 16 * rowWarps;
    int itemTiles = rankTiles * rankWarps;
    int aLongs = ShrinkTiles.aLongs(itemTiles, steps);
    int longs = aLongs + ShrinkTiles.xLongs(rows, steps);
    float[] sums = ctx.allocateFloatLocalArray(ShrinkSums.floats(stepWarps, rows, itemTiles));
    int tid = ctx.localIdx;
    int warp = (tid >> 5) % (rowWarps * rankWarps);
    int stepWarp = (tid >> 5) / (rowWarps * rankWarps);
    int rowTile = warp / rankWarps;
    int rankTile = (warp & (rankWarps - 1)) * rankTiles;
    int blocks = counts.get(PlanFormat.ACTIVE_BLOCKS);
    int ranges = PackedLayout.ranges(slices, 8 * itemTiles);
    int stages = sizes.get(Sizes.STAGES);
    int parts = PackedLayout.parts(sizes, blocks * ranges);
    for (int item = ctx.groupIdx; item < blocks * ranges * parts; item += groups) {
      int block = item % blocks;
      int part = item / blocks / ranges;
      int firstTile = item / blocks % ranges * itemTiles;
      int at = Site.of(sizes, blockExperts, blockAdapters, block) * SliceTable.INTS;
      int ranks = ShrinkItem.ranks(slices, at);
      int validTiles = ShrinkItem.validTiles(ranks, firstTile, itemTiles);
      int first = ShrinkItem.first(stages, part, parts);
      int end = ShrinkItem.end(stages, part, parts, validTiles);
      int a = ShrinkItem.a(slices, at, ranks, firstTile, tid, itemTiles);
      int[] xFrom = new int[ShrinkTiles.MAX_X];
      ShrinkTiles.findX(
          sizes, counts, sortedTokenIds, xFrom, block, rows, tid, threads, steps, inputWidth);
      float[] u0 = ctx.mmaFragment(0.0f);
      float[] u1 = ctx.mmaFragment(0.0f);
      float[] u2 = ctx.mmaFragment(0.0f);
      float[] u3 = ctx.mmaFragment(0.0f);
      float[] u4 = ctx.mmaFragment(0.0f);
      float[] u5 = ctx.mmaFragment(0.0f);
      float[] u6 = ctx.mmaFragment(0.0f);
      float[] u7 = ctx.mmaFragment(0.0f);
      long[] next = new long[ShrinkTiles.MAX_LONGS];
      int from = Math.min(first, stages - 1) * steps;
      ShrinkTiles.readA(pool, next, a, from, ranks, itemTiles, steps, threads);
      ShrinkTiles.readX(x, next, xFrom, from, itemTiles, rows, tid, threads, steps, inputWidth);
      ctx.localBarrier();
      for (int stage = first; stage < end; stage++) {
        int buffer = ((stage - first) & 1) * longs;
        int[] tiles = ShrinkTiles.store(ctx, next, buffer, itemTiles, rows, tid, threads, steps);
        from = Math.min(stage + 1, end - 1) * steps;
        ShrinkTiles.readA(pool, next, a, from, ranks, itemTiles, steps, threads);
        ShrinkTiles.readX(x, next, xFrom, from, itemTiles, rows, tid, threads, steps, inputWidth);
        ctx.localBarrier();
        for (int i = 0; i < steps / stepWarps; i++) {
          int k = stepWarp + i * stepWarps;
          int xTile = rowTile * steps + k;
          int aTile = buffer + (k * itemTiles + rankTile) * ShrinkTiles.A_TILE;
          HalfFloat[] x0 = ShrinkTiles.loadX(ctx, tiles, buffer + aLongs, xTile, steps, tid);
          HalfFloat[] a0 = ShrinkTiles.loadA(ctx, tiles, aTile, 0, rankTiles, x0);
          HalfFloat[] a1 = ShrinkTiles.loadA(ctx, tiles, aTile, 1, rankTiles, a0);
          HalfFloat[] a2 = ShrinkTiles.loadA(ctx, tiles, aTile, 2, rankTiles, a0);
          HalfFloat[] a3 = ShrinkTiles.loadA(ctx, tiles, aTile, 3, rankTiles, a0);
          HalfFloat[] a4 = ShrinkTiles.loadA(ctx, tiles, aTile, 4, rankTiles, a0);
          HalfFloat[] a5 = ShrinkTiles.loadA(ctx, tiles, aTile, 5, rankTiles, a0);
          HalfFloat[] a6 = ShrinkTiles.loadA(ctx, tiles, aTile, 6, rankTiles, a0);
          HalfFloat[] a7 = ShrinkTiles.loadA(ctx, tiles, aTile, 7, rankTiles, a0);
          u0 = ShrinkTiles.product(ctx, x0, a0, u0, 0, rankTiles, bf16);
          u1 = ShrinkTiles.product(ctx, x0, a1, u1, 1, rankTiles, bf16);
          u2 = ShrinkTiles.product(ctx, x0, a2, u2, 2, rankTiles, bf16);
          u3 = ShrinkTiles.product(ctx, x0, a3, u3, 3, rankTiles, bf16);
          u4 = ShrinkTiles.product(ctx, x0, a4, u4, 4, rankTiles, bf16);
          u5 = ShrinkTiles.product(ctx, x0, a5, u5, 5, rankTiles, bf16);
          u6 = ShrinkTiles.product(ctx, x0, a6, u6, 6, rankTiles, bf16);
          u7 = ShrinkTiles.product(ctx, x0, a7, u7, 7, rankTiles, bf16);
        }
      }
      int row = (part * blocks + block) * rows;
      if (stepWarps > 1) {
        int to = stepWarp * rows + 16 * rowTile;
        int stride = ShrinkSums.stride(itemTiles);
        FloatArray all = LocalTile.floats(sums);
        ShrinkSums.store(
            ctx, u0, u1, u2, u3, u4, u5, u6, u7, all, to, 8 * rankTile, stride, rankTiles);
        ctx.localBarrier();
        for (int i = 0; i < rows * 8 * itemTiles / threads; i++) {
          int index = ShrinkSums.index(tid, i, threads, ranks);
          float sum = sums[ShrinkSums.at(index, itemTiles)];
          for (int w = 1; w < stepWarps; w++) {
            sum += sums[ShrinkSums.at(index, itemTiles) + w * rows * stride];
          }
          ShrinkSums.put(z, sum, index, itemTiles, validTiles, row, firstTile, zStride);
        }
      } else if (rankTile < validTiles) {
        int to = row + 16 * rowTile;
        int rank = 8 * (firstTile + rankTile) + ArrayHeaders.DEVICE_FLOATS;
        ShrinkSums.store(ctx, u0, u1, u2, u3, u4, u5, u6, u7, z, to, rank, zStride, rankTiles);
      }
    }
  }

  /**
   * Shrink, a warp's sums being of 32 rows.
   *
   * @param sizes in, see {@link Sizes}
   * @param counts in, see {@link DevicePlan}, like {@code sortedTokenIds}, {@code blockExperts} and
   *     {@code blockAdapters}
   * @param slices in, see {@link SliceTable}
   * @param pool in, 16-bit, A as {@link PackedLayout} says, and {@link #SPARE} longs of anything
   * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}, H a multiple of 4
   * @param z out, float32 {@code [parts, blocks, 32 * rowWarps, zStride]}
   * @param inputWidth H
   * @param zStride floats of a row of z
   * @param bf16 1 for bfloat16, 0 for float16
   * @param rowWarps warps of a work-group that have rows of their own
   * @param rankWarps warps that share these rows: 1, 2 or 4
   * @param rankTiles tiles of 8 ranks of a warp: 1, 2, 4 or 8
   * @param steps tiles of 16 elements of H in a stage, 2 or 4
   * @param groups work-groups, of {@code 32 * rowWarps * rankWarps} threads
   */
  public static void twoRowTiles(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      LongArray pool,
      LongArray x,
      FloatArray z,
      int inputWidth,
      int zStride,
      int bf16,
      int rowWarps,
      int rankWarps,
      int rankTiles,
      int steps,
      int groups) {
    int threads = 32 * rowWarps * rankWarps;
    int rows = 32 * rowWarps;
    int itemTiles = rankTiles * rankWarps;
    int aLongs = ShrinkTiles.aLongs(itemTiles, steps);
    int longs = aLongs + ShrinkTiles.xLongs(rows, steps);
    int tid = ctx.localIdx;
    int rowTile = (tid >> 5) / rankWarps * 2;
    int rankTile = ((tid >> 5) & (rankWarps - 1)) * rankTiles;
    int blocks = counts.get(PlanFormat.ACTIVE_BLOCKS);
    int ranges = PackedLayout.ranges(slices, 8 * itemTiles);
    int stages = sizes.get(Sizes.STAGES);
    int parts = PackedLayout.parts(sizes, blocks * ranges);
    for (int item = ctx.groupIdx; item < blocks * ranges * parts; item += groups) {
      int block = item % blocks;
      int part = item / blocks / ranges;
      int firstTile = item / blocks % ranges * itemTiles;
      int at = Site.of(sizes, blockExperts, blockAdapters, block) * SliceTable.INTS;
      int ranks = ShrinkItem.ranks(slices, at);
      int validTiles = ShrinkItem.validTiles(ranks, firstTile, itemTiles);
      int first = ShrinkItem.first(stages, part, parts);
      int end = ShrinkItem.end(stages, part, parts, validTiles);
      int a = ShrinkItem.a(slices, at, ranks, firstTile, tid, itemTiles);
      int[] xFrom = new int[ShrinkTiles.MAX_X];
      ShrinkTiles.findX(
          sizes, counts, sortedTokenIds, xFrom, block, rows, tid, threads, steps, inputWidth);
      float[] u0 = ctx.mmaFragment(0.0f);
      float[] u1 = ctx.mmaFragment(0.0f);
      float[] u2 = ctx.mmaFragment(0.0f);
      float[] u3 = ctx.mmaFragment(0.0f);
      float[] u4 = ctx.mmaFragment(0.0f);
      float[] u5 = ctx.mmaFragment(0.0f);
      float[] u6 = ctx.mmaFragment(0.0f);
      float[] u7 = ctx.mmaFragment(0.0f);
      float[] v0 = ctx.mmaFragment(0.0f);
      float[] v1 = ctx.mmaFragment(0.0f);
      float[] v2 = ctx.mmaFragment(0.0f);
      float[] v3 = ctx.mmaFragment(0.0f);
      float[] v4 = ctx.mmaFragment(0.0f);
      float[] v5 = ctx.mmaFragment(0.0f);
      float[] v6 = ctx.mmaFragment(0.0f);
      float[] v7 = ctx.mmaFragment(0.0f);
      long[] next = new long[ShrinkTiles.MAX_LONGS];
      int from = Math.min(first, stages - 1) * steps;
      ShrinkTiles.readA(pool, next, a, from, ranks, itemTiles, steps, threads);
      ShrinkTiles.readX(x, next, xFrom, from, itemTiles, rows, tid, threads, steps, inputWidth);
      ctx.localBarrier();
      for (int stage = first; stage < end; stage++) {
        int buffer = ((stage - first) & 1) * longs;
        int[] tiles = ShrinkTiles.store(ctx, next, buffer, itemTiles, rows, tid, threads, steps);
        from = Math.min(stage + 1, end - 1) * steps;
        ShrinkTiles.readA(pool, next, a, from, ranks, itemTiles, steps, threads);
        ShrinkTiles.readX(x, next, xFrom, from, itemTiles, rows, tid, threads, steps, inputWidth);
        ctx.localBarrier();
        int xs = buffer + aLongs + ShrinkTiles.xLongs(16 * rowTile, steps);
        int aTile = buffer + rankTile * ShrinkTiles.A_TILE;
        HalfFloat[] x0 = ShrinkTiles.loadX(ctx, tiles, xs, 0, steps, tid);
        HalfFloat[] x1 = ShrinkTiles.loadX(ctx, tiles, xs, steps, steps, tid);
        HalfFloat[] a0 = ShrinkTiles.loadA(ctx, tiles, aTile, 0, rankTiles, x0);
        for (int k = 1; k <= steps; k++) {
          HalfFloat[] a1 = ShrinkTiles.loadA(ctx, tiles, aTile, 1, rankTiles, a0);
          HalfFloat[] a2 = ShrinkTiles.loadA(ctx, tiles, aTile, 2, rankTiles, a0);
          HalfFloat[] a3 = ShrinkTiles.loadA(ctx, tiles, aTile, 3, rankTiles, a0);
          HalfFloat[] a4 = ShrinkTiles.loadA(ctx, tiles, aTile, 4, rankTiles, a0);
          HalfFloat[] a5 = ShrinkTiles.loadA(ctx, tiles, aTile, 5, rankTiles, a0);
          HalfFloat[] a6 = ShrinkTiles.loadA(ctx, tiles, aTile, 6, rankTiles, a0);
          HalfFloat[] a7 = ShrinkTiles.loadA(ctx, tiles, aTile, 7, rankTiles, a0);
          boolean more = k < steps;
          aTile += itemTiles * ShrinkTiles.A_TILE;
          HalfFloat[] nextX0 = more ? ShrinkTiles.loadX(ctx, tiles, xs, k, steps, tid) : x0;
          HalfFloat[] nextX1 = more ? ShrinkTiles.loadX(ctx, tiles, xs, steps + k, steps, tid) : x1;
          HalfFloat[] nextA0 = ShrinkTiles.loadA(ctx, tiles, aTile, 0, more ? rankTiles : 0, a0);
          u0 = ShrinkTiles.product(ctx, x0, a0, u0, 0, rankTiles, bf16);
          u1 = ShrinkTiles.product(ctx, x0, a1, u1, 1, rankTiles, bf16);
          u2 = ShrinkTiles.product(ctx, x0, a2, u2, 2, rankTiles, bf16);
          u3 = ShrinkTiles.product(ctx, x0, a3, u3, 3, rankTiles, bf16);
          u4 = ShrinkTiles.product(ctx, x0, a4, u4, 4, rankTiles, bf16);
          u5 = ShrinkTiles.product(ctx, x0, a5, u5, 5, rankTiles, bf16);
          u6 = ShrinkTiles.product(ctx, x0, a6, u6, 6, rankTiles, bf16);
          u7 = ShrinkTiles.product(ctx, x0, a7, u7, 7, rankTiles, bf16);
          v0 = ShrinkTiles.product(ctx, x1, a0, v0, 0, rankTiles, bf16);
          v1 = ShrinkTiles.product(ctx, x1, a1, v1, 1, rankTiles, bf16);
          v2 = ShrinkTiles.product(ctx, x1, a2, v2, 2, rankTiles, bf16);
          v3 = ShrinkTiles.product(ctx, x1, a3, v3, 3, rankTiles, bf16);
          v4 = ShrinkTiles.product(ctx, x1, a4, v4, 4, rankTiles, bf16);
          v5 = ShrinkTiles.product(ctx, x1, a5, v5, 5, rankTiles, bf16);
          v6 = ShrinkTiles.product(ctx, x1, a6, v6, 6, rankTiles, bf16);
          v7 = ShrinkTiles.product(ctx, x1, a7, v7, 7, rankTiles, bf16);
          x0 = nextX0;
          x1 = nextX1;
          a0 = nextA0;
        }
      }
      if (rankTile < validTiles) {
        int row = (part * blocks + block) * rows + 16 * rowTile;
        int rank = 8 * (firstTile + rankTile) + ArrayHeaders.DEVICE_FLOATS;
        ShrinkSums.store(ctx, u0, u1, u2, u3, u4, u5, u6, u7, z, row, rank, zStride, rankTiles);
        ShrinkSums.store(
            ctx, v0, v1, v2, v3, v4, v5, v6, v7, z, row + 16, rank, zStride, rankTiles);
      }
    }
  }
}
