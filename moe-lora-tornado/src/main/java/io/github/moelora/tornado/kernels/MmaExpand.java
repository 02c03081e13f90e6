package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Expand on tensor cores, for 16-bit types: {@code y[p, offset + c] (+)= scale * w[p]? * sum_r b[c,
 * r] * z[row, r]}. Elements of y without a delta are not touched.
 *
 * <p>Grid: {@code groups} work-groups of {@link #THREADS} threads take the items (block, slice,
 * share of the columns) in turn; there are more shares per slice when there are fewer blocks. The
 * block's rows of z, summed over their parts, go to local memory as pairs of 16-bit numbers; then
 * chunk after chunk of columns of B arrives there, one ahead of the products, as y may in
 * registers. A warp computes 16 rows of up to 64 columns of a chunk, and each thread then adds
 * longs of four columns to y.
 *
 * <p>{@code mma} takes 16-bit operands, so each float32 of z goes in as the sum of two 16-bit
 * numbers. Of bfloat16 that leaves out at most 2<sup>-18</sup> of the number, less than what
 * summing 64 products in float32 may. Of float16, whose exponents are few, a row is first scaled by
 * a power of two.
 */
public final class MmaExpand {
  /** Most longs of a chunk of B that a thread copies. */
  public static final int MAX_LONGS = BTiles.MOST;

  /** Threads of a work-group. */
  public static final int THREADS = 128;

  /** Longs after B of the last slice, whose last chunk is read whole. */
  public static final int SPARE = MAX_LONGS * THREADS;

  private MmaExpand() {}

  /** Floats of a row of sums of a chunk. */
  public static int sumsStride(int chunk) {
    return MmaTiles.stride(chunk);
  }

  /**
   * Expand of bfloat16.
   *
   * @param sizes in, see {@link Sizes}
   * @param counts in, see {@link DevicePlan}, like {@code sortedTokenIds}, {@code blockExperts} and
   *     {@code blockAdapters}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param pool in, 16-bit, B as {@link PackedLayout} says, and {@link #SPARE} longs of anything
   * @param z in, float32 {@code [parts, blocks, blockRows, zStride]}, as {@link MmaShrink} writes
   * @param routingWeights in, float32 {@code [P]}
   * @param y in and out, bfloat16 {@code [P, yWidth]} in longs of four
   * @param zStride floats of a row of z
   * @param maxSteps most steps of 16 ranks of a slice
   * @param blockRows rows of a block of z, a multiple of {@code rows}
   * @param rows rows of an item: 16, 32 or 64
   * @param chunk columns of a chunk: 32, or a power of two up to 4096 / rows
   * @param groups work-groups
   */
  public static void bfloat16(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray scales,
      LongArray pool,
      FloatArray z,
      FloatArray routingWeights,
      LongArray y,
      int zStride,
      int maxSteps,
      int blockRows,
      int rows,
      int chunk,
      int groups) {
    float[] sums = ctx.allocateFloatLocalArray(MmaTiles.floats(rows, chunk));
    FloatArray allSums = LocalTile.floats(sums);
    int[] yFrom = ctx.allocateIntLocalArray(rows);
    int tid = ctx.localIdx;
    int targets = YTargets.count(rows, chunk);
    int batch = YLongs.batch(rows, chunk);
    boolean few = BTiles.few(chunk, maxSteps);
    boolean manyTiles = !MmaTiles.few(rows, chunk);
    int[] item = new int[ExpandItem.INTS];
    int items = ExpandItem.count(item, sizes, counts, slices, blockRows, rows, zStride);
    for (int index = ctx.groupIdx; index < items; index += groups) {
      ExpandItem.find(
          item,
          sizes,
          sortedTokenIds,
          blockExperts,
          blockAdapters,
          slices,
          index,
          zStride,
          blockRows,
          rows,
          chunk);
      int first = item[ExpandItem.FIRST];
      int end = item[ExpandItem.END];
      if (first < end) {
        // B is read a chunk ahead, and before z is there
        long[] next = new long[BTiles.MOST];
        BTiles.read(pool, next, item, first, tid, chunk, maxSteps);
        int row = ZRows.row(item, tid, rows);
        int pair = sortedTokenIds.get(item[ExpandItem.POSITION] + row);
        float[] numbers = new float[ZRows.MOST];
        ZRows.readFirst(item, z, numbers, tid, zStride, maxSteps, rows);
        float factor = ExpandItem.factor(item, sizes, scales, routingWeights, pair);
        int[] yAt = new int[YTargets.MOST];
        if (ZRows.isFirst(item, tid, rows)) {
          yFrom[row] = YTargets.at(item, sizes, slices, pair);
        }
        int usedRows = YTargets.usedRows(ctx, item, sortedTokenIds, pair, tid, rows);
        for (int i = 0; i < targets; i++) {
          yAt[i] = yFrom[YTargets.used(tid, i, chunk, usedRows)];
        }
        if (manyTiles && tid < rows && tid >= usedRows) {
          // the last row that has a pair, in place of one that has none
          yFrom[tid] = yFrom[usedRows - 1];
        }
        int[] zTiles =
            ZRows.bfloat16(ctx, item, z, numbers, factor, tid, zStride, maxSteps, rows, chunk);
        int readRows = YLongs.readRows(item, usedRows, rows, chunk);
        long[] old = new long[YTargets.MOST];
        YLongs.clear(old, rows, chunk);
        if (few) {
          int column = YTargets.within(item, first, tid, chunk);
          YLongs.read(y, old, 0, targets, yAt, column, readRows, chunk);
        }
        for (int c = first; c < end; c++) {
          int[] bTiles = BTiles.store(ctx, next, item, tid, chunk, maxSteps);
          int column = YTargets.column(c, tid, chunk);
          int readColumn = YTargets.within(item, c, tid, chunk);
          if (!few) {
            YLongs.read(y, old, 0, targets, yAt, readColumn, readRows, chunk);
          }
          BTiles.read(pool, next, item, Math.min(c + 1, end - 1), tid, chunk, maxSteps);
          ctx.localBarrier();
          MmaTiles.bfloat16(ctx, zTiles, bTiles, allSums, item, tid, maxSteps, rows, chunk, 0);
          if (manyTiles) {
            // again, because keeping them beside the products would cost a work-group its registers
            for (int i = 0; i < targets; i++) {
              yAt[i] = yFrom[YTargets.row(tid, i, chunk)];
            }
          }
          ctx.localBarrier();
          int lastRow = YTargets.rows(item, c, tid, chunk, usedRows);
          boolean one = YTargets.isOne(usedRows, rows, chunk);
          int following = YTargets.within(item, Math.min(c + 1, end - 1), tid, chunk);
          // the next chunk of y is read as soon as this one's registers are free
          for (int from = 0; from < targets; from += batch) {
            long[] words = new long[YLongs.BATCH];
            for (int i = from; i < from + batch; i++) {
              if (i == 0 || !one) {
                int s = YTargets.sums(tid, i, chunk);
                words[i - from] =
                    YLongs.add(
                        old[i], sums[s], sums[s + 8], sums[s + 16], sums[s + 24], usedRows >> 31);
              }
            }
            if (few) {
              YLongs.read(y, old, from, batch, yAt, following, readRows, chunk);
            }
            YLongs.write(y, words, from, batch, yAt, column, tid, lastRow, chunk);
          }
        }
      }
    }
  }

  /**
   * Expand of float16.
   *
   * @param sizes in, see {@link Sizes}
   * @param counts in, see {@link DevicePlan}, like {@code sortedTokenIds}, {@code blockExperts} and
   *     {@code blockAdapters}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param pool in, 16-bit, B as {@link PackedLayout} says, and {@link #SPARE} longs of anything
   * @param z in, float32 {@code [parts, blocks, blockRows, zStride]}, as {@link MmaShrink} writes
   * @param routingWeights in, float32 {@code [P]}
   * @param y in and out, float16 {@code [P, yWidth]}
   * @param zStride floats of a row of z
   * @param maxSteps most steps of 16 ranks of a slice
   * @param blockRows rows of a block of z, a multiple of {@code rows}
   * @param rows rows of an item: 16, 32 or 64
   * @param chunk columns of a chunk: 32, or a power of two up to 4096 / rows
   * @param groups work-groups
   */
  public static void float16(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray scales,
      LongArray pool,
      FloatArray z,
      FloatArray routingWeights,
      HalfFloatArray y,
      int zStride,
      int maxSteps,
      int blockRows,
      int rows,
      int chunk,
      int groups) {
    float[] sums = ctx.allocateFloatLocalArray(MmaTiles.floats(rows, chunk));
    FloatArray allSums = LocalTile.floats(sums);
    float[] factors = ctx.allocateFloatLocalArray(rows);
    int[] yFrom = ctx.allocateIntLocalArray(rows);
    int tid = ctx.localIdx;
    int targets = YTargets.count(rows, chunk);
    int[] item = new int[ExpandItem.INTS];
    int items = ExpandItem.count(item, sizes, counts, slices, blockRows, rows, zStride);
    for (int index = ctx.groupIdx; index < items; index += groups) {
      ExpandItem.find(
          item,
          sizes,
          sortedTokenIds,
          blockExperts,
          blockAdapters,
          slices,
          index,
          zStride,
          blockRows,
          rows,
          chunk);
      int first = item[ExpandItem.FIRST];
      int end = item[ExpandItem.END];
      if (first < end) {
        // B is read a chunk ahead, and before z is there
        long[] next = new long[BTiles.MOST];
        BTiles.read(pool, next, item, first, tid, chunk, maxSteps);
        int row = ZRows.row(item, tid, rows);
        int pair = sortedTokenIds.get(item[ExpandItem.POSITION] + row);
        float[] numbers = new float[ZRows.MOST];
        float up = ZRows.scale(ctx, item, z, numbers, tid, zStride, maxSteps, rows, chunk);
        float factor = ExpandItem.factor(item, sizes, scales, routingWeights, pair);
        int[] yAt = new int[YTargets.MOST];
        if (ZRows.isFirst(item, tid, rows)) {
          yFrom[row] = YTargets.at(item, sizes, slices, pair);
        }
        int usedRows = YTargets.usedRows(ctx, item, sortedTokenIds, pair, tid, rows);
        for (int i = 0; i < targets; i++) {
          yAt[i] = yFrom[YTargets.used(tid, i, chunk, usedRows)];
        }
        int[] zTiles =
            ZRows.float16(ctx, item, z, numbers, up, tid, zStride, maxSteps, rows, chunk);
        if (ZRows.isFirst(item, tid, rows)) {
          factors[row] = factor / up;
        }
        for (int c = first; c < end; c++) {
          int[] bTiles = BTiles.store(ctx, next, item, tid, chunk, maxSteps);
          int column = YTargets.column(c, tid, chunk);
          int readColumn = YTargets.within(item, c, tid, chunk);
          Half2 y0 = YHalves.get(y, item, yAt, 0, 0, readColumn, targets);
          Half2 w0 = YHalves.get(y, item, yAt, 0, 1, readColumn, targets);
          Half2 y1 = YHalves.get(y, item, yAt, 1, 0, readColumn, targets);
          Half2 w1 = YHalves.get(y, item, yAt, 1, 1, readColumn, targets);
          Half2 y2 = YHalves.get(y, item, yAt, 2, 0, readColumn, targets);
          Half2 w2 = YHalves.get(y, item, yAt, 2, 1, readColumn, targets);
          Half2 y3 = YHalves.get(y, item, yAt, 3, 0, readColumn, targets);
          Half2 w3 = YHalves.get(y, item, yAt, 3, 1, readColumn, targets);
          Half2 y4 = YHalves.get(y, item, yAt, 4, 0, readColumn, targets);
          Half2 w4 = YHalves.get(y, item, yAt, 4, 1, readColumn, targets);
          Half2 y5 = YHalves.get(y, item, yAt, 5, 0, readColumn, targets);
          Half2 w5 = YHalves.get(y, item, yAt, 5, 1, readColumn, targets);
          Half2 y6 = YHalves.get(y, item, yAt, 6, 0, readColumn, targets);
          Half2 w6 = YHalves.get(y, item, yAt, 6, 1, readColumn, targets);
          Half2 y7 = YHalves.get(y, item, yAt, 7, 0, readColumn, targets);
          Half2 w7 = YHalves.get(y, item, yAt, 7, 1, readColumn, targets);
          BTiles.read(pool, next, item, Math.min(c + 1, end - 1), tid, chunk, maxSteps);
          ctx.localBarrier();
          MmaTiles.float16(ctx, zTiles, bTiles, allSums, item, tid, maxSteps, rows, chunk, 0);
          ctx.localBarrier();
          int lastRow = YTargets.rows(item, c, tid, chunk, usedRows);
          boolean one = YTargets.isOne(usedRows, rows, chunk);
          // all sums before the first store, which keeps loads from being moved up
          float[] values = new float[4 * YTargets.MOST];
          for (int i = 0; i < targets; i++) {
            if (i == 0 || !one) {
              int s = YTargets.sums(tid, i, chunk);
              float scale = factors[YTargets.row(tid, i, chunk)];
              YHalves.set(values, i, scale, sums[s], sums[s + 8], sums[s + 16], sums[s + 24]);
            }
          }
          YHalves.add(values, item, 0, y0, w0, targets);
          YHalves.add(values, item, 1, y1, w1, targets);
          YHalves.add(values, item, 2, y2, w2, targets);
          YHalves.add(values, item, 3, y3, w3, targets);
          YHalves.add(values, item, 4, y4, w4, targets);
          YHalves.add(values, item, 5, y5, w5, targets);
          YHalves.add(values, item, 6, y6, w6, targets);
          YHalves.add(values, item, 7, y7, w7, targets);
          YHalves.write(y, values, targets, yAt, column, tid, lastRow, chunk);
        }
      }
    }
  }
}
