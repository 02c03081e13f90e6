package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link PairKernels}: packed B, in units of 32 columns that lie together times a share
 * of the ranks. The warps take the units in turn. A lane reads longs of four columns of one rank;
 * eight neighbouring lanes have four ranks of a tile of eight columns, 64 contiguous bytes.
 *
 * <p>The columns at hand are numbered from the first one on, those of ups that stand apart from
 * their gates after all gates. Units fall into lists: of each slice the columns and gates, then of
 * each slice the ups that stand apart.
 */
final class PairUnit {
  /** Longs that a lane reads of a unit at once: 32 ranks. */
  static final int BATCH = 8;

  /** Sums on chip: of each of four shares of the ranks, of each column and its up. */
  static final int FLOATS = 4 * 2 * 2 * PairKernels.THREADS;

  /** Most output columns at hand: two of a thread. */
  private static final int MOST_COLUMNS = 2 * PairKernels.THREADS;

  /** Output columns at hand. */
  static final int COLUMNS = 0;

  /** Ranks are shared by {@code 1 << this} units. */
  static final int SHARE_SHIFT = 1;

  /** A unit takes {@code 1 << this} batches. */
  private static final int BATCH_SHIFT = 2;

  /** Batches of a warp. */
  static final int ALL_BATCHES = 3;

  /** Where each list ends; then what makes a group of columns of a unit's number. */
  private static final int END = 4;

  private static final int GROUP = 8;

  /** Output column that is the first at hand. */
  private static final int FIRST = 12;

  /** Columns of the projection that a list has at most, and the first of columns and of ups. */
  private static final int WIDTH = 13;

  private static final int SOURCE = 14;
  private static final int SOURCE_OF_UPS = 15;

  /** First long of a lane's batch, but for its ranks. */
  private static final int LONG = 16;

  /** First rank of a lane's batch. */
  private static final int RANK = 17;

  /** The rank of the unit after the last. */
  private static final int END_RANK = 18;

  /** Where the ranks of the unit's slice begin in z. */
  private static final int Z = 19;

  /** Number of a lane's first column in its list. */
  private static final int COLUMN = 20;

  /** 1 for ups that stand apart. */
  private static final int UPS = 21;

  /** Numbers of units. */
  static final int INTS = 22;

  private static final int WARPS = PairKernels.THREADS / 32;

  private PairUnit() {}

  /** Output columns that are at hand at once, the same each time but the last. */
  static int step(int[] item) {
    int width = item[PairItem.END] - item[PairItem.FIRST];
    int times = (width + MOST_COLUMNS - 1) / MOST_COLUMNS;
    return ((width + times - 1) / times + PackedLayout.GROUP - 1) & -PackedLayout.GROUP;
  }

  /** Finds the units of some output columns. */
  static void open(int[] unit, int[] item, int[] sizes, int first, int step, int mode) {
    int columns = Math.min(step, item[PairItem.END] - first);
    int each = PairMode.has(mode, PairMode.INTERLEAVED) ? 2 : 1;
    boolean apart = PairMode.ways(mode) > each;
    unit[COLUMNS] = columns;
    unit[FIRST] = first;
    unit[WIDTH] = each * columns;
    unit[SOURCE] = PairItem.source(sizes, first, 0, mode);
    unit[SOURCE_OF_UPS] = PairItem.source(sizes, first, each == 1 ? 1 : 0, mode);
    add(unit, 0, 0, unit[SOURCE], item[PairItem.FIRST0], item[PairItem.END0]);
    add(unit, 1, unit[END], unit[SOURCE], item[PairItem.FIRST1], item[PairItem.END1]);
    unit[END + 2] = unit[END + 1];
    unit[END + 3] = unit[END + 1];
    unit[GROUP + 2] = 0;
    unit[GROUP + 3] = 0;
    if (apart) {
      add(unit, 2, unit[END + 1], unit[SOURCE_OF_UPS], item[PairItem.FIRST0], item[PairItem.END0]);
      add(unit, 3, unit[END + 2], unit[SOURCE_OF_UPS], item[PairItem.FIRST1], item[PairItem.END1]);
    }
    int ranks = Math.max(item[PairItem.RANK0], item[PairItem.RANK1]);
    int shift = ranks > 64 ? 2 : ranks > 32 ? 1 : 0;
    unit[SHARE_SHIFT] = shift;
    int perShare = perShare(ranks, shift);
    unit[BATCH_SHIFT] = perShare > 64 ? 2 : perShare > 32 ? 1 : 0;
    int units = unit[END + 3] << shift;
    unit[ALL_BATCHES] = ((units + WARPS - 1) / WARPS) << unit[BATCH_SHIFT];
  }

  /** Adds a list after the one before. */
  private static void add(
      int[] unit, int list, int start, int source, int firstColumn, int endColumn) {
    int low = Math.max(source, firstColumn) - firstColumn;
    int high = Math.min(source + unit[WIDTH], endColumn) - firstColumn;
    int groups = ((high + PackedLayout.GROUP - 1) >> 5) - (low >> 5);
    groups = high > low ? groups : 0;
    unit[END + list] = start + groups;
    unit[GROUP + list] = (low >> 5) - start;
  }

  /** Ranks of a unit, a multiple of four. */
  private static int perShare(int ranks, int shift) {
    return ((ranks + (4 << shift) - 1) >> (2 + shift)) << 2;
  }

  /** Finds a warp's batch. */
  static void find(int[] unit, int[] item, int batch, int tid) {
    int round = batch >> unit[BATCH_SHIFT];
    int shared = (tid >> 5) + round * WARPS;
    int share = shared & ((1 << unit[SHARE_SHIFT]) - 1);
    int last = Math.max(0, unit[END + 3] - 1);
    int number = Math.min(shared >> unit[SHARE_SHIFT], last);
    int afterFirst = number < unit[END] ? 0 : 1;
    int ups = number < unit[END + 1] ? 0 : 1;
    int afterThird = number < unit[END + 2] ? 0 : 1;
    int slice = afterFirst - ups + afterThird;
    int group0 = unit[GROUP];
    int group1 = unit[GROUP + 1];
    int group2 = unit[GROUP + 2];
    int group3 = unit[GROUP + 3];
    int group =
        number + (ups == 0 ? (slice == 0 ? group0 : group1) : (slice == 0 ? group2 : group3));
    int rank0 = item[PairItem.RANK0];
    int rank1 = item[PairItem.RANK1];
    int rank = slice == 0 ? rank0 : rank1;
    int first = item[PairItem.FIRST0] + slice * (item[PairItem.FIRST1] - item[PairItem.FIRST0]);
    int b = item[PairItem.B0] + slice * (item[PairItem.B1] - item[PairItem.B0]);
    int tile = (tid & 31) >> 3;
    int perShare = perShare(rank, unit[SHARE_SHIFT]);
    int inShare = (batch - (round << unit[BATCH_SHIFT])) * 4 * BATCH + ((tid >> 1) & 3);
    int at = b + (4 * group + tile) * PackedLayout.rankUnits(rank) * 16 + (tid & 1);
    // without any unit, something that is there
    unit[LONG] = unit[END + 3] > 0 ? at : 0;
    unit[RANK] = share * perShare + inShare;
    unit[END_RANK] = Math.min(rank, (share + 1) * perShare);
    unit[Z] = slice * rank0;
    unit[UPS] = ups;
    int source = unit[SOURCE] + ups * (unit[SOURCE_OF_UPS] - unit[SOURCE]);
    int column = 32 * group + tile + 16 * (tid & 1) + first - source;
    // a warp beyond the last unit writes nothing
    int width = unit[WIDTH];
    unit[COLUMN] = number < (shared >> unit[SHARE_SHIFT]) ? width : column;
  }

  /** A lane's rank number {@code i} of the batch, or the slice's last where there is none. */
  private static int rank(int[] unit, int i) {
    return Math.max(0, Math.min(unit[RANK] + 4 * i, unit[END_RANK] - 1));
  }

  /** Reads a lane's batch. */
  static void read(LongArray pool, long[] next, int[] unit) {
    for (int i = 0; i < BATCH; i++) {
      next[i] = pool.get(unit[LONG] + 2 * rank(unit, i));
    }
  }

  /** Copies a batch that was read. */
  static void copy(long[] from, long[] to) {
    for (int i = 0; i < BATCH; i++) {
      to[i] = from[i];
    }
  }

  /** Copies a batch of float16 that was read. */
  static void copyHalves(float[] from, float[] to) {
    for (int i = 0; i < 4 * BATCH; i++) {
      to[i] = from[i];
    }
  }

  /** Reads a lane's batch of float16, each long as four floats. */
  static void readHalves(HalfFloatArray pool, float[] numbers, int[] unit) {
    for (int i = 0; i < BATCH; i++) {
      int from = 4 * (unit[LONG] + 2 * rank(unit, i));
      OneShotSums.unpack(Halves.get(pool, from), Halves.get(pool, from + 2), numbers, 4 * i);
    }
  }

  /**
   * Where the elements of z lie that a batch is multiplied by.
   *
   * @param none where a 0 lies
   */
  static void findZ(int[] unit, int[] at, int none) {
    for (int i = 0; i < BATCH; i++) {
      int rank = unit[RANK] + 4 * i;
      int own = unit[Z] + rank;
      at[i] = rank < unit[END_RANK] ? own : none;
    }
  }

  /** Whether a batch is the last of its unit. */
  static boolean ends(int[] unit, int index) {
    return ((index + 1) >> unit[BATCH_SHIFT]) > (index >> unit[BATCH_SHIFT]);
  }

  /**
   * Where the sums of a lane's four columns belong on chip.
   *
   * @param at out; -1 where another lane has the sum or the column is not at hand
   */
  static void findTargets(int[] unit, int[] at, int tid, int index, int mode) {
    int round = index >> unit[BATCH_SHIFT];
    int share = ((tid >> 5) + round * WARPS) & ((1 << unit[SHARE_SHIFT]) - 1);
    int from = share * stride(unit, mode) + unit[UPS] * unit[COLUMNS];
    for (int i = 0; i < 4; i++) {
      int column = unit[COLUMN] + 4 * i;
      // the lanes whose ranks are the first of four have the sums
      int outside = Math.min(Math.min(column, unit[WIDTH] - 1 - column), -(tid & 6));
      int own = from + column;
      at[i] = outside < 0 ? -1 : own;
    }
  }

  /** Sums of a share. */
  static int stride(int[] unit, int mode) {
    return PairMode.ways(mode) * unit[COLUMNS];
  }

  /** Where the sum of an output column, or of its up, lies of the first share. */
  static int from(int[] unit, int column, int way, int mode) {
    return PairMode.has(mode, PairMode.INTERLEAVED)
        ? 2 * column + way
        : column + way * unit[COLUMNS];
  }

  /** Where the sums end that are one column's, {@code stride} from each to the next. */
  static int end(int[] unit, int mode) {
    return stride(unit, mode) << unit[SHARE_SHIFT];
  }
}
