package io.github.moelora.tornado;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;
import javax.imageio.ImageIO;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Time over floor against tokens on logarithmic axes: a chart for each shape and type. */
final class BenchPlot {
  private static final int WIDTH = 800;
  private static final int HEIGHT = 500;
  private static final int COLUMNS = 2;

  private static final Color[] COLORS = {
    new Color(0x1f77b4), new Color(0xd62728), new Color(0x2ca02c), new Color(0x9467bd)
  };

  private static final BasicStroke DASHED =
      new BasicStroke(
          1.2f, BasicStroke.CAP_BUTT, BasicStroke.JOIN_ROUND, 10, new float[] {5, 5}, 0);

  private BenchPlot() {}

  /** Writes a PNG file. */
  static void write(Path file, BenchReport report) throws IOException {
    System.setProperty("java.awt.headless", "true");
    List<BufferedImage> charts =
        groups(report.cells(), cell -> cell.shape() + ", " + cell.type()).entrySet().stream()
            .map(group -> chart(group.getKey(), group.getValue()))
            .map(BitmapEncoder::getBufferedImage)
            .toList();
    int columns = Math.min(charts.size(), COLUMNS);
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
    if (!ImageIO.write(image, "png", file.toFile())) {
      throw new IOException("this JVM cannot write PNG files");
    }
  }

  private static Map<String, List<BenchReport.Cell>> groups(
      List<BenchReport.Cell> cells, Function<BenchReport.Cell, String> key) {
    return cells.stream()
        .collect(Collectors.groupingBy(key, LinkedHashMap::new, Collectors.toList()));
  }

  private static XYChart chart(String title, List<BenchReport.Cell> cells) {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH)
            .height(HEIGHT)
            .title(title)
            .xAxisTitle("tokens")
            .yAxisTitle("time / floor")
            .build();
    chart.getStyler().setXAxisLogarithmic(true).setYAxisLogarithmic(true);
    chart.getStyler().setXAxisDecimalPattern("#").setYAxisDecimalPattern("#.###");
    chart.getStyler().setYAxisMin(1.0);
    chart.getStyler().setLegendPosition(Styler.LegendPosition.OutsideE);
    chart.getStyler().setPlotGridLinesColor(new Color(0xdddddd));
    chart.getStyler().setChartBackgroundColor(Color.WHITE);
    int index = 0;
    for (var line : groups(cells, cell -> "rank " + cell.rank()).entrySet()) {
      Color color = COLORS[index++ % COLORS.length];
      addLine(
          chart,
          line.getKey(),
          line.getValue(),
          BenchReport.Cell::timesFloor,
          color,
          new BasicStroke(2));
      List<BenchReport.Cell> compared =
          line.getValue().stream().filter(cell -> cell.timesVllm() != null).toList();
      if (!compared.isEmpty()) {
        addLine(
            chart, line.getKey() + ", vLLM", compared, BenchPlot::vllmTimesFloor, color, DASHED);
      }
    }
    return chart;
  }

  private static double vllmTimesFloor(BenchReport.Cell cell) {
    BenchReport.Vllm vllm = cell.vllm();
    return vllm == null ? Double.NaN : vllm.bestMicros() / cell.floorMicros();
  }

  private static void addLine(
      XYChart chart,
      String name,
      List<BenchReport.Cell> cells,
      ToDoubleFunction<BenchReport.Cell> value,
      Color color,
      BasicStroke stroke) {
    List<BenchReport.Cell> points =
        cells.stream()
            .filter(BenchReport.Cell::valid)
            .sorted(Comparator.comparingInt(BenchReport.Cell::tokens))
            .toList();
    if (points.isEmpty()) {
      return;
    }
    chart
        .addSeries(
            name,
            points.stream().mapToDouble(BenchReport.Cell::tokens).toArray(),
            points.stream().mapToDouble(value).toArray())
        .setMarker(SeriesMarkers.CIRCLE)
        .setMarkerColor(color)
        .setLineColor(color)
        .setLineStyle(stroke);
  }
}
