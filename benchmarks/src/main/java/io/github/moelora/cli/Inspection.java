package io.github.moelora.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What {@code inspect} shows of an adapter of any format.
 *
 * @param title the first line
 * @param facts what only this format has, for the JSON file
 */
record Inspection(
    String title,
    Map<String, Object> facts,
    List<Row> rows,
    List<DenseRow> dense,
    List<String> ignoredTensors,
    List<String> warnings,
    List<String> notes) {

  /** Names of modules that are listed; more are counted. */
  private static final int LISTED = 12;

  /** Linear layers outside the routed experts that agree in all that is shown. */
  record DenseRow(String modules, int count, int rank, float scale, String type, long bytes) {}

  /** A row of the table. */
  record Row(
      int layer,
      String projection,
      String experts,
      int rank,
      float scale,
      String type,
      long bytes) {}

  void print(PrintWriter out) {
    out.println(title);
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
    if (!ignoredTensors.isEmpty()) {
      out.printf("left out: %d tensors%n", ignoredTensors.size());
      summary(ignoredTensors).forEach(line -> out.println("  " + line));
    }
    warnings.forEach(warning -> out.println("warning: " + Output.printable(warning)));
    notes.forEach(note -> out.println("note: " + note));
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

  void writeJson(Path file) throws IOException {
    Map<String, Object> document = new LinkedHashMap<>(facts);
    document.put("pairs", rows);
    document.put("other_modules", dense);
    document.put("ignored_tensors", ignoredTensors);
    document.put("warnings", warnings);
    document.put("notes", notes);
    Output.writeJson(file, document);
  }
}
