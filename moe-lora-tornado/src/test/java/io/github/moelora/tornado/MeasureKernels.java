package io.github.moelora.tornado;

import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * A plain shrink and expand of bfloat16 weights on which {@link BenchMeasures} tries one measure
 * after the other. A program is a work-group: of shrink for each (block, slice), of expand for each
 * (block, slice, chunk of columns). Widths are multiples of 4, an adapter has two slices, a rank is
 * at most {@link #RANKS}.
 *
 * <p>The last three parameters of {@code shrink} and {@code expand} are constants of the compiled
 * kernel. All 0 is the baseline: what the tuned kernels do. With {@code branch} a load beyond the
 * end is left out instead of made elsewhere, with {@code wrap} ranks and columns beyond the end
 * start again at 0.
 */
final class MeasureKernels {
  /** Rows of a block. */
  static final int ROWS = 8;

  /** Most ranks. */
  static final int RANKS = 16;

  static final int SLICES = 2;
  static final int SHRINK_THREADS = 256;
  static final int EXPAND_THREADS = 64;

  /** Indices into {@code sizes}: longs of a row of x. */
  static final int INPUT_LONGS = 0;

  /** Longs of a slice of a row of y. */
  static final int OUTPUT_LONGS = 1;

  static final int RANK = 2;
  static final int ADAPTERS = 3;
  static final int EXPERTS = 4;
  static final int PAIRS = 5;
  static final int EXPERTS_PER_TOKEN = 6;

  /** Programs of expand for a slice of a block. */
  static final int CHUNKS = 7;

  static final int SIZES = 8;

  /** Values of {@code check}: ids are valid, or a program with an invalid one ends at once. */
  static final int VALID = 0;

  static final int ONCE = 1;
  static final int SIGNED = 2;

  /** Ranks of a warp of shrink. */
  private static final int WARP_RANKS = 2;

  /** Longs of a rank of A that a thread has under way. */
  private static final int BATCH = 4;

  private MeasureKernels() {}

  /**
   * {@code z[p, s, r] = sum_h a[l, e, s, r, h] * x[p / K, h]}.
   *
   * @param sizes in, int32 {@code [SIZES]}
   * @param sortedTokenIds in, int32 {@code [blocks, ROWS]}, {@code P} for padding
   * @param expertIds in, int32 {@code [blocks]}
   * @param adapterIds in, int32 {@code [blocks]}
   * @param a in, bfloat16 {@code [L, E, S, R, H]}
   * @param x in, bfloat16 {@code [T, H]}
   * @param z out, float32 {@code [P, S, RANKS]}; ranks from {@code R} on are not written
   */
  static void shrink(
      KernelContext ctx,
      IntArray sizes,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      LongArray a,
      LongArray x,
      FloatArray z,
      int check,
      int branch,
      int wrap) {
    int warp = ctx.localIdx >> 5;
    int lane = ctx.localIdx & 31;
    int block = ctx.groupIdx / SLICES;
    int slice = ctx.groupIdx - block * SLICES;
    int adapter = adapterIds.get(block);
    int expert = expertIds.get(block);
    int experts = sizes.get(EXPERTS);
    if (exists(adapter, sizes.get(ADAPTERS), check) && exists(expert, experts, check)) {
      int longs = sizes.get(INPUT_LONGS);
      int rank = sizes.get(RANK);
      int pairs = sizes.get(PAIRS);
      int[] pair = new int[ROWS];
      int[] xAt = new int[ROWS];
      for (int i = 0; i < ROWS; i++) {
        pair[i] = sortedTokenIds.get(block * ROWS + i);
        xAt[i] = within(pair[i], pairs, branch, 0) / sizes.get(EXPERTS_PER_TOKEN) * longs;
      }
      int firstRank = warp * WARP_RANKS;
      int[] aAt = new int[WARP_RANKS];
      for (int j = 0; j < WARP_RANKS; j++) {
        int row = ((adapter * experts + expert) * SLICES + slice) * rank;
        aAt[j] = (row + within(firstRank + j, rank, branch, wrap)) * longs;
      }
      float[] sums = new float[ROWS * WARP_RANKS];
      for (int i = 0; i < ROWS * WARP_RANKS; i++) {
        sums[i] = 0.0f;
      }
      for (int first = lane; first < longs; first += 32 * BATCH) {
        long[] next = new long[BATCH * WARP_RANKS];
        for (int i = 0; i < BATCH; i++) {
          int h = first + 32 * i;
          for (int j = 0; j < WARP_RANKS; j++) {
            boolean inside = h < longs && firstRank + j < rank;
            next[i * WARP_RANKS + j] =
                load(a, aAt[j] + within(h, longs, branch, 0), inside, branch);
          }
        }
        for (int i = 0; i < BATCH; i++) {
          int h = first + 32 * i;
          for (int k = 0; k < ROWS; k++) {
            boolean inside = h < longs && pair[k] < pairs;
            long v = load(x, xAt[k] + within(h, longs, branch, 0), inside, branch);
            v = h < longs ? v : 0L;
            for (int j = 0; j < WARP_RANKS; j++) {
              long w = next[i * WARP_RANKS + j];
              float sum = sums[k * WARP_RANKS + j];
              sum += BFloat16.bf16ToFloat((short) w) * BFloat16.bf16ToFloat((short) v);
              sum +=
                  BFloat16.bf16ToFloat((short) (w >>> 16))
                      * BFloat16.bf16ToFloat((short) (v >>> 16));
              sum +=
                  BFloat16.bf16ToFloat((short) (w >>> 32))
                      * BFloat16.bf16ToFloat((short) (v >>> 32));
              sum +=
                  BFloat16.bf16ToFloat((short) (w >>> 48))
                      * BFloat16.bf16ToFloat((short) (v >>> 48));
              sums[k * WARP_RANKS + j] = sum;
            }
          }
        }
      }
      for (int k = 0; k < ROWS; k++) {
        for (int j = 0; j < WARP_RANKS; j++) {
          float sum = sums[k * WARP_RANKS + j];
          sum += ctx.simdShuffleDown(sum, 16);
          sum += ctx.simdShuffleDown(sum, 8);
          sum += ctx.simdShuffleDown(sum, 4);
          sum += ctx.simdShuffleDown(sum, 2);
          sum += ctx.simdShuffleDown(sum, 1);
          if (lane == 0 && pair[k] < pairs && firstRank + j < rank) {
            z.set((pair[k] * SLICES + slice) * RANKS + firstRank + j, sum);
          }
        }
      }
    }
  }

  /**
   * {@code y[p, s, c] += sum_r b[l, e, s, r, c] * z[p, s, r]}. A thread has 4 columns.
   *
   * @param sizes in, int32 {@code [SIZES]}
   * @param sortedTokenIds in, int32 {@code [blocks, ROWS]}, {@code P} for padding
   * @param expertIds in, int32 {@code [blocks]}
   * @param adapterIds in, int32 {@code [blocks]}
   * @param b in, bfloat16 {@code [L, E, S, R, O]}
   * @param z in, float32 {@code [P, S, RANKS]}
   * @param y in and out, bfloat16 {@code [P, S, O]}
   */
  static void expand(
      KernelContext ctx,
      IntArray sizes,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      LongArray b,
      FloatArray z,
      LongArray y,
      int check,
      int branch,
      int wrap) {
    float[] zs = ctx.allocateFloatLocalArray(ROWS * RANKS);
    int tid = ctx.localIdx;
    int chunks = sizes.get(CHUNKS);
    int blockSlice = ctx.groupIdx / chunks;
    int block = blockSlice / SLICES;
    int slice = blockSlice - block * SLICES;
    int adapter = adapterIds.get(block);
    int expert = expertIds.get(block);
    int experts = sizes.get(EXPERTS);
    if (exists(adapter, sizes.get(ADAPTERS), check) && exists(expert, experts, check)) {
      int longs = sizes.get(OUTPUT_LONGS);
      int rank = sizes.get(RANK);
      int pairs = sizes.get(PAIRS);
      int column = (ctx.groupIdx - blockSlice * chunks) * EXPAND_THREADS + tid;
      int bAt =
          ((adapter * experts + expert) * SLICES + slice) * rank * longs
              + within(column, longs, branch, wrap);
      long[] weights = new long[RANKS];
      for (int r = 0; r < RANKS; r++) {
        boolean inside = r < rank && column < longs;
        weights[r] = load(b, bAt + within(r, rank, branch, 0) * longs, inside, branch);
      }
      long[] old = new long[ROWS];
      int[] pair = new int[ROWS];
      int[] yAt = new int[ROWS];
      for (int k = 0; k < ROWS; k++) {
        pair[k] = sortedTokenIds.get(block * ROWS + k);
        yAt[k] =
            (within(pair[k], pairs, branch, 0) * SLICES + slice) * longs
                + within(column, longs, branch, 0);
        old[k] = load(y, yAt[k], pair[k] < pairs && column < longs, branch);
      }
      for (int at = tid; at < ROWS * RANKS; at += EXPAND_THREADS) {
        int row = sortedTokenIds.get(block * ROWS + at / RANKS);
        int r = at & (RANKS - 1);
        int zAt =
            (within(row, pairs, branch, 0) * SLICES + slice) * RANKS + within(r, rank, branch, 0);
        boolean inside = row < pairs && r < rank;
        float value = branch == 0 ? z.get(zAt) : inside ? z.get(zAt) : 0.0f;
        zs[at] = inside ? value : 0.0f;
      }
      ctx.localBarrier();
      float[] sums = new float[4 * ROWS];
      for (int k = 0; k < ROWS; k++) {
        sums[4 * k] = BFloat16.bf16ToFloat((short) old[k]);
        sums[4 * k + 1] = BFloat16.bf16ToFloat((short) (old[k] >>> 16));
        sums[4 * k + 2] = BFloat16.bf16ToFloat((short) (old[k] >>> 32));
        sums[4 * k + 3] = BFloat16.bf16ToFloat((short) (old[k] >>> 48));
      }
      for (int r = 0; r < RANKS; r++) {
        float b0 = BFloat16.bf16ToFloat((short) weights[r]);
        float b1 = BFloat16.bf16ToFloat((short) (weights[r] >>> 16));
        float b2 = BFloat16.bf16ToFloat((short) (weights[r] >>> 32));
        float b3 = BFloat16.bf16ToFloat((short) (weights[r] >>> 48));
        for (int k = 0; k < ROWS; k++) {
          float v = zs[k * RANKS + r];
          sums[4 * k] += b0 * v;
          sums[4 * k + 1] += b1 * v;
          sums[4 * k + 2] += b2 * v;
          sums[4 * k + 3] += b3 * v;
        }
      }
      for (int k = 0; k < ROWS; k++) {
        if (pair[k] < pairs && column < longs) {
          y.set(yAt[k], bf16Long(sums[4 * k], sums[4 * k + 1], sums[4 * k + 2], sums[4 * k + 3]));
        }
      }
    }
  }

  /** The baseline of {@link #shrink} with indices of 64 bits, up to the access of an array. */
  static void shrinkWide(
      KernelContext ctx,
      IntArray sizes,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      LongArray a,
      LongArray x,
      FloatArray z) {
    int warp = ctx.localIdx >> 5;
    int lane = ctx.localIdx & 31;
    long program = ctx.groupIdx;
    long block = program / SLICES;
    long slice = program - block * SLICES;
    long adapter = adapterIds.get((int) block);
    long expert = expertIds.get((int) block);
    long experts = sizes.get(EXPERTS);
    long longs = sizes.get(INPUT_LONGS);
    long rank = sizes.get(RANK);
    long pairs = sizes.get(PAIRS);
    long perToken = sizes.get(EXPERTS_PER_TOKEN);
    long[] pair = new long[ROWS];
    long[] xAt = new long[ROWS];
    for (int i = 0; i < ROWS; i++) {
      pair[i] = sortedTokenIds.get((int) (block * ROWS + i));
      xAt[i] = within(pair[i], pairs) / perToken * longs;
    }
    long firstRank = warp * (long) WARP_RANKS;
    long[] aAt = new long[WARP_RANKS];
    for (int j = 0; j < WARP_RANKS; j++) {
      long row = ((adapter * experts + expert) * SLICES + slice) * rank;
      aAt[j] = (row + within(firstRank + j, rank)) * longs;
    }
    float[] sums = new float[ROWS * WARP_RANKS];
    for (int i = 0; i < ROWS * WARP_RANKS; i++) {
      sums[i] = 0.0f;
    }
    for (long first = lane; first < longs; first += 32 * BATCH) {
      long[] next = new long[BATCH * WARP_RANKS];
      for (int i = 0; i < BATCH; i++) {
        long h = first + 32L * i;
        for (int j = 0; j < WARP_RANKS; j++) {
          next[i * WARP_RANKS + j] = a.get((int) (aAt[j] + within(h, longs)));
        }
      }
      for (int i = 0; i < BATCH; i++) {
        long h = first + 32L * i;
        for (int k = 0; k < ROWS; k++) {
          long v = x.get((int) (xAt[k] + within(h, longs)));
          v = h < longs ? v : 0L;
          for (int j = 0; j < WARP_RANKS; j++) {
            long w = next[i * WARP_RANKS + j];
            float sum = sums[k * WARP_RANKS + j];
            sum += BFloat16.bf16ToFloat((short) w) * BFloat16.bf16ToFloat((short) v);
            sum +=
                BFloat16.bf16ToFloat((short) (w >>> 16)) * BFloat16.bf16ToFloat((short) (v >>> 16));
            sum +=
                BFloat16.bf16ToFloat((short) (w >>> 32)) * BFloat16.bf16ToFloat((short) (v >>> 32));
            sum +=
                BFloat16.bf16ToFloat((short) (w >>> 48)) * BFloat16.bf16ToFloat((short) (v >>> 48));
            sums[k * WARP_RANKS + j] = sum;
          }
        }
      }
    }
    for (int k = 0; k < ROWS; k++) {
      for (int j = 0; j < WARP_RANKS; j++) {
        float sum = sums[k * WARP_RANKS + j];
        sum += ctx.simdShuffleDown(sum, 16);
        sum += ctx.simdShuffleDown(sum, 8);
        sum += ctx.simdShuffleDown(sum, 4);
        sum += ctx.simdShuffleDown(sum, 2);
        sum += ctx.simdShuffleDown(sum, 1);
        if (lane == 0 && pair[k] < pairs && firstRank + j < rank) {
          z.set((int) ((pair[k] * SLICES + slice) * RANKS + firstRank + j), sum);
        }
      }
    }
  }

  /** The baseline of {@link #expand} with indices of 64 bits, up to the access of an array. */
  static void expandWide(
      KernelContext ctx,
      IntArray sizes,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      LongArray b,
      FloatArray z,
      LongArray y) {
    float[] zs = ctx.allocateFloatLocalArray(ROWS * RANKS);
    int tid = ctx.localIdx;
    long program = ctx.groupIdx;
    long chunks = sizes.get(CHUNKS);
    long blockSlice = program / chunks;
    long block = blockSlice / SLICES;
    long slice = blockSlice - block * SLICES;
    long adapter = adapterIds.get((int) block);
    long expert = expertIds.get((int) block);
    long experts = sizes.get(EXPERTS);
    long longs = sizes.get(OUTPUT_LONGS);
    long rank = sizes.get(RANK);
    long pairs = sizes.get(PAIRS);
    long column = (program - blockSlice * chunks) * EXPAND_THREADS + tid;
    long inside = within(column, longs);
    long bAt = ((adapter * experts + expert) * SLICES + slice) * rank * longs + inside;
    long[] weights = new long[RANKS];
    for (int r = 0; r < RANKS; r++) {
      weights[r] = b.get((int) (bAt + within(r, rank) * longs));
    }
    long[] old = new long[ROWS];
    long[] pair = new long[ROWS];
    long[] yAt = new long[ROWS];
    for (int k = 0; k < ROWS; k++) {
      pair[k] = sortedTokenIds.get((int) (block * ROWS + k));
      yAt[k] = (within(pair[k], pairs) * SLICES + slice) * longs + inside;
      old[k] = y.get((int) yAt[k]);
    }
    for (int at = tid; at < ROWS * RANKS; at += EXPAND_THREADS) {
      long row = sortedTokenIds.get((int) (block * ROWS + at / RANKS));
      long r = at & (RANKS - 1);
      long zAt = (within(row, pairs) * SLICES + slice) * RANKS + within(r, rank);
      float value = z.get((int) zAt);
      zs[at] = row < pairs && r < rank ? value : 0.0f;
    }
    ctx.localBarrier();
    float[] sums = new float[4 * ROWS];
    for (int k = 0; k < ROWS; k++) {
      sums[4 * k] = BFloat16.bf16ToFloat((short) old[k]);
      sums[4 * k + 1] = BFloat16.bf16ToFloat((short) (old[k] >>> 16));
      sums[4 * k + 2] = BFloat16.bf16ToFloat((short) (old[k] >>> 32));
      sums[4 * k + 3] = BFloat16.bf16ToFloat((short) (old[k] >>> 48));
    }
    for (int r = 0; r < RANKS; r++) {
      float b0 = BFloat16.bf16ToFloat((short) weights[r]);
      float b1 = BFloat16.bf16ToFloat((short) (weights[r] >>> 16));
      float b2 = BFloat16.bf16ToFloat((short) (weights[r] >>> 32));
      float b3 = BFloat16.bf16ToFloat((short) (weights[r] >>> 48));
      for (int k = 0; k < ROWS; k++) {
        float v = zs[k * RANKS + r];
        sums[4 * k] += b0 * v;
        sums[4 * k + 1] += b1 * v;
        sums[4 * k + 2] += b2 * v;
        sums[4 * k + 3] += b3 * v;
      }
    }
    for (int k = 0; k < ROWS; k++) {
      if (pair[k] < pairs && column < longs) {
        y.set(
            (int) yAt[k], bf16Long(sums[4 * k], sums[4 * k + 1], sums[4 * k + 2], sums[4 * k + 3]));
      }
    }
  }

  private static boolean exists(int id, int count, int check) {
    if (check == VALID) {
      return true;
    }
    if (check == SIGNED) {
      return id >= 0 && id < count;
    }
    // not Integer.compareUnsigned, which TornadoVM writes as both comparisons
    return (id | (count - 1 - id)) >= 0;
  }

  /** An index for a load: the last one for all beyond, unless {@code wrap} or {@code branch}. */
  private static int within(int index, int count, int branch, int wrap) {
    if (wrap != 0) {
      return index % count;
    }
    return branch != 0 ? index : Math.min(index, count - 1);
  }

  /** Not by Math.min, for which TornadoVM writes a min that CUDA calls ambiguous. */
  private static long within(long index, long count) {
    return index < count ? index : count - 1;
  }

  /** With {@code branch} only what is inside is loaded. */
  private static long load(LongArray from, int at, boolean inside, int branch) {
    if (branch == 0) {
      return from.get(at);
    }
    return inside ? from.get(at) : 0L;
  }

  private static long bf16Long(float v0, float v1, float v2, float v3) {
    // through long, because the code generator shifts a short within 16 bits
    long b0 = BFloat16.bf16FromFloat(v0);
    long b1 = BFloat16.bf16FromFloat(v1);
    long b2 = BFloat16.bf16FromFloat(v2);
    long b3 = BFloat16.bf16FromFloat(v3);
    return (b3 << 48) | ((b2 & 0xffffL) << 32) | ((b1 & 0xffffL) << 16) | (b0 & 0xffffL);
  }
}
