package io.github.moelora.workload;

import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;

/**
 * A routed batch.
 *
 * @param expertIds {@code [T, K]}
 * @param routingWeights {@code [T, K]}, each token's add up to 1
 * @param adapterIds {@code [T]}
 */
public record Batch(int[] expertIds, float[] routingWeights, int[] adapterIds) {
  /** Sequences of a batch, each with an adapter of its own choice. */
  private static final int SEQUENCES = 8;

  /**
   * Distinct random experts for each token; adapters alternate over eight runs of tokens, as
   * sequences would.
   */
  public static Batch random(
      Random random, int tokens, int expertsPerToken, int experts, int adapters) {
    int[] expertIds = new int[tokens * expertsPerToken];
    float[] weights = new float[tokens * expertsPerToken];
    int[] adapterIds = new int[tokens];
    int sequences = Math.min(tokens, SEQUENCES);
    int firstAdapter = random.nextInt(adapters);
    for (int t = 0; t < tokens; t++) {
      int sequence = (int) ((long) t * sequences / tokens);
      adapterIds[t] = (firstAdapter + sequence) % adapters;
      int[] distinct = random.ints(0, experts).distinct().limit(expertsPerToken).toArray();
      float sum = 0;
      for (int k = 0; k < expertsPerToken; k++) {
        expertIds[t * expertsPerToken + k] = distinct[k];
        weights[t * expertsPerToken + k] = 0.1f + random.nextFloat();
        sum += weights[t * expertsPerToken + k];
      }
      for (int k = 0; k < expertsPerToken; k++) {
        weights[t * expertsPerToken + k] /= sum;
      }
    }
    return new Batch(expertIds, weights, adapterIds);
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
