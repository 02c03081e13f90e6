package io.github.moelora.serving;

import java.util.SplittableRandom;

/**
 * An endless list of requests, the same for the same seed: which adapter, how many tokens.
 * Popularity falls as {@code 1 / rank^exponent} (Zipf). Immutable.
 */
final class Trace {
  private final long seed;
  private final int meanTokens;
  private final double[] cumulative;

  /**
   * @param meanTokens a request has {@code [1, 2 * meanTokens)} tokens
   */
  Trace(long seed, int adapters, double exponent, int meanTokens) {
    this.seed = seed;
    this.meanTokens = meanTokens;
    cumulative = new double[adapters];
    double sum = 0;
    for (int i = 0; i < adapters; i++) {
      sum += Math.pow(i + 1, -exponent);
      cumulative[i] = sum;
    }
  }

  /** How many adapters there are. */
  int adapters() {
    return cumulative.length;
  }

  /** Adapter of a request, in {@code [0, adapters)}; 0 is the most popular. */
  int adapter(int request) {
    double at = random(2L * request).nextDouble() * cumulative[cumulative.length - 1];
    int adapter = 0;
    while (cumulative[adapter] < at) {
      adapter++;
    }
    return adapter;
  }

  /** Tokens of a request, at least 1. */
  int tokens(int request) {
    return 1 + random(2L * request + 1).nextInt(2 * meanTokens - 1);
  }

  /** Neighbouring seeds of {@link java.util.Random} would give neighbouring numbers. */
  private SplittableRandom random(long index) {
    return new SplittableRandom(1_000_003 * seed + index);
  }
}
