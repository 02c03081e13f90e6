package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Stage of {@link MmaShrink}: which ranks and which share of H an item has. */
final class ShrinkItem {
  private ShrinkItem() {}

  /** Ranks of all slices of a site. */
  static int ranks(IntArray slices, int at) {
    return slices.get(at + SliceTable.RANK) + slices.get(at + SliceTable.FIELDS + SliceTable.RANK);
  }

  /** First stage of H of a part. */
  static int first(int stages, int part, int parts) {
    return part * share(stages, parts);
  }

  /**
   * The stage after the last one of a part; the first one for an item without ranks.
   *
   * @param validTiles see {@link #validTiles}
   */
  static int end(int stages, int part, int parts, int validTiles) {
    int first = first(stages, part, parts);
    return validTiles > 0 ? Math.min(stages, first + share(stages, parts)) : first;
  }

  private static int share(int stages, int parts) {
    return (stages + parts - 1) / parts;
  }

  /**
   * Where A of an item begins for a thread. Longs after the stack are of no rank that is stored, or
   * of none that is read.
   */
  static int a(IntArray slices, int at, int ranks, int firstTile, int tid, int itemTiles) {
    int stepLongs = itemTiles * ShrinkTiles.A_TILE;
    // powers of two: all of a thread's longs of A belong to one step, or each to another
    int step = tid / stepLongs * PackedLayout.rankTiles(ranks) + firstTile;
    return slices.get(at + SliceTable.A) + step * ShrinkTiles.A_TILE + (tid & (stepLongs - 1));
  }

  /** Tiles of ranks of an item that the site has; 0 or less if it has none. */
  static int validTiles(int ranks, int firstTile, int itemTiles) {
    return Math.min(itemTiles, PackedLayout.rankTiles(ranks) - firstTile);
  }
}
