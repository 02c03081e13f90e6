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
 * no work ends after the look-up. A tile of A is read by a warp, a lane of it 4 ranks of one
 * element of H; of B a thread has one column and a share of the ranks.
 *
 * <p>Parameters that kernels share: {@code step}, {@code adapterIds}, {@code expertMap}, {@code
 * expertIds} in, as {@link PairSites#of} says; {@code errors} in and out, int32, an element per
 * work-group, to which pairs with an id out of range are added; {@code sizes} in, see {@link
 * Sizes}; {@code slices} and {@code scales} in, see {@link SliceTable}; {@code routingWeights} in,
 * float32 {@code [P]}; {@code x} in, float32 {@code [T, H]} or {@code [P, H]}; {@code y} in and
 * out, float32 {@code [P, yWidth]}, or {@code [T, yWidth]} if combined; {@code out} out, float32
 * {@code [P, I]}, of an activation; {@code xWords}, {@code yWords} and {@code outWords} the same
 * three where the mode says that they are narrow, of the type of the weights; {@code side} in,
 * float32, the router's logits {@code [T, E]} or {@code [T, E + 1]} where the mode chooses, the
 * shared expert's result {@code [T, yWidth]} where it adds that.
 *
 * <p>Two small tasks of an engine may be taken along, since a task costs more than what they do.
 * Where the mode chooses, the expert of a pair comes from the router's logits, and the item with
 * the pair's first columns writes {@code expertIds} and {@code routingWeights}. With a shared
 * expert a combined call adds {@code routingWeights[maxPairs + t] * side[t, c]}, too.
 */
public final class PairKernels {
  static final int SHIFT = 9;

  /** Threads of a work-group on packed weights: as many as 128 registers each allow. */
  public static final int THREADS = 1 << SHIFT;

  static final int FLOAT_SHIFT = 8;

  /** Threads of a work-group on float32 weights, for devices of all kinds. */
  public static final int FLOAT_THREADS = 1 << FLOAT_SHIFT;

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
      IntArray sizes,
      IntArray slices,
      FloatArray scales,
      FloatArray pool,
      FloatArray routingWeights,
      FloatArray x,
      FloatArray y,
      FloatArray out,
      FloatArray side,
      int mode) {
    float[] z = ctx.allocateFloatLocalArray(PairMode.ranks(mode));
    float[] sums = ctx.allocateFloatLocalArray(2 * FLOAT_THREADS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int groups = sizes.get(Sizes.GROUPS);
    int[] item = new int[PairItem.INTS];
    int items = PairItem.count(item, step, sizes);
    for (int index = group; index < items; index += groups) {
      PairItem.find(item, sizes, index, FLOAT_SHIFT);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        int expert =
            PairRouter.expert(
                ctx,
                step,
                sizes,
                expertIds,
                routingWeights,
                side,
                item,
                pair,
                tid,
                FLOAT_THREADS,
                mode);
        int site = PairSites.ofExpert(step, adapterIds, expertMap, expert, pair);
        PairItem.meet(item, sizes, slices, pair, site, mode);
        if (PairItem.counts(item, tid, mode)) {
          PlanKernels.addErrors(errors, group, 1);
        }
        if (PairItem.hasWork(item, pair, mode)) {
          int endRank = item[PairItem.END_RANK];
          for (int r = item[PairItem.FIRST_RANK]; r < endRank; r += PairA.FLOAT_RANKS) {
            sums[tid] = PairA.floats(pool, x, item, slices, r, tid);
            ctx.localBarrier();
            if (tid < PairA.FLOAT_RANKS && r + tid < endRank) {
              float sum = 0.0f;
              for (int i = 0; i < 32; i++) {
                sum += sums[32 * tid + i];
              }
              z[r + tid] = sum * scales.get(PairItem.scale(item, r + tid));
            }
            ctx.localBarrier();
          }
          int columns = 1 << item[PairItem.COLUMN_SHIFT];
          int ways = PairMode.ways(mode);
          for (int first = item[PairItem.FIRST]; first < item[PairItem.END]; first += columns) {
            int column = PairB.column(item, first, tid);
            int writers = PairY.writers(item, first, mode);
            float[] old = new float[4];
            PairY.read(sizes, y, old, pair, first, tid, writers, mode);
            PairY.addShared(item, sizes, routingWeights, side, old, pair, first + tid, mode);
            for (int way = 0; way < ways; way++) {
              int source = PairItem.source(sizes, column, way, mode);
              int slice = column < item[PairItem.END] ? PairB.slice(item, slices, source) : -1;
              int b = PairB.floats(slices, slice, source);
              int end = PairB.endRank(item, slices, slice, tid, FLOAT_THREADS);
              int zFrom = PairB.z(item, slice);
              float sum = 0.0f;
              for (int r = PairB.firstRank(item, slices, slice, tid, FLOAT_THREADS);
                  r < end;
                  r += PairB.BATCH) {
                float[] numbers = new float[PairB.BATCH];
                PairB.readFloats(pool, numbers, b, r, end);
                for (int i = 0; i < PairB.BATCH; i++) {
                  sum += numbers[i] * z[zFrom + Math.min(r + i, end - 1)];
                }
              }
              sums[way * FLOAT_THREADS + tid] = sum;
            }
            ctx.localBarrier();
            if (tid < writers) {
              float[] values = new float[4];
              for (int i = 0; i < 4; i++) {
                int end = PairY.end(i, FLOAT_THREADS, mode);
                float total = old[i];
                for (int j = PairY.from(i, tid, FLOAT_THREADS, mode); j < end; j += columns) {
                  total += PairY.delta(routingWeights, sums[j], pair, mode);
                }
                values[i] = total;
              }
              PairY.write(item, sizes, slices, y, out, values, pair, first + tid, mode);
            }
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
      IntArray sizes,
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
    float[] z = ctx.allocateFloatLocalArray(PairMode.ranks(mode));
    float[] sums = ctx.allocateFloatLocalArray(2 * THREADS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int groups = sizes.get(Sizes.GROUPS);
    int[] item = new int[PairItem.INTS];
    int items = PairItem.count(item, step, sizes);
    for (int index = group; index < items; index += groups) {
      PairItem.find(item, sizes, index, SHIFT);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        int expert =
            PairRouter.expert(
                ctx, step, sizes, expertIds, routingWeights, side, item, pair, tid, THREADS, mode);
        int site = PairSites.ofExpert(step, adapterIds, expertMap, expert, pair);
        PairItem.meet(item, sizes, slices, pair, site, mode);
        if (PairItem.counts(item, tid, mode)) {
          PlanKernels.addErrors(errors, group, 1);
        }
        if (PairItem.hasWork(item, pair, mode)) {
          PairItem.findTiles(item, slices);
          int passes = PairItem.passes(item);
          for (int pass = 0; pass < passes; pass++) {
            float[] own = new float[4];
            PairA.bfloat16(ctx, poolA, x, xWords, own, item, pass, tid, mode);
            for (int i = 0; i < 4; i++) {
              float sum = PairSums.overLanes(ctx, own[i]);
              if ((tid & 31) < 2) {
                sums[PairSums.to(i, tid)] = sum;
              }
            }
            ctx.localBarrier();
            int rank = PairSums.rank(item, pass, tid);
            if (rank >= 0) {
              float sum = 0.0f;
              int from = PairSums.from(item, tid);
              for (int i = 0; i < PairA.rowStep(item); i++) {
                sum += sums[from + 8 * i];
              }
              z[rank] = sum * scales.get(PairItem.scale(item, rank));
            }
            ctx.localBarrier();
          }
          int columns = 1 << item[PairItem.COLUMN_SHIFT];
          int ways = PairMode.ways(mode);
          for (int first = item[PairItem.FIRST]; first < item[PairItem.END]; first += columns) {
            int column = PairB.column(item, first, tid);
            int writers = PairY.writers(item, first, mode);
            float[] old = new float[4];
            if (PairMode.has(mode, PairMode.NARROW_Y)) {
              PairY.readWords(sizes, yWords, old, pair, first, tid, writers, mode);
            } else {
              PairY.read(sizes, y, old, pair, first, tid, writers, mode);
              PairY.addShared(item, sizes, routingWeights, side, old, pair, first + tid, mode);
            }
            for (int way = 0; way < ways; way++) {
              int source = PairItem.source(sizes, column, way, mode);
              int slice = column < item[PairItem.END] ? PairB.slice(item, slices, source) : -1;
              int b = PairB.packed(slices, slice, source);
              int end = PairB.endRank(item, slices, slice, tid, THREADS);
              int zFrom = PairB.z(item, slice);
              float sum = 0.0f;
              for (int r = PairB.firstRank(item, slices, slice, tid, THREADS);
                  r < end;
                  r += PairB.BATCH) {
                float[] numbers = new float[PairB.BATCH];
                PairB.readBfloats(poolB, numbers, b, r, end);
                for (int i = 0; i < PairB.BATCH; i++) {
                  sum += numbers[i] * z[zFrom + Math.min(r + i, end - 1)];
                }
              }
              sums[way * THREADS + tid] = sum;
            }
            ctx.localBarrier();
            if (tid < writers) {
              float[] values = new float[4];
              for (int i = 0; i < 4; i++) {
                int end = PairY.end(i, THREADS, mode);
                float total = old[i];
                for (int j = PairY.from(i, tid, THREADS, mode); j < end; j += columns) {
                  total += PairY.delta(routingWeights, sums[j], pair, mode);
                }
                values[i] = total;
              }
              if (PairMode.has(mode, PairMode.NARROW_Y)) {
                PairY.writeWords(
                    item, sizes, slices, yWords, outWords, values, pair, first + 2 * tid, mode);
              } else {
                PairY.write(item, sizes, slices, y, out, values, pair, first + tid, mode);
              }
            }
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
      IntArray sizes,
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
    float[] z = ctx.allocateFloatLocalArray(PairMode.ranks(mode));
    float[] sums = ctx.allocateFloatLocalArray(2 * THREADS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int groups = sizes.get(Sizes.GROUPS);
    int[] item = new int[PairItem.INTS];
    int items = PairItem.count(item, step, sizes);
    for (int index = group; index < items; index += groups) {
      PairItem.find(item, sizes, index, SHIFT);
      for (int pair = item[PairItem.FIRST_PAIR]; pair < item[PairItem.END_PAIR]; pair++) {
        int expert =
            PairRouter.expert(
                ctx, step, sizes, expertIds, routingWeights, side, item, pair, tid, THREADS, mode);
        int site = PairSites.ofExpert(step, adapterIds, expertMap, expert, pair);
        PairItem.meet(item, sizes, slices, pair, site, mode);
        if (PairItem.counts(item, tid, mode)) {
          PlanKernels.addErrors(errors, group, 1);
        }
        if (PairItem.hasWork(item, pair, mode)) {
          PairItem.findTiles(item, slices);
          int passes = PairItem.passes(item);
          for (int pass = 0; pass < passes; pass++) {
            float[] own = new float[4];
            PairA.float16(ctx, poolA, x, xWords, own, item, pass, tid, mode);
            for (int i = 0; i < 4; i++) {
              float sum = PairSums.overLanes(ctx, own[i]);
              if ((tid & 31) < 2) {
                sums[PairSums.to(i, tid)] = sum;
              }
            }
            ctx.localBarrier();
            int rank = PairSums.rank(item, pass, tid);
            if (rank >= 0) {
              float sum = 0.0f;
              int from = PairSums.from(item, tid);
              for (int i = 0; i < PairA.rowStep(item); i++) {
                sum += sums[from + 8 * i];
              }
              z[rank] = sum * scales.get(PairItem.scale(item, rank));
            }
            ctx.localBarrier();
          }
          int columns = 1 << item[PairItem.COLUMN_SHIFT];
          int ways = PairMode.ways(mode);
          for (int first = item[PairItem.FIRST]; first < item[PairItem.END]; first += columns) {
            int column = PairB.column(item, first, tid);
            int writers = PairY.writers(item, first, mode);
            float[] old = new float[4];
            if (PairMode.has(mode, PairMode.NARROW_Y)) {
              PairY.readWords(sizes, yWords, old, pair, first, tid, writers, mode);
            } else {
              PairY.read(sizes, y, old, pair, first, tid, writers, mode);
              PairY.addShared(item, sizes, routingWeights, side, old, pair, first + tid, mode);
            }
            for (int way = 0; way < ways; way++) {
              int source = PairItem.source(sizes, column, way, mode);
              int slice = column < item[PairItem.END] ? PairB.slice(item, slices, source) : -1;
              int b = PairB.packed(slices, slice, source);
              int end = PairB.endRank(item, slices, slice, tid, THREADS);
              int zFrom = PairB.z(item, slice);
              float sum = 0.0f;
              for (int r = PairB.firstRank(item, slices, slice, tid, THREADS);
                  r < end;
                  r += PairB.BATCH) {
                float[] numbers = new float[PairB.BATCH];
                PairB.readHalves(poolB, numbers, b, r, end);
                for (int i = 0; i < PairB.BATCH; i++) {
                  sum += numbers[i] * z[zFrom + Math.min(r + i, end - 1)];
                }
              }
              sums[way * THREADS + tid] = sum;
            }
            ctx.localBarrier();
            if (tid < writers) {
              float[] values = new float[4];
              for (int i = 0; i < 4; i++) {
                int end = PairY.end(i, THREADS, mode);
                float total = old[i];
                for (int j = PairY.from(i, tid, THREADS, mode); j < end; j += columns) {
                  total += PairY.delta(routingWeights, sums[j], pair, mode);
                }
                values[i] = total;
              }
              if (PairMode.has(mode, PairMode.NARROW_Y)) {
                PairY.writeWords(
                    item, sizes, slices, yWords, outWords, values, pair, first + 2 * tid, mode);
              } else {
                PairY.write(item, sizes, slices, y, out, values, pair, first + tid, mode);
              }
            }
            ctx.localBarrier();
          }
        }
      }
    }
  }
}
