package io.github.moelora.cli;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgufAdapter;
import io.github.moelora.gguf.GgufExport;
import io.github.moelora.gguf.GgufModule;
import io.github.moelora.peft.ModelHints;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code moe-lora export ADAPTER --gguf FILE}. */
@Command(
    name = "export",
    mixinStandardHelpOptions = true,
    description = {
      "Writes an adapter as a GGUF file that llama.cpp loads.",
      "It holds the routed experts, and all other linear layers of a GGUF file."
    })
final class ExportCommand implements Callable<Integer> {
  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Parameters(paramLabel = "ADAPTER", description = "A PEFT folder, or a GGUF file.")
  private Path source = Path.of("");

  @Option(
      names = "--gguf",
      paramLabel = "FILE",
      required = true,
      description = "File to write; one that is there is replaced.")
  private Path target = Path.of("");

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
      description = "Element type: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE}).")
  private DType type = DType.F32;

  @Option(
      names = "--fused-gate-up",
      description = "Write gate and up as one, for a base model with ffn_gate_up_exps.")
  private boolean fusedGateUp;

  @Option(
      names = "--gate-up",
      paramLabel = "ORDER",
      description = "Gate and up of the adapter's model: ${COMPLETION-CANDIDATES}.")
  private @Nullable GateUp gateUp;

  @Option(
      names = "--experts",
      paramLabel = "E",
      description = "Experts of the model, where the adapter does not show all.")
  private @Nullable Integer experts;

  @Option(names = "--hidden", paramLabel = "H", description = "Hidden width of the model.")
  private @Nullable Integer hidden;

  @Option(
      names = "--intermediate",
      paramLabel = "I",
      description = "Width of an expert's activation.")
  private @Nullable Integer intermediate;

  @Override
  public Integer call() throws IOException {
    Output.requireWritable("--gguf", target);
    ModelHints hints = new ModelHints(hidden, intermediate, experts, gateUp, null);
    try {
      if (Files.isDirectory(source)) {
        try (PeftAdapter adapter = PeftAdapter.open(source)) {
          MoeModel model = PeftAdapter.inferModel(List.of(adapter), hints);
          GgufExport export = new GgufExport(requireArchitecture());
          write(export, adapter.toLoraAdapter(model), model);
          tellLeftOut("tensors are not of routed experts", adapter.ignoredTensors());
        }
      } else {
        exportGguf(hints);
      }
      return 0;
    } catch (AdapterFormatException e) {
      PrintWriter out = spec.commandLine().getOut();
      out.println("refused: " + e.getMessage());
      out.flush();
      return MoeLoraCli.CHECK_FAILED;
    }
  }

  private String requireArchitecture() {
    if (architecture == null) {
      throw new IllegalArgumentException(
          "--architecture must be given, general.architecture of the base model's GGUF file such"
              + " as qwen3moe: a PEFT folder does not tell it");
    }
    return architecture;
  }

  private void exportGguf(ModelHints hints) throws IOException {
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
      write(export, adapter.toLoraAdapter(model).withoutUnlisted(model), model);
      tellLeftOut("tensors are norms", adapter.ignoredTensors());
    }
  }

  private void write(GgufExport export, LoraAdapter adapter, MoeModel model) throws IOException {
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
