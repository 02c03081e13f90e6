package io.github.moelora.cli;

import io.github.moelora.MoeLoraConfig;
import java.util.List;

/** Checks of options that several commands have. */
public final class Options {
  private Options() {}

  /**
   * Refuses a number below 1.
   *
   * @param name of the option, for the message
   * @throws IllegalArgumentException if {@code value} is less than 1
   */
  public static void requireAtLeastOne(String name, int value) {
    if (value < 1) {
      throw new IllegalArgumentException("%s must be at least 1, got %d".formatted(name, value));
    }
  }

  /**
   * Refuses a rank that no slot can hold.
   *
   * @param name of the option, for the message
   * @throws IllegalArgumentException if {@code rank} is outside 1 to {@link
   *     MoeLoraConfig#RANK_LIMIT}
   */
  static void requireRank(String name, int rank) {
    if (rank < 1 || rank > MoeLoraConfig.RANK_LIMIT) {
      throw new IllegalArgumentException(
          "%s must be in [1, %d], got %d".formatted(name, MoeLoraConfig.RANK_LIMIT, rank));
    }
  }

  /**
   * Refuses a list that holds a number below 1.
   *
   * @param name of the option, for the message
   * @throws IllegalArgumentException if one of {@code values} is less than 1
   */
  public static void requireAtLeastOne(String name, List<Integer> values) {
    values.forEach(value -> requireAtLeastOne(name, value));
  }
}
