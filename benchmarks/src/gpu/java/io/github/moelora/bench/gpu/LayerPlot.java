package io.github.moelora.bench.gpu;

import io.github.moelora.plot.LogChart;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.ToDoubleFunction;

/** Time of a layer against tokens: a chart for each model and type. */
final class LayerPlot {
  private LayerPlot() {}

  /** Writes a PNG file. */
  static void write(Path file, LayerReport report) throws IOException {
    List<LogChart> charts = new ArrayList<>();
    for (String title : report.cells().stream().map(LayerPlot::title).distinct().toList()) {
      charts.add(
          chart(title, report.cells().stream().filter(cell -> title(cell).equals(title)).toList()));
    }
    LogChart.write(file, charts);
  }

  private static String title(LayerReport.Cell cell) {
    return cell.layer() + ", " + cell.type();
  }

  private static LogChart chart(String title, List<LayerReport.Cell> cells) {
    List<LogChart.Line> lines = new ArrayList<>();
    List<Integer> ranks = cells.stream().map(LayerReport.Cell::rank).distinct().toList();
    for (int color = 0; color < ranks.size(); color++) {
      int rank = ranks.get(color);
      List<LayerReport.Cell> ours =
          cells.stream().filter(cell -> cell.rank() == rank && cell.valid()).toList();
      List<LayerReport.Cell> theirs = ours.stream().filter(cell -> cell.vllm() != null).toList();
      add(lines, "rank " + rank, color, LogChart.Kind.MEASURED, points(ours, LayerPlot::ours));
      add(
          lines,
          "rank " + rank + ", vLLM",
          color,
          LogChart.Kind.COMPARED,
          points(theirs, LayerPlot::vllm));
    }
    return new LogChart(title, "tokens", "microseconds of a layer", Double.NaN, lines);
  }

  private static void add(
      List<LogChart.Line> lines,
      String name,
      int color,
      LogChart.Kind kind,
      List<LogChart.Point> points) {
    if (!points.isEmpty()) {
      lines.add(new LogChart.Line(name, color, kind, points));
    }
  }

  private static double ours(LayerReport.Cell cell) {
    return cell.ours().micros();
  }

  private static double vllm(LayerReport.Cell cell) {
    BenchReport.Vllm vllm = cell.vllm();
    return vllm == null ? Double.NaN : vllm.bestMicros();
  }

  private static List<LogChart.Point> points(
      List<LayerReport.Cell> cells, ToDoubleFunction<LayerReport.Cell> micros) {
    return cells.stream()
        .sorted(Comparator.comparingInt(LayerReport.Cell::tokens))
        .map(cell -> new LogChart.Point(cell.tokens(), micros.applyAsDouble(cell)))
        .toList();
  }
}
