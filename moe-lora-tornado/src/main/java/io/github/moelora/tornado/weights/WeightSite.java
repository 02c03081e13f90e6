package io.github.moelora.tornado.weights;

import io.github.moelora.DenseModule;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which linear layer weights are of, and what it is to the kernels: a projection of a layer of
 * experts, or a dense module as the only expert of a layer of its own.
 *
 * @param config the instance's, or of a dense module {@link MoeLoraConfig#ofDense}
 * @param layer layer index as {@code config} numbers it
 * @param projection which projection
 * @param module null for routed experts
 * @param name part of the names of task graphs
 */
public record WeightSite(
    MoeLoraConfig config,
    int layer,
    Projection projection,
    @Nullable DenseModule module,
    String name) {

  /** A projection of a layer of experts. */
  public static WeightSite of(MoeLoraConfig config, int layer, Projection projection) {
    return new WeightSite(config, layer, projection, null, "%d_%s".formatted(layer, projection));
  }

  /** A dense module, by its position in the model. */
  public static WeightSite ofDense(MoeLoraConfig config, int index) {
    DenseModule module = config.model().dense().get(index);
    return new WeightSite(config.ofDense(module), 0, Projection.GATE_UP, module, "dense_" + index);
  }

  /** What messages call it. */
  public String label() {
    return module != null
        ? "dense module " + module.name()
        : "layer %d %s".formatted(layer, projection == Projection.GATE_UP ? "gate/up" : "down");
  }

  /** The slices of an adapter on a local expert. */
  List<LoraSlice> slices(LoraAdapter adapter, int localExpert) {
    return module == null
        ? adapter.slices(layer, projection, config.expertMap().global(localExpert))
        : adapter.slices(module.name());
  }
}
