package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class PlotCommandTest {
  private static final int FIRST_COLOR = 0x1f77b4;

  @TempDir private Path directory;

  /** Requires charts side by side, each with a line of the first color that rises. */
  static void requireLines(BufferedImage image, int charts) {
    assertThat(image.getWidth()).isEqualTo(1000 * charts);
    assertThat(image.getHeight()).isEqualTo(600);
    for (int chart = 0; chart < charts; chart++) {
      int pixels = 0;
      for (int x = chart * 1000; x < chart * 1000 + 1000; x++) {
        for (int y = 0; y < image.getHeight(); y++) {
          pixels += (image.getRGB(x, y) & 0xffffff) == FIRST_COLOR ? 1 : 0;
        }
      }
      assertThat(pixels).as("pixels of the first line of chart %d", chart).isGreaterThan(300);
    }
  }

  private static String cell(String preset, int tokens, double micros) {
    return """
    {"preset": "%s", "projection": "gate/up", "rank": 16, "tokens": %d, "micros": %s,
     "floor_micros": 7.5, "gigabytes_per_second": 1, "worst": 0.5}\
    """
        .formatted(preset, tokens, micros);
  }

  private Path file(String content) throws IOException {
    return Files.writeString(directory.resolve("bench.json"), content);
  }

  private CommandRun plot(String content) throws IOException {
    return CommandRun.of("plot", file(content), "--output", directory.resolve("plot.png"));
  }

  @Test
  void eachShapeHasAChart() throws IOException {
    CommandRun run =
        plot(
            "{\"device\": \"d\", \"cells\": [%s, %s, %s, %s]}"
                .formatted(
                    cell("a", 1, 10), cell("a", 64, 200), cell("b", 64, 300), cell("b", 1, 20)));
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    requireLines(ImageIO.read(directory.resolve("plot.png").toFile()), 2);
  }

  @Test
  void oneCellIsEnough() throws IOException {
    assertThat(plot("{\"cells\": [%s]}".formatted(cell("a", 8, 10))).exitCode()).isZero();
    assertThat(ImageIO.read(directory.resolve("plot.png").toFile()).getWidth()).isEqualTo(1000);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "[] | FILE must hold a list named cells, as moe-lora bench writes it",
        "{\"cells\": [] | not the expected JSON: Unexpected end-of-input",
        "{\"cells\": []} | there must be at least one cell to plot, got none",
        "{\"cells\": [{\"tokens\": \"x\"}]} | not the expected JSON: Cannot deserialize value",
        "{\"cells\": [{\"tokens\": 1}]} | a cell must have preset and projection, got Cell[",
      })
  void otherFilesAreRefused(String content, String message) throws IOException {
    CommandRun run = plot(content);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .startsWith(
            "moe-lora: " + message.replace("FILE", directory.resolve("bench.json").toString()))
        .hasLineCount(1);
    assertThat(directory.resolve("plot.png")).doesNotExist();
  }

  @Test
  void aTimeOfZeroHasNoPlaceOnALogarithmicAxis() throws IOException {
    CommandRun run = plot("{\"cells\": [%s]}".formatted(cell("a", 1, 0)));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .startsWith("moe-lora: tokens, micros and floor_micros of a cell must be positive, got ");
  }

  @Test
  void theFileMustBeThere() {
    CommandRun run =
        CommandRun.of("plot", directory.resolve("none.json"), "-o", directory.resolve("x.png"));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .isEqualTo("moe-lora: no such file or folder: " + directory.resolve("none.json") + "\n");
  }
}
