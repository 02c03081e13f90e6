package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.StepWords;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Which weights a pair meets, from what the router and the step say of it. */
final class PairSites {
  /** No adapter, a slot that takes no part, or an expert that lives elsewhere. */
  static final int NONE = -1;

  /** An id that is no slot or no expert; it is never followed. */
  static final int OUT_OF_RANGE = -2;

  private PairSites() {}

  /** Pairs of the step; none where it is larger than the graph that reads it. */
  static int pairs(IntArray step, int maxPairs) {
    int pairs = step.get(StepWords.TOKENS) * step.get(StepWords.EXPERTS_PER_TOKEN);
    if (pairs > maxPairs) {
      pairs = 0;
    }
    return pairs;
  }

  /**
   * Slot and local expert of a pair as {@code slot * localExperts + expert}, {@link #NONE} or
   * {@link #OUT_OF_RANGE}.
   *
   * @param step in, see {@link StepWords}
   * @param adapterIds in, int32 {@code [T]}
   * @param expertMap in, int32 {@code [E]}: the local expert or -1; read if the step says so
   * @param expertIds in, int32 {@code [T, K]}
   */
  static int of(
      IntArray step, IntArray adapterIds, IntArray expertMap, IntArray expertIds, int pair) {
    return ofExpert(step, adapterIds, expertMap, expertIds.get(pair), pair);
  }

  /** The same of a pair whose expert is known. */
  static int ofExpert(
      IntArray step, IntArray adapterIds, IntArray expertMap, int expert, int pair) {
    // all is read before anything depends on it: a load in a branch waits for what decides that
    int slot = adapterIds.get(pair / step.get(StepWords.EXPERTS_PER_TOKEN));
    int slots = step.get(StepWords.SLOTS);
    int experts = step.get(StepWords.EXPERTS);
    int localExperts = step.get(StepWords.LOCAL_EXPERTS);
    int mapped = step.get(StepWords.MAPPED);
    int active = step.get(StepWords.FIRST_SLOT + Math.max(0, Math.min(slot, slots - 1)));
    int local = expert;
    if (mapped != 0) {
      local = expertMap.get(Math.max(0, Math.min(expert, experts - 1)));
    }
    int inRange = inRange(slot, slots, expert, experts);
    int isThere = Math.min(Math.min(slot, expert), Math.min(local, active - 1));
    int site = isThere < 0 ? NONE : slot * localExperts + local;
    return inRange < 0 ? OUT_OF_RANGE : site;
  }

  /** Negative where the slot or the expert is neither one of so many nor -1, none. */
  static int inRange(int slot, int slots, int expert, int experts) {
    return Math.min(
        Math.min(slot + 1, slots - 1 - slot), Math.min(expert + 1, experts - 1 - expert));
  }
}
