package io.github.moelora;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;

/**
 * What the library must know of a Mixture-of-Experts model.
 *
 * @param hiddenSize width of the residual stream, at least 1
 * @param intermediateSize width {@code I} of an expert's activation, at least 1
 * @param experts number {@code E} of routed experts of the whole model, at least 1
 * @param gateUp column order of the first projection
 * @param layers indices of the layers that hold experts, ascending, as adapter files number them
 * @param dense linear layers outside the routed experts that adapters may change, each name once;
 *     without any, nothing is reserved for them
 */
public record MoeModel(
    int hiddenSize,
    int intermediateSize,
    int experts,
    GateUp gateUp,
    List<Integer> layers,
    List<DenseModule> dense) {

  /**
   * @throws IllegalArgumentException if a size is below 1, {@code layers} is empty, negative or not
   *     ascending, or {@code dense} has a name twice
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
    Objects.requireNonNull(dense, "dense must not be null");
    dense = List.copyOf(dense);
    Set<String> names = new HashSet<>();
    for (DenseModule module : dense) {
      if (!names.add(module.name())) {
        throw new IllegalArgumentException(
            "dense must have each name once, got %s twice".formatted(module.name()));
      }
    }
  }

  /** A model whose routed experts alone take adapters. */
  public MoeModel(
      int hiddenSize, int intermediateSize, int experts, GateUp gateUp, List<Integer> layers) {
    this(hiddenSize, intermediateSize, experts, gateUp, layers, List.of());
  }

  /** The same model with more linear layers that adapters may change, behind those it has. */
  public MoeModel withDense(List<DenseModule> modules) {
    Objects.requireNonNull(modules, "modules must not be null");
    List<DenseModule> all = new ArrayList<>(dense);
    all.addAll(modules);
    return new MoeModel(hiddenSize, intermediateSize, experts, gateUp, layers, all);
  }

  /**
   * The model as a shard has it: its share of the intermediate width, and of each dense module what
   * the module says. Gate and up keep their share of both, in the same order; down takes its share
   * of the activations, so that the sum over all shards is the whole's. Experts are spread by
   * {@link ExpertMap} instead, or as well.
   *
   * @throws IllegalArgumentException if a width that is divided is no multiple of the shards
   */
  public MoeModel shard(Shard shard) {
    return new MoeModel(
        hiddenSize,
        shard.share("intermediateSize", intermediateSize),
        experts,
        gateUp,
        layers,
        dense.stream().map(module -> module.shard(shard)).toList());
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

  /** Number of input columns of a call. */
  public int inputWidth(ProjectionCall call) {
    return call.isDense() ? dense.get(call.module()).inputWidth() : inputWidth(call.projection());
  }

  /** Number of output columns of a call. */
  public int outputWidth(ProjectionCall call) {
    return call.isDense() ? dense.get(call.module()).outputWidth() : outputWidth(call.projection());
  }

  /**
   * Position of a module in {@link #dense}, for {@link ProjectionCall#dense(int)}.
   *
   * @throws IllegalArgumentException if the model does not list it
   */
  public int denseIndex(String name) {
    for (int i = 0; i < dense.size(); i++) {
      if (dense.get(i).name().equals(name)) {
        return i;
      }
    }
    throw new IllegalArgumentException(
        "name must be one of the model's %d dense modules, got %s".formatted(dense.size(), name));
  }

  /**
   * The name under which the model lists what a file calls {@code path}, PEFT's prefixes taken off:
   * the longest name that is the path or ends it at a dot; the path itself where there is none.
   */
  public String denseName(String path) {
    String found = "";
    for (DenseModule module : dense) {
      if (module.name().length() > found.length() && module.isNamedBy(path)) {
        found = module.name();
      }
    }
    return found.isEmpty() ? path : found;
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
