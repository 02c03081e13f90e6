package io.github.moelora.bench.gpu;

import io.github.moelora.plot.LogChart;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;

/** Time over floor against tokens: a chart for each shape and type. */
final class BenchPlot {
  private BenchPlot() {}

  /** Writes a PNG file. */
  static void write(Path file, BenchReport report) throws IOException {
    LogChart.write(
        file,
        groups(report.cells(), cell -> cell.shape() + ", " + cell.type()).entrySet().stream()
            .map(group -> chart(group.getKey(), group.getValue()))
            .toList());
  }

  private static Map<String, List<BenchReport.Cell>> groups(
      List<BenchReport.Cell> cells, Function<BenchReport.Cell, String> key) {
    return cells.stream()
        .collect(Collectors.groupingBy(key, LinkedHashMap::new, Collectors.toList()));
  }

  private static LogChart chart(String title, List<BenchReport.Cell> cells) {
    List<LogChart.Line> lines = new ArrayList<>();
    int color = 0;
    for (var line : groups(cells, cell -> "rank " + cell.rank()).entrySet()) {
      String name = line.getKey();
      List<BenchReport.Cell> valid =
          line.getValue().stream().filter(BenchReport.Cell::valid).toList();
      List<BenchReport.Cell> compared =
          valid.stream().filter(cell -> cell.timesVllm() != null).toList();
      if (!valid.isEmpty()) {
        lines.add(
            new LogChart.Line(
                name, color, LogChart.Kind.MEASURED, points(valid, BenchReport.Cell::timesFloor)));
      }
      if (!compared.isEmpty()) {
        lines.add(
            new LogChart.Line(
                name + ", vLLM",
                color,
                LogChart.Kind.COMPARED,
                points(compared, BenchPlot::vllmTimesFloor)));
      }
      color++;
    }
    return new LogChart(title, "tokens", "time / floor", 1, lines);
  }

  private static double vllmTimesFloor(BenchReport.Cell cell) {
    BenchReport.Vllm vllm = cell.vllm();
    return vllm == null ? Double.NaN : vllm.bestMicros() / cell.floorMicros();
  }

  private static List<LogChart.Point> points(
      List<BenchReport.Cell> cells, ToDoubleFunction<BenchReport.Cell> value) {
    return cells.stream()
        .sorted(Comparator.comparingInt(BenchReport.Cell::tokens))
        .map(cell -> new LogChart.Point(cell.tokens(), value.applyAsDouble(cell)))
        .toList();
  }
}
