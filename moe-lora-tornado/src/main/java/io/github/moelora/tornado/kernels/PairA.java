package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link PairKernels}: A. Of packed A a warp takes one tile of ranks of a pass, and
 * shares its rows with the other warps of that tile, who have every {@code rowStep}-th; a lane has
 * 4 ranks of one element of H.
 */
final class PairA {
  /** Longs of packed bfloat16 that a thread has under way. */
  private static final int BATCH = 16;

  /** Longs of packed float16, each of which waits as four floats. */
  private static final int HALF_BATCH = 16;

  /** There are {@code 1 << this} warps. */
  private static final int WARP_SHIFT = 3;

  private PairA() {}

  /** Rows of tiles. */
  private static int rows(int[] item) {
    return 4 * PackedLayout.stages(item[PairItem.WIDTH]);
  }

  private static int rowShift(int[] item) {
    return WARP_SHIFT - item[PairItem.TILE_SHIFT];
  }

  /** Warps that share a tile of ranks: rows from one of a warp to its next. */
  static int rowStep(int[] item) {
    return 1 << rowShift(item);
  }

  /** Batches of a pass, the same for all warps. */
  private static int batches(int[] item, int batch) {
    int ofOneWarp = (rows(item) + batch - 1) / batch;
    return (ofOneWarp + rowStep(item) - 1) >> rowShift(item);
  }

  /** Batches whose elements of x are on chip at once, less 1; their number is a power of two. */
  private static int segmentMask(int[] item, int batch) {
    int ofOneWarp = (PairX.FLOATS / 16 / batch) >> WARP_SHIFT;
    return (ofOneWarp << item[PairItem.TILE_SHIFT]) - 1;
  }

  private static int firstRow(int[] item, int tid) {
    return (tid >> 5) & (rowStep(item) - 1);
  }

  /** Where the element of x on chip lies for a lane's first long of a batch of a segment. */
  private static int xAt(int[] item, int inSegment, int tid, int batch) {
    int row = firstRow(item, tid) + inSegment * batch * rowStep(item);
    return 16 * row + ((tid & 31) >> 1);
  }

  /** Where a thread's longs of its warp's tile of ranks begin. */
  private static int tile(int[] item, int pass, int tid) {
    int warpTile = (tid >> 5) >> rowShift(item);
    int tile = Math.min((pass << item[PairItem.TILE_SHIFT]) + warpTile, item[PairItem.TILES] - 1);
    return item[PairItem.A] + tile * OneShotA.TILE + (tid & 31);
  }

  /**
   * A thread's long number {@code i} of a batch; where there is no row, of the last once more: x is
   * 0 there.
   */
  private static long read(LongArray pool, int[] item, int tile, int row, int i) {
    int at = Math.min(row + i * rowStep(item), rows(item) - 1);
    return pool.get(tile + at * item[PairItem.ROW_LONGS]);
  }

  /**
   * A pass over packed bfloat16.
   *
   * <p>Of what is under way at the end of a batch nothing has been waited for: a thread's next
   * longs take the places of those that it has used.
   *
   * @param own out, a thread's sums of four ranks
   */
  static void bfloat16(
      KernelContext ctx,
      LongArray pool,
      FloatArray x,
      IntArray words,
      float[] own,
      int[] item,
      int pass,
      int tid,
      int mode) {
    float[] xs = ctx.allocateFloatLocalArray(PairX.FLOATS);
    OneShotSums.clear(own, 1);
    long[] next = new long[BATCH];
    int tile = tile(item, pass, tid);
    int first = firstRow(item, tid);
    for (int i = 0; i < BATCH; i++) {
      next[i] = read(pool, item, tile, first, i);
    }
    int step = 16 * rowStep(item);
    int mask = segmentMask(item, BATCH);
    int batches = batches(item, BATCH);
    for (int index = 0; index < batches; index++) {
      int inSegment = index & mask;
      if (inSegment == 0) {
        float[] elements = new float[PairX.EACH];
        PairX.readWords(x, words, elements, item, index * BATCH * step, tid, mode);
        ctx.localBarrier();
        for (int i = 0; i < PairX.EACH; i++) {
          xs[tid + i * PairKernels.THREADS] = elements[i];
        }
        ctx.localBarrier();
      }
      int xAt = xAt(item, inSegment, tid, BATCH);
      int row = first + (index + 1) * BATCH * rowStep(item);
      if (index + 1 < batches) {
        for (int i = 0; i < BATCH; i++) {
          long value = next[i];
          next[i] = read(pool, item, tile, row, i);
          OneShotSums.add(own, 0, value, xs[xAt + i * step]);
        }
      } else {
        for (int i = 0; i < BATCH; i++) {
          OneShotSums.add(own, 0, next[i], xs[xAt + i * step]);
        }
      }
    }
  }

  /** The same of packed float16, of which TornadoVM has no arrays in registers. */
  static void float16(
      KernelContext ctx,
      HalfFloatArray pool,
      FloatArray x,
      HalfFloatArray halves,
      float[] own,
      int[] item,
      int pass,
      int tid,
      int mode) {
    float[] xs = ctx.allocateFloatLocalArray(PairX.FLOATS);
    OneShotSums.clear(own, 1);
    int tile = tile(item, pass, tid);
    int first = firstRow(item, tid);
    // before the longs, which are waited for where they become floats
    float[] elements = new float[PairX.EACH];
    PairX.readHalves(x, halves, elements, item, 0, tid, mode);
    float[] next = new float[4 * HALF_BATCH];
    readHalves(pool, next, item, tile, first);
    int step = 16 * rowStep(item);
    int mask = segmentMask(item, HALF_BATCH);
    int batches = batches(item, HALF_BATCH);
    for (int index = 0; index < batches; index++) {
      int inSegment = index & mask;
      if (inSegment == 0) {
        if (index > 0) {
          PairX.readHalves(x, halves, elements, item, index * HALF_BATCH * step, tid, mode);
        }
        ctx.localBarrier();
        for (int i = 0; i < PairX.EACH; i++) {
          xs[tid + i * PairKernels.THREADS] = elements[i];
        }
        ctx.localBarrier();
      }
      int xAt = xAt(item, inSegment, tid, HALF_BATCH);
      int row = first + (index + 1) * HALF_BATCH * rowStep(item);
      float[] following = new float[4 * HALF_BATCH];
      readHalves(pool, following, item, tile, row);
      for (int i = 0; i < HALF_BATCH; i++) {
        OneShotSums.addHalves(own, 0, next, 4 * i, xs[xAt + i * step]);
      }
      for (int i = 0; i < 4 * HALF_BATCH; i++) {
        next[i] = following[i];
      }
    }
  }

  /** Reads a batch of float16. */
  private static void readHalves(
      HalfFloatArray pool, float[] numbers, int[] item, int tile, int row) {
    for (int i = 0; i < HALF_BATCH; i++) {
      int at = Math.min(row + i * rowStep(item), rows(item) - 1);
      int from = 4 * (tile + at * item[PairItem.ROW_LONGS]);
      OneShotSums.unpack(Halves.get(pool, from), Halves.get(pool, from + 2), numbers, 4 * i);
    }
  }

  /** Ranks of a pass over float32 A: each has sixteen neighbouring threads. */
  static final int FLOAT_RANKS = PairKernels.FLOAT_THREADS / PairB.LANES;

  private static final int FLOAT_BATCH = 16;

  /** Elements of a row of float32 A that its threads read at once. */
  private static final int FLOAT_STEP = FLOAT_BATCH * PairB.LANES;

  /** A thread's sum of float32: of its rank, every sixteenth element of H. */
  static float floats(FloatArray pool, FloatArray x, int[] item, int firstRank, int tid) {
    int rank = Math.min(firstRank + tid / PairB.LANES, item[PairItem.END_RANK] - 1);
    int from = item[PairItem.A] + rank * item[PairItem.WIDTH];
    if (rank >= item[PairItem.RANK0]) {
      from = item[PairItem.A1] + (rank - item[PairItem.RANK0]) * item[PairItem.WIDTH];
    }
    int lane = tid & (PairB.LANES - 1);
    float[] next = new float[FLOAT_BATCH];
    readFloats(pool, next, item, from, lane);
    float[] sums = new float[4];
    OneShotSums.clear(sums, 1);
    for (int h = lane; h < item[PairItem.WIDTH]; h += FLOAT_STEP) {
      float[] elements = new float[FLOAT_BATCH];
      readFloats(x, elements, item, item[PairItem.X], h);
      float[] now = new float[FLOAT_BATCH];
      for (int i = 0; i < FLOAT_BATCH; i++) {
        now[i] = next[i];
      }
      readFloats(pool, next, item, from, h + FLOAT_STEP);
      for (int i = 0; i < FLOAT_BATCH; i++) {
        float product = now[i] * elements[i];
        sums[i & 3] += h + i * PairB.LANES < item[PairItem.WIDTH] ? product : 0.0f;
      }
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  /** Reads every sixteenth element of a row; the last once more beyond H. */
  private static void readFloats(FloatArray array, float[] to, int[] item, int from, int h) {
    for (int i = 0; i < FLOAT_BATCH; i++) {
      to[i] = array.get(from + Math.min(h + i * PairB.LANES, item[PairItem.WIDTH] - 1));
    }
  }
}
