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
   * Whether x and y on the heap should be taken as arrays where they can. To ask a segment for its
   * array leaves garbage until that is compiled, so plain kernels, which gain nothing, do not.
   */
  boolean wantArrays() {
    return false;
  }

  /**
   * Rows that a product of {@code rows} rows should rather have, since it takes less time so.
   *
   * @return at least {@code rows}, and at most the next multiple of {@link #ROWS}
   */
  int paddedRows(int rows) {
    return rows;
  }

  /**
   * Widens {@code count} elements of a row to float32.
   *
   * @param from element of x
   */
  final void widenRow(RowMemory x, long from, int count, float[] out, int at) {
    switch (x.type()) {
      case F32 ->
          MemorySegment.copy(
              x.data(), ValueLayout.JAVA_FLOAT_UNALIGNED, from * Float.BYTES, out, at, count);
      case BF16 -> widenRowBf16(x, from, count, out, at);
      case F16 -> {
        for (int i = 0; i < count; i++) {
          out[at + i] = DType.F16.get(x.data(), from + i);
        }
      }
    }
  }

  /** The same for bfloat16. */
  abstract void widenRowBf16(RowMemory x, long from, int count, float[] out, int at);

  /** Element of a panel at which row {@code k} begins, counted from the one of row 0. */
  static long rowOffset(int k, int width, long stripe) {
    return (long) (k / STRIPES) * width + k % STRIPES * stripe;
  }

  /** Computes a product with the one panel at {@code p.at}. */
  abstract void multiply(Product p);

  /**
   * The same with two panels, at {@code p.at} and {@code p.at2}; the second one's columns follow
   * the first one's in {@code p.out}.
   */
  void multiplyTwo(Product p) {
    multiply(p);
    long first = p.at;
    p.at = p.at2;
    p.outFrom += LANES;
    multiply(p);
    p.at = first;
    p.outFrom -= LANES;
  }

  /**
   * {@code y[at + i] += factor * delta[from + i]}, rounded once, for {@code i} in {@code [0,
   * count)}.
   *
   * @param y in and out
   * @param at element of y
   */
  final void add(RowMemory y, long at, float[] delta, int from, int count, float factor) {
    switch (y.type()) {
      case F32 -> addF32(y, at, delta, from, count, factor);
      case BF16 -> addBf16(y, at, delta, from, count, factor);
      case F16 -> PlainKernels.addPlain(y, at, delta, from, count, factor);
    }
  }

  /** The same for float32. */
  abstract void addF32(RowMemory y, long at, float[] delta, int from, int count, float factor);

  /** The same for bfloat16. */
  abstract void addBf16(RowMemory y, long at, float[] delta, int from, int count, float factor);
}
