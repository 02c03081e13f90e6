package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Shrink and expand in one launch, pair by pair, with the router's arrays for a plan: an id is
 * looked up where it is used, so nothing is launched before. z stays on chip: {@code delta[p, c] =
 * sum_r b[c, r] * scale * sum_h a[r, h] * x[row of p, h]}.
 *
 * <p>What becomes of the delta, {@code mode} says, see {@link PairMode}:
 *
 * <ul>
 *   <li>{@code y[p, offset + c] (+)= w[p]? * delta[p, c]}. In add mode elements without a delta are
 *       not touched; otherwise every element of live pairs is written.
 *   <li>Combined: {@code y[t, offset + c] += sum_k w[p]? * delta[p, c]} over the pairs {@code p = t
 *       * K + k} of a token, in their order.
 *   <li>Activated: {@code out[p, i] = act(y + delta)} of the gate and the up column of {@code i}.
 *       Rows of live pairs are written, those without a delta too; y is only read.
 * </ul>
 *
 * <p>Grid: work-groups take the items (pair or token, share of the columns) in turn. With fewer
 * rows than the device has multiprocessors there are more shares, and each computes z of its rows
 * anew: its A comes from the L2 cache then, which costs less than a launch. An item whose pair has
 * no work ends after the look-up. What counts is how many loads wait for one another: a look-up
 * takes three, then the first of x, y, A and B are under way together, and of packed A and B always
 * the next ones before the last are needed.
 *
 * <p>Parameters that kernels share: {@code step}, {@code adapterIds}, {@code expertMap}, {@code
 * expertIds} in, as {@link PairSites#of} says; {@code errors} in and out, int32, an element per
 * work-group, to which pairs with an id out of range are added; {@code call} in, see {@link Sizes};
 * {@code slices} and {@code scales} in, see {@link SliceTable}; {@code routingWeights} in, float32
 * {@code [P]}; {@code x} in, float32 {@code [T, H]} or {@code [P, H]}; {@code y} in and out,
 * float32 {@code [P, yWidth]}, or {@code [T, yWidth]} if combined; {@code out} out, float32 {@code
 * [P, I]}, of an activation; {@code xWords}, {@code yWords} and {@code outWords} the same three
 * where the mode says that they are narrow, of the type of the weights; {@code side} in, float32,
 * the router's logits {@code [T, E]} or {@code [T, E + 1]} where the mode chooses, the shared
 * expert's result {@code [T, yWidth]} where it adds that.
 *
 * <p>Two small tasks of an engine may be taken along, since a task costs more than what they do.
 * Where the mode chooses, the expert of a pair comes from the router's logits, and the item with
 * the pair's first columns writes {@code expertIds} and {@code routingWeights}. With a shared
 * expert a combined call adds {@code routingWeights[maxPairs + t] * side[t, c]}, too.
 */
public final class PairKernels {
  /**
   * Threads of a work-group on packed weights. Every warp looks up and counts for itself, some
   * hundred instructions, so more of them cost more than the loads bring that they have under way.
   */
  public static final int THREADS = 256;

  /** Threads of a work-group on float32 weights, for devices of all kinds. */
  public static final int FLOAT_THREADS = 256;

  /** Most experts of a token where the kernel makes the router's choice. */
  public static final int MOST_CHOICES = 64;

  /** Number of an activation: see the enum of that name. */
  public static final int SWIGLU = 0;

  public static final int GEGLU = 1;
  public static final int RELU2 = 2;
  public static final int CLAMPED_SWIGLU = 3;

  private PairKernels() {}

  /**
   * Float32 weights.
   *
   * @param pool in, float32, of each slice A {@code [R, H]} and B {@code [O, R]}
   */
  public static void floats(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray call,
      IntArray slices,
      FloatArray scales,
      FloatArray pool,
      FloatArray routingWeights,
      FloatArray x,
      FloatArray y,
      FloatArray out,
      FloatArray side,
      int mode) {
    int zStride = PairMode.ranks(mode);
    float[] z = ctx.allocateFloatLocalArray(zStride + 1);
    float[] chip = ctx.allocateFloatLocalArray(PairB.FLOATS);
    int tid = ctx.localIdx;
    int lane = tid & (PairB.LANES - 1);
    int group = ctx.groupIdx;
    int[] item = new int[PairItem.INTS];
    int[] sizes = new int[Sizes.COUNT];
    int items = PairItem.count(item, sizes, call, step, slices, mode);
    z[zStride] = 0.0f;
    for (int index = group; index < items; index += sizes[Sizes.GROUPS]) {
      PairItem.find(item, sizes, index);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        int expert =
            PairRouter.expert(
                ctx, step, sizes, expertIds, routingWeights, side, item, pair, tid, mode);
        int guess = PairItem.guess(step, adapterIds, expertMap, expert, pair);
        int site = PairSites.ofExpert(step, adapterIds, expertMap, expert, pair);
        float[] factors = new float[2];
        PairItem.meet(item, sizes, slices, scales, factors, pair, guess, site, mode);
        if (PairItem.counts(item, tid, mode)) {
          PlanKernels.addErrors(errors, group, 1);
        }
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
            for (int number = tid / PairB.LANES;
                number < PairMode.ways(mode) * columns;
                number += PairB.stepOfTeams()) {
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
            PairY.finish(values, mode);
            PairY.write(
                item, sizes, y, out, values, pair, first, columns, tid, FLOAT_THREADS, mode);
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
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray call,
      IntArray slices,
      FloatArray scales,
      LongArray poolA,
      LongArray poolB,
      FloatArray routingWeights,
      FloatArray x,
      FloatArray y,
      FloatArray out,
      FloatArray side,
      IntArray xWords,
      IntArray yWords,
      IntArray outWords,
      int mode) {
    int zStride = PairMode.ranks(mode);
    float[] z = ctx.allocateFloatLocalArray(zStride + 1);
    float[] chip = ctx.allocateFloatLocalArray(PairUnit.FLOATS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int[] item = new int[PairItem.INTS];
    int[] sizes = new int[Sizes.COUNT];
    int items = PairItem.count(item, sizes, call, step, slices, mode);
    z[zStride] = 0.0f;
    for (int index = group; index < items; index += sizes[Sizes.GROUPS]) {
      PairItem.find(item, sizes, index);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        int expert =
            PairRouter.expert(
                ctx, step, sizes, expertIds, routingWeights, side, item, pair, tid, mode);
        int guess = PairItem.guess(step, adapterIds, expertMap, expert, pair);
        int site = PairSites.ofExpert(step, adapterIds, expertMap, expert, pair);
        float[] factors = new float[2];
        PairItem.meet(item, sizes, slices, scales, factors, pair, guess, site, mode);
        if (PairItem.counts(item, tid, mode)) {
          PlanKernels.addErrors(errors, group, 1);
        }
        if (PairItem.hasWork(item, pair, mode)) {
          PairItem.findTiles(item);
          int passes = PairItem.passes(item);
          for (int pass = 0; pass < passes; pass++) {
            float[] own = new float[4];
            PairA.bfloat16(ctx, poolA, x, xWords, own, item, pass, tid, mode);
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
            PairY.read(sizes, y, yWords, old, pair, first, atHand, tid, mode);
            PairY.addShared(item, sizes, routingWeights, side, old, pair, first, atHand, tid, mode);
            float[] sums = new float[4];
            OneShotSums.clear(sums, 1);
            int ofUnits = unit[PairUnit.ALL_BATCHES];
            for (int i = 0; i < ofUnits; i++) {
              long[] now = new long[PairUnit.BATCH];
              for (int j = 0; j < PairUnit.BATCH; j++) {
                now[j] = bNext[j];
              }
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
            PairY.write(
                item, sizes, y, yWords, out, outWords, values, pair, first, atHand, tid, mode);
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
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray call,
      IntArray slices,
      FloatArray scales,
      HalfFloatArray poolA,
      HalfFloatArray poolB,
      FloatArray routingWeights,
      FloatArray x,
      FloatArray y,
      FloatArray out,
      FloatArray side,
      HalfFloatArray xWords,
      HalfFloatArray yWords,
      HalfFloatArray outWords,
      int mode) {
    int zStride = PairMode.ranks(mode);
    float[] z = ctx.allocateFloatLocalArray(zStride + 1);
    float[] chip = ctx.allocateFloatLocalArray(PairUnit.FLOATS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int[] item = new int[PairItem.INTS];
    int[] sizes = new int[Sizes.COUNT];
    int items = PairItem.count(item, sizes, call, step, slices, mode);
    z[zStride] = 0.0f;
    for (int index = group; index < items; index += sizes[Sizes.GROUPS]) {
      PairItem.find(item, sizes, index);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        int expert =
            PairRouter.expert(
                ctx, step, sizes, expertIds, routingWeights, side, item, pair, tid, mode);
        int guess = PairItem.guess(step, adapterIds, expertMap, expert, pair);
        int site = PairSites.ofExpert(step, adapterIds, expertMap, expert, pair);
        float[] factors = new float[2];
        PairItem.meet(item, sizes, slices, scales, factors, pair, guess, site, mode);
        if (PairItem.counts(item, tid, mode)) {
          PlanKernels.addErrors(errors, group, 1);
        }
        if (PairItem.hasWork(item, pair, mode)) {
          PairItem.findTiles(item);
          int passes = PairItem.passes(item);
          for (int pass = 0; pass < passes; pass++) {
            float[] own = new float[4];
            PairA.float16(ctx, poolA, x, xWords, own, item, pass, tid, mode);
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
            PairY.read(sizes, y, yWords, old, pair, first, atHand, tid, mode);
            PairY.addShared(item, sizes, routingWeights, side, old, pair, first, atHand, tid, mode);
            float[] sums = new float[4];
            OneShotSums.clear(sums, 1);
            int ofUnits = unit[PairUnit.ALL_BATCHES];
            for (int i = 0; i < ofUnits; i++) {
              float[] now = new float[4 * PairUnit.BATCH];
              for (int j = 0; j < 4 * PairUnit.BATCH; j++) {
                now[j] = bNext[j];
              }
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
            PairY.write(
                item, sizes, y, yWords, out, outWords, values, pair, first, atHand, tid, mode);
            ctx.localBarrier();
          }
        }
      }
    }
  }
}
