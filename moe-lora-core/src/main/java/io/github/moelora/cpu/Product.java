package io.github.moelora.cpu;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;

/**
 * One product of {@link Kernels}: {@code out[outAt[m] + outFrom + c] (+)= sum_k in[(m - row) *
 * IN_STRIDE + k] * panel[k, c]} for rows {@code m} in {@code [row, endRow)} and the {@link
 * Kernels#LANES} columns {@code c} of a panel.
 *
 * <p>Each worker has one and sets only what changes from one product to the next: fields have names
 * where 14 numbers in a row had none, and nothing is allocated.
 */
final class Product {
  /**
   * In, rows of scalars {@link Kernels#IN_STRIDE} apart; row {@code m} is the one of index m - row.
   */
  final float[] in;

  /** Type of the weights; fp16 ones are finite. */
  final DType type;

  /** First row. */
  int row;

  /** Row behind the last one. */
  int endRow;

  /** Length of the sum, at most {@link Kernels#IN_COLUMNS}. */
  int depth;

  /** In, holds the panels. */
  MemorySegment weights = MemorySegment.NULL;

  /**
   * Element of {@link #weights} at which row 0 of the panel {@code [depth, width]} begins; row
   * {@code k} is where {@link Kernels#rowOffset} says, and from each row {@link Kernels#LANES}
   * elements must be readable.
   */
  long at;

  /** The same of the second panel, where there are two. */
  long at2;

  /** Columns of a panel, in {@code [1, LANES]}; sums beyond are of whatever follows. */
  int width;

  /** Elements from one stripe to the next. */
  long stripe;

  /** Out, the sums. */
  float[] out = {};

  /** Where each row's sums begin in {@link #out}. */
  int[] outAt = {};

  /** Added to each {@link #outAt}. */
  int outFrom;

  /** Whether the sum goes on from what {@link #out} holds. */
  boolean add;

  Product(float[] in, DType type) {
    this.in = in;
    this.type = type;
  }
}
