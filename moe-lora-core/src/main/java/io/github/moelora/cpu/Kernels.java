package io.github.moelora.cpu;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The inner loops. {@link PlainKernels} is the specification; {@link VectorKernels} must agree with
 * it within the rounding of its sums.
 *
 * <p>Both work on float32 tiles in arrays: a tile of weights is decoded once and serves every row
 * of a block.
 */
abstract class Kernels {
  /** Widths of packed rows and panels are multiples of this; 16 float32 are the widest vector. */
  static final int LANES = 16;

  /** Ranks of one shrink tile: with 4 rows, 16 sums in registers. */
  static final int RANK_TILE = 4;

  /** Columns of one expand tile. */
  static final int COLUMN_TILE = 2 * LANES;

  abstract String description();

  /**
   * Widens {@code count} packed weights to float32.
   *
   * @param weights in, packed weights
   * @param from index of the first element, not a byte offset
   * @param count a multiple of {@link #LANES}
   * @param out out, from index 0
   * @param bits scratch of at least {@code count} elements
   */
  final void decode(
      DType type, MemorySegment weights, long from, int count, float[] out, short[] bits) {
    switch (type) {
      case F32 ->
          MemorySegment.copy(
              weights, ValueLayout.JAVA_FLOAT_UNALIGNED, from * Float.BYTES, out, 0, count);
      case BF16 -> decodeBf16(weights, from, count, out);
      case F16 -> {
        MemorySegment.copy(
            weights, ValueLayout.JAVA_SHORT_UNALIGNED, from * Short.BYTES, bits, 0, count);
        // a loop over arrays, which the compiler turns into hardware conversions
        for (int i = 0; i < count; i++) {
          out[i] = Float.float16ToFloat(bits[i]);
        }
      }
    }
  }

  abstract void decodeBf16(MemorySegment weights, long from, int count, float[] out);

  /**
   * {@code z[zAt[m] + j] = scale * sum_h a[j, h] * x[xAt[m] + h]} for all rows {@code m} and the
   * {@code ranks} ranks of a tile.
   *
   * @param a in, {@code [ranks, width]}
   * @param ranks in {@code [1, RANK_TILE]}
   * @param width a multiple of {@link #LANES}
   * @param x in, rows of {@code width} elements that start at {@code xAt}
   * @param rows how many rows
   * @param z out, ranks that start at {@code zAt[m] + zFrom}
   */
  abstract void shrink(
      float[] a,
      int ranks,
      int width,
      float[] x,
      int[] xAt,
      int rows,
      float[] z,
      int[] zAt,
      int zFrom,
      float scale);

  /**
   * {@code out[m * COLUMN_TILE + c] = sum_r b[c / LANES, r, c % LANES] * z[zAt[m] + zFrom + r]} for
   * all rows and the columns of a tile.
   *
   * @param b in, {@code [panels, rank, LANES]}
   * @param panels 1 or 2
   */
  abstract void expand(
      float[] b, int panels, int rank, float[] z, int[] zAt, int zFrom, int rows, float[] out);

  /** {@code y[at + i] += weight * delta[from + i]} on float32. */
  abstract void addF32(MemorySegment y, long at, float[] delta, int from, int count, float weight);

  /** The same on bfloat16, rounded once. */
  abstract void addBf16(MemorySegment y, long at, float[] delta, int from, int count, float weight);
}
