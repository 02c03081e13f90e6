package io.github.moelora.spi;

import io.github.moelora.MoeLoraConfig;

/**
 * How a plan lies in arrays, on whatever side it is made and read.
 *
 * <ul>
 *   <li>{@code counts}, int32 {@code [COUNTS]}: the sizes that the constants below name
 *   <li>{@code sortedTokenIds}, int32 {@code [EM]}: pairs block by block; {@code P}, the number of
 *       pairs, pads the blocks
 *   <li>{@code blockExperts}, {@code blockAdapters}, int32, at most {@code P} blocks: the local
 *       expert and the slot of each block, {@link #NO_WORK} in both for pairs that add nothing
 *   <li>{@code routingWeights}, float32 {@code [P]}: by pair
 * </ul>
 */
public final class PlanFormat {
  /**
   * Index in {@code counts}: length of the part of {@code sortedTokenIds} that belongs to blocks
   * with work.
   */
  public static final int NUM_TOKENS_POST_PADDED = 0;

  /** Index in {@code counts}: number of blocks with work, which stand first. */
  public static final int ACTIVE_BLOCKS = 1;

  /** Index in {@code counts}: number of all blocks, those without work included. */
  public static final int ALL_BLOCKS = 2;

  /** Index in {@code counts}: {@code T}. */
  public static final int TOKENS = 3;

  /** Index in {@code counts}: {@code P}. */
  public static final int PAIRS = 4;

  /** Index in {@code counts}: rows of a block. */
  public static final int BLOCK_SIZE = 5;

  /** Elements of {@code counts}. */
  public static final int COUNTS = 8;

  /** Expert and adapter of a block without work. */
  public static final int NO_WORK = -1;

  private PlanFormat() {}

  /**
   * Elements that {@code sortedTokenIds} can need: every group and the pairs without work end in
   * one partly filled block.
   *
   * @throws IllegalArgumentException if they exceed int32
   */
  public static int sortedCapacity(MoeLoraConfig config, int maxBlockSize) {
    long pairs = config.maxPairs();
    long groups = Math.min(pairs, (long) config.slots() * config.expertMap().localExperts());
    long capacity = pairs + (groups + 1) * (maxBlockSize - 1);
    if (capacity >= Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "padded maxTokens * expertsPerToken must be in [0, %d), got %d"
              .formatted(Integer.MAX_VALUE, capacity));
    }
    return (int) capacity;
  }
}
