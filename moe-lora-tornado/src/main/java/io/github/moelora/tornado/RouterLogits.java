package io.github.moelora.tornado;

import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * A router whose choice the first task of a layer makes along with its own work, so that the engine
 * runs none for it: the K experts of the largest logits, equal ones in the order of their numbers,
 * with weights {@code exp(logit) / sum exp(logits)}.
 *
 * @param logits in, float32 {@code [T, E]}, or {@code [T, E + 1]} with a shared score; not NaN
 * @param renormalized whether the sum is over the chosen experts, so that their weights add up to
 *     1, rather than over all
 * @param sharedScore whether a score of the shared expert stands behind a token's logits; its
 *     weight becomes {@code 1 / (1 + exp(-score))}
 */
public record RouterLogits(FloatArray logits, boolean renormalized, boolean sharedScore) {

  /**
   * @throws IllegalArgumentException if the array is too short
   */
  void requireFit(int tokens, int experts) {
    int width = experts + (sharedScore ? 1 : 0);
    if (logits.getSize() < (long) tokens * width) {
      throw new IllegalArgumentException(
          "logits must hold at least maxTokens * %s = %d elements, got %d"
              .formatted(
                  sharedScore ? "(experts + 1)" : "experts",
                  (long) tokens * width,
                  logits.getSize()));
    }
  }
}
