package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Stages of {@link PairKernels}: products of A and x. */
final class PairA {
  /** Longs of packed A that a thread has under way, and elements of x. */
  private static final int BATCH = 8;

  private PairA() {}

  /** Rows of tiles of packed A. */
  private static int rows(int[] item) {
    return 4 * PackedLayout.stages(item[PairItem.WIDTH]);
  }

  private static final int WARPS = PairKernels.THREADS / 32;

  /** Warps that share a tile of ranks: rows from one of a warp to its next. */
  static int rowStep(int[] item) {
    return WARPS >> item[PairItem.TILE_SHIFT];
  }

  /** Rows of a warp, the same for all. */
  private static int warpRows(int[] item) {
    return (rows(item) + rowStep(item) - 1) / rowStep(item);
  }

  private static int firstRow(int[] item, int tid) {
    return (tid >> 5) & (rowStep(item) - 1);
  }

  /** Where a thread's longs of its warp's tile of ranks begin. */
  private static int tile(int[] item, int pass, int tid) {
    int warpTile = (tid >> 5) / rowStep(item);
    int tile = Math.min((pass << item[PairItem.TILE_SHIFT]) + warpTile, item[PairItem.TILES] - 1);
    return item[PairItem.A] + tile * OneShotA.TILE + (tid & 31);
  }

  /** Elements of x on chip: those for the rows that all warps read at once. */
  private static final int X_FLOATS = 16 * BATCH * WARPS;

  /** Elements of x from the first of a batch of rows on, those beyond H included. */
  private static int xFloats(int[] item) {
    return 16 * BATCH * rowStep(item);
  }

  /** Where the element of x on chip lies for a lane's long number {@code i} of a batch. */
  private static int xAt(int[] item, int i, int tid) {
    return 16 * (firstRow(item, tid) + i * rowStep(item)) + ((tid & 31) >> 1);
  }

  /** An element of x in float32, or in words of two bfloat16. */
  private static float ofWords(FloatArray x, IntArray words, int at, int mode) {
    float element;
    if (PairMode.has(mode, PairMode.NARROW_X)) {
      element = BFloat16.bf16ToFloat((short) (words.get(at >> 1) >>> ((at & 1) << 4)));
    } else {
      element = x.get(at);
    }
    return element;
  }

  /** An element of x in float32 or float16. */
  private static float ofHalves(FloatArray x, HalfFloatArray halves, int at, int mode) {
    float element;
    if (PairMode.has(mode, PairMode.NARROW_X)) {
      element = halves.get(at).getFloat32();
    } else {
      element = x.get(at);
    }
    return element;
  }

  /**
   * Products of packed bfloat16.
   *
   * <p>What a thread reads of A at once is all under way at a barrier, and needs x from behind it:
   * otherwise the compiler reads little at a time, to save registers that nobody needs.
   *
   * @param own out, a thread's sums of four ranks
   */
  static void bfloat16(
      KernelContext ctx,
      LongArray pool,
      FloatArray x,
      IntArray words,
      float[] own,
      int[] item,
      int pass,
      int tid,
      int mode) {
    float[] xs = ctx.allocateFloatLocalArray(X_FLOATS);
    OneShotSums.clear(own, 1);
    int step = rowStep(item);
    int tile = tile(item, pass, tid);
    int last = rows(item) - 1;
    int rowLongs = item[PairItem.ROW_LONGS];
    for (int first = 0; first < warpRows(item); first += BATCH) {
      int row = firstRow(item, tid) + first * step;
      long[] fours = new long[BATCH];
      for (int i = 0; i < BATCH; i++) {
        // where there is no row, the last once more; x is 0 there
        fours[i] = pool.get(tile + Math.min(row + i * step, last) * rowLongs);
      }
      for (int i = tid; i < xFloats(item); i += PairKernels.THREADS) {
        int h = 16 * first * step + i;
        xs[i] = 0.0f;
        if (h < item[PairItem.WIDTH]) {
          xs[i] = ofWords(x, words, item[PairItem.X] + h, mode);
        }
      }
      ctx.localBarrier();
      for (int i = 0; i < BATCH; i++) {
        OneShotSums.add(own, 0, fours[i], xs[xAt(item, i, tid)]);
      }
      ctx.localBarrier();
    }
  }

  /** The same of packed float16, of which TornadoVM has no arrays in registers. */
  static void float16(
      KernelContext ctx,
      HalfFloatArray pool,
      FloatArray x,
      HalfFloatArray halves,
      float[] own,
      int[] item,
      int pass,
      int tid,
      int mode) {
    float[] xs = ctx.allocateFloatLocalArray(X_FLOATS);
    OneShotSums.clear(own, 1);
    int step = rowStep(item);
    int tile = tile(item, pass, tid);
    int last = rows(item) - 1;
    int rowLongs = item[PairItem.ROW_LONGS];
    for (int first = 0; first < warpRows(item); first += BATCH) {
      int row = firstRow(item, tid) + first * step;
      int from0 = 4 * (tile + Math.min(row, last) * rowLongs);
      int from1 = 4 * (tile + Math.min(row + step, last) * rowLongs);
      int from2 = 4 * (tile + Math.min(row + 2 * step, last) * rowLongs);
      int from3 = 4 * (tile + Math.min(row + 3 * step, last) * rowLongs);
      int from4 = 4 * (tile + Math.min(row + 4 * step, last) * rowLongs);
      int from5 = 4 * (tile + Math.min(row + 5 * step, last) * rowLongs);
      int from6 = 4 * (tile + Math.min(row + 6 * step, last) * rowLongs);
      int from7 = 4 * (tile + Math.min(row + 7 * step, last) * rowLongs);
      Half2 low0 = Halves.get(pool, from0);
      Half2 high0 = Halves.get(pool, from0 + 2);
      Half2 low1 = Halves.get(pool, from1);
      Half2 high1 = Halves.get(pool, from1 + 2);
      Half2 low2 = Halves.get(pool, from2);
      Half2 high2 = Halves.get(pool, from2 + 2);
      Half2 low3 = Halves.get(pool, from3);
      Half2 high3 = Halves.get(pool, from3 + 2);
      Half2 low4 = Halves.get(pool, from4);
      Half2 high4 = Halves.get(pool, from4 + 2);
      Half2 low5 = Halves.get(pool, from5);
      Half2 high5 = Halves.get(pool, from5 + 2);
      Half2 low6 = Halves.get(pool, from6);
      Half2 high6 = Halves.get(pool, from6 + 2);
      Half2 low7 = Halves.get(pool, from7);
      Half2 high7 = Halves.get(pool, from7 + 2);
      for (int i = tid; i < xFloats(item); i += PairKernels.THREADS) {
        int h = 16 * first * step + i;
        xs[i] = 0.0f;
        if (h < item[PairItem.WIDTH]) {
          xs[i] = ofHalves(x, halves, item[PairItem.X] + h, mode);
        }
      }
      ctx.localBarrier();
      int xAt = xAt(item, 0, tid);
      add(own, low0, high0, xs[xAt]);
      add(own, low1, high1, xs[xAt + 16 * step]);
      add(own, low2, high2, xs[xAt + 32 * step]);
      add(own, low3, high3, xs[xAt + 48 * step]);
      add(own, low4, high4, xs[xAt + 64 * step]);
      add(own, low5, high5, xs[xAt + 80 * step]);
      add(own, low6, high6, xs[xAt + 96 * step]);
      add(own, low7, high7, xs[xAt + 112 * step]);
      ctx.localBarrier();
    }
  }

  private static void add(float[] own, Half2 low, Half2 high, float v) {
    own[0] += Half2.lowFloat(low) * v;
    own[1] += Half2.highFloat(low) * v;
    own[2] += Half2.lowFloat(high) * v;
    own[3] += Half2.highFloat(high) * v;
  }

  /** Ranks of a pass over float32 A: each warp has one. */
  static final int FLOAT_RANKS = PairKernels.FLOAT_THREADS / 32;

  /** A lane's sum of float32: of its warp's rank, every 32nd element of H. */
  static float floats(
      FloatArray pool, FloatArray x, int[] item, IntArray slices, int firstRank, int tid) {
    int rank = Math.min(firstRank + (tid >> 5), item[PairItem.END_RANK] - 1);
    int at = item[PairItem.SITE] * SliceTable.INTS;
    int row = rank;
    if (rank >= item[PairItem.RANK0]) {
      row = rank - item[PairItem.RANK0];
      at += SliceTable.FIELDS;
    }
    int width = item[PairItem.WIDTH];
    int from = slices.get(at + SliceTable.A) + row * width;
    int xFrom = item[PairItem.X];
    float sum0 = 0.0f;
    float sum1 = 0.0f;
    float sum2 = 0.0f;
    float sum3 = 0.0f;
    int h = tid & 31;
    for (; h + 96 < width; h += 128) {
      sum0 += pool.get(from + h) * x.get(xFrom + h);
      sum1 += pool.get(from + h + 32) * x.get(xFrom + h + 32);
      sum2 += pool.get(from + h + 64) * x.get(xFrom + h + 64);
      sum3 += pool.get(from + h + 96) * x.get(xFrom + h + 96);
    }
    for (; h < width; h += 32) {
      sum0 += pool.get(from + h) * x.get(xFrom + h);
    }
    return (sum0 + sum1) + (sum2 + sum3);
  }
}
