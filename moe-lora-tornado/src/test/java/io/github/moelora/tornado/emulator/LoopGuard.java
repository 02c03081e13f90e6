package io.github.moelora.tornado.emulator;

/**
 * Ends a mutant that never would: every backward branch of a mutated class counts. Each {@link
 * MutantLoader} has its own copy of this class.
 */
public final class LoopGuard {
  private static long left = Long.MAX_VALUE;

  private LoopGuard() {}

  /** Sets how many backward branches may still be taken. */
  public static void allow(long branches) {
    left = branches;
  }

  /** How many backward branches may still be taken. */
  public static long left() {
    return left;
  }

  /**
   * Counts a backward branch.
   *
   * @throws EmulationError if it is one too many
   */
  public static void tick() {
    if (--left < 0) {
      throw new EmulationError("kernel must end, got a loop without an end");
    }
  }
}
