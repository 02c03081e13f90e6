package io.github.moelora.tornado;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;

/**
 * How the tuned shrink and expand, two launches, cut a projection's work.
 *
 * @param rowWarps rows of warps of a shrink work-group, 1 or 2
 * @param rowTiles row tiles of a warp of shrink, 1 or 2
 * @param rankTiles rank tiles of a warp of shrink, 1, 2 or 4
 * @param steps tiles of 16 elements of H in a stage of shrink, 2 or 4
 * @param shrinkGroups work-groups of shrink
 * @param targetItems items that shrink splits H for when there are fewer blocks
 * @param chunk columns of a chunk of expand, 32, 64 or 128
 * @param threads threads of an expand work-group
 * @param expandGroups work-groups of expand
 */
record SplitTiling(
    int rowWarps,
    int rowTiles,
    int rankTiles,
    int steps,
    int shrinkGroups,
    int targetItems,
    int chunk,
    int threads,
    int expandGroups)
    implements Tiling {

  /** Multiprocessors of an H100; the grids are sized for it and work on any device. */
  private static final int MULTIPROCESSORS = 132;

  /** Most rank tiles of a warp. */
  private static final int MAX_RANK_TILES = 4;

  /** Local memory that TornadoVM gives to a work-group, less what TornadoVM itself may need. */
  private static final int LOCAL_BYTES = 47 << 10;

  /** Blocks of 16 rows: many small items. */
  static SplitTiling small(MoeLoraConfig config, Projection projection) {
    return new SplitTiling(
        1,
        1,
        rankTiles(config, projection),
        4,
        8 * MULTIPROCESSORS,
        8 * MULTIPROCESSORS,
        largestChunk(config, 16, 64),
        128,
        8 * MULTIPROCESSORS);
  }

  /** Blocks of 64 rows, or as many as local memory holds the ranks of z for. */
  static SplitTiling large(MoeLoraConfig config, Projection projection) {
    int rows = 64;
    while (rows > 16 && expandBytes(config, rows, 32) > LOCAL_BYTES) {
      rows /= 2;
    }
    return new SplitTiling(
        rows == 64 ? 2 : 1,
        rows == 16 ? 1 : 2,
        rankTiles(config, projection),
        4,
        2 * MULTIPROCESSORS,
        2 * MULTIPROCESSORS,
        32,
        rows == 64 ? 256 : 128,
        4 * MULTIPROCESSORS);
  }

  /**
   * The tiling for many pairs per expert: large blocks only where the ranks of gate and up fill an
   * item of shrink. With fewer, small blocks are faster whatever the batch (docs/performance.md).
   */
  static SplitTiling largest(MoeLoraConfig config) {
    return rankTiles(config, Projection.GATE_UP) == MAX_RANK_TILES
        ? large(config, Projection.GATE_UP)
        : small(config, Projection.GATE_UP);
  }

  private static int rankTiles(MoeLoraConfig config, Projection projection) {
    boolean two = projection == Projection.GATE_UP && config.model().gateUp().gated();
    int stack = (two ? 2 : 1) * config.maxRank();
    return stack > 64 ? MAX_RANK_TILES : stack > 32 ? 2 : 1;
  }

  private static int largestChunk(MoeLoraConfig config, int rows, int limit) {
    int chunk = limit;
    while (chunk > 32 && expandBytes(config, rows, chunk) > LOCAL_BYTES) {
      chunk /= 2;
    }
    return chunk;
  }

  /** Local memory of an expand work-group: a chunk of B, z in two halves, sums, row data. */
  private static int expandBytes(MoeLoraConfig config, int rows, int chunk) {
    int ranks = 16 * rankSteps(config.maxRank());
    return 2 * chunk * ranks + 4 * rows * ranks + 4 * rows * (chunk + 1) + 16 + 8 * rows;
  }

  private static int rankSteps(int rank) {
    return (rank + 15) / 16;
  }

  @Override
  public int rows() {
    return 16 * rowWarps * rowTiles;
  }

  /** Stages of shrink that H takes. */
  int stages(int inputWidth) {
    return (inputWidth + 16 * steps - 1) / (16 * steps);
  }

  /** Ranks of an item of shrink. */
  int itemRanks() {
    return 32 * rankTiles;
  }

  /** Threads of a shrink work-group. */
  int shrinkThreads() {
    return 128 * rowWarps;
  }

  /** Most steps of 16 ranks that expand makes. */
  int rankSteps(MoeLoraConfig config) {
    return rankSteps(config.maxRank());
  }

  /** Floats of a row of z: what the largest stack takes in whole items. */
  int zStride(MoeLoraConfig config) {
    int stack = SliceTable.maxStack(config);
    return (stack + itemRanks() - 1) / itemRanks() * itemRanks();
  }

  @Override
  public int zElements(MoeLoraConfig config, int blocks) {
    return Math.multiplyExact(
        Math.multiplyExact(Math.max(blocks, targetItems), rows()), zStride(config));
  }

  /** Chunks of columns that a slice of a projection makes at most. */
  int chunks(int outputWidth) {
    return (outputWidth + chunk - 1) / chunk;
  }
}
