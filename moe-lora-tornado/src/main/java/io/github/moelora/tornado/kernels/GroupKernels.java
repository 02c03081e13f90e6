package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.layout.GroupNumbers;
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
 * Shrink and expand in one launch on tensor cores, for 16-bit types, with the router's arrays for a
 * plan: {@code y[p, offset + c] += scale * w[p]? * sum_r b[c, r] * z[p, r]} with {@code z[p, r] =
 * sum_h a[r, h] * x[row of p, h]}. Elements of y without a delta are not touched.
 *
 * <p>Grid: a work-group of {@link MmaExpand#THREADS} threads for each local expert, class of slots,
 * slice and share of the slice's columns. It looks at the ids of all pairs of the step, which is
 * why there must be few, lists those of its expert and of one of its slots after the other, and
 * computes 16 at a time: z as {@link MmaShrink} does, which stays on chip, then the columns as
 * {@link MmaExpand} does. Shares of a slice compute the same z, their A comes from the L2 cache. A
 * work-group without pairs ends after the look.
 *
 * <p>That saves the launches of the plan and of expand, and z's way through memory: what a launch
 * of few tokens waits for is mostly what it must load before it knows what to load. So the first
 * stage of A is under way while the pairs are looked for, and of all that follows the next stage or
 * chunk before the last one is needed.
 */
public final class GroupKernels {
  /** Most pairs of a step. */
  public static final int MOST_PAIRS = 1024;

  /** Most ranks of a slice: numbers of z that a thread has at hand. */
  public static final int RANK_LIMIT = 64;

  private GroupKernels() {}

  /**
   * Bytes of local memory of a work-group.
   *
   * @param tiles see {@link GroupNumbers}
   */
  public static int localBytes(int maxPairs, int tiles) {
    int chunk = GroupNumbers.chunk(tiles);
    int rankSteps = GroupNumbers.rankSteps(tiles);
    return Long.BYTES * GroupShrink.longs(tiles)
        + Float.BYTES * GroupShrink.floats(tiles)
        + Float.BYTES * MmaTiles.floats(GroupShrink.ROWS, chunk)
        + Integer.BYTES * 2 * ZRows.ints(GroupShrink.ROWS, rankSteps)
        + Long.BYTES * GroupNumbers.columns(tiles) / 8 * rankSteps * BTiles.TILE
        + Integer.BYTES * GroupScan.listInts(maxPairs)
        + Integer.BYTES * 4 * GroupShrink.ROWS;
  }

  /**
   * Bfloat16.
   *
   * @param step in, see {@link io.github.moelora.tornado.layout.StepWords}
   * @param adapterIds in, int32 {@code [T]}
   * @param expertMap in, int32 {@code [E]}: the local expert or -1; read if the step says so
   * @param expertIds in, int32 {@code [T, K]}
   * @param errors in and out, int32: to the first is added how many pairs have an id out of range
   * @param sizes in, see {@link Sizes}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param poolA in, bfloat16, A as {@link PackedLayout} says, and {@link MmaShrink#SPARE} longs of
   *     anything
   * @param poolB in, bfloat16, B as {@link PackedLayout} says, and {@link MmaExpand#SPARE} longs of
   *     anything
   * @param routingWeights in, float32 {@code [P]}
   * @param x in, bfloat16 {@code [T, H]} or {@code [P, H]} in longs of four
   * @param y in and out, bfloat16 {@code [P, yWidth]} in longs of four
   * @param inputWidth H, a multiple of 4
   * @param maxPairs of a step, at most {@link #MOST_PAIRS}; a larger step has none
   * @param perToken K
   * @param sites see {@link GroupNumbers}, like {@code cut} and {@code tiles}
   */
  public static void bfloat16(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray sizes,
      IntArray slices,
      FloatArray scales,
      LongArray poolA,
      LongArray poolB,
      FloatArray routingWeights,
      LongArray x,
      LongArray y,
      int inputWidth,
      int maxPairs,
      int perToken,
      int sites,
      int cut,
      int tiles) {
    int chunk = GroupNumbers.chunk(tiles);
    int together = GroupNumbers.together(tiles);
    int rankSteps = GroupNumbers.rankSteps(tiles);
    float[] sums = ctx.allocateFloatLocalArray(MmaTiles.floats(GroupShrink.ROWS, chunk));
    FloatArray allSums = LocalTile.floats(sums);
    int[] yFrom = ctx.allocateIntLocalArray(GroupShrink.ROWS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int targets = YTargets.count(GroupShrink.ROWS, chunk);
    int[] slots = new int[GroupScan.MOST];
    int perRow = GroupItem.pairsPerRow(perToken, cut);
    int expert = GroupItem.expert(group, cut);
    int wrong =
        GroupScan.find(
            step, adapterIds, expertMap, expertIds, slots, expert, tid, maxPairs, perToken, sites);
    for (int turn = 0; turn < GroupItem.slots(sites, cut); turn++) {
      int[] item = new int[GroupItem.INTS];
      GroupItem.find(item, slices, group, turn, sites, cut, tiles);
      long[] next = new long[ShrinkTiles.MAX_LONGS];
      GroupShrink.readA(poolA, next, item, item[GroupItem.FIRST_TILE], 0, tid, inputWidth, tiles);
      int work = GroupScan.meet(ctx, step, errors, slots, item, wrong, tid, maxPairs, sites);
      for (int from = 0; from < work; from += GroupShrink.ROWS) {
        int usedRows = Math.min(GroupShrink.ROWS, work - from);
        GroupItem.setRows(item, from, usedRows, maxPairs);
        int thread = GroupShrink.again(item, tid, from);
        int row = ZRows.row(item, thread, GroupShrink.ROWS);
        int[] xFrom = new int[ShrinkTiles.MAX_X];
        int pair =
            GroupScan.rows(ctx, slots, item, xFrom, thread, maxPairs, perRow, inputWidth, tiles);
        float factor = ExpandItem.factor(item, sizes, scales, routingWeights, pair);
        yFrom[row] = YTargets.at(item, sizes, slices, pair);
        float[] numbers = new float[GroupZ.MOST];
        for (int tile = item[GroupItem.FIRST_TILE];
            tile < item[GroupItem.END_TILE];
            tile += GroupNumbers.rankTiles(tiles)) {
          int own = GroupShrink.again(item, thread, tile);
          GroupShrink.beginPass(poolA, x, next, xFrom, item, from, tile, own, inputWidth, tiles);
          GroupShrink.pass(
              ctx, poolA, poolB, x, next, xFrom, numbers, item, tile, own, inputWidth, tiles, 1);
        }
        int first = item[ExpandItem.FIRST];
        int end = item[ExpandItem.END];
        int[] yAt = new int[YTargets.MOST];
        for (int i = 0; i < targets; i++) {
          yAt[i] = yFrom[YTargets.used(thread, i, chunk, usedRows)];
        }
        long[] old = new long[YTargets.MOST];
        YLongs.clear(old, GroupShrink.ROWS, chunk);
        int start = YTargets.within(item, first * together, thread, chunk);
        YLongs.read(y, old, 0, targets, yAt, start, usedRows, chunk);
        int[] zTiles = GroupZ.bfloat16(ctx, item, numbers, factor, thread, tiles);
        for (int c = first; c < end; c++) {
          int[] bTiles = GroupShrink.takeB(ctx, poolB, next, item, c, thread, tiles);
          int endPart = GroupShrink.endPart(item, c, together);
          for (int part = c * together; part < endPart; part++) {
            int own = GroupShrink.again(item, thread, part);
            ctx.localBarrier();
            MmaTiles.bfloat16(
                ctx,
                zTiles,
                bTiles,
                allSums,
                item,
                own,
                rankSteps,
                GroupShrink.ROWS,
                chunk,
                (part - c * together) * (chunk / 8));
            ctx.localBarrier();
            int column = YTargets.column(part, own, chunk);
            int following = YTargets.within(item, part + 1, own, chunk);
            int lastRow = YTargets.rows(item, part, own, chunk, usedRows);
            long[] words = new long[YLongs.BATCH];
            for (int i = 0; i < targets; i++) {
              if (i * YTargets.step(chunk) < usedRows) {
                int s = YTargets.sums(own, i, chunk);
                words[i] =
                    YLongs.add(
                        old[i], sums[s], sums[s + 8], sums[s + 16], sums[s + 24], work >> 31);
              }
            }
            YLongs.read(y, old, 0, targets, yAt, following, usedRows, chunk);
            YLongs.write(y, words, 0, targets, yAt, column, own, lastRow, chunk);
          }
        }
      }
      ctx.localBarrier();
    }
  }

  /**
   * Float16.
   *
   * @param step in, see {@link io.github.moelora.tornado.layout.StepWords}
   * @param adapterIds in, int32 {@code [T]}
   * @param expertMap in, int32 {@code [E]}: the local expert or -1; read if the step says so
   * @param expertIds in, int32 {@code [T, K]}
   * @param errors in and out, int32: to the first is added how many pairs have an id out of range
   * @param sizes in, see {@link Sizes}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param poolA in, float16, A as {@link PackedLayout} says, and {@link MmaShrink#SPARE} longs of
   *     anything
   * @param poolB in, float16, B as {@link PackedLayout} says, and {@link MmaExpand#SPARE} longs of
   *     anything
   * @param routingWeights in, float32 {@code [P]}
   * @param x in, float16 {@code [T, H]} or {@code [P, H]} in longs of four
   * @param y in and out, float16 {@code [P, yWidth]}
   * @param inputWidth H, a multiple of 4
   * @param maxPairs of a step, at most {@link #MOST_PAIRS}; a larger step has none
   * @param perToken K
   * @param sites see {@link GroupNumbers}, like {@code cut} and {@code tiles}
   */
  public static void float16(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray sizes,
      IntArray slices,
      FloatArray scales,
      LongArray poolA,
      LongArray poolB,
      FloatArray routingWeights,
      LongArray x,
      HalfFloatArray y,
      int inputWidth,
      int maxPairs,
      int perToken,
      int sites,
      int cut,
      int tiles) {
    int chunk = GroupNumbers.chunk(tiles);
    int together = GroupNumbers.together(tiles);
    int rankSteps = GroupNumbers.rankSteps(tiles);
    float[] sums = ctx.allocateFloatLocalArray(MmaTiles.floats(GroupShrink.ROWS, chunk));
    FloatArray allSums = LocalTile.floats(sums);
    int[] yFrom = ctx.allocateIntLocalArray(GroupShrink.ROWS);
    float[] factors = ctx.allocateFloatLocalArray(GroupShrink.ROWS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int targets = YTargets.count(GroupShrink.ROWS, chunk);
    int[] slots = new int[GroupScan.MOST];
    int perRow = GroupItem.pairsPerRow(perToken, cut);
    int expert = GroupItem.expert(group, cut);
    int wrong =
        GroupScan.find(
            step, adapterIds, expertMap, expertIds, slots, expert, tid, maxPairs, perToken, sites);
    for (int turn = 0; turn < GroupItem.slots(sites, cut); turn++) {
      int[] item = new int[GroupItem.INTS];
      GroupItem.find(item, slices, group, turn, sites, cut, tiles);
      long[] next = new long[ShrinkTiles.MAX_LONGS];
      GroupShrink.readA(poolA, next, item, item[GroupItem.FIRST_TILE], 0, tid, inputWidth, tiles);
      int work = GroupScan.meet(ctx, step, errors, slots, item, wrong, tid, maxPairs, sites);
      for (int from = 0; from < work; from += GroupShrink.ROWS) {
        int usedRows = Math.min(GroupShrink.ROWS, work - from);
        GroupItem.setRows(item, from, usedRows, maxPairs);
        int thread = GroupShrink.again(item, tid, from);
        int row = ZRows.row(item, thread, GroupShrink.ROWS);
        int[] xFrom = new int[ShrinkTiles.MAX_X];
        int pair =
            GroupScan.rows(ctx, slots, item, xFrom, thread, maxPairs, perRow, inputWidth, tiles);
        float factor = ExpandItem.factor(item, sizes, scales, routingWeights, pair);
        yFrom[row] = YTargets.at(item, sizes, slices, pair);
        float[] numbers = new float[GroupZ.MOST];
        for (int tile = item[GroupItem.FIRST_TILE];
            tile < item[GroupItem.END_TILE];
            tile += GroupNumbers.rankTiles(tiles)) {
          int own = GroupShrink.again(item, thread, tile);
          GroupShrink.beginPass(poolA, x, next, xFrom, item, from, tile, own, inputWidth, tiles);
          GroupShrink.pass(
              ctx, poolA, poolB, x, next, xFrom, numbers, item, tile, own, inputWidth, tiles, 0);
        }
        int end = item[ExpandItem.END];
        int[] yAt = new int[YTargets.MOST];
        for (int i = 0; i < targets; i++) {
          yAt[i] = yFrom[YTargets.used(thread, i, chunk, usedRows)];
        }
        float up = ZRows.up(ctx, GroupZ.largest(numbers, tiles), thread, GroupShrink.ROWS);
        int[] zTiles = GroupZ.float16(ctx, item, numbers, up, thread, tiles);
        factors[row] = factor / up;
        for (int c = item[ExpandItem.FIRST]; c < end; c++) {
          int[] bTiles = GroupShrink.takeB(ctx, poolB, next, item, c, thread, tiles);
          int endPart = GroupShrink.endPart(item, c, together);
          for (int part = c * together; part < endPart; part++) {
            int own = GroupShrink.again(item, thread, part);
            int column = YTargets.column(part, own, chunk);
            int readColumn = YTargets.within(item, part, own, chunk);
            Half2 y0 = YHalves.get(y, item, yAt, 0, 0, readColumn, targets);
            Half2 w0 = YHalves.get(y, item, yAt, 0, 1, readColumn, targets);
            Half2 y1 = YHalves.get(y, item, yAt, 1, 0, readColumn, targets);
            Half2 w1 = YHalves.get(y, item, yAt, 1, 1, readColumn, targets);
            Half2 y2 = YHalves.get(y, item, yAt, 2, 0, readColumn, targets);
            Half2 w2 = YHalves.get(y, item, yAt, 2, 1, readColumn, targets);
            Half2 y3 = YHalves.get(y, item, yAt, 3, 0, readColumn, targets);
            Half2 w3 = YHalves.get(y, item, yAt, 3, 1, readColumn, targets);
            ctx.localBarrier();
            MmaTiles.float16(
                ctx,
                zTiles,
                bTiles,
                allSums,
                item,
                own,
                rankSteps,
                GroupShrink.ROWS,
                chunk,
                (part - c * together) * (chunk / 8));
            ctx.localBarrier();
            int lastRow = YTargets.rows(item, part, own, chunk, usedRows);
            float[] values = new float[4 * YTargets.MOST];
            for (int i = 0; i < targets; i++) {
              if (i * YTargets.step(chunk) < usedRows) {
                int s = YTargets.sums(own, i, chunk);
                float scale = factors[YTargets.row(own, i, chunk)];
                YHalves.set(values, i, scale, sums[s], sums[s + 8], sums[s + 16], sums[s + 24]);
              }
            }
            YHalves.add(values, item, 0, y0, w0, targets);
            YHalves.add(values, item, 1, y1, w1, targets);
            YHalves.add(values, item, 2, y2, w2, targets);
            YHalves.add(values, item, 3, y3, w3, targets);
            YHalves.write(y, values, targets, yAt, column, own, lastRow, chunk);
          }
        }
      }
      ctx.localBarrier();
    }
  }
}
