package io.github.moelora.tornado.choice;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.layout.Sizes;

/**
 * How the one-shot kernel cuts a projection's work.
 *
 * @param rows rows of a block: 1 or 2
 * @param groups work-groups
 * @param targetItems items that the columns are cut for when there are fewer blocks
 */
public record OneShotTiling(int rows, int groups, int targetItems) implements Tiling {

  /**
   * Floats of a row of z on chip: {@code maxRank}, in one of two sizes, so that most instances
   * share their compiled kernels.
   */
  public static int zWidth(MoeLoraConfig config) {
    return config.maxRank() <= SplitTiling.RANK_LIMIT ? SplitTiling.RANK_LIMIT : Sizes.RANK_LIMIT;
  }

  /** Blocks of one pair, as they come: one work-group per multiprocessor, with many registers. */
  public static OneShotTiling pairs() {
    return new OneShotTiling(1, MULTIPROCESSORS, MULTIPROCESSORS);
  }

  /** Blocks of two pairs of the same adapter and expert. */
  public static OneShotTiling twoRows() {
    return new OneShotTiling(2, 2 * MULTIPROCESSORS, 2 * MULTIPROCESSORS);
  }

  /** The same kernel, which reads the number of items from the device, with another one. */
  public OneShotTiling withTargetItems(int items) {
    return new OneShotTiling(rows, groups, items);
  }

  @Override
  public int zElements(MoeLoraConfig config, int blocks) {
    return 1;
  }
}
