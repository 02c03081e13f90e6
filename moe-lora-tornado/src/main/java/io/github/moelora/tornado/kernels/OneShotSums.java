package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PackedLayout;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Stages of {@link OneShot}: a thread's four sums for each row, and z, which they add up to. */
final class OneShotSums {
  private static final int WARPS = OneShot.THREADS / 32;

  private OneShotSums() {}

  /** Sets the sums to 0. */
  static void clear(float[] sums, int rows) {
    for (int i = 0; i < 4 * rows; i++) {
      sums[i] = 0.0f;
    }
  }

  /** Adds a long of four bfloat16 times a number to the sums of a row. */
  static void add(float[] sums, int row, long four, float v) {
    sums[4 * row] += BFloat16.bf16ToFloat((short) four) * v;
    sums[4 * row + 1] += BFloat16.bf16ToFloat((short) (four >>> 16)) * v;
    sums[4 * row + 2] += BFloat16.bf16ToFloat((short) (four >>> 32)) * v;
    sums[4 * row + 3] += BFloat16.bf16ToFloat((short) (four >>> 48)) * v;
  }

  /** Adds four numbers times a number to the sums of a row. */
  static void addHalves(float[] sums, int row, float[] numbers, int first, float v) {
    sums[4 * row] += numbers[first] * v;
    sums[4 * row + 1] += numbers[first + 1] * v;
    sums[4 * row + 2] += numbers[first + 2] * v;
    sums[4 * row + 3] += numbers[first + 3] * v;
  }

  /** Four float16 as floats. */
  static void unpack(Half2 low, Half2 high, float[] numbers, int first) {
    numbers[first] = Half2.lowFloat(low);
    numbers[first + 1] = Half2.highFloat(low);
    numbers[first + 2] = Half2.lowFloat(high);
    numbers[first + 3] = Half2.highFloat(high);
  }

  /** Whether a pass begins its sums anew: several passes do in every segment. */
  static boolean begins(int[] item, int segment) {
    // one comparison: see PairItem.hasWork
    return Math.max(OneShotItem.passes(item) - 1, 1 - segment) > 0;
  }

  /** Whether a pass ends in z. */
  static boolean ends(int[] item, int segment, int rows) {
    int toEnd = OneShotItem.segments(item, rows) - 1 - segment;
    return Math.max(OneShotItem.passes(item) - 1, 1 - toEnd) > 0;
  }

  /** Whether z has a part of the sums already. */
  static boolean goesOn(int[] item, int segment) {
    return OneShotItem.passes(item) > 1 && segment > 0;
  }

  /** Where the element of z lies that a thread adds up in a pass; -1 if there is none. */
  static int z(int[] item, int pass, int tid, int rows, int zWidth) {
    int shift = item[OneShotItem.TILE_SHIFT];
    int row = tid >> (3 + shift);
    int firstTile = (item[OneShotItem.FIRST_RANK] >> 3) + (pass << shift);
    int r = 8 * firstTile + inPass(item, tid) - item[OneShotItem.FIRST_RANK];
    return row < rows && r >= 0 && r < item[OneShotItem.RANK] ? row * zWidth + r : -1;
  }

  private static int inPass(int[] item, int tid) {
    return tid & ((8 << item[OneShotItem.TILE_SHIFT]) - 1);
  }

  /** Whether a thread pads z: B is padded with ranks of zeros, for which it must be finite. */
  static boolean pads(int[] item, int segment, int tid, int rows, int zWidth) {
    return segment == 0 && tid < 16 * rows && item[OneShotItem.RANK] + (tid & 15) < zWidth;
  }

  /** Where a thread pads z. */
  static int padding(int[] item, int tid, int zWidth) {
    return (tid >> 4) * zWidth + item[OneShotItem.RANK] + (tid & 15);
  }

  /**
   * Adds up the sums of the lanes by shuffles, and those of the warps of a tile in local memory.
   *
   * @param before what to begin with
   * @param z whose sum, see {@link #z}
   * @return the sum; any number for -1
   */
  static float meet(
      KernelContext ctx, float[] sums, float before, int z, int[] item, int tid, int rows) {
    float[] ofWarps = ctx.allocateFloatLocalArray(WARPS * rows * PackedLayout.TILE_RANKS);
    int lane = tid & 31;
    for (int i = 0; i < 4 * rows; i++) {
      float sum = sums[i];
      sum += ctx.simdShuffleDown(sum, 16);
      sum += ctx.simdShuffleDown(sum, 8);
      sum += ctx.simdShuffleDown(sum, 4);
      sum += ctx.simdShuffleDown(sum, 2);
      if (lane < 2) {
        ofWarps[((tid >> 5) * rows + (i >> 2)) * 8 + 4 * lane + (i & 3)] = sum;
      }
    }
    ctx.localBarrier();
    float sum = before;
    if (z >= 0) {
      int shift = item[OneShotItem.TILE_SHIFT];
      int inPass = inPass(item, tid);
      int row = tid >> (3 + shift);
      int from = (((inPass >> 3) << (3 - shift)) * rows + row) * 8 + (inPass & 7);
      for (int w = 0; w < OneShotA.rowStep(item); w++) {
        sum += ofWarps[from + w * rows * 8];
      }
    }
    return sum;
  }
}
