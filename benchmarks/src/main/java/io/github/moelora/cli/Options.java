package io.github.moelora.cli;

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
   * Refuses a list that holds a number below 1.
   *
   * @param name of the option, for the message
   * @throws IllegalArgumentException if one of {@code values} is less than 1
   */
  public static void requireAtLeastOne(String name, List<Integer> values) {
    values.forEach(value -> requireAtLeastOne(name, value));
  }
}
