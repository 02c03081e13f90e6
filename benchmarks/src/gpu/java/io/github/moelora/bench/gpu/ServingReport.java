package io.github.moelora.bench.gpu;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import io.github.moelora.cli.Output;
import io.github.moelora.plot.LogChart;
import io.github.moelora.workload.BatchTrace;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.function.ToDoubleFunction;

/**
 * What {@code bench-gpu --serving} measured, as its JSON file holds it: the LoRA part of a server's
 * steps, each as many layers as the model has of the time that its batch size takes.
 *
 * @param load what the server gets
 * @param layers of the model
 * @param timed the layer's time at every batch size of the trace
 */
@JsonIgnoreProperties(ignoreUnknown = true)
record ServingReport(BatchTrace.Load load, int layers, LayerReport timed) {

  /** The serving run of vLLM's pull request 32770. */
  static final BatchTrace.Load LOAD = new BatchTrace.Load(800, 80, 1024, 100, 8192);

  /** Layers of Qwen3-30B-A3B. */
  static final int LAYERS = 48;

  /** Most tokens of the graphs that an engine captures for such a load. */
  static final List<Integer> GRAPHS = List.of(16, 80, 512, 2048, 4096, 8192);

  /** Charts show this many points of a trace. */
  private static final int POINTS = 60;

  /**
   * Sums over the trace.
   *
   * @param type of weights and activations
   * @param seconds of the GPU for our layers
   * @param decodeSeconds of them in steps without prompts
   * @param vllmSeconds of the GPU for vLLM's layers; NaN where one was not measured
   * @param vllmDecodeSeconds of them in steps without prompts
   */
  record Total(
      String type,
      int rank,
      double seconds,
      double decodeSeconds,
      double vllmSeconds,
      double vllmDecodeSeconds) {}

  /** The sums over {@link #LOAD}. */
  static ServingReport of(LayerReport timed) {
    return new ServingReport(LOAD, LAYERS, timed);
  }

  static ServingReport read(Path file) throws IOException {
    ServingReport report = Output.json().readValue(Files.readAllBytes(file), ServingReport.class);
    if (report.load() == null || report.timed() == null) {
      throw new IllegalArgumentException("%s must hold a serving run, got none".formatted(file));
    }
    return report;
  }

  /** Writes the file in one piece, so that an end halfway leaves the last state. */
  void write(Path file) throws IOException {
    LayerReport.write(file, this);
  }

  /** The sums, one for each type and rank. */
  @JsonProperty("totals")
  List<Total> totals() {
    List<Total> totals = new ArrayList<>();
    for (LayerReport.Cell one : timed.cells()) {
      if (totals.stream().noneMatch(t -> t.type().equals(one.type()) && t.rank() == one.rank())) {
        Map<Integer, LayerReport.Cell> cells = cells(one.type(), one.rank());
        totals.add(
            new Total(
                one.type(),
                one.rank(),
                seconds(cells, ServingReport::ours, false),
                seconds(cells, ServingReport::ours, true),
                seconds(cells, ServingReport::vllm, false),
                seconds(cells, ServingReport::vllm, true)));
      }
    }
    return totals;
  }

  private static double ours(LayerReport.Cell cell) {
    return cell.ours().micros();
  }

  private static double vllm(LayerReport.Cell cell) {
    BenchReport.Vllm vllm = cell.vllm();
    return vllm == null ? Double.NaN : vllm.bestMicros();
  }

  /** Cells by their tokens. */
  private Map<Integer, LayerReport.Cell> cells(String type, int rank) {
    Map<Integer, LayerReport.Cell> cells = new HashMap<>();
    for (LayerReport.Cell cell : timed.cells()) {
      if (cell.type().equals(type) && cell.rank() == rank) {
        cells.put(cell.tokens(), cell);
      }
    }
    return cells;
  }

  /** Sum over the steps, NaN if a batch size was not measured. */
  private double seconds(
      Map<Integer, LayerReport.Cell> cells,
      ToDoubleFunction<LayerReport.Cell> micros,
      boolean decodeAlone) {
    double sum = 0;
    for (BatchTrace.Step step : BatchTrace.of(load).steps()) {
      if (!decodeAlone || step.promptTokens() == 0) {
        sum += stepSeconds(cells, micros, step);
      }
    }
    return sum;
  }

  private double stepSeconds(
      Map<Integer, LayerReport.Cell> cells,
      ToDoubleFunction<LayerReport.Cell> micros,
      BatchTrace.Step step) {
    LayerReport.Cell cell = cells.get(step.tokens());
    return cell == null ? Double.NaN : 1e-6 * layers * micros.applyAsDouble(cell);
  }

  /** The batch sizes and the sums as tables for people. */
  String table() {
    SortedMap<Integer, Integer> steps = BatchTrace.of(load).stepsByTokens();
    StringBuilder text =
        new StringBuilder(
            Output.format(
                "%s, Java %s%n%s, %d layers%n%-5s %4s %6s %6s | %9s %9s %9s | %9s %9s%n",
                timed.run().device(),
                timed.run().java(),
                load,
                layers,
                "type",
                "rank",
                "tokens",
                "steps",
                "ours us",
                "vLLM us",
                "ours/vLLM",
                "ours s",
                "vLLM s"));
    for (LayerReport.Cell cell : timed.cells()) {
      int count = steps.getOrDefault(cell.tokens(), 0);
      double scale = 1e-6 * layers * count;
      text.append(
          Output.format(
              "%-5s %4d %6d %6d | %9.2f %9.2f %9.2f | %9.4f %9.4f%s%n",
              cell.type(),
              cell.rank(),
              cell.tokens(),
              count,
              ours(cell),
              vllm(cell),
              ours(cell) / vllm(cell),
              scale * ours(cell),
              scale * vllm(cell),
              cell.valid() ? "" : "  WRONG"));
    }
    for (Total total : totals()) {
      text.append(
          Output.format(
              "%s rank %d: ours %.3f s (without prompts %.3f), vLLM %.3f s (%.3f), ratio %.3f%n",
              total.type(),
              total.rank(),
              total.seconds(),
              total.decodeSeconds(),
              total.vllmSeconds(),
              total.vllmDecodeSeconds(),
              total.seconds() / total.vllmSeconds()));
    }
    return text.toString();
  }

  /** Draws GPU seconds up to a step against the steps, for each type and rank. */
  void draw(Path file) throws IOException {
    List<LogChart> charts = new ArrayList<>();
    for (Total total : totals()) {
      Map<Integer, LayerReport.Cell> cells = cells(total.type(), total.rank());
      List<LogChart.Line> lines = new ArrayList<>();
      lines.add(
          new LogChart.Line("ours", 0, LogChart.Kind.MEASURED, sums(cells, ServingReport::ours)));
      if (!Double.isNaN(total.vllmSeconds())) {
        lines.add(
            new LogChart.Line("vLLM", 1, LogChart.Kind.COMPARED, sums(cells, ServingReport::vllm)));
      }
      charts.add(
          new LogChart(
              "LoRA of %d layers, %s, rank %d".formatted(layers, total.type(), total.rank()),
              "steps",
              "GPU seconds so far",
              Double.NaN,
              lines));
    }
    LogChart.write(file, charts);
  }

  private List<LogChart.Point> sums(
      Map<Integer, LayerReport.Cell> cells, ToDoubleFunction<LayerReport.Cell> micros) {
    List<BatchTrace.Step> steps = BatchTrace.of(load).steps();
    List<LogChart.Point> points = new ArrayList<>();
    double sum = 0;
    double next = 1;
    double factor = Math.pow(steps.size(), 1.0 / POINTS);
    for (int i = 1; i <= steps.size(); i++) {
      sum += stepSeconds(cells, micros, steps.get(i - 1));
      if (i >= next || i == steps.size()) {
        points.add(new LogChart.Point(i, sum));
        next = Math.max(i + 1, next * factor);
      }
    }
    return points;
  }
}
