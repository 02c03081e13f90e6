package io.github.moelora.tornado;

import io.github.moelora.MoeLoraConfig;

/** Sizes of weight pools, which must stay within one array. */
final class PoolSizes {
  private PoolSizes() {}

  /** Elements of a slot with a share for each local expert. */
  static int slot(MoeLoraConfig config, long expertElements) {
    return checked(config, expertElements * config.expertMap().localExperts());
  }

  /** Elements of all slots. */
  static int all(MoeLoraConfig config, int slotElements) {
    return checked(config, (long) slotElements * config.slots());
  }

  private static int checked(MoeLoraConfig config, long elements) {
    if (elements > Integer.MAX_VALUE - 16) {
      throw new IllegalArgumentException(
          ("slots * experts * maxRank * widths of one projection must be at most 2^31 - 17 weights,"
                  + " got %d with %d slots, %d experts and maxRank %d")
              .formatted(
                  elements, config.slots(), config.expertMap().localExperts(), config.maxRank()));
    }
    return (int) elements;
  }
}
