package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Stages of {@link PairKernels}: products of A and x. */
final class PairA {
  /** Longs of packed A that a thread has under way, and elements of x. */
  private static final int BATCH = 16;

  private PairA() {}

  /** Rows of tiles of packed A. */
  private static int rows(int[] item) {
    return 4 * PackedLayout.stages(item[PairItem.WIDTH]);
  }

  /** Warps that share a tile of ranks: rows from one of a warp to its next. */
  private static int rowStep(int[] item) {
    return 8 >> item[PairItem.TILE_SHIFT];
  }

  private static int firstRow(int[] item, int tid) {
    return (tid >> 5) & (rowStep(item) - 1);
  }

  /** Where a thread's long of a row lies; that of the last row where there is none. */
  private static int at(int[] item, int pass, int row, int tid) {
    int warpTile = (tid >> 5) >> (3 - item[PairItem.TILE_SHIFT]);
    int tile = Math.min((pass << item[PairItem.TILE_SHIFT]) + warpTile, item[PairItem.TILES] - 1);
    return item[PairItem.A]
        + tile * OneShotA.TILE
        + (tid & 31)
        + Math.min(row, rows(item) - 1) * item[PairItem.ROW_LONGS];
  }

  /** Where the element of x for a thread's long of a row lies; the last one beyond H. */
  private static int xAt(int[] item, int row, int tid) {
    int h = 16 * row + ((tid & 31) >> 1);
    return item[PairItem.X] + Math.min(h, item[PairItem.WIDTH] - 1);
  }

  /** An element of x; 0 beyond H. */
  private static float within(int[] item, float element, int row, int tid) {
    return 16 * row + ((tid & 31) >> 1) < item[PairItem.WIDTH] ? element : 0.0f;
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
      element = half(halves, at);
    } else {
      element = x.get(at);
    }
    return element;
  }

  /** An element of a float16 array. */
  static float half(HalfFloatArray array, int at) {
    Half2 two = Halves.get(array, at & -2);
    return (at & 1) == 0 ? Half2.lowFloat(two) : Half2.highFloat(two);
  }

  /**
   * Products of packed bfloat16.
   *
   * @param own out, a thread's sums of four ranks
   */
  static void bfloat16(
      LongArray pool,
      FloatArray x,
      IntArray words,
      float[] own,
      int[] item,
      int pass,
      int tid,
      int mode) {
    OneShotSums.clear(own, 1);
    int step = rowStep(item);
    for (int row = firstRow(item, tid); row < rows(item); row += BATCH * step) {
      long[] fours = new long[BATCH];
      float[] values = new float[BATCH];
      for (int i = 0; i < BATCH; i++) {
        int at = row + i * step;
        fours[i] = pool.get(at(item, pass, at, tid));
        values[i] = within(item, ofWords(x, words, xAt(item, at, tid), mode), at, tid);
      }
      for (int i = 0; i < BATCH; i++) {
        OneShotSums.add(own, 0, fours[i], values[i]);
      }
    }
  }

  /** The same of packed float16, which waits as floats. */
  static void float16(
      HalfFloatArray pool,
      FloatArray x,
      HalfFloatArray halves,
      float[] own,
      int[] item,
      int pass,
      int tid,
      int mode) {
    OneShotSums.clear(own, 1);
    int step = rowStep(item);
    for (int row = firstRow(item, tid); row < rows(item); row += BATCH * step) {
      float[] numbers = new float[4 * BATCH];
      float[] values = new float[BATCH];
      for (int i = 0; i < BATCH; i++) {
        int at = row + i * step;
        int from = 4 * at(item, pass, at, tid);
        OneShotSums.unpack(Halves.get(pool, from), Halves.get(pool, from + 2), numbers, 4 * i);
        values[i] = within(item, ofHalves(x, halves, xAt(item, at, tid), mode), at, tid);
      }
      for (int i = 0; i < BATCH; i++) {
        OneShotSums.addHalves(own, 0, numbers, 4 * i, values[i]);
      }
    }
  }

  /** Ranks of a pass over float32 A: each warp has one. */
  static final int FLOAT_RANKS = PairKernels.THREADS / 32;

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
