package io.github.moelora.workload;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.random.RandomGenerator;

/**
 * A routed batch.
 *
 * @param expertIds {@code [T, K]}
 * @param routingWeights {@code [T, K]}, each token's add up to 1
 * @param adapterIds {@code [T]}, -1 for none
 */
public record Batch(int[] expertIds, float[] routingWeights, int[] adapterIds) {
  /** Sequences of a batch, each with an adapter of its own choice. */
  private static final int SEQUENCES = 8;

  /**
   * Distinct random experts for each token; adapters alternate over eight runs of tokens, as
   * sequences would, from a random one on.
   */
  public static Batch random(
      RandomGenerator random, int tokens, int expertsPerToken, int experts, int adapters) {
    int[] adapterIds = sequences(tokens, adapters, random.nextInt(adapters));
    return random(random, adapterIds, expertsPerToken, experts);
  }

  /**
   * Distinct random experts for each token.
   *
   * @param adapterIds {@code [T]}, -1 for none
   */
  public static Batch random(
      RandomGenerator random, int[] adapterIds, int expertsPerToken, int experts) {
    int[] expertIds = new int[adapterIds.length * expertsPerToken];
    float[] weights = new float[adapterIds.length * expertsPerToken];
    for (int t = 0; t < adapterIds.length; t++) {
      int[] distinct = random.ints(0, experts).distinct().limit(expertsPerToken).toArray();
      double sum = 0;
      for (int k = 0; k < expertsPerToken; k++) {
        expertIds[t * expertsPerToken + k] = distinct[k];
        weights[t * expertsPerToken + k] = 0.1f + random.nextFloat();
        sum += weights[t * expertsPerToken + k];
      }
      for (int k = 0; k < expertsPerToken; k++) {
        weights[t * expertsPerToken + k] /= (float) sum;
      }
    }
    return new Batch(expertIds, weights, adapterIds);
  }

  /**
   * Adapters {@code [T]} of eight runs of tokens, or of as many as there are tokens.
   *
   * @param first adapter of the first run; each run has the next one
   */
  public static int[] sequences(int tokens, int adapters, int first) {
    int[] adapterIds = new int[tokens];
    int sequences = Math.min(tokens, SEQUENCES);
    for (int t = 0; t < tokens; t++) {
      int sequence = (int) ((long) t * sequences / tokens);
      adapterIds[t] = (first + sequence) % adapters;
    }
    return adapterIds;
  }

  /** Number {@code T} of tokens. */
  public int tokens() {
    return adapterIds.length;
  }

  /** Number {@code P} of pairs. */
  public int pairs() {
    return expertIds.length;
  }

  /** Number of (adapter, expert) combinations that occur. */
  public int distinctExperts() {
    int expertsPerToken = pairs() / tokens();
    Set<List<Integer>> seen = new HashSet<>();
    for (int p = 0; p < pairs(); p++) {
      seen.add(List.of(adapterIds[p / expertsPerToken], expertIds[p]));
    }
    return seen.size();
  }
}
