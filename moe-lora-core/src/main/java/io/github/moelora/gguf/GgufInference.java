package io.github.moelora.gguf;

import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgufAdapter.Entry;
import io.github.moelora.peft.ModelHints;
import io.github.moelora.peft.PeftAdapter.Linear;
import java.util.List;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/** Puts a model's sizes together from hints and GGUF adapters; used once. */
final class GgufInference {
  private final List<GgufAdapter> adapters;
  private final ModelHints hints;

  GgufInference(List<GgufAdapter> adapters, ModelHints hints) {
    this.adapters = adapters;
    this.hints = hints;
  }

  MoeModel model() {
    Entry first =
        adapters.stream()
            .flatMap(adapter -> adapter.entries().stream())
            .findFirst()
            .orElseThrow(
                () ->
                    new IllegalArgumentException(
                        "adapters must hold tensors of routed experts, got %s"
                            .formatted(adapters.stream().map(GgufAdapter::name).toList())));
    int hidden = known(hints.hiddenSize(), first.hiddenSize());
    int intermediate = known(hints.intermediateSize(), first.intermediateSize());
    int experts = known(hints.experts(), first.experts());
    for (GgufAdapter adapter : adapters) {
      for (Entry entry : adapter.entries()) {
        require(adapter, entry, "the hidden width", hidden, entry.hiddenSize());
        require(adapter, entry, "the intermediate width", intermediate, entry.intermediateSize());
        require(adapter, entry, "experts", experts, entry.experts());
      }
    }
    return new MoeModel(hidden, intermediate, experts, gateUp(), layers());
  }

  private static int known(@Nullable Integer hint, int read) {
    return hint == null ? read : hint;
  }

  private static void require(
      GgufAdapter adapter, Entry entry, String what, int expected, int value) {
    if (value != expected) {
      throw adapter.contradiction(entry, what, expected, value);
    }
  }

  private GateUp gateUp() {
    if (hints.gateUp() != null) {
      return hints.gateUp();
    }
    if (!has(Linear.UP) || has(Linear.GATE) || has(Linear.GATE_UP)) {
      // an adapter on down alone is the same for each
      return GateUp.HALVES;
    }
    if (adapters.stream().allMatch(a -> a.architecture().equals("nemotron_h_moe"))) {
      return GateUp.UP_ONLY;
    }
    throw new IllegalArgumentException(
        "gateUp must be given, got adapters on up alone, which may or may not have a gate beside"
            + " it");
  }

  private boolean has(Linear linear) {
    return adapters.stream()
        .flatMap(adapter -> adapter.entries().stream())
        .anyMatch(entry -> entry.linear() == linear);
  }

  private List<Integer> layers() {
    if (hints.layers() != null) {
      return hints.layers();
    }
    TreeSet<Integer> layers = new TreeSet<>();
    adapters.forEach(adapter -> adapter.entries().forEach(entry -> layers.add(entry.layer())));
    return List.copyOf(layers);
  }
}
