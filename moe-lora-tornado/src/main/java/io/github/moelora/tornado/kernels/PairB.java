package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link PairKernels}: which elements of B a thread multiplies. It has a column, or a
 * gate and its up, and a share of the ranks.
 */
final class PairB {
  /** Ranks that a thread reads at once. */
  static final int BATCH = 4;

  private PairB() {}

  /** A thread's column of those at hand. */
  static int column(int[] item, int first, int tid) {
    return first + (tid & ((1 << item[PairItem.COLUMN_SHIFT]) - 1));
  }

  /** Threads that share the ranks of a column. */
  private static int shares(int[] item, int threads) {
    return threads >> item[PairItem.COLUMN_SHIFT];
  }

  /** Table index of the slice that covers a column of the projection, -1 without one. */
  static int slice(int[] item, IntArray slices, int column) {
    int slice = -1;
    if (item[PairItem.SITE] >= 0) {
      int at = item[PairItem.SITE] * SliceTable.INTS;
      int next = at + SliceTable.FIELDS;
      int column0 = column - slices.get(at + SliceTable.FIRST_COLUMN);
      int column1 = column - slices.get(next + SliceTable.FIRST_COLUMN);
      if (column0 >= 0 && column0 < slices.get(at + SliceTable.COLUMNS)) {
        slice = at;
      }
      if (column1 >= 0 && column1 < slices.get(next + SliceTable.COLUMNS)) {
        slice = next;
      }
    }
    return slice;
  }

  /** First rank of a slice that a thread has. */
  static int firstRank(int[] item, IntArray slices, int slice, int tid, int threads) {
    return (tid >> item[PairItem.COLUMN_SHIFT]) * perShare(item, slices, slice, threads);
  }

  /** The rank after the last that a thread has; none without a slice. */
  static int endRank(int[] item, IntArray slices, int slice, int tid, int threads) {
    int rank = slice < 0 ? 0 : slices.get(slice + SliceTable.RANK);
    int share = perShare(item, slices, slice, threads);
    return Math.min(rank, ((tid >> item[PairItem.COLUMN_SHIFT]) + 1) * share);
  }

  private static int perShare(int[] item, IntArray slices, int slice, int threads) {
    int rank = slice < 0 ? 0 : slices.get(slice + SliceTable.RANK);
    return (rank + shares(item, threads) - 1) / shares(item, threads);
  }

  /** Where the ranks of a slice begin in z. */
  static int z(int[] item, int slice) {
    return (slice & SliceTable.FIELDS) != 0 ? item[PairItem.RANK0] : 0;
  }

  /** Where the ranks of a column begin in float32 B; 0 without a slice. */
  static int floats(IntArray slices, int slice, int column) {
    int from = 0;
    if (slice >= 0) {
      int row = column - slices.get(slice + SliceTable.FIRST_COLUMN);
      from = slices.get(slice + SliceTable.B) + row * slices.get(slice + SliceTable.RANK);
    }
    return from;
  }

  /**
   * The 16-bit element where the ranks of a column begin in packed B; they lie 8 elements apart,
   * those of a unit after those of the one before. 0 without a slice.
   */
  static int packed(IntArray slices, int slice, int column) {
    int from = 0;
    if (slice >= 0) {
      int units = PackedLayout.rankUnits(slices.get(slice + SliceTable.RANK));
      int row = column - slices.get(slice + SliceTable.FIRST_COLUMN);
      from =
          PackedLayout.LONG * slices.get(slice + SliceTable.B) + PackedLayout.indexB(row, 0, units);
    }
    return from;
  }

  /**
   * Reads a batch of float32, 0 from {@code end} on. All loads are under way before the first is
   * needed: what is read in a branch, or converted there, would wait for what was read before.
   */
  static void readFloats(FloatArray pool, float[] numbers, int b, int r, int end) {
    for (int i = 0; i < BATCH; i++) {
      numbers[i] = pool.get(b + Math.min(r + i, end - 1));
    }
    clear(numbers, r, end);
  }

  /** {@link #readFloats} of packed bfloat16. */
  static void readBfloats(LongArray pool, float[] numbers, int b, int r, int end) {
    long[] fours = new long[BATCH];
    for (int i = 0; i < BATCH; i++) {
      fours[i] = pool.get((b >> 2) + 2 * Math.min(r + i, end - 1));
    }
    for (int i = 0; i < BATCH; i++) {
      numbers[i] = BFloat16.bf16ToFloat((short) (fours[i] >>> ((b & 3) << 4)));
    }
    clear(numbers, r, end);
  }

  /** {@link #readFloats} of packed float16. */
  static void readHalves(HalfFloatArray pool, float[] numbers, int b, int r, int end) {
    for (int i = 0; i < BATCH; i++) {
      numbers[i] = pool.get(b + 8 * Math.min(r + i, end - 1)).getFloat32();
    }
    clear(numbers, r, end);
  }

  private static void clear(float[] numbers, int r, int end) {
    for (int i = 0; i < BATCH; i++) {
      numbers[i] *= Math.min(1, Math.max(0, end - r - i));
    }
  }
}
