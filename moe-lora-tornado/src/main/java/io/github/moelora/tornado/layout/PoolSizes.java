package io.github.moelora.tornado.layout;

import io.github.moelora.MoeLoraConfig;

/** Sizes of weight pools, which must stay within one array. */
public final class PoolSizes {
  private static final long MAX_ELEMENTS = Integer.MAX_VALUE - 16;

  private PoolSizes() {}

  /**
   * Elements of a slot with a share for each local expert.
   *
   * @param weights of an element
   */
  public static int slot(MoeLoraConfig config, long expertElements, int weights) {
    return checked(config, expertElements * config.expertMap().localExperts(), weights);
  }

  /**
   * Elements of all slots.
   *
   * @param spare elements after the last slot
   * @param weights of an element
   */
  public static int all(MoeLoraConfig config, int slotElements, int spare, int weights) {
    return checked(config, (long) slotElements * config.slots() + spare, weights);
  }

  private static int checked(MoeLoraConfig config, long elements, int weights) {
    if (elements > MAX_ELEMENTS) {
      throw new IllegalArgumentException(
          ("slots * experts * maxRank * widths of one projection must be at most %d weights,"
                  + " got %d with %d slots, %d experts and maxRank %d")
              .formatted(
                  weights * MAX_ELEMENTS,
                  weights * elements,
                  config.slots(),
                  config.expertMap().localExperts(),
                  config.maxRank()));
    }
    return (int) elements;
  }
}
