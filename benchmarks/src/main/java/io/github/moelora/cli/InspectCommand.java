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

  @Option(names = "--json", paramLabel = "FILE", description = "Also write the table as JSON.")
  private @Nullable Path json;

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
    try (PeftAdapter adapter = PeftAdapter.open(directory)) {
      List<Row> rows = rows(adapter);
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
      if (!adapter.ignoredTensors().isEmpty()) {
        out.printf(
            "not of routed experts, not used: %d tensors%n", adapter.ignoredTensors().size());
        adapter.ignoredTensors().forEach(name -> out.println("  " + Output.printable(name)));
      }
      adapter.notes().forEach(note -> out.println("note: " + note));
      out.flush();
      if (json != null) {
        Map<String, Object> document = new LinkedHashMap<>();
        document.put("name", adapter.name());
        document.put("layout", adapter.layout().name());
        document.put("peft_version", adapter.peftVersion());
        document.put("pairs", rows);
        document.put("ignored_tensors", adapter.ignoredTensors());
        document.put("notes", adapter.notes());
        Output.writeJson(json, document);
      }
      return 0;
    } catch (AdapterFormatException e) {
      out.println("refused: " + e.getMessage());
      out.flush();
      return MoeLoraCli.CHECK_FAILED;
    }
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
      return "0-" + (entries.getFirst().experts() - 1);
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
