package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Stages of {@link Combine}: columns of a share of a token, and those that have a delta. */
final class CombinedRange {
  private CombinedRange() {}

  /** Columns of a share, even. */
  private static int perShare(int shares, int columns) {
    return 2 * ((columns / 2 + shares - 1) / shares);
  }

  /** First column of an item. */
  static int beginOf(int item, int shares, int columns) {
    return item % shares * perShare(shares, columns);
  }

  /** The column after an item's last. */
  static int endOf(int item, int shares, int columns) {
    return Math.min(columns, (item % shares + 1) * perShare(shares, columns));
  }

  /** First column that a site's slices cover, one after the other without a gap. */
  static int begin(IntArray slices, int site) {
    int at = Math.max(0, site) * SliceTable.INTS;
    int first0 = slices.get(at + SliceTable.FIRST_COLUMN);
    int first1 = slices.get(at + SliceTable.FIELDS + SliceTable.FIRST_COLUMN);
    boolean has0 = slices.get(at + SliceTable.COLUMNS) > 0;
    boolean has1 = slices.get(at + SliceTable.FIELDS + SliceTable.COLUMNS) > 0;
    int first = has0 ? first0 : first1;
    return has1 ? Math.min(first, first1) : first;
  }

  /** The column after the last that a site's slices cover; 0 without a site. */
  static int end(IntArray slices, int site) {
    int at = Math.max(0, site) * SliceTable.INTS;
    int end0 = slices.get(at + SliceTable.FIRST_COLUMN) + slices.get(at + SliceTable.COLUMNS);
    int next = at + SliceTable.FIELDS;
    int end1 = slices.get(next + SliceTable.FIRST_COLUMN) + slices.get(next + SliceTable.COLUMNS);
    return site < 0 ? 0 : Math.max(end0, end1);
  }
}
