package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link OneShot}: B in slabs of 512 columns times 16 ranks, or fewer columns times more
 * ranks, of which a thread has four columns and a share of the ranks.
 */
final class OneShotB {
  /** Longs that a thread copies at once. */
  static final int BATCH = 8;

  /** Longs of a slab, and padding. */
  static final int LONGS = BATCH * OneShot.THREADS + 128;

  private OneShotB() {}

  /** Columns of a slab. */
  static int columns(int[] item) {
    return 512 >> item[OneShotItem.SLAB_SHIFT];
  }

  /** Ranks of a slab. */
  static int ranks(int[] item) {
    return 16 << item[OneShotItem.SLAB_SHIFT];
  }

  /** Slabs that the ranks take. */
  static int slabs(int[] item) {
    return (8 * item[OneShotItem.UNITS] + ranks(item) - 1) / ranks(item);
  }

  /** Where a long of a slab begins, or the last before where there is none. */
  private static int at(int[] item, int index, int column, int slab) {
    int shift = 5 + item[OneShotItem.SLAB_SHIFT];
    int units = item[OneShotItem.UNITS];
    int tile = Math.min((column >> 3) + (index >> shift), item[OneShotItem.LAST_TILE]);
    int inTile = (slab << shift) + (index & ((1 << shift) - 1));
    return item[OneShotItem.B] + tile * units * 16 + Math.min(inTile, 16 * units - 1);
  }

  /** Reads a thread's longs of a slab. */
  static void read(LongArray pool, long[] next, int[] item, int column, int slab, int tid) {
    for (int i = 0; i < BATCH; i++) {
      next[i] = pool.get(at(item, tid + i * OneShot.THREADS, column, slab));
    }
  }

  /** Reads a thread's longs of an item's first slab, if it is time. */
  static void open(LongArray pool, long[] next, int[] item, int tid, boolean now) {
    if (now) {
      read(pool, next, item, item[OneShotItem.FIRST], 0, tid);
    }
  }

  /** Reads a thread's longs of the slab that follows, of the next columns after the last. */
  static void readFollowing(
      LongArray pool, long[] next, int[] item, int column, int slab, int tid) {
    boolean more = slab + 1 < slabs(item);
    read(pool, next, item, column + (more ? 0 : columns(item)), more ? slab + 1 : 0, tid);
  }

  /** Reads a thread's longs of a slab of float16, each as four floats. */
  static void readHalves(
      HalfFloatArray pool, float[] numbers, int[] item, int column, int slab, int tid) {
    for (int i = 0; i < BATCH; i++) {
      int from = 4 * at(item, tid + i * OneShot.THREADS, column, slab);
      OneShotSums.unpack(Halves.get(pool, from), Halves.get(pool, from + 2), numbers, 4 * i);
    }
  }

  /** Where a thread's long number {@code i} belongs on chip. */
  static int to(int[] item, int i, int tid) {
    int index = tid + i * OneShot.THREADS;
    int inTile = index & (2 * ranks(item) - 1);
    return (index >> (5 + item[OneShotItem.SLAB_SHIFT])) * tileStride(item) + inTile;
  }

  private static int tileStride(int[] item) {
    return 2 * ranks(item) + 2;
  }

  /** Groups of threads that share the ranks of a slab. */
  static int groups(int[] item) {
    return 2 << item[OneShotItem.SLAB_SHIFT];
  }

  /** Group of a thread. */
  static int group(int[] item, int tid) {
    return tid >> (7 - item[OneShotItem.SLAB_SHIFT]);
  }

  /** Four columns of a thread. */
  static int quad(int[] item, int tid) {
    return tid & ((columns(item) >> 2) - 1);
  }

  /** First rank of a slab that a thread has. */
  static int firstRank(int[] item, int slab, int tid) {
    return group(item, tid) * perGroup(item, slab);
  }

  /** The rank after the last that a thread has. */
  static int endRank(int[] item, int slab, int tid) {
    return Math.min(slabRanks(item, slab), (group(item, tid) + 1) * perGroup(item, slab));
  }

  private static int slabRanks(int[] item, int slab) {
    return Math.min(ranks(item), 8 * item[OneShotItem.UNITS] - slab * ranks(item));
  }

  private static int perGroup(int[] item, int slab) {
    return (slabRanks(item, slab) + groups(item) - 1) / groups(item);
  }

  /** Where a thread's four columns of a rank lie on chip. */
  static int from(int[] item, int r, int tid) {
    int quad = quad(item, tid);
    return (quad >> 1) * tileStride(item) + 2 * r + (quad & 1);
  }
}
