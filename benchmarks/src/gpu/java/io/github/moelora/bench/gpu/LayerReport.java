package io.github.moelora.bench.gpu;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.cli.Output;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What {@code bench-gpu --layer} measured, as its JSON file holds it.
 *
 * @param run how it was measured
 * @param cells in the order of measurement
 */
@JsonIgnoreProperties(ignoreUnknown = true)
record LayerReport(Run run, List<Cell> cells) {

  /**
   * How and on what it was measured.
   *
   * @param command the arguments
   * @param started time in UTC
   * @param device name and memory
   * @param tornado version of TornadoVM
   * @param java version of the JVM
   * @param seed of all random numbers
   * @param variants whether gate/up comes with its activation, and down is combined; vLLM's layer
   *     has its activation and sum kernels then
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Run(
      List<String> command,
      String started,
      String device,
      String tornado,
      String java,
      long seed,
      boolean variants) {}

  /** GPU microseconds of a layer's parts, as differences between captured graphs. */
  record Parts(double plan, double gateUp, double down) {}

  /**
   * Our time.
   *
   * @param micros GPU time of the layer: plan on the device, gate/up, down, as {@link Run#variants}
   *     says
   * @param callMicros time of one call of the captured graph as the host sees it, GPU time included
   * @param parts null where they were not asked for
   * @param worstError largest error of a checked element, as a share of its bound
   */
  record Time(double micros, double callMicros, @Nullable Parts parts, double worstError) {}

  /**
   * A line of the table.
   *
   * @param layer name of the model
   * @param type of weights and activations, {@code bf16} or {@code fp16}
   * @param vllm null where it was not measured; the time is that of vLLM's own layer
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Cell(
      String layer, String type, int rank, int tokens, Time ours, BenchReport.@Nullable Vllm vllm) {

    /** Our time over that of vLLM's fastest path. */
    @JsonProperty("times_vllm")
    @Nullable Double timesVllm() {
      return vllm == null ? null : ours.micros() / vllm.bestMicros();
    }

    /** Whether our result was right and could be timed. */
    boolean valid() {
      return ours.worstError() <= 1 && ours.micros() > 0;
    }

    private boolean isNamedBy(JsonNode line) {
      return layer.equals(line.path("layer").asText())
          && type.equals(line.path("type").asText())
          && rank == line.path("rank").intValue()
          && tokens == line.path("tokens").intValue();
    }
  }

  static LayerReport read(Path file) throws IOException {
    LayerReport report = Output.json().readValue(Files.readAllBytes(file), LayerReport.class);
    if (report.run() == null || report.cells() == null || report.cells().isEmpty()) {
      throw new IllegalArgumentException("%s must hold layers, got none".formatted(file));
    }
    return report;
  }

  /** Writes the file in one piece, so that an end halfway leaves the last state. */
  void write(Path file) throws IOException {
    write(file, this);
  }

  /** The same for any report. */
  static void write(Path file, Object report) throws IOException {
    Path part = file.resolveSibling(file.getFileName() + ".part");
    Output.writeJson(part, report);
    Files.move(part, file, StandardCopyOption.REPLACE_EXISTING);
  }

  boolean valid() {
    return cells.stream().allMatch(Cell::valid);
  }

  /** How many cells lack a right result of vLLM. */
  long withoutVllm() {
    return cells.stream().filter(cell -> cell.vllm() == null || !cell.vllm().valid()).count();
  }

  LayerReport withCell(Cell cell) {
    List<Cell> list = new ArrayList<>(cells);
    list.add(cell);
    return new LayerReport(run, list);
  }

  /**
   * Takes in a line that {@code bench-vllm-layer.py} prints: what it runs on, which changes
   * nothing, or a cell. A cell that is not here has failed on our side, which was told then.
   *
   * @throws IllegalArgumentException if it is neither
   */
  LayerReport withVllmLine(String line) throws IOException {
    JsonNode node = Output.json().readTree(line);
    if (node.has("device")) {
      return this;
    }
    List<Cell> list = new ArrayList<>(cells);
    for (int i = 0; i < list.size(); i++) {
      Cell cell = list.get(i);
      if (cell.isNamedBy(node)) {
        BenchReport.Vllm vllm = Output.json().treeToValue(node, BenchReport.Vllm.class);
        list.set(i, new Cell(cell.layer, cell.type, cell.rank, cell.tokens, cell.ours, vllm));
        return new LayerReport(run, list);
      }
    }
    if (node.has("layer")) {
      return this;
    }
    throw new IllegalArgumentException("line of bench-vllm-layer.py must name a cell, got " + line);
  }

  /** The cells as a table for people, after a line on the device. */
  String table() {
    StringBuilder text = new StringBuilder(Output.format("%s, Java %s%n", run.device, run.java));
    if (run.variants) {
      text.append(
          Output.format(
              "ours: gate/up with the activation, down combined;"
                  + " vLLM: its layer, silu_and_mul and moe_sum%n"));
    }
    text.append(
        Output.format(
            "%-12s %-5s %4s %6s | %9s %8s %8s %8s | %9s %-9s %9s | %8s %6s%n",
            "layer",
            "type",
            "rank",
            "tokens",
            "ours us",
            "plan",
            "gate/up",
            "down",
            "vLLM us",
            "variant",
            "ours/vLLM",
            "call us",
            "error"));
    cells.forEach(cell -> text.append(line(cell)));
    return text.toString();
  }

  private static String line(Cell cell) {
    BenchReport.Vllm vllm = cell.vllm();
    Parts parts = cell.ours().parts();
    return Output.format(
        "%-12s %-5s %4d %6d | %9.2f %8s %8s %8s | %9s %-9s %9s | %8.1f %6.2f%s%n",
        cell.layer(),
        cell.type(),
        cell.rank(),
        cell.tokens(),
        cell.ours().micros(),
        parts == null ? "-" : Output.format("%.2f", parts.plan()),
        parts == null ? "-" : Output.format("%.2f", parts.gateUp()),
        parts == null ? "-" : Output.format("%.2f", parts.down()),
        vllm == null ? "-" : Output.format("%.2f", vllm.bestMicros()),
        vllm == null ? "-" : vllm.best(),
        vllm == null ? "-" : Output.format("%.2f", cell.ours().micros() / vllm.bestMicros()),
        cell.ours().callMicros(),
        cell.ours().worstError(),
        cell.valid() ? "" : "  WRONG");
  }
}
