package io.github.moelora.testkit;

import java.util.concurrent.ThreadLocalRandom;

/**
 * Seeds of random tests: fresh in every run, printed once, and repeated by {@code
 * -Dmoelora.test.seed}.
 */
public final class Seeds {
  private static final String PROPERTY = "moelora.test.seed";

  private static final long BASE = base();

  private Seeds() {}

  private static long base() {
    long seed = Long.getLong(PROPERTY, ThreadLocalRandom.current().nextInt(Integer.MAX_VALUE));
    System.out.printf("random tests: -D%s=%d repeats them%n", PROPERTY, seed);
    return seed;
  }

  /** The seed of one test; it does not depend on which tests ran before. */
  public static long of(String test) {
    return 31 * BASE + test.hashCode();
  }
}
