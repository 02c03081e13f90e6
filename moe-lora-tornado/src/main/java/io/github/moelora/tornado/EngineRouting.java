package io.github.moelora.tornado;

import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * What a layer's router leaves on the device, or what becomes of its {@link RouterLogits}: then
 * both are written.
 *
 * @param expertIds in, int32 {@code [T, K]}, global expert ids in {@code [-1, E)}; -1 skips the
 *     pair, and so does what is out of range, which {@link EngineTasks#takeErrors} counts
 * @param routingWeights in, float32 {@code [T, K]}; read where a call asks for it. With a shared
 *     expert, {@code maxTokens * K} weights of pairs, and behind them its own {@code [T]}
 */
public record EngineRouting(IntArray expertIds, FloatArray routingWeights) {

  /**
   * @throws IllegalArgumentException if an array is too short
   */
  void requireFit(int pairs) {
    requireAtLeast("expertIds", expertIds.getSize(), pairs);
    requireAtLeast("routingWeights", routingWeights.getSize(), pairs);
  }

  /**
   * @throws IllegalArgumentException if there is no room for weights of a shared expert
   */
  static void requireShared(FloatArray routingWeights, int pairs, int tokens) {
    if (routingWeights.getSize() < pairs + tokens) {
      throw new IllegalArgumentException(
          "routingWeights must hold at least maxTokens * (expertsPerToken + 1) = %d elements with a"
                  .formatted(pairs + tokens)
              + " shared expert, got "
              + routingWeights.getSize());
    }
  }

  private static void requireAtLeast(String name, int has, int pairs) {
    if (has < pairs) {
      throw new IllegalArgumentException(
          "%s must hold at least maxTokens * expertsPerToken = %d elements, got %d"
              .formatted(name, pairs, has));
    }
  }
}
