package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link PairKernels}: A. Of packed A a warp takes one tile of ranks of a pass, and
 * shares its rows with the other warps of that tile, who have every {@code rowStep}-th; a lane has
 * 4 ranks of one element of H.
 */
final class PairA {
  /** Longs of packed bfloat16 that a thread has under way. */
  static final int BATCH = 16;

  /** Longs of packed float16, each of which waits as four floats. */
  static final int HALF_BATCH = 8;

  private static final int WARPS = PairKernels.THREADS / 32;

  private PairA() {}

  /** Rows of tiles. */
  private static int rows(int[] item) {
    return 4 * PackedLayout.stages(item[PairItem.WIDTH]);
  }

  /** Warps that share a tile of ranks: rows from one of a warp to its next. */
  static int rowStep(int[] item) {
    return WARPS >> item[PairItem.TILE_SHIFT];
  }

  /** Batches of a pass, the same for all warps. */
  static int batches(int[] item, int batch) {
    int rowsOfAll = batch * rowStep(item);
    return (rows(item) + rowsOfAll - 1) / rowsOfAll;
  }

  /** Batches whose elements of x are on chip at once, less 1; their number is a power of two. */
  private static int segmentMask(int[] item, int batch) {
    return (PairX.FLOATS / 16 / batch >> 4 << item[PairItem.TILE_SHIFT]) - 1;
  }

  /** Whether x must come on chip before a batch. */
  static boolean needsX(int[] item, int pass, int index, int batch) {
    int inSegment = index & segmentMask(item, batch);
    // what one segment holds stays for all passes
    boolean stays = pass > 0 && PairX.fits(item);
    return !stays && inSegment == 0;
  }

  private static int firstRow(int[] item, int tid) {
    return (tid >> 5) & (rowStep(item) - 1);
  }

  /** Where the element of x on chip lies for a lane's long number {@code i} of a batch. */
  static int xAt(int[] item, int index, int i, int tid, int batch) {
    int inSegment = index & segmentMask(item, batch);
    int row = firstRow(item, tid) + (inSegment * batch + i) * rowStep(item);
    return 16 * row + ((tid & 31) >> 1);
  }

  /** Where a thread's longs of its warp's tile of ranks begin. */
  static int tile(int[] item, int pass, int tid) {
    int warpTile = (tid >> 5) / rowStep(item);
    int tile = Math.min((pass << item[PairItem.TILE_SHIFT]) + warpTile, item[PairItem.TILES] - 1);
    return item[PairItem.A] + tile * OneShotA.TILE + (tid & 31);
  }

  /** Whether no batch follows. */
  static boolean isLast(int[] item, int pass, int index, int batch) {
    int left = (PairItem.passes(item) - pass) * batches(item, batch) - index;
    return left == 1;
  }

  /** {@link #tile} of the batch after, which may be of the next pass. */
  static int tileAfter(int[] item, int pass, int index, int tid, int batch) {
    return tile(item, index + 1 < batches(item, batch) ? pass : pass + 1, tid);
  }

  /** First row of a warp in the batch after. */
  static int rowAfter(int[] item, int index, int tid, int batch) {
    int after = index + 1 < batches(item, batch) ? index + 1 : 0;
    return firstRow(item, tid) + after * batch * rowStep(item);
  }

  /**
   * A thread's long number {@code i} of a batch; where there is no row, of the last once more: x is
   * 0 there.
   */
  static long read(LongArray pool, int[] item, int tile, int row, int i) {
    int at = Math.min(row + i * rowStep(item), rows(item) - 1);
    return pool.get(tile + at * item[PairItem.ROW_LONGS]);
  }

  /** Reads the first batch. */
  static void open(LongArray pool, long[] next, int[] item, int tid) {
    int tile = tile(item, 0, tid);
    for (int i = 0; i < BATCH; i++) {
      next[i] = read(pool, item, tile, firstRow(item, tid), i);
    }
  }

  /** Reads the first batch of float16. */
  static void openHalves(HalfFloatArray pool, float[] next, int[] item, int tid) {
    readHalves(pool, next, item, tile(item, 0, tid), firstRow(item, tid));
  }

  /** Reads a batch of float16, each long as four floats, which come in after what is under way. */
  static void readHalves(HalfFloatArray pool, float[] numbers, int[] item, int tile, int row) {
    for (int i = 0; i < HALF_BATCH; i++) {
      int at = Math.min(row + i * rowStep(item), rows(item) - 1);
      int from = 4 * (tile + at * item[PairItem.ROW_LONGS]);
      OneShotSums.unpack(Halves.get(pool, from), Halves.get(pool, from + 2), numbers, 4 * i);
    }
  }

  /** Ranks of a pass over float32 A: each has sixteen neighbouring threads. */
  static final int FLOAT_RANKS = PairKernels.FLOAT_THREADS / PairB.LANES;

  /** Elements of a row of float32 A that its threads read at once. */
  private static final int FLOAT_STEP = BATCH * PairB.LANES;

  /** A thread's sum of float32: of its rank, every sixteenth element of H. */
  static float floats(FloatArray pool, FloatArray x, int[] item, int firstRank, int tid) {
    int rank = Math.min(firstRank + tid / PairB.LANES, item[PairItem.END_RANK] - 1);
    int from = item[PairItem.A] + rank * item[PairItem.WIDTH];
    if (rank >= item[PairItem.RANK0]) {
      from = item[PairItem.A1] + (rank - item[PairItem.RANK0]) * item[PairItem.WIDTH];
    }
    int lane = tid & (PairB.LANES - 1);
    float[] next = new float[BATCH];
    readFloats(pool, next, item, from, lane);
    float[] sums = new float[4];
    OneShotSums.clear(sums, 1);
    for (int h = lane; h < item[PairItem.WIDTH]; h += FLOAT_STEP) {
      float[] elements = new float[BATCH];
      readFloats(x, elements, item, item[PairItem.X], h);
      float[] now = new float[BATCH];
      for (int i = 0; i < BATCH; i++) {
        now[i] = next[i];
      }
      readFloats(pool, next, item, from, h + FLOAT_STEP);
      for (int i = 0; i < BATCH; i++) {
        float product = now[i] * elements[i];
        sums[i & 3] += h + i * PairB.LANES < item[PairItem.WIDTH] ? product : 0.0f;
      }
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  /** Reads every sixteenth element of a row; the last once more beyond H. */
  private static void readFloats(FloatArray array, float[] to, int[] item, int from, int h) {
    for (int i = 0; i < BATCH; i++) {
      to[i] = array.get(from + Math.min(h + i * PairB.LANES, item[PairItem.WIDTH] - 1));
    }
  }
}
