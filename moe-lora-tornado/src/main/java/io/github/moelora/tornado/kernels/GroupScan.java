package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.GroupNumbers;
import io.github.moelora.tornado.layout.StepWords;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link GroupKernels}: which pairs of the step are of the work-group's expert, and where
 * each belongs in the list of those that have a slot.
 */
final class GroupScan {
  /** Most pairs that a thread looks at. */
  static final int MOST = GroupKernels.MOST_PAIRS / MmaExpand.THREADS;

  /** The slot of a pair that is not the work-group's. */
  private static final int NOT_MINE = -1;

  /** A slot that no pair has. */
  private static final int NOBODYS = -2;

  /** A count of pairs with an id out of range stands above one of pairs. */
  private static final int WRONG = 11;

  private static final int PAIRS = (1 << WRONG) - 1;

  private GroupScan() {}

  /** Pairs that a thread looks at. */
  private static int count(int maxPairs) {
    return (maxPairs + MmaExpand.THREADS - 1) / MmaExpand.THREADS;
  }

  /** Pair number {@code i} of a thread. */
  private static int pair(int tid, int i) {
    return tid + i * MmaExpand.THREADS;
  }

  /**
   * Looks at all pairs of the step: all ids are read before any is needed.
   *
   * @param slots out, the slots of those that are of the expert
   * @param expert local
   * @return how many have an id out of range
   */
  static int find(
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      int[] slots,
      int expert,
      int tid,
      int maxPairs,
      int perToken,
      int sites) {
    int count = count(maxPairs);
    int[] ids = new int[MOST];
    int[] locals = new int[MOST];
    for (int i = 0; i < count; i++) {
      int pair = Math.min(pair(tid, i), maxPairs - 1);
      ids[i] = expertIds.get(pair);
      slots[i] = adapterIds.get(pair / perToken);
      locals[i] = ids[i];
    }
    int pairs = PairSites.pairs(step, maxPairs);
    int experts = step.get(StepWords.EXPERTS);
    if (step.get(StepWords.MAPPED) != 0) {
      for (int i = 0; i < count; i++) {
        locals[i] = expertMap.get(Math.max(0, Math.min(ids[i], experts - 1)));
      }
    }
    int all = GroupNumbers.slots(sites);
    int wrong = 0;
    for (int i = 0; i < count; i++) {
      int live = pair(tid, i) < pairs ? 1 : 0;
      int slot = slots[i];
      int inRange = PairSites.inRange(slot, all, ids[i], experts);
      wrong += inRange < 0 ? live : 0;
      // 0 for a pair of the expert, all of whose numbers are 0 or more
      int other = Math.min(Math.min(inRange, ids[i]), live - 1) < 0 ? 1 : locals[i] ^ expert;
      slots[i] = other == 0 ? slot : NOT_MINE;
    }
    return wrong;
  }

  /** The slot to look for; one that takes no part is nobody's. */
  private static int wanted(IntArray step, int slot, int sites) {
    int active = step.get(StepWords.FIRST_SLOT + Math.min(slot, GroupNumbers.slots(sites) - 1));
    int there = slot < GroupNumbers.slots(sites) ? active : 0;
    return there != 0 ? slot : NOBODYS;
  }

  /** Pairs of a slot that a thread has, and above them what it found wrong, as a float. */
  private static float own(int[] slots, int slot, int wrong, int maxPairs) {
    int own = wrong << WRONG;
    for (int i = 0; i < count(maxPairs); i++) {
      own += slots[i] == slot ? 1 : 0;
    }
    return own;
  }

  /** The sum of a lane's number and those of the lanes behind it. */
  private static float withBehind(KernelContext ctx, float own, int tid) {
    int lane = tid & 31;
    float sum = own;
    for (int d = 1; d < 32; d *= 2) {
      float other = ctx.simdShuffleDown(sum, d);
      sum += lane + d < 32 ? other : 0.0f;
    }
    return sum;
  }

  /**
   * Counts the pairs of the item's slot, and those with an id out of range. All threads meet here.
   *
   * @param wrong pairs of the thread with an id out of range
   * @param item in and out: its slot, nobody's if that takes no part, and the pairs of the threads
   *     before this one, in an order that nobody else knows
   * @return pairs that the work-group computes: all, or none where it has no columns
   */
  static int meet(
      KernelContext ctx,
      IntArray step,
      IntArray errors,
      int[] slots,
      int[] item,
      int wrong,
      int tid,
      int maxPairs,
      int sites) {
    float[] ofWarps = ctx.allocateFloatLocalArray(MmaExpand.THREADS / 32);
    item[GroupItem.SLOT] = wanted(step, item[GroupItem.SLOT], sites);
    float own = own(slots, item[GroupItem.SLOT], item[GroupItem.COUNTS] * wrong, maxPairs);
    float withBehind = withBehind(ctx, own, tid);
    if ((tid & 31) == 0) {
      ofWarps[tid >> 5] = withBehind;
    }
    ctx.localBarrier();
    float all = 0.0f;
    float others = withBehind - own;
    for (int w = 0; w < MmaExpand.THREADS / 32; w++) {
      all += ofWarps[w];
      others += w > tid >> 5 ? ofWarps[w] : 0.0f;
    }
    if (tid == 0) {
      PlanKernels.addErrors(errors, 0, (int) all >> WRONG);
    }
    item[GroupItem.BEFORE] = (int) others & PAIRS;
    return GroupItem.work(item, (int) all & PAIRS);
  }

  /** Ints of the list, so many that an array behind it begins at a multiple of 16 bytes. */
  static int listInts(int maxPairs) {
    return (maxPairs + 3) & -4;
  }

  /**
   * Lists the pairs of the item's slot, and finds those that a thread has to do with. All threads
   * meet here.
   *
   * @param xFrom out, where the thread's rows of x begin, in longs
   * @param perRow pairs that share a row of x
   * @return the pair of the thread's row of z
   */
  static int rows(
      KernelContext ctx,
      int[] slots,
      int[] item,
      int[] xFrom,
      int tid,
      int maxPairs,
      int perRow,
      int inputWidth,
      int tiles) {
    int[] list = ctx.allocateIntLocalArray(listInts(maxPairs));
    int next = item[GroupItem.BEFORE];
    int from = item[GroupItem.FROM];
    for (int i = 0; i < count(maxPairs); i++) {
      if (slots[i] == item[GroupItem.SLOT]) {
        list[next] = pair(tid, i);
        next++;
      }
    }
    ctx.localBarrier();
    for (int i = 0; i < GroupShrink.rows(tiles); i++) {
      int row = Math.min(GroupShrink.row(tid, i, tiles), item[ExpandItem.ROWS] - 1);
      xFrom[i] = list[from + row] / perRow * (inputWidth / 4);
    }
    return list[from + ZRows.row(item, tid, GroupShrink.ROWS)];
  }
}
