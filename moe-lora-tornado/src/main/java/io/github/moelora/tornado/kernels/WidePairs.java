package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.FloatTable;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.StepWords;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * {@link PairKernels} with as few arrays as can be, for float32 x and y without an activation, the
 * tokens' adapters from the host and no count of ids out of range: an engine's decode. TornadoVM
 * spends time of the host on each array of a graph whenever the graph runs, so what others have in
 * arrays of its own stands in one here, and the sizes of a call are constants.
 *
 * <p>A combined item has the pairs of a token one after the other. While it computes one, the ids
 * and the entry of the next are under way.
 *
 * <p>Parameters that kernels share: {@code step} in, {@link StepWords} with the tokens' adapters
 * and the expert map; {@code table} in, see {@link FloatTable}; {@code expertIds}, {@code
 * routingWeights}, {@code x}, {@code y} and {@code side} as there; {@code mode} with {@link
 * PairMode#COMBINED} and {@link PairMode#PAIR_ROWS}. Constants: {@code slots} is {@code L}, {@code
 * perToken} {@code K}, {@code width} {@code H}; {@code yWidth} and {@code columnOffset} are of y,
 * {@code outputs} the columns of the projection, {@code maxPairs} the most of a step; {@code units}
 * are multiprocessors and {@code groups} work-groups.
 */
public final class WidePairs {
  private static final int THREADS = PairKernels.THREADS;
  private static final int FLOAT_THREADS = PairKernels.FLOAT_THREADS;

  private WidePairs() {}

  /**
   * Float32 weights.
   *
   * @param pool in, float32, of each slice A {@code [R, H]} and B {@code [O, R]}
   */
  public static void floats(
      KernelContext ctx,
      IntArray step,
      IntArray expertIds,
      FloatArray table,
      FloatArray pool,
      FloatArray routingWeights,
      FloatArray x,
      FloatArray y,
      FloatArray side,
      int mode,
      int slots,
      int perToken,
      int width,
      int yWidth,
      int columnOffset,
      int outputs,
      int maxPairs,
      int units,
      int groups) {
    int zStride = PairMode.ranks(mode);
    float[] z = ctx.allocateFloatLocalArray(zStride + 1);
    float[] chip = ctx.allocateFloatLocalArray(PairB.FLOATS);
    int tid = ctx.localIdx;
    int lane = tid & (PairB.LANES - 1);
    int[] item = new int[PairItem.INTS];
    int[] sizes = new int[Sizes.COUNT];
    PairItem.setSizes(sizes, perToken, width, yWidth, columnOffset, outputs, maxPairs, units, mode);
    int items = PairItem.count(item, sizes, step, (int) table.get(FloatTable.MOST_SLICES), mode);
    z[zStride] = 0.0f;
    for (int index = ctx.groupIdx; index < items; index += groups) {
      PairItem.find(item, sizes, index);
      int expert =
          PairRouter.first(ctx, step, sizes, expertIds, routingWeights, side, item, tid, mode);
      int[] ahead = new int[PairItem.INTS];
      float[] entry = new float[FloatTable.FLOATS];
      PairItem.look(ahead, entry, step, table, expert, item[PairItem.FIRST_PAIR], perToken, slots);
      int next = PairItem.second(item, expertIds, mode);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        float[] factors = new float[2];
        PairItem.meet(item, sizes, ahead, entry, factors, pair, mode);
        next =
            PairItem.lookOn(
                item, ahead, entry, step, table, expertIds, next, pair, perToken, slots, mode);
        if (PairItem.hasWork(item, pair, mode)) {
          float weight = PairY.weight(routingWeights, pair, mode);
          int endRank = item[PairItem.END_RANK];
          for (int r = item[PairItem.FIRST_RANK]; r < endRank; r += PairA.FLOAT_RANKS) {
            chip[tid] = PairA.floats(pool, x, item, r, tid);
            ctx.localBarrier();
            if (tid < PairA.FLOAT_RANKS && r + tid < endRank) {
              float sum = 0.0f;
              for (int i = 0; i < PairB.LANES; i++) {
                sum += chip[PairB.LANES * tid + i];
              }
              z[r + tid] = sum * (r + tid < item[PairItem.RANK0] ? factors[0] : factors[1]);
            }
            ctx.localBarrier();
          }
          for (int first = item[PairItem.FIRST];
              first < item[PairItem.END];
              first += PairB.step(mode)) {
            int columns = Math.min(PairB.step(mode), item[PairItem.END] - first);
            float[] old = new float[4];
            PairY.read(sizes, y, old, pair, first, columns, tid, FLOAT_THREADS, mode);
            PairY.addShared(
                item,
                sizes,
                routingWeights,
                side,
                old,
                pair,
                first,
                columns,
                tid,
                FLOAT_THREADS,
                mode);
            for (int number = tid / PairB.LANES; number < columns; number += PairB.stepOfTeams()) {
              int[] b = new int[PairB.BATCH];
              int[] zFrom = new int[PairB.BATCH];
              int[] ranks = new int[PairB.BATCH];
              PairB.find(item, sizes, b, zFrom, ranks, first, columns, number, mode);
              float[] sums = new float[PairB.BATCH];
              OneShotSums.clear(sums, 1);
              for (int r = lane; r < PairB.mostRanks(item); r += PairB.LANES) {
                float[] numbers = new float[PairB.BATCH];
                PairB.read(pool, numbers, b, ranks, r);
                for (int i = 0; i < PairB.BATCH; i++) {
                  sums[i] += numbers[i] * z[PairB.z(zFrom, ranks, i, r, zStride)];
                }
              }
              for (int i = 0; i < PairB.BATCH; i++) {
                int to = PairB.to(number, i, columns, lane, mode);
                if (to >= 0) {
                  chip[to] = sums[i];
                }
              }
            }
            ctx.localBarrier();
            float[] values = new float[4];
            for (int i = 0; i < 4; i++) {
              values[i] = 0.0f;
              if (PairY.has(i, columns, tid, FLOAT_THREADS, mode)) {
                int column = PairY.column(i, tid, FLOAT_THREADS, mode) + (i >> 1) * columns;
                float sum = 0.0f;
                for (int j = 0; j < PairB.LANES; j++) {
                  sum += chip[PairB.at(column, j)];
                }
                values[i] = old[i] + weight * sum;
              }
            }
            PairY.write(item, sizes, y, y, values, pair, first, columns, tid, FLOAT_THREADS, mode);
            ctx.localBarrier();
          }
        }
      }
    }
  }

  /**
   * Packed bfloat16 weights.
   *
   * @param poolA in, bfloat16, A as {@link PackedLayout} says
   * @param poolB in, bfloat16, B as {@link PackedLayout} says
   */
  public static void bfloat16(
      KernelContext ctx,
      IntArray step,
      IntArray expertIds,
      FloatArray table,
      LongArray poolA,
      LongArray poolB,
      FloatArray routingWeights,
      FloatArray x,
      FloatArray y,
      FloatArray side,
      int mode,
      int slots,
      int perToken,
      int width,
      int yWidth,
      int columnOffset,
      int outputs,
      int maxPairs,
      int units,
      int groups) {
    int zStride = PairMode.ranks(mode);
    float[] z = ctx.allocateFloatLocalArray(zStride + 1);
    float[] chip = ctx.allocateFloatLocalArray(PairUnit.FLOATS);
    int tid = ctx.localIdx;
    int[] item = new int[PairItem.INTS];
    int[] sizes = new int[Sizes.COUNT];
    PairItem.setSizes(sizes, perToken, width, yWidth, columnOffset, outputs, maxPairs, units, mode);
    int mostSlices = (int) table.get(FloatTable.MOST_SLICES);
    int items = PairItem.count(item, sizes, step, mostSlices, mode);
    z[zStride] = 0.0f;
    for (int index = ctx.groupIdx; index < items; index += groups) {
      PairItem.find(item, sizes, index);
      int expert =
          PairRouter.first(ctx, step, sizes, expertIds, routingWeights, side, item, tid, mode);
      int[] ahead = new int[PairItem.INTS];
      float[] entry = new float[FloatTable.FLOATS];
      PairItem.look(ahead, entry, step, table, expert, item[PairItem.FIRST_PAIR], perToken, slots);
      int next = PairItem.second(item, expertIds, mode);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        float[] factors = new float[2];
        PairItem.meet(item, sizes, ahead, entry, factors, pair, mode);
        next =
            PairItem.lookOn(
                item, ahead, entry, step, table, expertIds, next, pair, perToken, slots, mode);
        if (PairItem.hasWork(item, pair, mode)) {
          PairItem.findTiles(item);
          int passes = PairItem.passes(item);
          for (int pass = 0; pass < passes; pass++) {
            float[] own = new float[4];
            PairA.bfloat16(ctx, poolA, x, step, own, item, pass, tid, mode);
            float sum = PairSums.meet(ctx, own, item, tid);
            int rank = PairSums.rank(item, pass, tid);
            if (rank >= 0) {
              z[rank] = sum * (rank < item[PairItem.RANK0] ? factors[0] : factors[1]);
            }
            ctx.localBarrier();
          }
          float weight = PairY.weight(routingWeights, pair, mode);
          int columns = PairUnit.step(item);
          int[] unit = new int[PairUnit.INTS];
          long[] bNext = new long[PairUnit.BATCH];
          for (int first = item[PairItem.FIRST]; first < item[PairItem.END]; first += columns) {
            PairUnit.open(unit, item, sizes, first, columns, mode);
            PairUnit.find(unit, item, 0, tid);
            PairUnit.read(poolB, bNext, unit);
            int atHand = unit[PairUnit.COLUMNS];
            float[] old = new float[4];
            PairY.read(sizes, y, old, pair, first, atHand, tid, THREADS, mode);
            PairY.addShared(item, sizes, routingWeights, side, old, pair, first, atHand, tid, mode);
            float[] sums = new float[4];
            OneShotSums.clear(sums, 1);
            int ofUnits = unit[PairUnit.ALL_BATCHES];
            for (int i = 0; i < ofUnits; i++) {
              long[] now = new long[PairUnit.BATCH];
              PairUnit.copy(bNext, now);
              int[] zAt = new int[PairUnit.BATCH];
              PairUnit.findZ(unit, zAt, zStride);
              int[] targets = new int[4];
              PairUnit.findTargets(unit, targets, tid, i, mode);
              if (i + 1 < ofUnits) {
                PairUnit.find(unit, item, i + 1, tid);
                PairUnit.read(poolB, bNext, unit);
              }
              for (int j = 0; j < PairUnit.BATCH; j++) {
                OneShotSums.add(sums, 0, now[j], z[zAt[j]]);
              }
              if (PairUnit.ends(unit, i)) {
                for (int j = 0; j < 4; j++) {
                  float sum = PairSums.overRanks(ctx, sums[j]);
                  sums[j] = 0.0f;
                  if (targets[j] >= 0) {
                    chip[targets[j]] = sum;
                  }
                }
              }
            }
            ctx.localBarrier();
            float[] values = new float[4];
            for (int i = 0; i < 4; i++) {
              if (PairY.has(i, atHand, tid, THREADS, mode)) {
                int column = PairY.column(i, tid, THREADS, mode);
                int end = PairUnit.end(unit, mode);
                int stride = PairUnit.stride(unit, mode);
                float sum = 0.0f;
                for (int j = PairUnit.from(unit, column, i >> 1, mode); j < end; j += stride) {
                  sum += chip[j];
                }
                values[i] =
                    old[i] + weight * PairY.covered(item, sizes, sum, first + column, i, mode);
              }
            }
            PairY.write(item, sizes, y, y, values, pair, first, atHand, tid, THREADS, mode);
            ctx.localBarrier();
          }
        }
      }
    }
  }

  /**
   * Packed float16 weights.
   *
   * @param poolA in, float16, A as {@link PackedLayout} says
   * @param poolB in, float16, B as {@link PackedLayout} says
   */
  public static void float16(
      KernelContext ctx,
      IntArray step,
      IntArray expertIds,
      FloatArray table,
      HalfFloatArray poolA,
      HalfFloatArray poolB,
      FloatArray routingWeights,
      FloatArray x,
      FloatArray y,
      FloatArray side,
      int mode,
      int slots,
      int perToken,
      int width,
      int yWidth,
      int columnOffset,
      int outputs,
      int maxPairs,
      int units,
      int groups) {
    int zStride = PairMode.ranks(mode);
    float[] z = ctx.allocateFloatLocalArray(zStride + 1);
    float[] chip = ctx.allocateFloatLocalArray(PairUnit.FLOATS);
    int tid = ctx.localIdx;
    int[] item = new int[PairItem.INTS];
    int[] sizes = new int[Sizes.COUNT];
    PairItem.setSizes(sizes, perToken, width, yWidth, columnOffset, outputs, maxPairs, units, mode);
    int mostSlices = (int) table.get(FloatTable.MOST_SLICES);
    int items = PairItem.count(item, sizes, step, mostSlices, mode);
    z[zStride] = 0.0f;
    for (int index = ctx.groupIdx; index < items; index += groups) {
      PairItem.find(item, sizes, index);
      int expert =
          PairRouter.first(ctx, step, sizes, expertIds, routingWeights, side, item, tid, mode);
      int[] ahead = new int[PairItem.INTS];
      float[] entry = new float[FloatTable.FLOATS];
      PairItem.look(ahead, entry, step, table, expert, item[PairItem.FIRST_PAIR], perToken, slots);
      int next = PairItem.second(item, expertIds, mode);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        float[] factors = new float[2];
        PairItem.meet(item, sizes, ahead, entry, factors, pair, mode);
        next =
            PairItem.lookOn(
                item, ahead, entry, step, table, expertIds, next, pair, perToken, slots, mode);
        if (PairItem.hasWork(item, pair, mode)) {
          PairItem.findTiles(item);
          int passes = PairItem.passes(item);
          for (int pass = 0; pass < passes; pass++) {
            float[] own = new float[4];
            PairA.float16(ctx, poolA, x, poolA, own, item, pass, tid, mode);
            float sum = PairSums.meet(ctx, own, item, tid);
            int rank = PairSums.rank(item, pass, tid);
            if (rank >= 0) {
              z[rank] = sum * (rank < item[PairItem.RANK0] ? factors[0] : factors[1]);
            }
            ctx.localBarrier();
          }
          float weight = PairY.weight(routingWeights, pair, mode);
          int columns = PairUnit.step(item);
          int[] unit = new int[PairUnit.INTS];
          float[] bNext = new float[4 * PairUnit.BATCH];
          for (int first = item[PairItem.FIRST]; first < item[PairItem.END]; first += columns) {
            PairUnit.open(unit, item, sizes, first, columns, mode);
            PairUnit.find(unit, item, 0, tid);
            PairUnit.readHalves(poolB, bNext, unit);
            int atHand = unit[PairUnit.COLUMNS];
            float[] old = new float[4];
            PairY.read(sizes, y, old, pair, first, atHand, tid, THREADS, mode);
            PairY.addShared(item, sizes, routingWeights, side, old, pair, first, atHand, tid, mode);
            float[] sums = new float[4];
            OneShotSums.clear(sums, 1);
            int ofUnits = unit[PairUnit.ALL_BATCHES];
            for (int i = 0; i < ofUnits; i++) {
              float[] now = new float[4 * PairUnit.BATCH];
              PairUnit.copyHalves(bNext, now);
              int[] zAt = new int[PairUnit.BATCH];
              PairUnit.findZ(unit, zAt, zStride);
              int[] targets = new int[4];
              PairUnit.findTargets(unit, targets, tid, i, mode);
              if (i + 1 < ofUnits) {
                PairUnit.find(unit, item, i + 1, tid);
                PairUnit.readHalves(poolB, bNext, unit);
              }
              for (int j = 0; j < PairUnit.BATCH; j++) {
                OneShotSums.addHalves(sums, 0, now, 4 * j, z[zAt[j]]);
              }
              if (PairUnit.ends(unit, i)) {
                for (int j = 0; j < 4; j++) {
                  float sum = PairSums.overRanks(ctx, sums[j]);
                  sums[j] = 0.0f;
                  if (targets[j] >= 0) {
                    chip[targets[j]] = sum;
                  }
                }
              }
            }
            ctx.localBarrier();
            float[] values = new float[4];
            for (int i = 0; i < 4; i++) {
              if (PairY.has(i, atHand, tid, THREADS, mode)) {
                int column = PairY.column(i, tid, THREADS, mode);
                int end = PairUnit.end(unit, mode);
                int stride = PairUnit.stride(unit, mode);
                float sum = 0.0f;
                for (int j = PairUnit.from(unit, column, i >> 1, mode); j < end; j += stride) {
                  sum += chip[j];
                }
                values[i] =
                    old[i] + weight * PairY.covered(item, sizes, sum, first + column, i, mode);
              }
            }
            PairY.write(item, sizes, y, y, values, pair, first, atHand, tid, THREADS, mode);
            ctx.localBarrier();
          }
        }
      }
    }
  }
}
