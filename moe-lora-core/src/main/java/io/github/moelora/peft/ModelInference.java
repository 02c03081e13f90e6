package io.github.moelora.peft;

import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.peft.Orientation.Widths;
import io.github.moelora.peft.PeftAdapter.DenseEntry;
import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.peft.PeftAdapter.Packing;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/** Puts a model's sizes together from hints and adapters; used once. */
final class ModelInference {
  private final List<PeftAdapter> adapters;
  private final ModelHints hints;
  private @Nullable Integer hidden;
  private @Nullable Integer intermediate;

  ModelInference(List<PeftAdapter> adapters, ModelHints hints) {
    this.adapters = adapters;
    this.hints = hints;
    this.hidden = hints.hiddenSize();
    this.intermediate = hints.intermediateSize();
  }

  MoeModel model() {
    if (adapters.stream().allMatch(adapter -> adapter.entries().isEmpty())) {
      throw new IllegalArgumentException(
          "adapters must hold tensors of routed experts, got %s".formatted(names()));
    }
    // those that can be read in one way only help with the others
    adapters.stream().filter(ModelInference::isDecided).forEach(this::addWidths);
    adapters.stream().filter(adapter -> !isDecided(adapter)).forEach(this::addWidths);
    return new MoeModel(
        Objects.requireNonNull(hidden),
        Objects.requireNonNull(intermediate),
        experts(),
        gateUp(),
        layers(),
        dense());
  }

  /** The linear layers outside the routed experts that adapters change. */
  private List<DenseModule> dense() {
    Map<String, DenseModule> modules = new LinkedHashMap<>();
    for (PeftAdapter adapter : adapters) {
      for (DenseEntry entry : adapter.denseEntries()) {
        DenseModule module =
            new DenseModule(entry.module(), entry.inputWidth(), entry.outputWidth());
        DenseModule other = modules.putIfAbsent(entry.module(), module);
        if (other != null && !other.equals(module)) {
          throw adapter.fault(
              entry.a().name(),
              "its module must have the widths %d and %d, as another adapter has them"
                  .formatted(other.inputWidth(), other.outputWidth()),
              "%d and %d".formatted(module.inputWidth(), module.outputWidth()));
        }
      }
    }
    return List.copyOf(modules.values());
  }

  /** Intermediate width of one expert where pairs tell that of all together. */
  private Widths ofOneExpert(Widths widths, PeftAdapter adapter) {
    if (adapter.layout() != PeftAdapter.Layout.ROWS) {
      return widths;
    }
    long all = widths.intermediate();
    if (intermediate != null) {
      return all % intermediate == 0 ? new Widths(widths.hidden(), intermediate) : widths;
    }
    if (hints.experts() == null || all % hints.experts() != 0) {
      throw adapter.fault(
          adapter.entries().getFirst().b().name(),
          "experts must be given, and divide the rows of all of them",
          hints.experts() == null ? "none" : hints.experts());
    }
    return new Widths(widths.hidden(), all / hints.experts());
  }

  private List<String> names() {
    return adapters.stream().map(PeftAdapter::name).toList();
  }

  private static boolean isDecided(PeftAdapter adapter) {
    return adapter.orientations().size() == 1;
  }

  private void addWidths(PeftAdapter adapter) {
    if (adapter.entries().isEmpty()) {
      return;
    }
    List<Widths> readings =
        adapter.orientations().stream()
            .map(orientation -> orientation.widths(adapter.entries()))
            .filter(Objects::nonNull)
            .map(widths -> ofOneExpert(widths, adapter))
            .filter(this::agrees)
            .distinct()
            .toList();
    if (readings.size() > 1) {
      throw adapter.fault(
          adapter.entries().getFirst().a().name(),
          "hiddenSize and intermediateSize must be given, since PEFT %s wrote two orientations"
              .formatted(adapter.peftVersion()),
          adapter.differentShapes());
    }
    if (readings.isEmpty()) {
      throw adapter.fault(
          adapter.entries().getFirst().a().name(),
          "shapes must agree with hiddenSize %s and intermediateSize %s"
              .formatted(shown(hidden), shown(intermediate)),
          adapter.differentShapes());
    }
    hidden = Math.toIntExact(readings.getFirst().hidden());
    intermediate = Math.toIntExact(readings.getFirst().intermediate());
  }

  private static String shown(@Nullable Integer value) {
    return value == null ? "(unknown)" : value.toString();
  }

  private boolean agrees(Widths widths) {
    return (hidden == null || hidden == widths.hidden())
        && (intermediate == null || intermediate == widths.intermediate());
  }

  /**
   * Pairs of all experts tell how many there are; others do if they leave no number out. The rows
   * of a fused A tell it together with the rank, which a trainer may have divided among the experts
   * without writing so; PEFT itself has recorded its version since it wrote such files for more
   * than a release.
   */
  private int experts() {
    Integer known = hints.experts();
    Set<Integer> single = new TreeSet<>();
    PeftAdapter untold = null;
    for (PeftAdapter adapter : adapters) {
      for (Entry entry : adapter.entries()) {
        if (entry.expert() >= 0) {
          single.add(entry.expert());
        } else if (known == null
            && entry.packing() == Packing.STACKED
            && !adapter.recordsVersion()) {
          untold = adapter;
        } else if (entry.experts() > 0) {
          known = agreed(known, entry, adapter);
        }
      }
    }
    if (known != null) {
      return known;
    }
    if (untold != null || single.isEmpty()) {
      throw new IllegalArgumentException(
          "experts must be given, got adapters that do not tell their number (%s)"
              .formatted(untold == null ? names() : untold.name() + " records no version of PEFT"));
    }
    int largest = single.stream().mapToInt(Integer::intValue).max().orElse(0);
    if (single.size() != largest + 1) {
      throw new IllegalArgumentException(
          "experts must be given, got adapters on experts %s only".formatted(single));
    }
    return largest + 1;
  }

  private static int agreed(@Nullable Integer known, Entry entry, PeftAdapter adapter) {
    int held = adapter.realExperts(entry);
    if (known != null && known != held) {
      throw adapter.fault(
          entry.a().name(), "it must hold %d experts".formatted(known), entry.experts());
    }
    return held;
  }

  private GateUp gateUp() {
    if (hints.gateUp() != null) {
      return hints.gateUp();
    }
    if (adapters.stream().anyMatch(PeftAdapter::namesInterleavedModel)) {
      return GateUp.INTERLEAVED;
    }
    boolean gate = has(Linear.GATE) || has(Linear.GATE_UP);
    if (!gate && adapters.stream().anyMatch(PeftAdapter::namesGatelessModel)) {
      return GateUp.UP_ONLY;
    }
    if (!gate && has(Linear.UP)) {
      throw new IllegalArgumentException(
          "gateUp must be given, got adapters on up alone, which may or may not have a gate beside"
              + " it");
    }
    // an adapter on down alone is the same for each
    return GateUp.HALVES;
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
    Set<Integer> layers = new TreeSet<>();
    adapters.forEach(adapter -> adapter.entries().forEach(entry -> layers.add(entry.layer())));
    return List.copyOf(layers);
  }
}
