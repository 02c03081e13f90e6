package io.github.moelora.tornado.layout;

/**
 * Numbers of a kernel on groups, packed because a task has few parameters. They are constants of
 * the compiled kernel, so taking them apart costs nothing.
 */
public final class GroupNumbers {
  /** Most slots, and most local experts. */
  public static final int MOST_SITES = (1 << 15) - 1;

  /** Most classes of slots, and most shares of the columns. */
  public static final int MOST_CUTS = 255;

  private GroupNumbers() {}

  /**
   * Packs what the slice table has rows for.
   *
   * @param slots {@code L}, at most {@link #MOST_SITES}
   * @param localExperts experts that live here, at most {@link #MOST_SITES}
   */
  public static int sites(int slots, int localExperts) {
    return slots << 15 | localExperts;
  }

  /** {@code L}. */
  public static int slots(int sites) {
    return sites >> 15;
  }

  /** Experts that live here. */
  public static int localExperts(int sites) {
    return sites & MOST_SITES;
  }

  /**
   * Packs how work-groups share the work.
   *
   * @param classes into which the slots fall, slot {@code s} into {@code s % classes}
   * @param slices of a site, 1 or 2
   * @param shares of the columns of a slice
   * @param pairRows whether x has a row per pair, else one per token
   * @param countErrors whether pairs with an id out of range are counted
   */
  public static int cut(
      int classes, int slices, int shares, boolean pairRows, boolean countErrors) {
    return classes << 12
        | shares << 4
        | (slices - 1) << 2
        | (pairRows ? 2 : 0)
        | (countErrors ? 1 : 0);
  }

  /** Classes into which the slots fall. */
  public static int classes(int cut) {
    return cut >> 12;
  }

  /** Shares of the columns of a slice. */
  public static int shares(int cut) {
    return cut >> 4 & MOST_CUTS;
  }

  /** Slices of a site. */
  public static int slices(int cut) {
    return (cut >> 2 & 1) + 1;
  }

  /** Whether x has a row per pair. */
  public static boolean pairRows(int cut) {
    return (cut & 2) != 0;
  }

  /** 1 if pairs with an id out of range are counted, else 0. */
  public static int countErrors(int cut) {
    return cut & 1;
  }

  /**
   * Packs the tiles.
   *
   * @param rankTiles tiles of 8 ranks of a pass: 1, 2, 4 or 8
   * @param steps tiles of 16 elements of H in a stage: 4, 8 or 16
   * @param rankSteps most steps of 16 ranks of a slice, 1 to 4
   * @param chunk columns of a chunk of expand: 32, 64 or 128
   * @param together chunks of B that are on chip together
   */
  public static int tiles(int rankTiles, int steps, int rankSteps, int chunk, int together) {
    return together << 24 | chunk << 16 | rankSteps << 10 | steps << 4 | rankTiles;
  }

  /** Tiles of 8 ranks of a pass. */
  public static int rankTiles(int tiles) {
    return tiles & 15;
  }

  /** Tiles of 16 elements of H in a stage. */
  public static int steps(int tiles) {
    return tiles >> 4 & 63;
  }

  /** Most steps of 16 ranks of a slice. */
  public static int rankSteps(int tiles) {
    return tiles >> 10 & 63;
  }

  /** Columns of a chunk of expand. */
  public static int chunk(int tiles) {
    return tiles >> 16 & 255;
  }

  /** Chunks of B that are on chip together. */
  public static int together(int tiles) {
    return tiles >> 24;
  }

  /** Columns of B that are on chip together. */
  public static int columns(int tiles) {
    return together(tiles) * chunk(tiles);
  }
}
