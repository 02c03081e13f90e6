package io.github.moelora.tornado;

import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * How the tuned kernels want an adapter's weights of one expert, and how they share the work.
 *
 * <p>A of all slices is stacked: ranks one after another, padded with zeros to a multiple of 8; H
 * is padded to a multiple of 32. The matrix is cut into tiles of 16 elements of H times 8 ranks,
 * stored tile row by tile row, each tile {@code [16, 8]}: what an {@code mma} reads is 256
 * contiguous bytes.
 *
 * <p>B of a slice is stored {@code [R, columns / 2, 2]}, with R padded with zeros to a multiple of
 * 4: two neighbouring columns make a 32-bit word, like the two elements of y that they are added
 * to, and neighbouring threads read neighbouring words.
 */
final class PackedLayout {
  /** Ranks of a tile of A. */
  static final int TILE_RANKS = 8;

  /** Elements of H of a tile of A. */
  static final int TILE_WIDTH = 16;

  /** 16-bit elements of a tile of A. */
  static final int TILE = TILE_RANKS * TILE_WIDTH;

  /** H is padded to a multiple of this, the share of a pipeline stage. */
  static final int STAGE_WIDTH = 32;

  /** B is padded to a multiple of this many ranks. */
  static final int RANK_STEP = 4;

  private PackedLayout() {}

  /** Tiles that stacked ranks take. */
  static int rankTiles(int ranks) {
    return (ranks + TILE_RANKS - 1) >> 3;
  }

  /** Pipeline stages that H takes. */
  static int stages(int inputWidth) {
    return (inputWidth + STAGE_WIDTH - 1) >> 5;
  }

  /** 16-bit elements of stacked A. */
  static int sizeA(int ranks, int inputWidth) {
    return Math.multiplyExact(Math.multiplyExact(2 * TILE, rankTiles(ranks)), stages(inputWidth));
  }

  /** Index of {@code a[rank, h]} in stacked A. */
  static int indexA(int rank, int h, int rankTiles) {
    int tile = h / TILE_WIDTH * rankTiles + rank / TILE_RANKS;
    return tile * TILE + h % TILE_WIDTH * TILE_RANKS + rank % TILE_RANKS;
  }

  /** Rank of B, padded with zeros. */
  static int paddedRank(int rank) {
    return (rank + RANK_STEP - 1) / RANK_STEP * RANK_STEP;
  }

  /** 16-bit elements of B of a slice. */
  static int sizeB(int rank, int columns) {
    return Math.multiplyExact(paddedRank(rank), columns);
  }

  /** Index of {@code b[column, rank]} in B of a slice. */
  static int indexB(int column, int rank, int columns) {
    return rank * columns + column;
  }

  /**
   * Into how many parts shrink splits H, so that few blocks still fill the device. Expand sums the
   * parts, in order.
   *
   * @param tiles items that one part makes
   */
  static int parts(IntArray sizes, int tiles) {
    return Math.max(
        1, Math.min(sizes.get(Sizes.STAGES), sizes.get(Sizes.TARGET_ITEMS) / Math.max(1, tiles)));
  }

  /** Ranges of {@code itemRanks} ranks that the largest stack takes. */
  static int ranges(IntArray slices, int itemRanks) {
    return (slices.get(SliceTable.LARGEST_STACK) + itemRanks - 1) / itemRanks;
  }
}
