package io.github.moelora.plot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.awt.Color;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class LogChartTest {
  @TempDir private Path directory;

  private static LogChart.Line line(String name, int color, LogChart.Kind kind) {
    return new LogChart.Line(
        name,
        color,
        kind,
        List.of(
            new LogChart.Point(1, 10 * (color + 1)), new LogChart.Point(100, 1000 * (color + 1))));
  }

  private BufferedImage draw(int charts, LogChart.Line... lines) throws IOException {
    Path file = directory.resolve("chart.png");
    LogChart chart = new LogChart("title", "x", "y", Double.NaN, List.of(lines));
    LogChart.write(file, Collections.nCopies(charts, chart));
    return ImageIO.read(file.toFile());
  }

  /** Pixels of a line's color, however blended with the background. */
  private static int pixels(BufferedImage image, boolean red) {
    int count = 0;
    for (int x = 0; x < image.getWidth(); x++) {
      for (int y = 0; y < image.getHeight(); y++) {
        Color color = new Color(image.getRGB(x, y));
        int more = color.getRed() - color.getBlue();
        count += (red ? more : -more) > 40 ? 1 : 0;
      }
    }
    return count;
  }

  @Test
  void chartsStandTwoInARow() throws IOException {
    LogChart.Line line = line("a", 0, LogChart.Kind.MEASURED);
    assertThat(draw(1, line).getWidth()).isEqualTo(1000);
    BufferedImage three = draw(3, line);
    assertThat(three.getWidth()).isEqualTo(2000);
    assertThat(three.getHeight()).isEqualTo(1200);
    // the fourth place stays white
    assertThat(three.getRGB(1500, 900) & 0xffffff).isEqualTo(0xffffff);
  }

  @Test
  void aBoundIsThinnerAndNotInTheLegend() throws IOException {
    int measured = pixels(draw(1, line("a", 1, LogChart.Kind.MEASURED)), true);
    int compared = pixels(draw(1, line("a", 1, LogChart.Kind.COMPARED)), true);
    BufferedImage both =
        draw(1, line("a", 0, LogChart.Kind.MEASURED), line("b", 1, LogChart.Kind.BOUND));
    assertThat(pixels(both, false)).isPositive();
    assertThat(pixels(both, true)).isPositive().isLessThan(compared);
    assertThat(compared).isLessThan(measured);
  }

  @Test
  void colorsRepeat() throws IOException {
    assertThat(pixels(draw(1, line("a", 9, LogChart.Kind.MEASURED)), true)).isPositive();
  }

  @Test
  void noChartIsRefused() {
    assertThatThrownBy(() -> LogChart.write(directory.resolve("none.png"), List.of()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("there must be at least one chart to draw, got none");
  }
}
