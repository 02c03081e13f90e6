package io.github.moelora.spi;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Routing;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** The plan that a {@link HostPlanner} writes. */
final class HostRouting implements Routing {
  final int[] counts = new int[PlanFormat.COUNTS];
  final int[] sortedTokenIds;
  final int[] blockExperts;
  final int[] blockAdapters;
  final boolean[] namedSlots;

  /** Not final: the planner reads new ones into another array, and exchanges the two. */
  float[] routingWeights;

  HostRouting(MoeLoraConfig config, int maxBlockSize) {
    int maxPairs = config.maxPairs();
    sortedTokenIds = new int[PlanFormat.sortedCapacity(config, maxBlockSize)];
    blockExperts = new int[maxPairs];
    blockAdapters = new int[maxPairs];
    namedSlots = new boolean[config.slots()];
    routingWeights = new float[maxPairs];
  }

  @Override
  public int tokens() {
    return counts[PlanFormat.TOKENS];
  }

  @Override
  public int pairs() {
    return counts[PlanFormat.PAIRS];
  }

  @Override
  public int blockSize() {
    return counts[PlanFormat.BLOCK_SIZE];
  }

  @Override
  public int activeBlocks() {
    return counts[PlanFormat.ACTIVE_BLOCKS];
  }

  @Override
  public int allBlocks() {
    return counts[PlanFormat.ALL_BLOCKS];
  }

  @Override
  public int numTokensPostPadded() {
    return counts[PlanFormat.NUM_TOKENS_POST_PADDED];
  }

  @Override
  public int blockExpert(int block) {
    requireIndex("block", block, counts[PlanFormat.ALL_BLOCKS]);
    return blockExperts[block];
  }

  @Override
  public int blockAdapter(int block) {
    requireIndex("block", block, counts[PlanFormat.ALL_BLOCKS]);
    return blockAdapters[block];
  }

  @Override
  public int sortedTokenId(int position) {
    requireIndex(
        "position", position, counts[PlanFormat.ALL_BLOCKS] * counts[PlanFormat.BLOCK_SIZE]);
    return sortedTokenIds[position];
  }

  @Override
  public float routingWeight(int pair) {
    requireIndex("pair", pair, counts[PlanFormat.PAIRS]);
    return routingWeights[pair];
  }

  @Override
  public boolean namesSlot(int slot) {
    requireIndex("slot", slot, namedSlots.length);
    return namedSlots[slot];
  }

  /**
   * The arrays have room for the largest plan; what lies behind the present one is an old one's.
   */
  private static void requireIndex(String name, int index, int end) {
    if (index < 0 || index >= end) {
      throw new IllegalArgumentException(
          "%s must be in [0, %d), got %d".formatted(name, end, index));
    }
  }

  @Override
  public void copyTo(PlanArrays arrays) {
    int rows = allBlocks() * blockSize();
    arrays.requireRoom(rows, allBlocks(), pairs());
    copy(counts, arrays.counts(), PlanFormat.COUNTS);
    copy(sortedTokenIds, arrays.sortedTokenIds(), rows);
    copy(blockExperts, arrays.blockExperts(), allBlocks());
    copy(blockAdapters, arrays.blockAdapters(), allBlocks());
    MemorySegment.copy(
        routingWeights, 0, arrays.routingWeights(), ValueLayout.JAVA_FLOAT_UNALIGNED, 0, pairs());
  }

  private static void copy(int[] from, MemorySegment to, int count) {
    MemorySegment.copy(from, 0, to, ValueLayout.JAVA_INT_UNALIGNED, 0, count);
  }
}
