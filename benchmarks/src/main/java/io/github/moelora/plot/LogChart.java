package io.github.moelora.plot;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * A chart with logarithmic axes.
 *
 * @param title above the chart
 * @param xTitle of the horizontal axis
 * @param yTitle of the vertical axis
 * @param least where the vertical axis begins, more than 0; NaN: at the least value
 * @param lines in the order of the legend
 */
public record LogChart(String title, String xTitle, String yTitle, double least, List<Line> lines) {
  private static final int WIDTH = 1000;
  private static final int HEIGHT = 600;
  private static final int MOST_COLUMNS = 2;

  private static final Color[] COLORS = {
    new Color(0x1f77b4), new Color(0xd62728), new Color(0x2ca02c), new Color(0x9467bd),
    new Color(0xff7f0e), new Color(0x17becf), new Color(0x8c564b), new Color(0xe377c2)
  };

  private static final BasicStroke DASHED =
      new BasicStroke(
          1.2f, BasicStroke.CAP_BUTT, BasicStroke.JOIN_ROUND, 10, new float[] {5, 5}, 0);

  /** How a line looks. */
  public enum Kind {
    /** Solid, with a mark at each point. */
    MEASURED,
    /** Dashed, with a mark at each point. */
    COMPARED,
    /** Dashed, without marks, left out of the legend. */
    BOUND
  }

  /** A point of a line; both coordinates are finite and more than 0. */
  public record Point(double x, double y) {}

  /**
   * A line.
   *
   * @param name different from those of the chart's other lines
   * @param color lines of the same number have the same color; after 8 colors they repeat
   * @param points at least one, from left to right
   */
  public record Line(String name, int color, Kind kind, List<Point> points) {}

  /**
   * Writes charts, two in a row, as one PNG file.
   *
   * @throws IllegalArgumentException if there is no chart
   */
  public static void write(Path file, List<LogChart> charts) throws IOException {
    if (charts.isEmpty()) {
      throw new IllegalArgumentException("there must be at least one chart to draw, got none");
    }
    System.setProperty("java.awt.headless", "true");
    List<BufferedImage> drawn =
        charts.stream().map(LogChart::draw).map(BitmapEncoder::getBufferedImage).toList();
    int columns = Math.min(drawn.size(), MOST_COLUMNS);
    int rows = Math.ceilDiv(drawn.size(), columns);
    BufferedImage image =
        new BufferedImage(columns * WIDTH, rows * HEIGHT, BufferedImage.TYPE_INT_RGB);
    Graphics2D graphics = image.createGraphics();
    graphics.setColor(Color.WHITE);
    graphics.fillRect(0, 0, image.getWidth(), image.getHeight());
    for (int i = 0; i < drawn.size(); i++) {
      graphics.drawImage(drawn.get(i), i % columns * WIDTH, i / columns * HEIGHT, null);
    }
    graphics.dispose();
    ByteArrayOutputStream png = new ByteArrayOutputStream();
    if (!ImageIO.write(image, "png", png)) {
      throw new IOException("this JVM cannot write PNG files");
    }
    Files.write(file, png.toByteArray());
  }

  private XYChart draw() {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH)
            .height(HEIGHT)
            .title(title)
            .xAxisTitle(xTitle)
            .yAxisTitle(yTitle)
            .build();
    chart.getStyler().setXAxisLogarithmic(true).setYAxisLogarithmic(true);
    chart.getStyler().setXAxisDecimalPattern("#").setYAxisDecimalPattern("#.###");
    if (!Double.isNaN(least)) {
      chart.getStyler().setYAxisMin(least);
    }
    chart.getStyler().setLegendPosition(Styler.LegendPosition.OutsideE);
    chart.getStyler().setPlotGridLinesColor(new Color(0xdddddd));
    chart.getStyler().setChartBackgroundColor(Color.WHITE);
    lines.forEach(line -> add(chart, line));
    return chart;
  }

  private static void add(XYChart chart, Line line) {
    Color color = COLORS[line.color() % COLORS.length];
    XYSeries series =
        chart.addSeries(
            line.name(),
            line.points().stream().mapToDouble(Point::x).toArray(),
            line.points().stream().mapToDouble(Point::y).toArray());
    series.setLineColor(color);
    series.setMarkerColor(color);
    boolean bound = line.kind() == Kind.BOUND;
    series.setMarker(bound ? SeriesMarkers.NONE : SeriesMarkers.CIRCLE);
    series.setShowInLegend(!bound);
    if (line.kind() != Kind.MEASURED) {
      series.setLineStyle(DASHED);
    }
  }
}
