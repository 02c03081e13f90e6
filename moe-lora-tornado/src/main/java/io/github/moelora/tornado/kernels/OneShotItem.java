package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link OneShot}: which block, slice and columns an item has, and how its ranks are
 * shared.
 *
 * <p>The numbers of an item stand in an array of the thread, which the compiler keeps in registers.
 */
final class OneShotItem {
  /** Pairs of the batch, {@code P}. */
  static final int PAIRS = 0;

  /** Pairs of a block. */
  static final int BLOCK_SIZE = 1;

  /** Shares of the columns of a slice. */
  static final int SHARES = 2;

  /** Most slices of a site. */
  static final int PER_SITE = 3;

  /** {@code H}. */
  static final int WIDTH = 4;

  /** Rows of tiles of A, of 16 elements of H each. */
  static final int TILE_ROWS = 5;

  /** Number of the item's slice among all scales. */
  static final int SCALE = 6;

  /** Where its slice begins in the slice table. */
  static final int SLICE = 7;

  /** Position of its first row's pair. */
  static final int POSITION = 8;

  /** Its first column of the slice. */
  static final int FIRST = 9;

  /** The column after its last; not larger than the first for an item without columns. */
  static final int END = 10;

  /** Rank of its slice. */
  static final int RANK = 11;

  /** First rank of its slice in the stack of A. */
  static final int FIRST_RANK = 12;

  /** Tiles of ranks that its slice is in. */
  static final int TILES = 13;

  /** A pass takes two to the power of this tiles of ranks, up to 8. */
  static final int TILE_SHIFT = 14;

  /** First long of A of its first tile of ranks. */
  static final int A = 15;

  /** Longs from one row of tiles of A to the next. */
  static final int ROW_LONGS = 16;

  /** First long of B of its slice. */
  static final int B = 17;

  /** Units of 8 ranks of its slice in B. */
  static final int UNITS = 18;

  /** Last tile of columns of its slice in B. */
  static final int LAST_TILE = 19;

  /** A slab has {@code 512 >> this} columns times {@code 16 << this} ranks. */
  static final int SLAB_SHIFT = 20;

  /** Numbers of an item. */
  static final int INTS = 21;

  private OneShotItem() {}

  /**
   * Finds what all items share.
   *
   * @param item out, {@link #PAIRS} to {@link #TILE_ROWS}
   * @return how many items there are
   */
  static int count(int[] item, IntArray sizes, IntArray counts, IntArray slices) {
    int blocks = counts.get(PlanFormat.ACTIVE_BLOCKS);
    item[BLOCK_SIZE] = counts.get(PlanFormat.BLOCK_SIZE);
    item[PAIRS] = counts.get(PlanFormat.PAIRS);
    int perSite = slices.get(SliceTable.MOST_SLICES);
    int shares = PackedLayout.shares(sizes, blocks * perSite);
    item[PER_SITE] = perSite;
    item[SHARES] = shares;
    item[WIDTH] = sizes.get(Sizes.INPUT_WIDTH);
    item[TILE_ROWS] = 4 * sizes.get(Sizes.STAGES);
    return blocks * perSite * shares;
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
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      int index) {
    int blockSlice = index / item[SHARES];
    int share = index - blockSlice * item[SHARES];
    int block = blockSlice / item[PER_SITE];
    int second = blockSlice - block * item[PER_SITE];
    int site = Site.of(sizes, blockExperts, blockAdapters, block);
    int at = site * SliceTable.INTS;
    int slice = at + second * SliceTable.FIELDS;
    int columns = slices.get(slice + SliceTable.COLUMNS);
    int chunks = (columns + OneShot.CHUNK - 1) / OneShot.CHUNK;
    int perShare = (chunks + item[SHARES] - 1) / item[SHARES];
    item[FIRST] = share * perShare * OneShot.CHUNK;
    item[END] = Math.min(columns, item[FIRST] + perShare * OneShot.CHUNK);
    item[SCALE] = 2 * site + second;
    item[SLICE] = slice;
    item[POSITION] = block * item[BLOCK_SIZE];
    int rank = slices.get(slice + SliceTable.RANK);
    int rank0 = slices.get(at + SliceTable.RANK);
    int ranks = rank0 + slices.get(at + SliceTable.FIELDS + SliceTable.RANK);
    int firstRank = second * rank0;
    int firstTile = firstRank >> 3;
    int tiles = ((firstRank + rank - 1) >> 3) - firstTile + 1;
    item[RANK] = rank;
    item[FIRST_RANK] = firstRank;
    item[TILES] = tiles;
    // a pass takes up to 8 tiles of ranks; with fewer, several warps share the H of one
    item[TILE_SHIFT] = tiles > 4 ? 3 : tiles > 2 ? 2 : tiles - 1;
    item[A] = slices.get(at + SliceTable.A) + firstTile * OneShotA.TILE;
    item[ROW_LONGS] = PackedLayout.rankTiles(ranks) * OneShotA.TILE;
    item[B] = slices.get(slice + SliceTable.B);
    item[UNITS] = PackedLayout.rankUnits(rank);
    item[LAST_TILE] = PackedLayout.columnTiles(columns) - 1;
    int width = item[END] - item[FIRST];
    item[SLAB_SHIFT] = width > 256 ? 0 : width > 128 ? 1 : width > 64 ? 2 : 3;
  }

  /** Passes over the tiles of ranks. */
  static int passes(int[] item) {
    return (item[TILES] + (1 << item[TILE_SHIFT]) - 1) >> item[TILE_SHIFT];
  }

  /** Segments of H. */
  static int segments(int[] item, int rows) {
    int width = OneShotX.width(rows);
    return (16 * item[TILE_ROWS] + width - 1) / width;
  }
}
