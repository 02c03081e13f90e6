package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link OneShot}: A, of which a lane has 4 ranks of one element of H of a tile.
 *
 * <p>A warp takes one tile of ranks of a pass, and shares its rows with the other warps of that
 * tile, who have every {@code rowStep}-th.
 */
final class OneShotA {
  /** Longs of a tile: 16 elements of H times 8 ranks. */
  static final int TILE = PackedLayout.TILE / PackedLayout.LONG;

  /** Most longs that a thread has under way. */
  static final int MOST = 16;

  private OneShotA() {}

  /** Longs that a thread has under way; more sums leave fewer registers for them. */
  static int batch(int rows) {
    return MOST / (rows > 1 ? 2 : 1);
  }

  /** Warps that share a tile of ranks: rows from one of a warp to its next. */
  static int rowStep(int[] item) {
    return 8 >> item[OneShotItem.TILE_SHIFT];
  }

  /** The first row of tiles of a segment. */
  static int firstRow(int segment, int rows) {
    return segment * OneShotX.width(rows) / 16;
  }

  /** The row of tiles after the last of a segment. */
  static int endRow(int[] item, int segment, int rows) {
    return Math.min(
        item[OneShotItem.TILE_ROWS], firstRow(segment, rows) + OneShotX.width(rows) / 16);
  }

  /** First row of a segment's that a thread's warp has. */
  static int warpRow(int[] item, int tid) {
    return (tid >> 5) & (rowStep(item) - 1);
  }

  /** Where a thread's longs of its warp's tile of ranks begin. */
  static int tile(int[] item, int pass, int tid) {
    int warpTile = (tid >> 5) >> (3 - item[OneShotItem.TILE_SHIFT]);
    int tile =
        Math.min((pass << item[OneShotItem.TILE_SHIFT]) + warpTile, item[OneShotItem.TILES] - 1);
    return item[OneShotItem.A] + (tid & 31) + tile * TILE;
  }

  /** Where a thread's long of a row of tiles lies; that of the last row where there is none. */
  private static int at(int[] item, int tile, int row) {
    return tile + Math.min(row, item[OneShotItem.TILE_ROWS] - 1) * item[OneShotItem.ROW_LONGS];
  }

  /** Reads the first batch of an item. */
  static void open(LongArray pool, long[] next, int[] item, int tid, int rows) {
    for (int i = 0; i < batch(rows); i++) {
      readNext(pool, next, item, i, tile(item, 0, tid), warpRow(item, tid));
    }
  }

  private static boolean isLast(int[] item, int first, int endRow, int rows) {
    return first + batch(rows) * rowStep(item) >= endRow;
  }

  /** {@link #tile} of the next batch: after the last of a pass, of the next pass or segment. */
  static int nextTile(int[] item, int pass, int first, int endRow, int tid, int rows) {
    int passAfter = pass + 1 < OneShotItem.passes(item) ? pass + 1 : 0;
    int same = tile(item, pass, tid);
    int after = tile(item, passAfter, tid);
    return isLast(item, first, endRow, rows) ? after : same;
  }

  /** First row of the next batch: after the last of a pass, of the segment again or of the next. */
  static int nextRow(int[] item, int pass, int first, int firstRow, int endRow, int tid, int rows) {
    int again = pass + 1 < OneShotItem.passes(item) ? firstRow : endRow;
    return isLast(item, first, endRow, rows)
        ? warpRow(item, tid) + again
        : first + batch(rows) * rowStep(item);
  }

  /** Reads a thread's long number {@code i} of a batch. */
  static void readNext(LongArray pool, long[] next, int[] item, int i, int tile, int row) {
    next[i] = pool.get(at(item, tile, row + i * rowStep(item)));
  }

  /**
   * Reads a batch of float16. TornadoVM has no way from a long in a register to the float16 numbers
   * in it, so they wait as floats.
   */
  static void readHalves(
      HalfFloatArray pool, float[] numbers, int[] item, int pass, int first, int tid, int rows) {
    for (int i = 0; i < batch(rows); i++) {
      int from = 4 * at(item, tile(item, pass, tid), first + i * rowStep(item));
      OneShotSums.unpack(Halves.get(pool, from), Halves.get(pool, from + 2), numbers, 4 * i);
    }
  }
}
