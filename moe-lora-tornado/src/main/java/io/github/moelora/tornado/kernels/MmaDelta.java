package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Expand on tensor cores that stores deltas in float32 and reads no y: {@code deltas[p, c] = scale
 * * w[p]? * sum_r b[c, r] * z[row, r]}, for {@link Combine} to add up. Elements without a delta are
 * not touched.
 *
 * <p>Grid, items and products are those of {@link MmaExpand}. A thread stores single columns,
 * neighbours of those of the next thread.
 */
public final class MmaDelta {
  private MmaDelta() {}

  /**
   * Deltas of bfloat16 weights.
   *
   * @param sizes in, see {@link Sizes}; columns of a row of y are those of {@code deltas}
   * @param counts in, see {@link DevicePlan}, like {@code sortedTokenIds}, {@code blockExperts} and
   *     {@code blockAdapters}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param pool in, 16-bit, B as {@link PackedLayout} says, and {@link MmaExpand#SPARE} longs of
   *     anything
   * @param z in, float32 {@code [parts, blocks, blockRows, zStride]}, as {@link MmaShrink} writes
   * @param routingWeights in, float32 {@code [P]}
   * @param deltas out, float32 {@code [P, O]} of all slices
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
      FloatArray deltas,
      int zStride,
      int maxSteps,
      int blockRows,
      int rows,
      int chunk,
      int groups) {
    float[] sums = ctx.allocateFloatLocalArray(MmaTiles.floats(rows, chunk));
    FloatArray allSums = LocalTile.floats(sums);
    int[] rowFrom = ctx.allocateIntLocalArray(rows);
    int tid = ctx.localIdx;
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
        if (ZRows.isFirst(item, tid, rows)) {
          rowFrom[row] = 4 * YTargets.at(item, sizes, slices, pair);
        }
        int usedRows = YTargets.usedRows(ctx, item, sortedTokenIds, pair, tid, rows);
        int[] zTiles =
            ZRows.bfloat16(ctx, item, z, numbers, factor, tid, zStride, maxSteps, rows, chunk);
        for (int c = first; c < end; c++) {
          int[] bTiles = BTiles.store(ctx, next, item, tid, chunk, maxSteps);
          BTiles.read(pool, next, item, Math.min(c + 1, end - 1), tid, chunk, maxSteps);
          ctx.localBarrier();
          MmaTiles.bfloat16(ctx, zTiles, bTiles, allSums, item, tid, maxSteps, rows, chunk, 0);
          ctx.localBarrier();
          for (int i = 0; i < DeltaTargets.count(rows, chunk); i++) {
            int of = DeltaTargets.row(tid, i, chunk);
            int column = DeltaTargets.column(tid, i, chunk);
            if (of < DeltaTargets.rows(item, c, column, chunk, usedRows)) {
              deltas.set(
                  rowFrom[of] + c * chunk + column, sums[DeltaTargets.sum(of, column, chunk)]);
            }
          }
        }
        // the next item's rows may not come before the last store has found its own
        ctx.localBarrier();
      }
    }
  }

  /**
   * Deltas of float16 weights; parameters as of {@link #bfloat16}.
   *
   * @param pool in, 16-bit, B as {@link PackedLayout} says, and {@link MmaExpand#SPARE} longs of
   *     anything
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
      FloatArray deltas,
      int zStride,
      int maxSteps,
      int blockRows,
      int rows,
      int chunk,
      int groups) {
    float[] sums = ctx.allocateFloatLocalArray(MmaTiles.floats(rows, chunk));
    FloatArray allSums = LocalTile.floats(sums);
    float[] factors = ctx.allocateFloatLocalArray(rows);
    int[] rowFrom = ctx.allocateIntLocalArray(rows);
    int tid = ctx.localIdx;
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
        float factor = ExpandItem.factor(item, sizes, scales, routingWeights, pair);
        if (ZRows.isFirst(item, tid, rows)) {
          rowFrom[row] = 4 * YTargets.at(item, sizes, slices, pair);
        }
        int usedRows = YTargets.usedRows(ctx, item, sortedTokenIds, pair, tid, rows);
        float[] numbers = new float[ZRows.MOST];
        float up = ZRows.scale(ctx, item, z, numbers, tid, zStride, maxSteps, rows, chunk);
        int[] zTiles =
            ZRows.float16(ctx, item, z, numbers, up, tid, zStride, maxSteps, rows, chunk);
        if (ZRows.isFirst(item, tid, rows)) {
          factors[row] = factor / up;
        }
        for (int c = first; c < end; c++) {
          int[] bTiles = BTiles.store(ctx, next, item, tid, chunk, maxSteps);
          BTiles.read(pool, next, item, Math.min(c + 1, end - 1), tid, chunk, maxSteps);
          ctx.localBarrier();
          MmaTiles.float16(ctx, zTiles, bTiles, allSums, item, tid, maxSteps, rows, chunk, 0);
          ctx.localBarrier();
          for (int i = 0; i < DeltaTargets.count(rows, chunk); i++) {
            int of = DeltaTargets.row(tid, i, chunk);
            int column = DeltaTargets.column(tid, i, chunk);
            if (of < DeltaTargets.rows(item, c, column, chunk, usedRows)) {
              deltas.set(
                  rowFrom[of] + c * chunk + column,
                  factors[of] * sums[DeltaTargets.sum(of, column, chunk)]);
            }
          }
        }
        // the next item's rows may not come before the last store has found its own
        ctx.localBarrier();
      }
    }
  }
}
