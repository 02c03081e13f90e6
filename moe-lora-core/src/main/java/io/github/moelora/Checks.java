package io.github.moelora;

import java.lang.foreign.MemorySegment;

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

  /** Requires memory that is there, alive and open to the calling thread. */
  static void readable(String name, MemorySegment segment) {
    if (segment == null) {
      throw new NullPointerException(name + " must not be null");
    }
    accessible(name, segment);
  }

  /**
   * Requires memory that is alive and open to the calling thread.
   *
   * @throws IllegalStateException if its arena is closed
   * @throws IllegalArgumentException if it is confined to another thread
   */
  static void accessible(String name, MemorySegment segment) {
    if (!segment.scope().isAlive()) {
      throw new IllegalStateException(name + " must be alive, got memory of a closed arena");
    }
    if (!segment.isAccessibleBy(Thread.currentThread())) {
      throw new IllegalArgumentException(
          name + " must be accessible to the calling thread, got memory confined to another one");
    }
  }
}
