package io.github.moelora.spi;

/** Chooses how many rows the blocks of a batch have. */
public interface BlockRule {

  /** Largest block size that {@link #blockSize} returns. */
  int maxBlockSize();

  /**
   * Rows of a block for a batch.
   *
   * @param activePairs pairs with work
   * @param groups (adapter, expert) combinations with at least one pair
   * @return in {@code [1, maxBlockSize]}; 1 skips the sort
   */
  int blockSize(int activePairs, int groups);
}
