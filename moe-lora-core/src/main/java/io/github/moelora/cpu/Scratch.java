package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.Routing;
import java.lang.foreign.Arena;

/**
 * Memory of one worker: the rows of the block at hand, and of these as many as a product takes at a
 * time.
 */
final class Scratch {
  /** From one row of {@link #delta} to the next, a little more than sums are added at a time. */
  private static final int DELTA_STRIDE = Kernels.MANY_STRIDE;

  /** Rows of x, widened, or of z, copied, as far apart as products want them. */
  final float[] in;

  /** Sums of rows of the block that are to be added to y, {@code [maxBlockSize, DELTA_STRIDE]}. */
  final float[] delta;

  /** Where each row of the block begins in z. */
  final int[] zAt;

  /** Where each row of the block begins in {@link #delta}. */
  final int[] deltaAt;

  /** Pair of each row of the block. */
  final int[] pairs;

  /** Element of y at which the row of a pair begins. */
  final long[] yAt;

  /** 1 unless the call asks for routing weights. */
  final float[] weights;

  /** The weights times the scale of the slice at hand. */
  final float[] factors;

  final Product product;

  /** Rows of the block, without padding. */
  int rows;

  /** The first row at hand. */
  int row;

  /** The row behind the last one at hand. */
  int endRow;

  /**
   * @param arena owns what is not on the heap
   */
  Scratch(int maxBlockSize, DType weightType, Arena arena) {
    zAt = new int[maxBlockSize];
    deltaAt = new int[maxBlockSize];
    pairs = new int[maxBlockSize];
    yAt = new long[maxBlockSize];
    weights = new float[maxBlockSize];
    factors = new float[maxBlockSize];
    int fewRows = Kernels.ROWS * Kernels.IN_STRIDE;
    in = new float[Math.max(fewRows, maxBlockSize * Kernels.MANY_STRIDE)];
    delta = new float[maxBlockSize * DELTA_STRIDE];
    product = new Product(in, weightType, arena);
    for (int m = 0; m < maxBlockSize; m++) {
      deltaAt[m] = m * DELTA_STRIDE;
    }
  }

  /**
   * Lists the pairs of a block, and where the rows of z begin, those of padding included; padding
   * only stands at the end.
   */
  void gather(Routing plan, int block, int zStride) {
    int blockSize = plan.blockSize();
    int position = block * blockSize;
    rows = 0;
    while (rows < blockSize && plan.sortedTokenId(position + rows) < plan.pairs()) {
      pairs[rows] = plan.sortedTokenId(position + rows);
      rows++;
    }
    for (int m = 0; m < blockSize; m++) {
      zAt[m] = (position + m) * zStride;
    }
  }

  /**
   * Takes up to {@code most} rows from one on; the product gets as many more as make it faster.
   *
   * @param most as {@link Kernels#rowsAtOnce} says, or {@link Kernels#ROWS}
   */
  void take(int first, int most, Kernels kernels) {
    row = first;
    endRow = Math.min(first + most, rows);
    product.inStride = most > Kernels.ROWS ? Kernels.MANY_STRIDE : Kernels.IN_STRIDE;
    product.row = first;
    product.endRow = first + kernels.paddedRows(endRow - first);
  }
}
