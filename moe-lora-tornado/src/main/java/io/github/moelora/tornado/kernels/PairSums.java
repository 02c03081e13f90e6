package io.github.moelora.tornado.kernels;

import uk.ac.manchester.tornado.api.KernelContext;

/**
 * Stages of {@link PairKernels}: the sums over packed A. A lane has four ranks of one element of H,
 * so every other lane of a warp has the same ones, and the warps that share a tile of ranks meet on
 * chip.
 */
final class PairSums {
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

  /**
   * Adds up the sums of the lanes by shuffles, and those of the warps of a tile in local memory.
   *
   * @param own a lane's sums of four ranks
   * @return the sum of the thread's rank; any number if it has none
   */
  static float meet(KernelContext ctx, float[] own, int[] item, int tid) {
    float[] ofWarps = ctx.allocateFloatLocalArray(PairKernels.THREADS / 4);
    for (int i = 0; i < 4; i++) {
      float sum = overLanes(ctx, own[i]);
      if ((tid & 31) < 2) {
        ofWarps[8 * (tid >> 5) + 4 * (tid & 1) + i] = sum;
      }
    }
    ctx.localBarrier();
    float sum = 0.0f;
    if (tid < (8 << item[PairItem.TILE_SHIFT])) {
      int warps = PairA.rowStep(item);
      int from = 8 * (tid >> 3) * warps + (tid & 7);
      for (int i = 0; i < warps; i++) {
        sum += ofWarps[from + 8 * i];
      }
    }
    return sum;
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
