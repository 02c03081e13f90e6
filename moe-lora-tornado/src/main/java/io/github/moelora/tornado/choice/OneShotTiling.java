package io.github.moelora.tornado.choice;

import io.github.moelora.MoeLoraConfig;

/**
 * How the one-shot kernel cuts a projection's work.
 *
 * @param rows rows of a block: 1 or 2
 * @param groups work-groups
 * @param targetItems items that the columns are split for when there are fewer blocks
 */
public record OneShotTiling(int rows, int groups, int targetItems) implements Tiling {

  /** Blocks of one pair, as they come: one work-group per multiprocessor, with many registers. */
  public static OneShotTiling pairs() {
    return new OneShotTiling(1, MULTIPROCESSORS, MULTIPROCESSORS);
  }

  /** Blocks of two pairs of the same adapter and expert. */
  public static OneShotTiling twoRows() {
    return new OneShotTiling(2, 2 * MULTIPROCESSORS, 2 * MULTIPROCESSORS);
  }

  /** The same kernel, which reads the split from the device, with another split. */
  public OneShotTiling withTargetItems(int items) {
    return new OneShotTiling(rows, groups, items);
  }

  @Override
  public int zElements(MoeLoraConfig config, int blocks) {
    return 1;
  }
}
