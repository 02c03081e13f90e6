package io.github.moelora.tornado.layout;

import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * How the narrow kernels want an adapter's weights of one expert, and how they share the work.
 *
 * <p>A of all slices is stacked: ranks one after another, padded with zeros to a multiple of 8; H
 * is padded to a multiple of 64. The matrix is cut into tiles of 16 elements of H times 8 ranks,
 * stored tile row by tile row, each tile {@code [16, 8]}: what an {@code mma} reads is 256
 * contiguous bytes.
 *
 * <p>B of a slice is cut into units of 8 ranks times 8 columns, each {@code [8, 8]} with the
 * columns adjacent, stored column tile by column tile, within it rank by rank: the columns that a
 * work-group needs are contiguous, whatever the rank. Columns are padded with zeros to a multiple
 * of 32, ranks to 8 or a multiple of 16. Of 32 columns, the first tile has columns 0, 4, 8 ... 28,
 * the second 1, 5, 9 ... 29 and so on: the four sums that a lane adds to a long of y then lie in
 * four tiles, and those of neighbouring lanes next to each other.
 */
public final class PackedLayout {
  /** Ranks of a tile of A. */
  public static final int TILE_RANKS = 8;

  /** Elements of H of a tile of A. */
  public static final int TILE_WIDTH = 16;

  /** 16-bit elements of a tile of A. */
  public static final int TILE = TILE_RANKS * TILE_WIDTH;

  /** 16-bit elements of a long. */
  public static final int LONG = 4;

  /** H is padded to a multiple of this, the share of a pipeline stage. */
  public static final int STAGE_WIDTH = 64;

  /** Ranks of a unit of B, and columns. */
  public static final int UNIT = 8;

  /** Columns are padded to a multiple of this, and change places within so many. */
  public static final int GROUP = 32;

  /** Most parts of H: expand reads as many elements of z for each that it needs. */
  static final int MAX_PARTS = 16;

  /** Chunks in whose time expand gets to the first of an item. */
  private static final int PROLOGUE = 8;

  private PackedLayout() {}

  /** Tiles that stacked ranks take. */
  public static int rankTiles(int ranks) {
    return (ranks + TILE_RANKS - 1) >> 3;
  }

  /** Pipeline stages that H takes. */
  public static int stages(int inputWidth) {
    return (inputWidth + STAGE_WIDTH - 1) >> 6;
  }

  /** 16-bit elements of stacked A. */
  public static int sizeA(int ranks, int inputWidth) {
    return Math.multiplyExact(Math.multiplyExact(4 * TILE, rankTiles(ranks)), stages(inputWidth));
  }

  /** Index of {@code a[rank, h]} in stacked A. */
  public static int indexA(int rank, int h, int rankTiles) {
    int tile = h / TILE_WIDTH * rankTiles + rank / TILE_RANKS;
    return tile * TILE + h % TILE_WIDTH * TILE_RANKS + rank % TILE_RANKS;
  }

  /** Units of 8 ranks that a rank takes: one, or an even number. */
  public static int rankUnits(int rank) {
    return rank <= UNIT ? 1 : ((rank + 2 * UNIT - 1) >> 4) << 1;
  }

  /** 16-bit elements of B of a slice. */
  public static int sizeB(int rank, int columns) {
    return Math.multiplyExact(Math.multiplyExact(64, rankUnits(rank)), columnTiles(columns));
  }

  /** Tiles of 8 columns that the columns of a slice take. */
  public static int columnTiles(int columns) {
    return (columns + GROUP - 1) / GROUP * (GROUP / UNIT);
  }

  /** Where a column lies in B of a slice. */
  public static int position(int column) {
    return (column & -GROUP) + (column & 3) * UNIT + ((column & (GROUP - 1)) >> 2);
  }

  /** Index of {@code b[column, rank]} in B of a slice. */
  public static int indexB(int column, int rank, int units) {
    int position = position(column);
    int unit = (position >> 3) * units + (rank >> 3);
    return unit * 64 + (rank & 7) * 8 + (position & 7);
  }

  /**
   * Into how many parts shrink cuts H, so that few blocks still fill the device. Expand sums the
   * parts, in order.
   *
   * @param tiles items that one part makes
   */
  public static int parts(IntArray sizes, int tiles) {
    return Math.max(
        1,
        Math.min(
            Math.min(MAX_PARTS, sizes.get(Sizes.STAGES)),
            sizes.get(Sizes.TARGET_ITEMS) / Math.max(1, tiles)));
  }

  /**
   * Into how many shares the one-shot kernel cuts the columns of a slice, so that few blocks still
   * fill the device.
   *
   * @param tiles items that one share makes
   */
  public static int shares(IntArray sizes, int tiles) {
    return Math.max(
        1, Math.min(sizes.get(Sizes.CHUNKS), sizes.get(Sizes.EXPAND_ITEMS) / Math.max(1, tiles)));
  }

  /**
   * Into how many shares expand cuts the columns of a slice: as many as the work-groups that the
   * device holds at once can take in one round, or up to three if more rounds of smaller items end
   * sooner.
   *
   * @param tiles items that one share makes
   * @param slices of a site
   */
  public static int expandShares(IntArray sizes, int tiles, int slices) {
    int resident = sizes.get(Sizes.EXPAND_ITEMS);
    int chunks = (sizes.get(Sizes.CHUNKS) + slices - 1) / slices;
    int shares = resident / Math.max(1, tiles);
    if (shares < 2) {
      int one = rounds(tiles, resident) * (PROLOGUE + chunks);
      int two = rounds(2 * tiles, resident) * (PROLOGUE + (chunks + 1) / 2);
      int three = rounds(3 * tiles, resident) * (PROLOGUE + (chunks + 2) / 3);
      shares = three < Math.min(one, two) ? 3 : two < one ? 2 : 1;
    }
    return Math.max(1, Math.min(chunks, shares));
  }

  private static int rounds(int items, int resident) {
    return (items + resident - 1) / resident;
  }

  /** Ranges of {@code itemRanks} ranks that the largest stack takes. */
  public static int ranges(IntArray slices, int itemRanks) {
    return (slices.get(SliceTable.LARGEST_STACK) + itemRanks - 1) / itemRanks;
  }
}
