package io.github.moelora.cli;

import io.github.moelora.plot.LogChart;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;

/** Time against tokens, each line with its floor; one chart for each shape. */
final class TimePlot {
  private TimePlot() {}

  /**
   * Writes a PNG file.
   *
   * @param title of every chart, after its shape
   * @throws IllegalArgumentException if there is nothing to plot, or a number that a logarithmic
   *     axis does not have
   */
  static void write(Path file, List<BenchCommand.Cell> cells, String title) throws IOException {
    if (cells.isEmpty()) {
      throw new IllegalArgumentException("there must be at least one cell to plot, got none");
    }
    cells.forEach(TimePlot::requirePlottable);
    LogChart.write(
        file,
        groups(cells, BenchCommand.Cell::preset).entrySet().stream()
            .map(shape -> chart(shape.getKey() + ", " + title, shape.getValue()))
            .toList());
  }

  private static void requirePlottable(BenchCommand.Cell cell) {
    // a file may leave them out
    if (Objects.isNull(cell.preset()) || Objects.isNull(cell.projection())) {
      throw new IllegalArgumentException("a cell must have preset and projection, got " + cell);
    }
    if (cell.tokens() < 1 || !(cell.micros() > 0) || !(cell.floorMicros() > 0)) {
      throw new IllegalArgumentException(
          "tokens, micros and floor_micros of a cell must be positive, got " + cell);
    }
  }

  private static Map<String, List<BenchCommand.Cell>> groups(
      Collection<BenchCommand.Cell> cells, Function<BenchCommand.Cell, String> key) {
    return cells.stream()
        .collect(Collectors.groupingBy(key, LinkedHashMap::new, Collectors.toList()));
  }

  private static LogChart chart(String title, List<BenchCommand.Cell> cells) {
    List<LogChart.Line> lines = new ArrayList<>();
    int color = 0;
    for (Map.Entry<String, List<BenchCommand.Cell>> line :
        groups(cells, cell -> "%s, rank %d".formatted(cell.projection(), cell.rank())).entrySet()) {
      String name = line.getKey();
      lines.add(
          new LogChart.Line(
              name,
              color,
              LogChart.Kind.MEASURED,
              points(line.getValue(), BenchCommand.Cell::micros)));
      lines.add(
          new LogChart.Line(
              name + " floor",
              color++,
              LogChart.Kind.BOUND,
              points(line.getValue(), BenchCommand.Cell::floorMicros)));
    }
    return new LogChart(title, "tokens", "time (us), dashed: floor", Double.NaN, lines);
  }

  private static List<LogChart.Point> points(
      List<BenchCommand.Cell> cells, ToDoubleFunction<BenchCommand.Cell> value) {
    return cells.stream()
        .sorted(Comparator.comparingInt(BenchCommand.Cell::tokens))
        .map(cell -> new LogChart.Point(cell.tokens(), value.applyAsDouble(cell)))
        .toList();
  }
}
