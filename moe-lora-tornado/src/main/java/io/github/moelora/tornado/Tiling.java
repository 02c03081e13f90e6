package io.github.moelora.tornado;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;

/**
 * How the tuned kernels cut a projection's work.
 *
 * @param rowWarps rows of warps of a shrink work-group, 1 or 2
 * @param rowTiles row tiles of a warp, 1 or 2
 * @param rankTiles rank tiles of a warp, 1, 2 or 4
 * @param shrinkGroups work-groups of shrink
 * @param targetItems items that shrink splits H for when there are fewer blocks
 * @param rowStep rows that a thread of expand computes at a time
 * @param threads threads of an expand work-group
 * @param words words of two columns that a thread of expand owns, 1, 2 or 4
 * @param expandGroups work-groups of expand
 */
record Tiling(
    int rowWarps,
    int rowTiles,
    int rankTiles,
    int shrinkGroups,
    int targetItems,
    int rowStep,
    int threads,
    int words,
    int expandGroups) {

  /** Multiprocessors of an H100; the grids are sized for it and work on any device. */
  private static final int MULTIPROCESSORS = 132;

  /** Few pairs in a block: many small items. */
  static Tiling small(MoeLoraConfig config, Projection projection) {
    return new Tiling(
        1,
        1,
        rankTiles(config, projection),
        4 * MULTIPROCESSORS,
        4 * MULTIPROCESSORS,
        4,
        128,
        1,
        8 * MULTIPROCESSORS);
  }

  /** Many pairs in a block: large items, as far as local memory holds the ranks of z. */
  static Tiling large(MoeLoraConfig config, Projection projection) {
    int rows = Math.min(64, TunedExpand.MAX_Z / PackedLayout.paddedRank(config.maxRank()) & -16);
    return new Tiling(
        rows == 64 ? 2 : 1,
        rows == 16 ? 1 : 2,
        rankTiles(config, projection),
        2 * MULTIPROCESSORS,
        2 * MULTIPROCESSORS,
        8,
        128,
        2,
        4 * MULTIPROCESSORS);
  }

  private static int rankTiles(MoeLoraConfig config, Projection projection) {
    boolean two = projection == Projection.GATE_UP && config.model().gateUp().gated();
    int stack = (two ? 2 : 1) * config.maxRank();
    return stack > 64 ? 4 : stack > 32 ? 2 : 1;
  }

  /** Rows of a block. */
  int rows() {
    return 16 * rowWarps * rowTiles;
  }

  /** Ranks of an item of shrink. */
  int itemRanks() {
    return 32 * rankTiles;
  }

  /** Threads of a shrink work-group. */
  int shrinkThreads() {
    return 128 * rowWarps;
  }

  /** Floats of a row of z: what the largest stack takes in whole items. */
  int zStride(MoeLoraConfig config) {
    int stack = SliceTable.maxStack(config);
    return (stack + itemRanks() - 1) / itemRanks() * itemRanks();
  }

  /** Floats of z for a list of up to {@code blocks} blocks. */
  int zElements(MoeLoraConfig config, int blocks) {
    return Math.multiplyExact(
        Math.multiplyExact(Math.max(blocks, targetItems), rows()), zStride(config));
  }

  /**
   * Chunks of columns of a block that expand makes at most: every slice ends in one partly filled
   * chunk.
   */
  int chunks(int outputWidth) {
    return (outputWidth / 2 + threads * words - 1) / (threads * words) + 1;
  }
}
