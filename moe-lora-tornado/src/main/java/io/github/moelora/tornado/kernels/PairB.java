package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * Stages of {@link PairKernels}: B of float32. Sixteen neighbouring threads share the ranks of a
 * column, of which a team has four at once; columns at hand are numbered from the first one on, ups
 * behind all gates.
 */
final class PairB {
  /** Threads of a column. */
  static final int LANES = 16;

  /** Columns that a team has at once. */
  static final int BATCH = 4;

  /** Sums on chip: of each thread of each column. */
  static final int FLOATS = LANES * PairKernels.FLOAT_THREADS;

  private static final int TEAMS = PairKernels.FLOAT_THREADS / LANES;

  private PairB() {}

  /** Output columns at hand at once. */
  static int step(int mode) {
    return PairKernels.FLOAT_THREADS / PairMode.ways(mode);
  }

  /** Columns and ups that all teams have at once. */
  static int stepOfTeams() {
    return BATCH * TEAMS;
  }

  /**
   * Finds where a team's columns begin.
   *
   * @param columns output columns at hand
   * @param b out, in the pool
   * @param zFrom out, in z
   * @param ranks out; none without a slice
   */
  static void find(
      int[] item,
      int[] sizes,
      int[] b,
      int[] zFrom,
      int[] ranks,
      int first,
      int columns,
      int number,
      int mode) {
    for (int i = 0; i < BATCH; i++) {
      int own = number + i * TEAMS;
      int way = own < columns ? 0 : 1;
      int column = PairMode.source(mode, first + own - way * columns, sizes[Sizes.COLUMNS], way);
      int most = own < PairMode.ways(mode) * columns ? column : -1;
      b[i] = 0;
      zFrom[i] = 0;
      ranks[i] = 0;
      if (most >= item[PairItem.FIRST0] && most < item[PairItem.END0]) {
        ranks[i] = item[PairItem.RANK0];
        b[i] = item[PairItem.B0] + (column - item[PairItem.FIRST0]) * item[PairItem.RANK0];
      }
      if (most >= item[PairItem.FIRST1] && most < item[PairItem.END1]) {
        ranks[i] = item[PairItem.RANK1];
        b[i] = item[PairItem.B1] + (column - item[PairItem.FIRST1]) * item[PairItem.RANK1];
        zFrom[i] = item[PairItem.RANK0];
      }
    }
  }

  /** Ranks of the slice that has more. */
  static int mostRanks(int[] item) {
    return Math.max(item[PairItem.RANK0], item[PairItem.RANK1]);
  }

  /** Reads a thread's rank of a team's columns, before the first of them is needed. */
  static void read(FloatArray pool, float[] numbers, int[] b, int[] ranks, int r) {
    for (int i = 0; i < BATCH; i++) {
      numbers[i] = pool.get(b[i] + Math.max(0, Math.min(r, ranks[i] - 1)));
    }
  }

  /** Where the element of z lies that a rank is multiplied by, {@code none} where a 0 does. */
  static int z(int[] zFrom, int[] ranks, int i, int r, int none) {
    return r < ranks[i] ? zFrom[i] + r : none;
  }

  /** Where a thread's sum of a column belongs on chip; -1 if the team has no such column. */
  static int to(int number, int i, int columns, int lane, int mode) {
    int own = number + i * TEAMS;
    return own < PairMode.ways(mode) * columns ? at(own, lane) : -1;
  }

  /** Where a column's sum lies of one of its threads: neighbours of columns in different banks. */
  static int at(int column, int lane) {
    return column * LANES + ((column + lane) & (LANES - 1));
  }
}
