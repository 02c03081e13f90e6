package io.github.moelora;

import java.util.List;
import java.util.Objects;

/**
 * What the library must know of a Mixture-of-Experts model.
 *
 * @param hiddenSize width of the residual stream, at least 1
 * @param intermediateSize width {@code I} of an expert's activation, at least 1
 * @param experts number {@code E} of routed experts of the whole model, at least 1
 * @param gateUp column order of the first projection
 * @param layers indices of the layers that hold experts, ascending, as adapter files number them
 */
public record MoeModel(
    int hiddenSize, int intermediateSize, int experts, GateUp gateUp, List<Integer> layers) {

  /**
   * @throws IllegalArgumentException if a size is below 1 or {@code layers} is empty, negative or
   *     not ascending
   */
  public MoeModel {
    Checks.inRange("hiddenSize", hiddenSize, 1, Integer.MAX_VALUE / 2);
    Checks.inRange("intermediateSize", intermediateSize, 1, Integer.MAX_VALUE / 2);
    Checks.atLeast("experts", experts, 1);
    Objects.requireNonNull(gateUp, "gateUp must not be null");
    Objects.requireNonNull(layers, "layers must not be null");
    for (int i = 0; i < layers.size(); i++) {
      Objects.requireNonNull(layers.get(i), "layers[" + i + "] must not be null");
    }
    layers = List.copyOf(layers);
    Checks.atLeast("layers.size()", layers.size(), 1);
    int previous = -1;
    for (int layer : layers) {
      if (layer <= previous) {
        throw new IllegalArgumentException(
            "layers must be ascending and not negative, got " + layers);
      }
      previous = layer;
    }
    Checks.inRange("layers.size() * experts", (long) layers.size() * experts, 1, 1 << 28);
  }

  /** Number of input columns of a projection. */
  public int inputWidth(Projection projection) {
    Objects.requireNonNull(projection, "projection must not be null");
    return projection == Projection.GATE_UP ? hiddenSize : intermediateSize;
  }

  /** Number of output columns of a projection over all its slices. */
  public int outputWidth(Projection projection) {
    Objects.requireNonNull(projection, "projection must not be null");
    if (projection == Projection.DOWN) {
      return hiddenSize;
    }
    return gateUp.gated() ? 2 * intermediateSize : intermediateSize;
  }

  /**
   * Position of a layer in {@link #layers}.
   *
   * @throws IllegalArgumentException if the model has no experts in that layer
   */
  public int layerIndex(int layer) {
    // no List.indexOf, which boxes: this is called at every run
    for (int i = 0; i < layers.size(); i++) {
      if (layers.get(i) == layer) {
        return i;
      }
    }
    throw new IllegalArgumentException("layer must be one of %s, got %d".formatted(layers, layer));
  }
}
