package io.github.moelora.tornado;

import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * What a layer's router leaves on the device.
 *
 * @param expertIds in, int32 {@code [T, K]}, global expert ids in {@code [-1, E)}; -1 skips the
 *     pair, and so does what is out of range, which {@link EngineTasks#takeErrors} counts
 * @param routingWeights in, float32 {@code [T, K]}; read where a call asks for it
 */
public record EngineRouting(IntArray expertIds, FloatArray routingWeights) {

  /**
   * @throws IllegalArgumentException if an array is too short
   */
  void requireFit(int pairs) {
    requireAtLeast("expertIds", expertIds.getSize(), pairs);
    requireAtLeast("routingWeights", routingWeights.getSize(), pairs);
  }

  private static void requireAtLeast(String name, int has, int pairs) {
    if (has < pairs) {
      throw new IllegalArgumentException(
          "%s must hold at least maxTokens * expertsPerToken = %d elements, got %d"
              .formatted(name, pairs, has));
    }
  }
}
