package io.github.moelora.cli;

import java.awt.BasicStroke;
import java.awt.Color;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Time against tokens on logarithmic axes, each line with its floor. */
final class TimePlot {
  private static final Color[] COLORS = {
    new Color(0x1f77b4), new Color(0xd62728), new Color(0x2ca02c), new Color(0x9467bd),
    new Color(0xff7f0e), new Color(0x17becf), new Color(0x8c564b), new Color(0xe377c2)
  };

  private TimePlot() {}

  static void write(Path file, List<BenchCommand.Cell> cells, String title) throws IOException {
    if (cells.isEmpty()) {
      throw new IllegalArgumentException("there must be at least one cell to plot, got none");
    }
    System.setProperty("java.awt.headless", "true");
    XYChart chart =
        new XYChartBuilder()
            .width(1100)
            .height(700)
            .title(title)
            .xAxisTitle("tokens")
            .yAxisTitle("time (us)")
            .build();
    chart.getStyler().setXAxisLogarithmic(true).setYAxisLogarithmic(true);
    chart.getStyler().setLegendPosition(Styler.LegendPosition.OutsideE);
    chart.getStyler().setPlotGridLinesColor(new Color(0xdddddd));
    chart.getStyler().setChartBackgroundColor(Color.WHITE);
    Map<String, List<BenchCommand.Cell>> lines =
        cells.stream()
            .collect(
                Collectors.groupingBy(
                    cell -> "%s %s r%d".formatted(cell.preset(), cell.projection(), cell.rank()),
                    LinkedHashMap::new,
                    Collectors.toList()));
    int index = 0;
    for (Map.Entry<String, List<BenchCommand.Cell>> line : lines.entrySet()) {
      Color color = COLORS[index++ % COLORS.length];
      List<BenchCommand.Cell> points = line.getValue();
      double[] tokens = points.stream().mapToDouble(BenchCommand.Cell::tokens).toArray();
      XYSeries time =
          chart.addSeries(
              line.getKey(),
              tokens,
              points.stream().mapToDouble(BenchCommand.Cell::micros).toArray());
      time.setMarker(SeriesMarkers.CIRCLE);
      time.setMarkerColor(color);
      time.setLineColor(color);
      XYSeries floor =
          chart.addSeries(
              line.getKey() + " floor",
              tokens,
              points.stream().mapToDouble(BenchCommand.Cell::floorMicros).toArray());
      floor.setMarker(SeriesMarkers.NONE);
      floor.setLineColor(color);
      floor.setLineStyle(
          new BasicStroke(
              1.2f, BasicStroke.CAP_BUTT, BasicStroke.JOIN_ROUND, 10, new float[] {5, 5}, 0));
    }
    // saveBitmap would change a name that does not end in .png
    Files.write(file, BitmapEncoder.getBitmapBytes(chart, BitmapEncoder.BitmapFormat.PNG));
  }
}
