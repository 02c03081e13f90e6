package io.github.moelora;

/** Argument checks whose messages name the argument, the rule and the value. */
final class Checks {
  private Checks() {}

  static void atLeast(String name, long value, long least) {
    if (value < least) {
      throw new IllegalArgumentException(
          "%s must be at least %d, got %d".formatted(name, least, value));
    }
  }

  /** Requires {@code value} in {@code [from, to)}. */
  static void inRange(String name, long value, long from, long to) {
    if (value < from || value >= to) {
      throw new IllegalArgumentException(
          "%s must be in [%d, %d), got %d".formatted(name, from, to, value));
    }
  }
}
