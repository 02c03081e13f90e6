package io.github.moelora.cli;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
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

/** {@code moe-lora inspect DIR}. */
@Command(
    name = "inspect",
    mixinStandardHelpOptions = true,
    description = "Shows what a PEFT adapter holds, or why it is refused.")
final class InspectCommand implements Callable<Integer> {
  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Parameters(
      paramLabel = "DIR",
      description = "Folder with adapter_config.json and adapter_model.safetensors.")
  private Path directory = Path.of("");

  @CommandLine.Mixin private ModelOptions modelOptions = new ModelOptions();

  @CommandLine.Mixin private LayoutOptions layoutOptions = new LayoutOptions();

  @Option(names = "--json", paramLabel = "FILE", description = "Also write the table as JSON.")
  private @Nullable Path json;

  /** Names of modules that are listed; more are counted. */
  private static final int LISTED = 12;

  /** Linear layers outside the routed experts that agree in all that is shown. */
  private record DenseRow(
      String modules, int count, int rank, float scale, String type, long bytes) {}

  /** Pairs of one layer and linear layer that agree in all that is shown. */
  private record Group(int layer, String projection, int rank, float scale, String type) {}

  /** A row of the table. */
  private record Row(
      int layer,
      String projection,
      String experts,
      int rank,
      float scale,
      String type,
      long bytes) {}

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    if (!Files.isDirectory(directory)) {
      throw new IllegalArgumentException("DIR must be a folder, got " + directory);
    }
    Output.requireWritable("--json", json);
    modelOptions.hints();
    try (PeftAdapter adapter = PeftAdapter.open(directory, layoutOptions.readOptions())) {
      List<Row> rows = rows(adapter);
      List<DenseRow> dense = denseRows(adapter);
      print(adapter, rows, dense, out);
      if (json != null) {
        writeJson(json, adapter, rows, dense);
      }
      requireUsable(adapter);
      return 0;
    } catch (AdapterFormatException e) {
      out.println("refused: " + e.getMessage());
      out.flush();
      return MoeLoraCli.CHECK_FAILED;
    }
  }

  /** What `run` does with the file before it computes anything. */
  private void requireUsable(PeftAdapter adapter) throws IOException {
    if (adapter.entries().isEmpty()) {
      adapter.checkWeights();
      return;
    }
    adapter.toLoraAdapter(modelOptions.infer(List.of(adapter)));
  }

  private static void print(
      PeftAdapter adapter, List<Row> rows, List<DenseRow> dense, PrintWriter out) {
    out.printf(
        "%s: %s layout, PEFT %s%n",
        adapter.name(),
        adapter.layout().name().toLowerCase(Locale.ROOT).replace('_', '-'),
        adapter.peftVersion());
    TextTable table =
        new TextTable("layer", "projection", "experts", "rank", "scale", "type", "bytes");
    for (Row row : rows) {
      table.row(
          row.layer(),
          row.projection(),
          row.experts(),
          row.rank(),
          row.scale(),
          row.type(),
          Output.bytes((double) row.bytes()));
    }
    table.print(out);
    if (!dense.isEmpty()) {
      TextTable modules = new TextTable("other modules", "count", "rank", "scale", "type", "bytes");
      for (DenseRow row : dense) {
        modules.row(
            row.modules(),
            row.count(),
            row.rank(),
            row.scale(),
            row.type(),
            Output.bytes((double) row.bytes()));
      }
      modules.print(out);
    }
    if (!adapter.ignoredTensors().isEmpty()) {
      out.printf("left out: %d tensors%n", adapter.ignoredTensors().size());
      summary(adapter.ignoredTensors()).forEach(line -> out.println("  " + line));
    }
    adapter.warnings().forEach(warning -> out.println("warning: " + Output.printable(warning)));
    adapter.notes().forEach(note -> out.println("note: " + note));
    out.flush();
  }

  /** Names with their numbers taken out, each once with how often it occurs. */
  private static List<String> summary(List<String> names) {
    Map<String, Integer> counts = new LinkedHashMap<>();
    names.forEach(name -> counts.merge(name.replaceAll("\\d+", "N"), 1, Integer::sum));
    List<String> lines = new ArrayList<>();
    counts.forEach(
        (name, count) -> {
          if (lines.size() < LISTED) {
            lines.add("%d x %s".formatted(count, Output.printable(name)));
          }
        });
    if (counts.size() > LISTED) {
      lines.add("and %d other names".formatted(counts.size() - LISTED));
    }
    return lines;
  }

  private static void writeJson(
      Path file, PeftAdapter adapter, List<Row> rows, List<DenseRow> dense) throws IOException {
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("name", adapter.name());
    document.put("layout", adapter.layout().name());
    document.put("peft_version", adapter.peftVersion());
    document.put("pairs", rows);
    document.put("other_modules", dense);
    document.put("ignored_tensors", adapter.ignoredTensors());
    document.put("warnings", adapter.warnings());
    document.put("notes", adapter.notes());
    Output.writeJson(file, document);
  }

  /** Other modules by their names with the numbers taken out. */
  private static List<DenseRow> denseRows(PeftAdapter adapter) {
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
    List<DenseRow> rows = new ArrayList<>();
    groups.forEach(
        (group, entries) -> {
          PeftAdapter.DenseEntry first = entries.getFirst();
          rows.add(
              new DenseRow(
                  group.getFirst().toString(),
                  entries.size(),
                  first.rank(),
                  first.scale(),
                  first.type().name(),
                  entries.stream().mapToLong(PeftAdapter.DenseEntry::bytes).sum()));
        });
    return rows;
  }

  private static List<Row> rows(PeftAdapter adapter) {
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
    List<Row> rows = new ArrayList<>();
    groups.forEach(
        (group, entries) ->
            rows.add(
                new Row(
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
