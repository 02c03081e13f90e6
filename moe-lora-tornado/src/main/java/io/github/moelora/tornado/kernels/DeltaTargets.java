package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.ArrayHeaders;

/** Stages of {@link MmaDelta}: the targets of a thread, columns that lie equally far apart. */
final class DeltaTargets {
  private DeltaTargets() {}

  /** Targets of a chunk that a thread has. */
  static int count(int rows, int chunk) {
    return rows * chunk / MmaExpand.THREADS;
  }

  /** Row of a target. */
  static int row(int tid, int target, int chunk) {
    return (tid + target * MmaExpand.THREADS) / chunk;
  }

  /** Column of a target in the chunk. */
  static int column(int tid, int target, int chunk) {
    return (tid + target * MmaExpand.THREADS) & (chunk - 1);
  }

  /** Rows that are stored of a column: none where the slice has no such column. */
  static int rows(int[] item, int c, int column, int chunk, int usedRows) {
    return (c * chunk + column) >> 2 <= item[ExpandItem.LAST_LONG] ? usedRows : 0;
  }

  /**
   * Where the sum of a column lies. Tile {@code j} of four has every fourth column of 32, from
   * {@code j} on, so neighbouring columns lie in banks of their own.
   */
  static int sum(int row, int column, int chunk) {
    int within = column & 31;
    return ArrayHeaders.LOCAL_FLOATS
        + row * MmaTiles.stride(chunk)
        + MmaTiles.column(column >> 5 << 2)
        + (within >> 2)
        + 8 * (within & 3);
  }
}
