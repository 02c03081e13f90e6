package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.ArrayHeaders;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link MmaExpand}: the targets of a thread, groups of four columns of y in rows that
 * lie equally far apart.
 */
final class YTargets {
  /** Most that a thread has of a chunk. */
  static final int MOST = 8;

  private YTargets() {}

  /** Targets of a chunk that a thread has. */
  static int count(int rows, int chunk) {
    return rows * (chunk / 4) / MmaExpand.THREADS;
  }

  /** Rows from one target to the next. */
  static int step(int chunk) {
    return MmaExpand.THREADS / (chunk / 4);
  }

  /** Row of a target. */
  static int row(int tid, int target, int chunk) {
    return tid / (chunk / 4) + target * step(chunk);
  }

  /** Group of four columns of a row of the slice that a thread has of a chunk. */
  static int column(int c, int tid, int chunk) {
    return c * (chunk / 4) + (tid & (chunk / 4 - 1));
  }

  /** The same, or the last of the row where there is none. */
  static int within(int[] item, int c, int tid, int chunk) {
    return Math.min(column(c, tid, chunk), item[ExpandItem.LAST_LONG]);
  }

  /** Rows that a thread stores: none where a row has no such columns. */
  static int rows(int[] item, int c, int tid, int chunk, int usedRows) {
    return column(c, tid, chunk) <= item[ExpandItem.LAST_LONG] ? usedRows : 0;
  }

  /** Whether blocks of few pairs have them all in the first target of each thread. */
  static boolean isOne(int usedRows, int rows, int chunk) {
    return MmaTiles.few(rows, chunk) && usedRows <= step(chunk);
  }

  /** Where the first of a target's four sums lies; the others follow at distances of 8. */
  static int sums(int tid, int target, int chunk) {
    int inRow = tid & (chunk / 4 - 1);
    return ArrayHeaders.LOCAL_FLOATS
        + tid / (chunk / 4) * MmaTiles.stride(chunk)
        + MmaTiles.column(4 * (inRow >> 3))
        + (inRow & 7)
        + target * step(chunk) * MmaTiles.stride(chunk);
  }

  /** Row of a target, or the last one that has a pair where its own has none. */
  static int used(int tid, int target, int chunk, int usedRows) {
    return Math.min(row(tid, target, chunk), usedRows - 1);
  }

  /** Where the columns of an item begin in a pair's row of y, in groups of four; 0 without one. */
  static int at(int[] item, IntArray sizes, IntArray slices, int pair) {
    int at = 0;
    if (pair < item[ExpandItem.PAIRS]) {
      int column =
          sizes.get(Sizes.COLUMN_OFFSET)
              + slices.get(item[ExpandItem.SLICE] + SliceTable.FIRST_COLUMN);
      at = (pair * sizes.get(Sizes.Y_WIDTH) + column) / 4;
    }
    return at;
  }

  /**
   * Rows that have a pair, which come first. All threads meet here.
   *
   * @param pair of the row of z that the thread shares
   */
  static int usedRows(
      KernelContext ctx, int[] item, IntArray sortedTokenIds, int pair, int tid, int rows) {
    int[] used = ctx.allocateIntLocalArray(1);
    if (ZRows.isFirst(item, tid, rows)) {
      int row = ZRows.row(item, tid, rows);
      int following = item[ExpandItem.PAIRS];
      if (row + 1 < item[ExpandItem.ROWS]) {
        following = sortedTokenIds.get(item[ExpandItem.POSITION] + row + 1);
      }
      if (pair < item[ExpandItem.PAIRS] && following >= item[ExpandItem.PAIRS]) {
        used[0] = row + 1;
      }
    }
    ctx.localBarrier();
    return used[0];
  }
}
