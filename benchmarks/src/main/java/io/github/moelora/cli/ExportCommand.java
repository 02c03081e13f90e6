package io.github.moelora.cli;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgufAdapter;
import io.github.moelora.gguf.GgufExport;
import io.github.moelora.gguf.GgufModule;
import io.github.moelora.peft.ModelHints;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.peft.PeftExport;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code moe-lora export ADAPTER --to LAYOUT --out DIR}, or {@code --gguf FILE}. */
@Command(
    name = "export",
    mixinStandardHelpOptions = true,
    description = {
      "Writes an adapter anew: as a PEFT folder of canonical layout, from any that is read, or as a"
          + " GGUF file that llama.cpp loads.",
      "A GGUF file holds the routed experts, and all other linear layers of a GGUF source."
    })
final class ExportCommand implements Callable<Integer> {
  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Parameters(paramLabel = "ADAPTER", description = "A PEFT folder, or a GGUF file.")
  private Path source = Path.of("");

  @Option(
      names = "--gguf",
      paramLabel = "FILE",
      description = "GGUF file to write; one that is there is replaced.")
  private @Nullable Path gguf;

  @Option(
      names = "--to",
      paramLabel = "LAYOUT",
      description = "Layout of the PEFT folder to write: per-expert or fused.")
  private @Nullable String to;

  @Option(names = "--out", paramLabel = "DIR", description = "PEFT folder to write, with --to.")
  private @Nullable Path out;

  @Option(
      names = "--architecture",
      paramLabel = "NAME",
      description =
          "general.architecture of the base model's GGUF file, such as qwen3moe; a GGUF source has"
              + " its own.")
  private @Nullable String architecture;

  @Option(
      names = "--type",
      paramLabel = "TYPE",
      description = "Element type: ${COMPLETION-CANDIDATES} (default F32).")
  private DType type = DType.F32;

  @Option(
      names = "--fused-gate-up",
      description = "Write gate and up as one, for a base model with ffn_gate_up_exps.")
  private boolean fusedGateUp;

  @CommandLine.Mixin private ModelOptions modelOptions = new ModelOptions();

  @CommandLine.Mixin private LayoutOptions layoutOptions = new LayoutOptions();

  @Override
  public Integer call() throws IOException {
    if ((gguf == null) == (to == null) || (to == null) != (out == null)) {
      throw new IllegalArgumentException(
          "either --to and --out or --gguf must be given, got " + given());
    }
    Output.requireWritable("--gguf", gguf);
    ModelHints hints = modelOptions.hints();
    try {
      if (gguf != null) {
        exportGguf(hints, gguf);
      } else if (to != null && out != null) {
        exportPeft(hints, targetOf(to), out);
      }
      return 0;
    } catch (AdapterFormatException e) {
      PrintWriter text = spec.commandLine().getOut();
      text.println("refused: " + e.getMessage());
      text.flush();
      return MoeLoraCli.CHECK_FAILED;
    }
  }

  /** The options that say where to write, as they were given. */
  private String given() {
    List<String> options = new ArrayList<>();
    if (to != null) {
      options.add("--to " + to);
    }
    if (out != null) {
      options.add("--out " + out);
    }
    if (gguf != null) {
      options.add("--gguf " + gguf);
    }
    return options.isEmpty() ? "none of them" : String.join(", ", options);
  }

  private static PeftExport.Target targetOf(String layout) {
    return switch (layout.toLowerCase(Locale.ROOT)) {
      case "per-expert" -> PeftExport.Target.PER_EXPERT;
      case "fused" -> PeftExport.Target.FUSED;
      default ->
          throw new IllegalArgumentException("--to must be per-expert or fused, got " + layout);
    };
  }

  private void exportPeft(ModelHints hints, PeftExport.Target layout, Path folder)
      throws IOException {
    if (Files.exists(folder) && Files.isSameFile(source, folder)) {
      throw new IllegalArgumentException(
          "--out must be another folder than the adapter, got " + folder);
    }
    if (Files.isDirectory(source)) {
      try (PeftAdapter adapter = PeftAdapter.open(source, layoutOptions.readOptions())) {
        MoeModel model = modelOptions.infer(List.of(adapter));
        LoraAdapter lora = adapter.toLoraAdapter(model);
        PeftExport export = new PeftExport(model, layout, type, adapter.expertsPath());
        tell(export.write(lora, adapter.baseModel(), folder), folder);
        tellLeftOut("tensors cannot be applied", adapter.ignoredTensors());
        tellWarnings(adapter.warnings());
      }
    } else {
      try (GgufAdapter adapter = GgufAdapter.open(source)) {
        MoeModel model = GgufAdapter.inferModel(List.of(adapter), hints);
        PeftExport export = new PeftExport(model, layout, type, "model.layers.%d.mlp.experts");
        LoraAdapter lora = adapter.toLoraAdapter(model);
        // their names are llama.cpp's
        tell(export.write(lora.withoutUnlisted(model), null, folder), folder);
        tellLeftOut("modules are not routed experts", lora.unlistedModules(model));
        tellLeftOut("tensors are norms", adapter.ignoredTensors());
      }
    }
  }

  private void tell(PeftExport.Summary summary, Path folder) {
    PrintWriter text = spec.commandLine().getOut();
    text.printf(
        "%s: %d pairs of %s, %s%n",
        folder, summary.pairs(), type, Output.bytes((double) summary.bytes()));
    if (summary.multiplied() > 0) {
      text.printf(
          "note: B of experts in %d pairs was multiplied, since a pair has one scale%n",
          summary.multiplied());
    }
    text.flush();
  }

  private void tellWarnings(List<String> warnings) {
    PrintWriter text = spec.commandLine().getOut();
    warnings.forEach(warning -> text.println("warning: " + Output.printable(warning)));
    text.flush();
  }

  private void exportGguf(ModelHints hints, Path target) throws IOException {
    if (Files.isDirectory(source)) {
      try (PeftAdapter adapter = PeftAdapter.open(source, layoutOptions.readOptions())) {
        MoeModel model = modelOptions.infer(List.of(adapter));
        GgufExport export = new GgufExport(requireArchitecture());
        write(export, adapter.toLoraAdapter(model), model, target);
        tellLeftOut("tensors cannot be applied", adapter.ignoredTensors());
        tellWarnings(adapter.warnings());
      }
    } else {
      exportGgufAnew(hints, target);
    }
  }

  private String requireArchitecture() throws IOException {
    if (architecture == null) {
      String type = modelOptions.modelType();
      Optional<String> known = type == null ? Optional.empty() : GgufExport.architectureOf(type);
      if (known.isPresent()) {
        return known.get();
      }
      throw new IllegalArgumentException(
          "--architecture must be given, general.architecture of the base model's GGUF file such"
              + " as qwen3moe, or --base-config: a PEFT folder does not tell it");
    }
    return architecture;
  }

  private void exportGgufAnew(ModelHints hints, Path target) throws IOException {
    if (Files.exists(target) && Files.isSameFile(source, target)) {
      throw new IllegalArgumentException(
          "--gguf must be another file than the adapter, got " + target);
    }
    try (GgufAdapter adapter = GgufAdapter.open(source)) {
      MoeModel model = GgufAdapter.inferModel(List.of(adapter), hints);
      GgufExport export =
          new GgufExport(architecture == null ? adapter.architecture() : architecture);
      for (GgufModule module : adapter.otherModules()) {
        export.module(module);
      }
      // its other modules are written under their own names
      write(export, adapter.toLoraAdapter(model).withoutUnlisted(model), model, target);
      tellLeftOut("tensors are norms", adapter.ignoredTensors());
    }
  }

  private void write(GgufExport export, LoraAdapter adapter, MoeModel model, Path target)
      throws IOException {
    GgufExport.Summary summary =
        export.type(type).fusedGateUp(fusedGateUp).write(adapter, model, target);
    PrintWriter out = spec.commandLine().getOut();
    out.printf(
        "%s: %d pairs of %s, alpha %s, %s%n",
        target, summary.pairs(), type, summary.alpha(), Output.bytes((double) summary.bytes()));
    if (summary.foldedPairs() > 0) {
      out.printf(
          "note: B of %d pairs was multiplied, since llama.cpp scales all by alpha / rank%n",
          summary.foldedPairs());
    }
    out.flush();
    tellLeftOut("modules are not routed experts", summary.leftOut());
  }

  private void tellLeftOut(String what, List<String> names) {
    if (!names.isEmpty()) {
      PrintWriter out = spec.commandLine().getOut();
      out.printf(
          "note: %d %s and were left out, the first is %s%n",
          names.size(), what, Output.printable(names.getFirst()));
      out.flush();
    }
  }
}
