package io.github.moelora.tornado.kernels;

/**
 * Stages of {@link PairKernels}: where the sums of threads lie on chip, of which a rank's are added
 * up in two rounds. Of packed A a thread has four ranks of every {@code 16 * } (warps of a tile of
 * ranks)th element of H.
 */
final class PairSums {
  /** From a thread's sum to its next: more than the threads, so that banks differ. */
  private static final int STRIDE = PairKernels.THREADS + 8;

  /** Floats on chip. */
  static final int FLOATS = 4 * STRIDE;

  /** Sums that a thread adds up in the first round. */
  static final int ROUND = 4;

  private PairSums() {}

  /** Where a thread's sum of one of its four ranks goes. */
  static int to(int i, int tid) {
    return i * STRIDE + tid;
  }

  /** Ranks of a pass. */
  static int ranks(int[] item) {
    return 8 << item[PairItem.TILE_SHIFT];
  }

  /** Threads that add up a rank in the first round. */
  static int parts(int[] item) {
    return 32 >> item[PairItem.TILE_SHIFT];
  }

  /** Where sum number {@code i} lies that a thread adds up in the first round. */
  static int from(int[] item, int i, int tid) {
    int shift = item[PairItem.TILE_SHIFT];
    int rank = tid & (ranks(item) - 1);
    int index = ROUND * (tid >> (3 + shift)) + i;
    int warp = ((rank >> 3) << (3 - shift)) + (index >> 4);
    int lane = 2 * (index & 15) + ((rank >> 2) & 1);
    return to(rank & 3, 32 * warp + lane);
  }

  /** The stacked rank that a thread adds up in the second round; -1 if there is none. */
  static int rank(int[] item, int pass, int tid) {
    int rank = 8 * item[PairItem.FIRST_TILE] + pass * ranks(item) + tid;
    boolean needed =
        tid < ranks(item) && rank >= item[PairItem.FIRST_RANK] && rank < item[PairItem.END_RANK];
    return needed ? rank : -1;
  }
}
