package io.github.moelora.tornado.kernels;

import uk.ac.manchester.tornado.api.KernelContext;

/**
 * Stages of {@link PairKernels}: the sums over packed A. A lane has four ranks of one element of H,
 * so every other lane of a warp has the same ones, and the warps that share a tile of ranks meet on
 * chip.
 */
final class PairSums {
  /** Sums of the warps, of eight ranks each. */
  static final int FLOATS = 8 * PairKernels.THREADS / 32;

  private PairSums() {}

  /** The sum over the lanes that have a lane's ranks; right in the first two. */
  static float overLanes(KernelContext ctx, float own) {
    float sum = own;
    sum += ctx.simdShuffleDown(sum, 16);
    sum += ctx.simdShuffleDown(sum, 8);
    return overRanks(ctx, sum);
  }

  /** The sum over four neighbouring pairs of lanes; right in the first two. */
  static float overRanks(KernelContext ctx, float own) {
    float sum = own;
    sum += ctx.simdShuffleDown(sum, 4);
    sum += ctx.simdShuffleDown(sum, 2);
    return sum;
  }

  /** Where the sum of one of a lane's four ranks goes. */
  static int to(int i, int tid) {
    return 8 * (tid >> 5) + 4 * (tid & 1) + i;
  }

  /** Where the first of the sums of a thread's rank lies, 8 from each to the next. */
  static int from(int[] item, int tid) {
    return 8 * (tid >> 3) * PairA.rowStep(item) + (tid & 7);
  }

  /** The stacked rank that a thread adds up in a pass; -1 if there is none. */
  static int rank(int[] item, int pass, int tid) {
    int ranks = 8 << item[PairItem.TILE_SHIFT];
    int rank = 8 * item[PairItem.FIRST_TILE] + pass * ranks + tid;
    rank = rank < item[PairItem.FIRST_RANK] ? -1 : rank;
    rank = rank < item[PairItem.END_RANK] ? rank : -1;
    return tid < ranks ? rank : -1;
  }
}
