package io.github.moelora.cpu;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The inner loops. {@link PlainKernels} is the specification; {@link VectorKernels} must agree with
 * it within the rounding of its sums.
 *
 * <p>Shrink and expand are the same product: rows of scalars times a <em>panel</em> {@code [depth,
 * LANES]} of weights, one vector wide. Each output element is one sum in the order of {@code
 * depth}, so it depends neither on the rows beside it nor on the kernel that takes it. Weights are
 * widened to float32 in registers, again for every {@link #ROWS} rows: what that costs hides behind
 * the reads from memory, and widened panels would take twice the cache.
 *
 * <p>The rows of a panel are dealt in turn to {@link #STRIPES} places in memory. A product that
 * reads them in order so reads as many streams, each with a hardware prefetcher of its own.
 */
abstract class Kernels {
  /** Columns of a panel: 16 float32 are the widest vector. */
  static final int LANES = 16;

  /** Rows that a product takes at a time; block sizes of more than one pair are multiples. */
  static final int ROWS = 8;

  /** Scalars that a row has at most. */
  static final int IN_COLUMNS = 8192;

  /**
   * From one row of scalars to the next: a constant, so that one register addresses the scalars of
   * eight rows; not a power of two, because the rows would compete for the same cache sets.
   */
  static final int IN_STRIDE = IN_COLUMNS + LANES;

  /** Places in memory to which the rows of a panel are dealt. */
  static final int STRIPES = 4;

  abstract String description();

  /**
   * Rows that a product of {@code rows} rows should rather have, since it takes less time so.
   *
   * @return at least {@code rows}, and at most the next multiple of {@link #ROWS}
   */
  int paddedRows(int rows) {
    return rows;
  }

  /** Widens {@code count} elements of a row to float32. */
  final void widenRow(DType type, MemorySegment source, long from, int count, float[] out, int at) {
    switch (type) {
      case F32 ->
          MemorySegment.copy(
              source, ValueLayout.JAVA_FLOAT_UNALIGNED, from * Float.BYTES, out, at, count);
      case BF16 -> widenRowBf16(source, from, count, out, at);
      case F16 -> {
        for (int i = 0; i < count; i++) {
          out[at + i] = type.get(source, from + i);
        }
      }
    }
  }

  abstract void widenRowBf16(MemorySegment source, long from, int count, float[] out, int at);

  /** Element of a panel at which row {@code k} begins, counted from the one of row 0. */
  static long rowOffset(int k, int width, long stripe) {
    return (long) (k / STRIPES) * width + k % STRIPES * stripe;
  }

  /**
   * {@code out[outAt[m] + outFrom + c] (+)= sum_k in[(m - row) * IN_STRIDE + k] * panel[k, c]} for
   * rows {@code m} in {@code [row, endRow)} and the {@link #LANES} columns {@code c} of a panel.
   *
   * @param depth length of the sum, at most {@link #IN_COLUMNS}
   * @param type of the weights; fp16 ones are finite
   * @param panel in, {@code [depth, width]}, its row 0 at element {@code at} and row {@code k}
   *     where {@link #rowOffset} says; {@link #LANES} elements must be readable from each row
   * @param width columns of the panel, in {@code [1, LANES]}; sums beyond are of whatever follows
   * @param stripe elements from one stripe to the next
   * @param add whether the sum goes on from what {@code out} holds
   */
  abstract void multiply(
      int row,
      int endRow,
      int depth,
      float[] in,
      DType type,
      MemorySegment panel,
      long at,
      int width,
      long stripe,
      float[] out,
      int[] outAt,
      int outFrom,
      boolean add);

  /**
   * The same with two panels, at {@code at} and {@code at2}; the second one's columns follow the
   * first one's in {@code out}.
   */
  void multiplyTwo(
      int row,
      int endRow,
      int depth,
      float[] in,
      DType type,
      MemorySegment panel,
      long at,
      long at2,
      int width,
      long stripe,
      float[] out,
      int[] outAt,
      int outFrom,
      boolean add) {
    multiply(row, endRow, depth, in, type, panel, at, width, stripe, out, outAt, outFrom, add);
    int second = outFrom + LANES;
    multiply(row, endRow, depth, in, type, panel, at2, width, stripe, out, outAt, second, add);
  }

  /**
   * {@code y[yAt[m] + yFrom + i] += factors[m] * delta[deltaAt[m] + i]}, rounded once, for rows
   * {@code m} in {@code [row, endRow)} and {@code i} in {@code [0, count)}.
   */
  final void add(
      int row,
      int endRow,
      int count,
      float[] delta,
      int[] deltaAt,
      float[] factors,
      DType type,
      MemorySegment y,
      long[] yAt,
      int yFrom) {
    for (int m = row; m < endRow; m++) {
      switch (type) {
        case F32 -> addF32(y, yAt[m] + yFrom, delta, deltaAt[m], count, factors[m]);
        case BF16 -> addBf16(y, yAt[m] + yFrom, delta, deltaAt[m], count, factors[m]);
        case F16 ->
            PlainKernels.addPlain(type, y, yAt[m] + yFrom, delta, deltaAt[m], count, factors[m]);
      }
    }
  }

  /** The same for one row. */
  abstract void addF32(MemorySegment y, long at, float[] delta, int from, int count, float factor);

  abstract void addBf16(MemorySegment y, long at, float[] delta, int from, int count, float factor);
}
