package io.github.moelora.cli;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code moe-lora inspect ADAPTER}. */
@Command(
    name = "inspect",
    mixinStandardHelpOptions = true,
    description = "Shows what an adapter holds, or why it is refused.")
final class InspectCommand implements Callable<Integer> {
  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Parameters(
      paramLabel = "ADAPTER",
      description =
          "Folder with adapter_config.json and adapter_model.safetensors, or a GGUF file.")
  private Path path = Path.of("");

  @CommandLine.Mixin private ModelOptions modelOptions = new ModelOptions();

  @CommandLine.Mixin private LayoutOptions layoutOptions = new LayoutOptions();

  @Option(names = "--json", paramLabel = "FILE", description = "Also write the table as JSON.")
  private @Nullable Path json;

  /** Pairs of one layer and linear layer that agree in all that is shown. */
  private record Group(int layer, String projection, int rank, float scale, String type) {}

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    Output.requireWritable("--json", json);
    modelOptions.hints();
    try (AdapterFile file = AdapterFile.open("ADAPTER", path, layoutOptions.readOptions())) {
      Inspection inspection =
          switch (file) {
            case AdapterFile.Peft peft -> inspection(peft.adapter());
            case AdapterFile.Gguf gguf -> GgufInspection.of(gguf);
          };
      inspection.print(out);
      if (json != null) {
        inspection.writeJson(json);
      }
      requireUsable(file);
      return 0;
    } catch (AdapterFormatException e) {
      out.println("refused: " + e.getMessage());
      out.flush();
      return MoeLoraCli.CHECK_FAILED;
    }
  }

  /** What `run` does with the file before it computes anything. */
  private void requireUsable(AdapterFile file) throws IOException {
    if (file.hasExperts()) {
      file.toLoraAdapter(modelOptions.inferAny(List.of(file)));
    } else {
      file.checkWeights();
    }
  }

  private static Inspection inspection(PeftAdapter adapter) {
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("name", adapter.name());
    facts.put("layout", adapter.layout().name());
    facts.put("peft_version", adapter.peftVersion());
    return new Inspection(
        "%s: %s layout, PEFT %s"
            .formatted(
                adapter.name(),
                adapter.layout().name().toLowerCase(Locale.ROOT).replace('_', '-'),
                adapter.peftVersion()),
        facts,
        rows(adapter),
        denseRows(adapter),
        adapter.ignoredTensors(),
        adapter.warnings(),
        adapter.notes());
  }

  /** Other modules by their names with the numbers taken out. */
  private static List<Inspection.DenseRow> denseRows(PeftAdapter adapter) {
    Map<List<Object>, List<PeftAdapter.DenseEntry>> groups =
        adapter.denseEntries().stream()
            .collect(
                Collectors.groupingBy(
                    e ->
                        List.of(
                            Output.printable(e.module().replaceAll("\\d+", "N")),
                            e.rank(),
                            e.scale(),
                            e.type()),
                    LinkedHashMap::new,
                    Collectors.toList()));
    List<Inspection.DenseRow> rows = new ArrayList<>();
    groups.forEach(
        (group, entries) -> {
          PeftAdapter.DenseEntry first = entries.getFirst();
          rows.add(
              new Inspection.DenseRow(
                  group.getFirst().toString(),
                  entries.size(),
                  first.rank(),
                  first.scale(),
                  first.type().name(),
                  entries.stream().mapToLong(PeftAdapter.DenseEntry::bytes).sum()));
        });
    return rows;
  }

  private static List<Inspection.Row> rows(PeftAdapter adapter) {
    Map<Group, List<PeftAdapter.Entry>> groups =
        adapter.entries().stream()
            .collect(
                Collectors.groupingBy(
                    entry ->
                        new Group(
                            entry.layer(),
                            entry.linear().name().toLowerCase(Locale.ROOT),
                            entry.rank(),
                            entry.scale(),
                            entry.type().name()),
                    LinkedHashMap::new,
                    Collectors.toList()));
    List<Inspection.Row> rows = new ArrayList<>();
    groups.forEach(
        (group, entries) ->
            rows.add(
                new Inspection.Row(
                    group.layer(),
                    group.projection(),
                    experts(entries),
                    group.rank(),
                    group.scale(),
                    group.type(),
                    entries.stream().mapToLong(PeftAdapter.Entry::bytes).sum())));
    return rows;
  }

  /** Expert ids as ranges, such as {@code 0-5,7}. */
  private static String experts(List<PeftAdapter.Entry> entries) {
    if (entries.getFirst().expert() < 0) {
      int held = entries.getFirst().experts();
      return held == 0 ? "all" : "0-" + (held - 1);
    }
    TreeSet<Integer> ids =
        entries.stream()
            .map(PeftAdapter.Entry::expert)
            .collect(Collectors.toCollection(TreeSet::new));
    StringBuilder text = new StringBuilder();
    int first = -1;
    for (int id : ids) {
      if (!ids.contains(id - 1)) {
        first = id;
      }
      if (!ids.contains(id + 1)) {
        text.append(text.isEmpty() ? "" : ",")
            .append(first == id ? String.valueOf(id) : first + "-" + id);
      }
    }
    return text.toString();
  }
}
