package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.Routing;

/**
 * Memory of one worker: the rows of the block at hand, and of these the up to {@link Kernels#ROWS}
 * that a product takes at a time.
 */
final class Scratch {
  /** Panels of B whose sums are added to y at a time: two cache lines of a bfloat16 row. */
  static final int DELTA_PANELS = 4;

  static final int DELTA_COLUMNS = DELTA_PANELS * Kernels.LANES;

  /** Rows of x, widened, or of z, copied, as far apart as products want them. */
  final float[] in = new float[Kernels.ROWS * Kernels.IN_STRIDE];

  /** {@code [ROWS, DELTA_COLUMNS]}. */
  final float[] delta = new float[Kernels.ROWS * DELTA_COLUMNS];

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

  Scratch(int maxBlockSize, DType weightType) {
    zAt = new int[maxBlockSize];
    deltaAt = new int[maxBlockSize];
    pairs = new int[maxBlockSize];
    yAt = new long[maxBlockSize];
    weights = new float[maxBlockSize];
    factors = new float[maxBlockSize];
    product = new Product(in, weightType);
    for (int m = 0; m < maxBlockSize; m++) {
      deltaAt[m] = m % Kernels.ROWS * DELTA_COLUMNS;
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

  /** Takes the rows from one on; the product gets as many more as make it faster. */
  void take(int first, Kernels kernels) {
    row = first;
    endRow = Math.min(first + Kernels.ROWS, rows);
    product.row = first;
    product.endRow = first + kernels.paddedRows(endRow - first);
  }
}
