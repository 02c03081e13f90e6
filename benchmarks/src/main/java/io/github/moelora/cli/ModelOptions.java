package io.github.moelora.cli;

import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgufAdapter;
import io.github.moelora.gguf.GgufModule;
import io.github.moelora.peft.BaseModelConfig;
import io.github.moelora.peft.ModelHints;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What the user says of the model where the adapters do not show it. */
final class ModelOptions {
  @Option(
      names = "--base-config",
      paramLabel = "FILE",
      description = "config.json of the base model, which answers all of the following.")
  private @Nullable Path baseConfig;

  @Option(names = "--hidden", paramLabel = "H", description = "Hidden size of the model.")
  private @Nullable Integer hidden;

  @Option(
      names = "--intermediate",
      paramLabel = "I",
      description = "Width of an expert's activation.")
  private @Nullable Integer intermediate;

  @Option(
      names = "--experts",
      paramLabel = "E",
      description = "Experts of the model; by default as many as the adapters show.")
  private @Nullable Integer experts;

  @Option(
      names = "--gate-up",
      paramLabel = "ORDER",
      description = "Columns of gate and up: ${COMPLETION-CANDIDATES}.")
  private @Nullable GateUp gateUp;

  /**
   * The options, and what the base model's config answers beyond them.
   *
   * @throws IllegalArgumentException naming an option with a value out of its range
   * @throws IOException if the config cannot be read
   */
  ModelHints hints() throws IOException {
    requirePositive("--hidden", hidden);
    requirePositive("--intermediate", intermediate);
    requirePositive("--experts", experts);
    ModelHints known =
        baseConfig == null ? ModelHints.NONE : BaseModelConfig.read(baseConfig).hints();
    return new ModelHints(
        hidden == null ? known.hiddenSize() : hidden,
        intermediate == null ? known.intermediateSize() : intermediate,
        experts == null ? known.experts() : experts,
        gateUp == null ? known.gateUp() : gateUp,
        null);
  }

  /**
   * The model as the options and adapters tell it.
   *
   * @throws IllegalArgumentException naming what must be given, and the options that give it
   */
  MoeModel infer(List<PeftAdapter> adapters) throws IOException {
    ModelHints hints = hints();
    return told(() -> PeftAdapter.inferModel(adapters, hints));
  }

  /**
   * The model of adapters of either format, with all linear layers outside the routed experts that
   * they change. Those of PEFT folders and of GGUF files have different names, so they stay apart.
   *
   * @throws IllegalArgumentException naming what must be given, and the options that give it
   */
  MoeModel inferAny(List<AdapterFile> files) throws IOException {
    List<PeftAdapter> peft = new ArrayList<>();
    List<GgufAdapter> gguf = new ArrayList<>();
    for (AdapterFile file : files) {
      switch (file) {
        case AdapterFile.Peft folder -> peft.add(folder.adapter());
        case AdapterFile.Gguf single -> gguf.add(single.adapter());
      }
    }
    if (gguf.isEmpty()) {
      return infer(peft);
    }
    MoeModel fromPeft = peft.isEmpty() ? null : infer(peft);
    ModelHints hints = fromPeft == null ? hints() : hintsOf(fromPeft);
    MoeModel model = told(() -> GgufAdapter.inferModel(gguf, hints));
    TreeSet<Integer> layers = new TreeSet<>(model.layers());
    Map<String, DenseModule> dense = new LinkedHashMap<>();
    if (fromPeft != null) {
      layers.addAll(fromPeft.layers());
      fromPeft.dense().forEach(module -> dense.put(module.name(), module));
    }
    for (GgufAdapter adapter : gguf) {
      for (GgufModule module : adapter.otherModules()) {
        if (!module.isOfExperts() && !module.isEmbedding()) {
          dense.putIfAbsent(
              module.path(),
              new DenseModule(module.path(), module.a(0).columns(), module.b(0).rows()));
        }
      }
    }
    return new MoeModel(
            model.hiddenSize(),
            model.intermediateSize(),
            model.experts(),
            model.gateUp(),
            List.copyOf(layers))
        .withDense(List.copyOf(dense.values()));
  }

  private static ModelHints hintsOf(MoeModel model) {
    return new ModelHints(
        model.hiddenSize(), model.intermediateSize(), model.experts(), model.gateUp(), null);
  }

  private static MoeModel told(Supplier<MoeModel> inference) {
    try {
      return inference.get();
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          e.getMessage()
              + " (options: --experts, --gate-up, --hidden, --intermediate, or --base-config for"
              + " all)",
          e);
    }
  }

  /** Experts per token as the base model's config says it, or null. */
  @Nullable Integer expertsPerToken() throws IOException {
    return baseConfig == null ? null : BaseModelConfig.read(baseConfig).expertsPerToken();
  }

  /** {@code model_type} of the base model's config; null without one. */
  @Nullable String modelType() throws IOException {
    return baseConfig == null ? null : BaseModelConfig.read(baseConfig).modelType();
  }

  private static void requirePositive(String name, @Nullable Integer value) {
    if (value != null) {
      Options.requireAtLeastOne(name, value);
    }
  }
}
