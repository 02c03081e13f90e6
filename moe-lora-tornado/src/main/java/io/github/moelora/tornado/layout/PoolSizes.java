package io.github.moelora.tornado.layout;

import io.github.moelora.AdapterPool;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;

/** Sizes of the weight pools of a site, which must stay within one array. */
public final class PoolSizes {
  private static final long MAX_ELEMENTS = Integer.MAX_VALUE - 16;

  /**
   * A piece on its way to a pool is at most this part of a slot's share of it, and at most {@link
   * #MOST_STAGED}: a swap moves whole pieces, and must not get dearer with more slots.
   */
  private static final int STAGED_PART = 8;

  /**
   * Fewer elements would not be worth a launch of their own. Small shares take as many, too: the
   * size is a constant of the kernels that copy a piece, so pools of one size share them.
   */
  private static final int LEAST_STAGED = 1 << 12;

  private static final int MOST_STAGED = 1 << 22;

  private PoolSizes() {}

  /** Elements of the pool of float32 weights: A and B. */
  public static int floats(MoeLoraConfig config, Projection projection) {
    long inputWidth = config.model().inputWidth(projection);
    long outputWidth = config.model().outputWidth(projection);
    long expert = stackedRanks(config, projection) * inputWidth + ranks(config) * outputWidth;
    return checked(config, expert, 0, 1);
  }

  /**
   * Longs of the pool of packed A.
   *
   * @param spare longs behind the last slot
   */
  public static int packedA(MoeLoraConfig config, Projection projection, int spare) {
    long ofTile = PackedLayout.sizeA(1, config.model().inputWidth(projection)) / PackedLayout.LONG;
    return checked(
        config,
        tiles(config, stackedRanks(config, projection), SliceTable.maxStack(config)) * ofTile,
        spare,
        PackedLayout.LONG);
  }

  /** The same of packed B. */
  public static int packedB(MoeLoraConfig config, Projection projection, int spare) {
    int columns = config.model().outputWidth(projection);
    AdapterPool pool = config.pool();
    int tiles;
    long units;
    if (pool == null) {
      // each slice may end in a partly filled group
      tiles = PackedLayout.columnTiles(columns + PackedLayout.GROUP);
      units = (long) config.slots() * PackedLayout.rankUnits(config.maxRank());
    } else {
      boolean halves = isGated(config, projection) && pool.slices() == 2;
      tiles =
          halves ? 2 * PackedLayout.columnTiles(columns / 2) : PackedLayout.columnTiles(columns);
      units =
          Math.max(
              (pool.ranks() + PackedLayout.TILE_RANKS - 1) / PackedLayout.TILE_RANKS,
              PackedLayout.rankUnits(config.maxRank()));
    }
    long ofUnit = PackedLayout.sizeB(1, 1) / PackedLayout.columnTiles(1) / PackedLayout.LONG;
    return checked(config, units * tiles * ofUnit, spare, PackedLayout.LONG);
  }

  /** Elements of the array from which a pool of so many elements is filled. */
  public static int staged(int elements, int slots) {
    return Math.clamp(elements / slots / STAGED_PART, LEAST_STAGED, MOST_STAGED);
  }

  private static long tiles(MoeLoraConfig config, long ranks, int ofSlot) {
    if (config.pool() == null) {
      return (long) config.slots() * PackedLayout.rankTiles(ofSlot);
    }
    return (ranks + PackedLayout.TILE_RANKS - 1) / PackedLayout.TILE_RANKS;
  }

  /** Stacked ranks of A of all slots. */
  private static long stackedRanks(MoeLoraConfig config, Projection projection) {
    AdapterPool pool = config.pool();
    return pool == null
        ? (long) config.slots() * SliceTable.maxStack(config)
        : pool.stackedRanks(isGated(config, projection));
  }

  /** Ranks of B of all slots. */
  private static long ranks(MoeLoraConfig config) {
    AdapterPool pool = config.pool();
    return pool == null ? (long) config.slots() * config.maxRank() : pool.ranks();
  }

  private static boolean isGated(MoeLoraConfig config, Projection projection) {
    return projection == Projection.GATE_UP && config.model().gateUp().gated();
  }

  private static int checked(MoeLoraConfig config, long expert, int spare, int weights) {
    int experts = config.expertMap().localExperts();
    // far below the range of int64: ranks, widths and experts are bounded
    long elements = Math.addExact(Math.multiplyExact(expert, (long) experts), spare);
    if (elements > MAX_ELEMENTS) {
      AdapterPool pool = config.pool();
      throw new IllegalArgumentException(
          pool == null
              ? ("slots * experts * maxRank * widths of one projection must be at most %d weights,"
                      + " got %d with %d slots, %d experts and maxRank %d")
                  .formatted(
                      weights * MAX_ELEMENTS,
                      weights * elements,
                      config.slots(),
                      experts,
                      config.maxRank())
              : ("pool.ranks * experts * widths of one projection must be at most %d weights, got"
                      + " %d with %d ranks and %d experts")
                  .formatted(weights * MAX_ELEMENTS, weights * elements, pool.ranks(), experts));
    }
    return (int) elements;
  }
}
