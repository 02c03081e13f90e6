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
 * depth}, so it depends neither on the rows beside it nor on the kernel that takes it. A panel is
 * widened to float32 once and serves every row of a block; it lies off the heap, because vectors of
 * 64 bytes in a Java array straddle cache lines.
 */
abstract class Kernels {
  /** Columns of a panel: 16 float32 are the widest vector. */
  static final int LANES = 16;

  /** Rows that a product takes at a time; block sizes of more than one pair are multiples. */
  static final int ROWS = 8;

  abstract String description();

  /**
   * Rows that a product of {@code rows} rows should rather have, since it takes less time so.
   *
   * @return at least {@code rows}, and at most the next multiple of {@link #ROWS}
   */
  int paddedRows(int rows) {
    return rows;
  }

  /**
   * Widens a panel to float32 {@code [depth, LANES]}. Where {@code width} is less than {@link
   * #LANES}, the further columns hold whatever follows in memory.
   *
   * @param source in, {@code [depth, width]} from element {@code from}; {@link #LANES} elements
   *     must be readable from each row
   * @param width in {@code [1, LANES]}
   * @param panel out, float32, from element {@code at}
   */
  final void widenPanel(
      DType type,
      MemorySegment source,
      long from,
      int depth,
      int width,
      MemorySegment panel,
      long at) {
    switch (type) {
      case F32 -> {
        if (width == LANES) {
          MemorySegment.copy(
              source,
              from * Float.BYTES,
              panel,
              at * Float.BYTES,
              (long) depth * LANES * Float.BYTES);
          return;
        }
        for (int k = 0; k < depth; k++) {
          MemorySegment.copy(
              source,
              (from + (long) k * width) * Float.BYTES,
              panel,
              (at + (long) k * LANES) * Float.BYTES,
              (long) LANES * Float.BYTES);
        }
      }
      case BF16 -> widenPanelBf16(source, from, depth, width, panel, at);
      case F16 -> widenPanelF16(source, from, depth, width, panel, at);
    }
  }

  abstract void widenPanelBf16(
      MemorySegment source, long from, int depth, int width, MemorySegment panel, long at);

  /** Finite values only. */
  abstract void widenPanelF16(
      MemorySegment source, long from, int depth, int width, MemorySegment panel, long at);

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

  /**
   * {@code out[outAt[m] + outFrom + c] (+)= sum_k in[inAt[m] + inFrom + k] * panel[k, c]} for rows
   * {@code m} in {@code [row, endRow)} and the {@link #LANES} columns {@code c} of a panel.
   *
   * @param depth length of the sum
   * @param panel in, float32 {@code [depth, LANES]} from element {@code at}
   * @param add whether the sum goes on from what {@code out} holds
   */
  abstract void multiply(
      int row,
      int endRow,
      int depth,
      float[] in,
      int[] inAt,
      int inFrom,
      MemorySegment panel,
      long at,
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
      int[] inAt,
      int inFrom,
      MemorySegment panel,
      long at,
      long at2,
      float[] out,
      int[] outAt,
      int outFrom,
      boolean add) {
    multiply(row, endRow, depth, in, inAt, inFrom, panel, at, out, outAt, outFrom, add);
    multiply(row, endRow, depth, in, inAt, inFrom, panel, at2, out, outAt, outFrom + LANES, add);
  }

  /** {@code y[at + i] += weight * delta[from + i]}, rounded once. */
  final void add(
      DType type, MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    switch (type) {
      case F32 -> addF32(y, at, delta, from, count, weight);
      case BF16 -> addBf16(y, at, delta, from, count, weight);
      case F16 -> PlainKernels.addPlain(type, y, at, delta, from, count, weight);
    }
  }

  abstract void addF32(MemorySegment y, long at, float[] delta, int from, int count, float weight);

  abstract void addBf16(MemorySegment y, long at, float[] delta, int from, int count, float weight);
}
