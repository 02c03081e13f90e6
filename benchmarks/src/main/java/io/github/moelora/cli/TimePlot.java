package io.github.moelora.cli;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;
import javax.imageio.ImageIO;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Time against tokens on logarithmic axes, each line with its floor; one chart for each shape. */
final class TimePlot {
  private static final int WIDTH = 1000;
  private static final int HEIGHT = 600;
  private static final int MOST_COLUMNS = 2;

  private static final Color[] COLORS = {
    new Color(0x1f77b4), new Color(0xd62728), new Color(0x2ca02c), new Color(0x9467bd),
    new Color(0xff7f0e), new Color(0x17becf), new Color(0x8c564b), new Color(0xe377c2)
  };

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
    System.setProperty("java.awt.headless", "true");
    List<BufferedImage> charts =
        groups(cells, BenchCommand.Cell::preset).entrySet().stream()
            .map(shape -> chart(shape.getKey() + ", " + title, shape.getValue()))
            .map(BitmapEncoder::getBufferedImage)
            .toList();
    int columns = Math.min(charts.size(), MOST_COLUMNS);
    int rows = Math.ceilDiv(charts.size(), columns);
    BufferedImage image =
        new BufferedImage(columns * WIDTH, rows * HEIGHT, BufferedImage.TYPE_INT_RGB);
    Graphics2D graphics = image.createGraphics();
    graphics.setColor(Color.WHITE);
    graphics.fillRect(0, 0, image.getWidth(), image.getHeight());
    for (int i = 0; i < charts.size(); i++) {
      graphics.drawImage(charts.get(i), i % columns * WIDTH, i / columns * HEIGHT, null);
    }
    graphics.dispose();
    ByteArrayOutputStream png = new ByteArrayOutputStream();
    ImageIO.write(image, "png", png);
    Files.write(file, png.toByteArray());
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

  private static XYChart chart(String title, List<BenchCommand.Cell> cells) {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH)
            .height(HEIGHT)
            .title(title)
            .xAxisTitle("tokens")
            .yAxisTitle("time (us), dashed: floor")
            .build();
    chart.getStyler().setXAxisLogarithmic(true).setYAxisLogarithmic(true);
    chart.getStyler().setXAxisDecimalPattern("#").setYAxisDecimalPattern("#.###");
    chart.getStyler().setLegendPosition(Styler.LegendPosition.OutsideE);
    chart.getStyler().setPlotGridLinesColor(new Color(0xdddddd));
    chart.getStyler().setChartBackgroundColor(Color.WHITE);
    int index = 0;
    for (Map.Entry<String, List<BenchCommand.Cell>> line :
        groups(cells, cell -> "%s, rank %d".formatted(cell.projection(), cell.rank())).entrySet()) {
      Color color = COLORS[index++ % COLORS.length];
      addLine(chart, line.getKey(), line.getValue(), BenchCommand.Cell::micros)
          .setMarker(SeriesMarkers.CIRCLE)
          .setMarkerColor(color)
          .setLineColor(color);
      addLine(chart, line.getKey() + " floor", line.getValue(), BenchCommand.Cell::floorMicros)
          .setMarker(SeriesMarkers.NONE)
          .setLineColor(color)
          .setLineStyle(
              new BasicStroke(
                  1.2f, BasicStroke.CAP_BUTT, BasicStroke.JOIN_ROUND, 10, new float[] {5, 5}, 0))
          .setShowInLegend(false);
    }
    return chart;
  }

  private static XYSeries addLine(
      XYChart chart,
      String name,
      List<BenchCommand.Cell> cells,
      ToDoubleFunction<BenchCommand.Cell> value) {
    List<BenchCommand.Cell> points =
        cells.stream().sorted(Comparator.comparingInt(BenchCommand.Cell::tokens)).toList();
    return chart.addSeries(
        name,
        points.stream().mapToDouble(BenchCommand.Cell::tokens).toArray(),
        points.stream().mapToDouble(value).toArray());
  }
}
