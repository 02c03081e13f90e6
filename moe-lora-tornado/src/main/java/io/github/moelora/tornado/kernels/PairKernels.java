package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.math.TornadoMath;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Shrink and expand on float32 activations, pair by pair, with the router's arrays for a plan: an
 * id is looked up where it is used, so nothing is launched before. They are bound by the latency of
 * launches and loads, which is why a work-group of many threads computes a few ranks.
 *
 * <p>Parameters that kernels share: {@code step}, {@code adapterIds}, {@code expertMap}, {@code
 * expertIds} as {@link PairSites#of} says; {@code sizes}, see {@link Sizes}; {@code slices} and
 * {@code scales}, see {@link SliceTable}; {@code z} float32 {@code [P, zStride]}; {@code maxPairs}
 * of a step.
 */
public final class PairKernels {
  /** Threads of a work-group of shrink. */
  public static final int THREADS = 128;

  /** Ranks of an item of shrink: those of a tile of packed A. */
  public static final int ITEM_RANKS = PackedLayout.TILE_RANKS;

  /** Number of an activation: see the enum of that name. */
  public static final int SWIGLU = 0;

  public static final int GEGLU = 1;
  public static final int RELU2 = 2;
  public static final int CLAMPED_SWIGLU = 3;

  /** Where gpt-oss clamps gate and up. */
  private static final float LIMIT = 7.0f;

  private PairKernels() {}

  /**
   * {@code z[p, r] = scale * sum_h a[r, h] * x[row of p, h]} for the stacked ranks of a pair's
   * slices; nothing is written for pairs without work.
   *
   * <p>Grid: {@code groups} work-groups of {@link #THREADS} take the items (pair, 8 ranks) in turn.
   *
   * @param errors in and out, int32 {@code [groups]}: pairs with an id out of range are added
   * @param pool in, float32, of each slice A {@code [R, H]}
   * @param x in, float32 {@code [T, H]} or {@code [P, H]}
   * @param countErrors 1 to count
   */
  public static void shrinkFloats(
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
      FloatArray x,
      FloatArray z,
      int maxPairs,
      int zStride,
      int countErrors,
      int groups) {
    float[] sums = ctx.allocateFloatLocalArray(ITEM_RANKS * THREADS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int ranges = (zStride + ITEM_RANKS - 1) / ITEM_RANKS;
    int items = PairSites.pairs(step, maxPairs) * ranges;
    int inputWidth = sizes.get(Sizes.INPUT_WIDTH);
    for (int item = group; item < items; item += groups) {
      int pair = item / ranges;
      int firstRank = (item - pair * ranges) * ITEM_RANKS;
      int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
      if (countErrors != 0 && site == PairSites.OUT_OF_RANGE && firstRank == 0 && tid == 0) {
        PlanKernels.addErrors(errors, group, 1);
      }
      if (firstRank < stack(slices, site)) {
        int from = pair / sizes.get(Sizes.PAIRS_PER_ROW) * inputWidth;
        int last = stack(slices, site) - 1;
        int[] rows = new int[ITEM_RANKS];
        float[] own = new float[ITEM_RANKS];
        for (int i = 0; i < ITEM_RANKS; i++) {
          rows[i] = rowOf(slices, site, Math.min(firstRank + i, last), inputWidth);
          own[i] = 0.0f;
        }
        for (int h = tid; h < inputWidth; h += THREADS) {
          float value = x.get(from + h);
          for (int i = 0; i < ITEM_RANKS; i++) {
            own[i] += pool.get(rows[i] + h) * value;
          }
        }
        for (int i = 0; i < ITEM_RANKS; i++) {
          sums[i * THREADS + tid] = own[i];
        }
        ctx.localBarrier();
        for (int half = THREADS / 2; half > 0; half >>= 1) {
          if (tid < half) {
            for (int i = 0; i < ITEM_RANKS; i++) {
              sums[i * THREADS + tid] += sums[i * THREADS + tid + half];
            }
          }
          ctx.localBarrier();
        }
        if (tid < ITEM_RANKS && firstRank + tid <= last) {
          float scale = scales.get(2 * site + second(slices, site, firstRank + tid));
          z.set(pair * zStride + firstRank + tid, scale * sums[tid * THREADS]);
        }
        ctx.localBarrier();
      }
    }
  }

  /**
   * {@link #shrinkFloats} with packed 16-bit weights: a thread reads 4 ranks of one element of H at
   * once.
   *
   * @param pool in, 16-bit, A as {@link PackedLayout} says
   * @param bf16 1 for bfloat16, 0 for float16
   */
  public static void shrinkPacked(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray sizes,
      IntArray slices,
      FloatArray scales,
      LongArray pool,
      FloatArray x,
      FloatArray z,
      int maxPairs,
      int zStride,
      int countErrors,
      int groups,
      int bf16) {
    float[] sums = ctx.allocateFloatLocalArray(PackedLayout.LONG * THREADS);
    int tid = ctx.localIdx;
    int group = ctx.groupIdx;
    int ranges = (zStride + ITEM_RANKS - 1) / ITEM_RANKS;
    int items = PairSites.pairs(step, maxPairs) * ranges;
    int inputWidth = sizes.get(Sizes.INPUT_WIDTH);
    for (int item = group; item < items; item += groups) {
      int pair = item / ranges;
      int range = item - pair * ranges;
      int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
      if (countErrors != 0 && site == PairSites.OUT_OF_RANGE && range == 0 && tid == 0) {
        PlanKernels.addErrors(errors, group, 1);
      }
      int ranks = stack(slices, site);
      if (range * ITEM_RANKS < ranks) {
        int from = pair / sizes.get(Sizes.PAIRS_PER_ROW) * inputWidth;
        int a = slices.get(site * SliceTable.INTS + SliceTable.A);
        int tiles = PackedLayout.rankTiles(ranks);
        float[] own = new float[PackedLayout.LONG];
        for (int i = 0; i < PackedLayout.LONG; i++) {
          own[i] = 0.0f;
        }
        for (int h = tid >> 1; h < inputWidth; h += THREADS / 2) {
          long four = pool.get(a + (((h >> 4) * tiles + range) << 5) + ((h & 15) << 1) + (tid & 1));
          float value = x.get(from + h);
          for (int i = 0; i < PackedLayout.LONG; i++) {
            own[i] += PackedLoops.number(four, i, bf16) * value;
          }
        }
        for (int i = 0; i < PackedLayout.LONG; i++) {
          sums[i * THREADS + tid] = own[i];
        }
        ctx.localBarrier();
        for (int half = THREADS / 2; half > 1; half >>= 1) {
          if (tid < half) {
            for (int i = 0; i < PackedLayout.LONG; i++) {
              sums[i * THREADS + tid] += sums[i * THREADS + tid + half];
            }
          }
          ctx.localBarrier();
        }
        int r = range * ITEM_RANKS + tid;
        if (tid < ITEM_RANKS && r < ranks) {
          float sum = sums[(tid & 3) * THREADS + (tid >> 2)];
          z.set(pair * zStride + r, scales.get(2 * site + second(slices, site, r)) * sum);
        }
        ctx.localBarrier();
      }
    }
  }

  /**
   * {@code y[p, offset + c] (+)= w[p]? * sum_r b[c, r] * z[p, r]}. In add mode elements without a
   * delta are not touched; otherwise every element of live pairs is written.
   *
   * <p>Grid: one thread per pair and column.
   *
   * @param pool in, float32, of each slice B {@code [O, R]}
   * @param routingWeights in, float32 {@code [P]}
   * @param y in and out, float32 {@code [P, yWidth]}
   */
  public static void expandFloats(
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      FloatArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int maxPairs,
      int zStride,
      int outputWidth) {
    for (@Parallel int pair = 0; pair < maxPairs; pair++) {
      for (@Parallel int c = 0; c < outputWidth; c++) {
        if (pair < PairSites.pairs(step, maxPairs)) {
          int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
          int slice = sliceOf(slices, site, c);
          float sum = floatDelta(slices, pool, z, slice, c, pair * zStride);
          FloatLoops.store(sizes, routingWeights, y, pair, c, slice, sum);
        }
      }
    }
  }

  /** {@link #expandFloats} with packed weights. */
  public static void expandPacked(
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      LongArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int maxPairs,
      int zStride,
      int outputWidth,
      int bf16) {
    for (@Parallel int pair = 0; pair < maxPairs; pair++) {
      for (@Parallel int c = 0; c < outputWidth; c++) {
        if (pair < PairSites.pairs(step, maxPairs)) {
          int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
          int slice = sliceOf(slices, site, c);
          float sum = packedDelta(slices, pool, z, slice, c, pair * zStride, bf16);
          FloatLoops.store(sizes, routingWeights, y, pair, c, slice, sum);
        }
      }
    }
  }

  /**
   * {@code y[t, offset + c] += sum_k w[p]? * sum_r b[c, r] * z[p, r]} over the pairs {@code p = t *
   * K + k} of a token, in their order.
   *
   * <p>Grid: one thread per token and column.
   *
   * @param routingWeights in, float32 {@code [P]}
   * @param y in and out, float32 {@code [T, yWidth]}
   */
  public static void combineFloats(
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      FloatArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int maxTokens,
      int perToken,
      int zStride,
      int outputWidth) {
    for (@Parallel int t = 0; t < maxTokens; t++) {
      for (@Parallel int c = 0; c < outputWidth; c++) {
        if (t * perToken < PairSites.pairs(step, maxTokens * perToken)) {
          float total = 0.0f;
          for (int pair = t * perToken; pair < (t + 1) * perToken; pair++) {
            int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
            int slice = sliceOf(slices, site, c);
            float sum = floatDelta(slices, pool, z, slice, c, pair * zStride);
            total += weighted(sizes, routingWeights, pair, sum);
          }
          addTo(sizes, y, t, c, total);
        }
      }
    }
  }

  /** {@link #combineFloats} with packed weights. */
  public static void combinePacked(
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      LongArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int maxTokens,
      int perToken,
      int zStride,
      int outputWidth,
      int bf16) {
    for (@Parallel int t = 0; t < maxTokens; t++) {
      for (@Parallel int c = 0; c < outputWidth; c++) {
        if (t * perToken < PairSites.pairs(step, maxTokens * perToken)) {
          float total = 0.0f;
          for (int pair = t * perToken; pair < (t + 1) * perToken; pair++) {
            int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
            int slice = sliceOf(slices, site, c);
            float sum = packedDelta(slices, pool, z, slice, c, pair * zStride, bf16);
            total += weighted(sizes, routingWeights, pair, sum);
          }
          addTo(sizes, y, t, c, total);
        }
      }
    }
  }

  /**
   * {@code out[p, i] = act(base + delta)} of the gate and the up column of {@code i}, in one pass.
   * Rows of live pairs are written, those without a delta too.
   *
   * <p>Grid: one thread per pair and column of {@code out}.
   *
   * @param base in, float32 {@code [P, yWidth]}
   * @param out out, float32 {@code [P, I]}
   * @param gateStep columns from one gate to the next: 1 for halves, 2 if they alternate with up
   * @param gateToUp columns from a gate to its up, 0 without gates
   * @param activation one of the numbers above
   */
  public static void activateFloats(
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      FloatArray pool,
      FloatArray z,
      FloatArray base,
      FloatArray out,
      int maxPairs,
      int zStride,
      int inner,
      int gateStep,
      int gateToUp,
      int activation) {
    for (@Parallel int pair = 0; pair < maxPairs; pair++) {
      for (@Parallel int i = 0; i < inner; i++) {
        if (pair < PairSites.pairs(step, maxPairs)) {
          int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
          int zRow = pair * zStride;
          int from = pair * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET);
          int gate = i * gateStep;
          int up = gate + gateToUp;
          float g =
              base.get(from + gate)
                  + floatDelta(slices, pool, z, sliceOf(slices, site, gate), gate, zRow);
          float u =
              base.get(from + up)
                  + floatDelta(slices, pool, z, sliceOf(slices, site, up), up, zRow);
          out.set(pair * inner + i, activate(activation, g, u));
        }
      }
    }
  }

  /** {@link #activateFloats} with packed weights. */
  public static void activatePacked(
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      LongArray pool,
      FloatArray z,
      FloatArray base,
      FloatArray out,
      int maxPairs,
      int zStride,
      int inner,
      int gateStep,
      int gateToUp,
      int activation,
      int bf16) {
    for (@Parallel int pair = 0; pair < maxPairs; pair++) {
      for (@Parallel int i = 0; i < inner; i++) {
        if (pair < PairSites.pairs(step, maxPairs)) {
          int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
          int zRow = pair * zStride;
          int from = pair * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET);
          int gate = i * gateStep;
          int up = gate + gateToUp;
          float g =
              base.get(from + gate)
                  + packedDelta(slices, pool, z, sliceOf(slices, site, gate), gate, zRow, bf16);
          float u =
              base.get(from + up)
                  + packedDelta(slices, pool, z, sliceOf(slices, site, up), up, zRow, bf16);
          out.set(pair * inner + i, activate(activation, g, u));
        }
      }
    }
  }

  /** An activation of a gate and an up value; of no gate, g is u. */
  static float activate(int activation, float g, float u) {
    float value;
    if (activation == RELU2) {
      float positive = Math.max(u, 0.0f);
      value = positive * positive;
    } else if (activation == GEGLU) {
      float inside = 0.7978846f * (g + 0.044715f * g * g * g);
      value = 0.5f * g * (1.0f + TornadoMath.tanh(inside)) * u;
    } else if (activation == CLAMPED_SWIGLU) {
      float gate = Math.min(g, LIMIT);
      float up = Math.max(-LIMIT, Math.min(u, LIMIT));
      value = gate / (1.0f + TornadoMath.exp(-1.702f * gate)) * (up + 1.0f);
    } else {
      value = g / (1.0f + TornadoMath.exp(-g)) * u;
    }
    return value;
  }

  /** Ranks of all slices of a site; 0 without one. */
  private static int stack(IntArray slices, int site) {
    int ranks = 0;
    if (site >= 0) {
      int at = site * SliceTable.INTS + SliceTable.RANK;
      ranks = slices.get(at) + slices.get(at + SliceTable.FIELDS);
    }
    return ranks;
  }

  /** Which slice a stacked rank is of. */
  private static int second(IntArray slices, int site, int rank) {
    return rank < slices.get(site * SliceTable.INTS + SliceTable.RANK) ? 0 : 1;
  }

  /** Where the row of A of a stacked rank begins. */
  private static int rowOf(IntArray slices, int site, int rank, int inputWidth) {
    int at = site * SliceTable.INTS;
    int row = rank;
    if (rank >= slices.get(at + SliceTable.RANK)) {
      row = rank - slices.get(at + SliceTable.RANK);
      at += SliceTable.FIELDS;
    }
    return slices.get(at + SliceTable.A) + row * inputWidth;
  }

  /** Table index of the slice of a site that covers a column, -1 without one. */
  static int sliceOf(IntArray slices, int site, int column) {
    int slice = -1;
    if (site >= 0) {
      int at = site * SliceTable.INTS;
      int next = at + SliceTable.FIELDS;
      int column0 = column - slices.get(at + SliceTable.FIRST_COLUMN);
      int column1 = column - slices.get(next + SliceTable.FIRST_COLUMN);
      if (column0 >= 0 && column0 < slices.get(at + SliceTable.COLUMNS)) {
        slice = at;
      }
      if (column1 >= 0 && column1 < slices.get(next + SliceTable.COLUMNS)) {
        slice = next;
      }
    }
    return slice;
  }

  /** Where a slice's ranks begin in z. */
  private static int zOf(IntArray slices, int slice, int zRow) {
    int from = zRow;
    if ((slice & SliceTable.FIELDS) != 0) {
      from += slices.get(slice - SliceTable.FIELDS + SliceTable.RANK);
    }
    return from;
  }

  /** An element of the delta, 0 without a slice. */
  static float floatDelta(
      IntArray slices, FloatArray pool, FloatArray z, int slice, int column, int zRow) {
    float sum = 0.0f;
    if (slice >= 0) {
      int rank = slices.get(slice + SliceTable.RANK);
      int row = column - slices.get(slice + SliceTable.FIRST_COLUMN);
      int b = slices.get(slice + SliceTable.B) + row * rank;
      int zFrom = zOf(slices, slice, zRow);
      for (int r = 0; r < rank; r++) {
        sum += pool.get(b + r) * z.get(zFrom + r);
      }
    }
    return sum;
  }

  /** The same with packed weights. */
  static float packedDelta(
      IntArray slices, LongArray pool, FloatArray z, int slice, int column, int zRow, int bf16) {
    float sum = 0.0f;
    if (slice >= 0) {
      int rank = slices.get(slice + SliceTable.RANK);
      int first =
          PackedLayout.indexB(
              column - slices.get(slice + SliceTable.FIRST_COLUMN),
              0,
              PackedLayout.rankUnits(rank));
      int b = slices.get(slice + SliceTable.B) + (first >> 2);
      int zFrom = zOf(slices, slice, zRow);
      // of a column, ranks lie 8 elements apart, those of a unit after those of the one before
      for (int r = 0; r < rank; r++) {
        sum += PackedLoops.number(pool.get(b + 2 * r), first & 3, bf16) * z.get(zFrom + r);
      }
    }
    return sum;
  }

  private static float weighted(IntArray sizes, FloatArray routingWeights, int pair, float sum) {
    float value = sum;
    if (sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
      value = sum * routingWeights.get(pair);
    }
    return value;
  }

  private static void addTo(IntArray sizes, FloatArray y, int token, int column, float delta) {
    int to = token * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET) + column;
    y.set(to, y.get(to) + delta);
  }
}
