package io.github.moelora.cli;

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
record Batch(int[] expertIds, float[] routingWeights, int[] adapterIds) {

  /**
   * Distinct random experts for each token; adapters alternate over eight runs of tokens, as
   * sequences would.
   */
  static Batch random(Random random, int tokens, int expertsPerToken, int experts, int adapters) {
    int[] expertIds = new int[tokens * expertsPerToken];
    float[] weights = new float[tokens * expertsPerToken];
    int[] adapterIds = new int[tokens];
    int sequences = Math.min(tokens, 8);
    for (int t = 0; t < tokens; t++) {
      adapterIds[t] = (int) ((long) t * sequences / tokens) % adapters;
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

  /** Number of (adapter, expert) combinations that occur. */
  int distinctExperts() {
    int expertsPerToken = expertIds.length / adapterIds.length;
    Set<List<Integer>> seen = new HashSet<>();
    for (int p = 0; p < expertIds.length; p++) {
      seen.add(List.of(adapterIds[p / expertsPerToken], expertIds[p]));
    }
    return seen.size();
  }
}
