package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link PairKernels}: which pairs and columns an item has, and which ranks they need.
 *
 * <p>The numbers of an item stand in an array of the thread, which the compiler keeps in registers.
 */
final class PairItem {
  /** Shares of the columns. */
  static final int SHARES = 0;

  /** Columns of a share. */
  static final int PER_SHARE = 1;

  /** First pair of the item. */
  static final int FIRST_PAIR = 2;

  /** The pair after its last: it adds up those of a token, or has one. */
  static final int END_PAIR = 3;

  /** Its first column. */
  static final int FIRST = 4;

  /** The column after its last. */
  static final int END = 5;

  /** Threads have {@code 1 << this} columns at a time, each of them shared by the others. */
  static final int COLUMN_SHIFT = 6;

  /** Slot and expert of the pair at hand, see {@link PairSites#of}. */
  static final int SITE = 7;

  /** Ranks of its first slice. */
  static final int RANK0 = 8;

  /** First of the stacked ranks that the columns need. */
  static final int FIRST_RANK = 9;

  /** The rank after the last. */
  static final int END_RANK = 10;

  /** Where its row of x begins. */
  static final int X = 11;

  /** {@code H}. */
  static final int WIDTH = 12;

  /** First tile of ranks of packed A. */
  static final int FIRST_TILE = 13;

  /** Tiles of ranks. */
  static final int TILES = 14;

  /** A pass takes two to the power of this tiles of ranks, up to one for each warp. */
  static final int TILE_SHIFT = 15;

  /** First long of packed A of the first tile of ranks. */
  static final int A = 16;

  /** Longs from one row of tiles of packed A to the next. */
  static final int ROW_LONGS = 17;

  /** Numbers of an item. */
  static final int INTS = 18;

  /** Columns that a share has a multiple of: those that lie together in packed B. */
  private static final int ALIGNMENT = PackedLayout.GROUP;

  private PairItem() {}

  /**
   * Finds what all items share.
   *
   * @return how many items there are
   */
  static int count(int[] item, IntArray step, IntArray sizes) {
    int pairs = PairSites.pairs(step, sizes.get(Sizes.MAX_PAIRS));
    int rows = pairs / sizes.get(Sizes.PAIRS_PER_ITEM);
    int columns = sizes.get(Sizes.COLUMNS);
    int wanted = Math.max(1, sizes.get(Sizes.TARGET_ITEMS) / Math.max(1, rows));
    int perShare = ((columns + wanted - 1) / wanted + ALIGNMENT - 1) & -ALIGNMENT;
    item[PER_SHARE] = perShare;
    item[SHARES] = (columns + perShare - 1) / perShare;
    item[WIDTH] = sizes.get(Sizes.INPUT_WIDTH);
    return rows * item[SHARES];
  }

  /**
   * Finds an item.
   *
   * @param mostShift a work-group has {@code 1 << mostShift} threads
   */
  static void find(int[] item, IntArray sizes, int index, int mostShift) {
    int row = index / item[SHARES];
    int perItem = sizes.get(Sizes.PAIRS_PER_ITEM);
    item[FIRST_PAIR] = row * perItem;
    item[END_PAIR] = item[FIRST_PAIR] + perItem;
    item[FIRST] = (index - row * item[SHARES]) * item[PER_SHARE];
    item[END] = Math.min(sizes.get(Sizes.COLUMNS), item[FIRST] + item[PER_SHARE]);
    int width = item[END] - item[FIRST];
    int shift = width > 256 ? 9 : width > 128 ? 8 : width > 64 ? 7 : width > 32 ? 6 : 5;
    item[COLUMN_SHIFT] = Math.min(shift, mostShift);
  }

  /** Finds what weights a pair meets. */
  static void meet(int[] item, IntArray sizes, IntArray slices, int pair, int site, int mode) {
    item[SITE] = site;
    item[RANK0] = 0;
    item[FIRST_RANK] = 0;
    item[END_RANK] = 0;
    if (site >= 0) {
      int at = site * SliceTable.INTS;
      int rank0 = slices.get(at + SliceTable.RANK);
      int ranks = rank0 + slices.get(at + SliceTable.FIELDS + SliceTable.RANK);
      boolean covers0 = covers(item, slices, at);
      boolean covers1 = covers(item, slices, at + SliceTable.FIELDS);
      boolean all = PairMode.has(mode, PairMode.ACTIVATED);
      item[RANK0] = rank0;
      item[FIRST_RANK] = all || covers0 ? 0 : rank0;
      item[END_RANK] = all || covers1 ? ranks : rank0;
      item[X] = pair / sizes.get(Sizes.PAIRS_PER_ROW) * item[WIDTH];
    }
  }

  /** Finds the tiles of packed A. */
  static void findTiles(int[] item, IntArray slices) {
    if (hasRanks(item)) {
      int at = item[SITE] * SliceTable.INTS;
      int ranks = item[RANK0] + slices.get(at + SliceTable.FIELDS + SliceTable.RANK);
      int firstTile = item[FIRST_RANK] >> 3;
      int tiles = ((item[END_RANK] - 1) >> 3) - firstTile + 1;
      item[FIRST_TILE] = firstTile;
      item[TILES] = tiles;
      // with fewer tiles than warps, several warps share the H of one
      item[TILE_SHIFT] = tiles > 8 ? 4 : tiles > 4 ? 3 : tiles > 2 ? 2 : tiles - 1;
      item[A] = slices.get(at + SliceTable.A) + firstTile * OneShotA.TILE;
      item[ROW_LONGS] = PackedLayout.rankTiles(ranks) * OneShotA.TILE;
    }
  }

  /** Whether a slice has some of the columns; one comparison, see the package's rules. */
  private static boolean covers(int[] item, IntArray slices, int slice) {
    int first = slices.get(slice + SliceTable.FIRST_COLUMN);
    int end = first + slices.get(slice + SliceTable.COLUMNS);
    return Math.min(end, item[END]) > Math.max(first, item[FIRST]);
  }

  /** Whether the columns have a delta. */
  static boolean hasRanks(int[] item) {
    return item[FIRST_RANK] < item[END_RANK];
  }

  /**
   * Whether something must be stored: without a delta, zeros, what the activation makes, or what
   * the shared expert adds.
   */
  static boolean hasWork(int[] item, int pair, int mode) {
    return hasRanks(item)
        || !PairMode.has(mode, PairMode.ADD)
        || PairMode.has(mode, PairMode.ACTIVATED)
        || (PairMode.has(mode, PairMode.SHARED) && pair == item[FIRST_PAIR]);
  }

  /** Whether the item is the one that counts its pair's error. */
  static boolean counts(int[] item, int tid, int mode) {
    return PairMode.has(mode, PairMode.COUNT_ERRORS)
        && tid == 0
        && item[SITE] == PairSites.OUT_OF_RANGE
        && item[FIRST] == 0;
  }

  /** The column of the projection that is behind an output column. */
  static int source(IntArray sizes, int column, int way, int mode) {
    return PairMode.source(mode, column, sizes.get(Sizes.COLUMNS), way);
  }

  /** Passes over the tiles of ranks; none without a delta. */
  static int passes(int[] item) {
    return hasRanks(item) ? (item[TILES] + (1 << item[TILE_SHIFT]) - 1) >> item[TILE_SHIFT] : 0;
  }

  /** Number of a rank's slice among all scales. */
  static int scale(int[] item, int rank) {
    return 2 * item[SITE] + (rank < item[RANK0] ? 0 : 1);
  }
}
