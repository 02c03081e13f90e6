package io.github.moelora;

import io.github.moelora.spi.PlanArrays;

/**
 * Token-expert pairs of one step, grouped so that each block needs one adapter's weights of one
 * expert.
 *
 * <p>A <em>pair</em> {@code p = t * K + k} is one expert choice of one token. Pairs are grouped by
 * (adapter, expert) with a stable counting sort and each group is padded to whole blocks: one flat
 * list of blocks over all adapters, so only blocks with work exist. Pairs that add nothing (no
 * adapter, slot empty or disabled, expert elsewhere) come last, in blocks of their own whose
 * adapter and expert are -1; a computation that adds in place ignores them, one that writes the
 * delta alone writes zeros there. With a block size of 1 nothing is sorted: every pair is a block,
 * in pair order.
 *
 * <p>A view of what a {@link Step} planned last; it changes with the next plan. Used by the thread
 * that plans.
 */
public interface Routing {
  /** Number {@code T} of tokens. */
  int tokens();

  /** Number {@code P} of pairs. */
  int pairs();

  /** Rows of a block; 1 means that nothing was sorted. */
  int blockSize();

  /** Number of blocks with work. */
  int activeBlocks();

  /** Number of all blocks, those without work included. */
  int allBlocks();

  /** Length of the part of {@code sortedTokenIds} that belongs to blocks with work. */
  int numTokensPostPadded();

  /**
   * Local expert of a block, -1 for one without work.
   *
   * @param block in {@code [0, allBlocks)}
   */
  int blockExpert(int block);

  /**
   * Adapter slot of a block, -1 for one without work.
   *
   * @param block in {@code [0, allBlocks)}
   */
  int blockAdapter(int block);

  /**
   * Pair at a position of {@code sortedTokenIds}, {@code P} for padding.
   *
   * @param position in {@code [0, allBlocks * blockSize)}
   */
  int sortedTokenId(int position);

  /**
   * Routing weight of a pair.
   *
   * @param pair in {@code [0, P)}
   */
  float routingWeight(int pair);

  /**
   * Whether a token names this slot, active or not.
   *
   * @param slot in {@code [0, L)}
   */
  boolean namesSlot(int slot);

  /**
   * Copies the plan into memory that somebody else reads, such as arrays that travel to a device.
   *
   * @throws IllegalArgumentException if it does not hold the plan; then nothing is written
   */
  void copyTo(PlanArrays arrays);
}
