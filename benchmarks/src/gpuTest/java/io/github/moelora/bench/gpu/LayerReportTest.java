package io.github.moelora.bench.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The report of whole layers: what it merges, prints and draws; no device needed. */
@Tag("tornado")
@Tag("no-device")
class LayerReportTest {
  private static final String LINE =
      """
      {"layer": "qwen3_30b", "type": "fp16", "rank": 64, "tokens": 80,
       "micros": {"sorted16": 160.0, "sorted32": 200.0}, "error": %s,
       "parts": {"align": 10.0, "gate_up": 90.0, "down": 60.0}}\
      """;

  @TempDir private Path folder = Path.of("");

  private static LayerReport report(double worstError) {
    LayerReport.Run run =
        new LayerReport.Run(
            List.of("--layer"), "2026-01-01T00:00:00Z", "a GPU", "1", "25", 1, false);
    LayerReport.Parts parts = new LayerReport.Parts(5, 40, 35);
    return new LayerReport(
        run,
        List.of(
            new LayerReport.Cell(
                "qwen3_30b", "bf16", 64, 80, new LayerReport.Time(70, 90, null, 0.5), null),
            new LayerReport.Cell(
                "qwen3_30b",
                "fp16",
                64,
                80,
                new LayerReport.Time(80, 99, parts, worstError),
                null)));
  }

  @Test
  void mergesVllmsLinesIntoTheirCells() throws IOException {
    LayerReport merged =
        report(0.5)
            .withVllmLine("{\"device\": \"a GPU\", \"torch\": \"2\"}")
            .withVllmLine(LINE.formatted("0.004"));
    assertThat(merged.cells().get(0).timesVllm()).isNull();
    assertThat(merged.cells().get(1).timesVllm()).isEqualTo(0.5);
    assertThat(merged.withoutVllm()).isOne();
    assertThat(report(0.5).withVllmLine(LINE.formatted("0.5")).withoutVllm()).isEqualTo(2);
    assertThat(merged.table()).contains("sorted16").contains(" 0.50 ").doesNotContain("WRONG");
    LayerReport before = report(0.5);
    assertThat(before.withVllmLine(LINE.replace("80", "81").formatted("0"))).isEqualTo(before);
    assertThatThrownBy(() -> before.withVllmLine("{}"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("must name a cell");
  }

  @Test
  void keepsAllInItsFileAndDrawsIt() throws IOException {
    LayerReport merged = report(0.5).withVllmLine(LINE.formatted("0.004"));
    Path json = folder.resolve("layers.json");
    Path png = folder.resolve("layers.png");
    merged.write(json);
    assertThat(LayerReport.read(json)).isEqualTo(merged);
    assertThat(BenchGpu.run("--layer", "--from", json.toString(), "--plot", png.toString()))
        .isZero();
    BufferedImage image = ImageIO.read(png.toFile());
    assertThat(image.getWidth()).isPositive();
    report(1.5).write(json);
    assertThat(BenchGpu.run("--layer", "--from", json.toString())).isOne();
    Files.writeString(json, "{}");
    assertThat(BenchGpu.run("--layer", "--from", json.toString())).isOne();
  }

  @Test
  void aGraphTakesBatchesUpToItsMostTokens() {
    BenchLayer.Graphs graphs = new BenchLayer.Graphs(List.of(80, 8, 80), false, false);
    assertThat(graphs.maxTokens()).containsExactly(8, 80);
    assertThat(graphs.position(1)).isZero();
    assertThat(graphs.position(8)).isZero();
    assertThat(graphs.position(9)).isOne();
    assertThatThrownBy(() -> graphs.position(81))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("tokens must be at most 80, got 81");
  }
}
