package io.github.moelora.testkit;

import io.github.moelora.spi.BlockRule;

/**
 * Blocks of one size, whatever the batch.
 *
 * @param rows of a block
 */
public record FixedBlocks(int rows) implements BlockRule {

  @Override
  public int maxBlockSize() {
    return rows;
  }

  @Override
  public int blockSize(int activePairs, int groups) {
    return rows;
  }
}
