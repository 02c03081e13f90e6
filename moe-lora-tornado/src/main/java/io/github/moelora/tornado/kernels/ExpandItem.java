package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link MmaExpand}: which rows and columns an item has, and what they need.
 *
 * <p>The numbers of an item stand in an array of the thread, which the compiler keeps in registers.
 */
final class ExpandItem {
  /** Pairs of the batch, {@code P}. */
  static final int PAIRS = 0;

  /** Pairs of a block. */
  static final int BLOCK_SIZE = 1;

  /** Parts that z is the sum of. */
  static final int PARTS = 2;

  /** Floats from one part of z to the next. */
  static final int PART_STRIDE = 3;

  /** Shares of the columns of a slice. */
  static final int SHARES = 4;

  /** Most slices of a site. */
  static final int PER_SITE = 5;

  /** 1 to add to y, 0 for a delta alone. */
  static final int ADD = 6;

  /** Number of the item's slice among all scales. */
  static final int SCALE = 7;

  /** Where its slice begins in the slice table. */
  static final int SLICE = 8;

  /** Position of its first row's pair. */
  static final int POSITION = 9;

  /** Its rows, with or without a pair. */
  static final int ROWS = 10;

  /** Where its first row of z begins. */
  static final int Z = 11;

  /** Rank of its slice. */
  static final int RANK = 12;

  /** Units of 8 ranks of its slice. */
  static final int UNITS = 13;

  /** First long of B of its slice. */
  static final int B = 14;

  /** Its first chunk of columns. */
  static final int FIRST = 15;

  /** The chunk after its last; none come before for an item without pairs. */
  static final int END = 16;

  /** Last long of four columns of a row of its slice. */
  static final int LAST_LONG = 17;

  /** Numbers of an item. */
  static final int INTS = 18;

  private ExpandItem() {}

  /**
   * Finds what all items share.
   *
   * @param item out, {@link #PAIRS} to {@link #ADD}
   * @return how many items there are
   */
  static int count(
      int[] item,
      IntArray sizes,
      IntArray counts,
      IntArray slices,
      int blockRows,
      int rows,
      int zStride) {
    int blocks = counts.get(PlanFormat.ACTIVE_BLOCKS);
    item[BLOCK_SIZE] = counts.get(PlanFormat.BLOCK_SIZE);
    item[PAIRS] = counts.get(PlanFormat.PAIRS);
    int ranges = PackedLayout.ranges(slices, sizes.get(Sizes.ITEM_RANKS));
    item[PARTS] = PackedLayout.parts(sizes, blocks * ranges);
    item[PART_STRIDE] = blocks * blockRows * zStride;
    int perSite = slices.get(SliceTable.MOST_SLICES);
    int tiles = blocks * (blockRows / rows) * perSite;
    int shares = PackedLayout.expandShares(sizes, tiles, perSite);
    item[PER_SITE] = perSite;
    item[SHARES] = shares;
    item[ADD] = sizes.get(Sizes.ADD);
    return tiles * shares;
  }

  /**
   * Finds an item.
   *
   * @param item in and out, from {@link #SCALE} on
   * @param index number of the item
   */
  static void find(
      int[] item,
      IntArray sizes,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      int index,
      int zStride,
      int blockRows,
      int rows,
      int chunk) {
    int blockSlice = index / item[SHARES];
    int share = index - blockSlice * item[SHARES];
    int rowsIndex = blockSlice / item[PER_SITE];
    int second = blockSlice - rowsIndex * item[PER_SITE];
    int block = rowsIndex / (blockRows / rows);
    int firstRow = (rowsIndex - block * (blockRows / rows)) * rows;
    int site = Site.of(sizes, blockExperts, blockAdapters, block);
    int slice = site * SliceTable.INTS + second * SliceTable.FIELDS;
    int columns = slices.get(slice + SliceTable.COLUMNS);
    int chunks = (columns + chunk - 1) / chunk;
    int perShare = (chunks + item[SHARES] - 1) / item[SHARES];
    int first = share * perShare;
    // rows without a pair come last in a block
    int position = block * item[BLOCK_SIZE] + firstRow;
    boolean hasPairs = firstRow < item[BLOCK_SIZE] && sortedTokenIds.get(position) < item[PAIRS];
    item[SCALE] = 2 * site + second;
    item[SLICE] = slice;
    item[POSITION] = position;
    item[ROWS] = Math.min(rows, item[BLOCK_SIZE] - firstRow);
    item[Z] =
        (block * blockRows + firstRow) * zStride
            + second * slices.get(site * SliceTable.INTS + SliceTable.RANK);
    item[RANK] = slices.get(slice + SliceTable.RANK);
    item[UNITS] = PackedLayout.rankUnits(item[RANK]);
    item[B] = slices.get(slice + SliceTable.B);
    item[FIRST] = first;
    item[END] = hasPairs ? Math.min(chunks, first + perShare) : first;
    item[LAST_LONG] = (columns >> 2) - 1;
  }

  /** Longs of a chunk of B. */
  static int chunkLongs(int[] item, int chunk) {
    return chunk / 8 * item[UNITS] * BTiles.UNIT;
  }

  /** What the sums of a pair are multiplied by. */
  static float factor(
      int[] item, IntArray sizes, FloatArray scales, FloatArray routingWeights, int pair) {
    float factor = scales.get(item[SCALE]);
    if (pair < item[PAIRS] && sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
      factor *= routingWeights.get(pair);
    }
    return factor;
  }
}
