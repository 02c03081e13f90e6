package io.github.moelora.bench.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Workload;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The report of the GPU benchmark: what it counts, merges, prints and draws; no device needed. */
@Tag("tornado")
@Tag("no-device")
class BenchReportTest {
  private static final String CEILINGS =
      "{\"copy_bytes_per_second\": 3e12, \"flop_per_second\": 5e14}";

  @TempDir private Path folder = Path.of("");

  private static BenchReport report(double worstError) {
    BenchReport.Ceilings ceilings = new BenchReport.Ceilings(2e12, true, null, null);
    List<BenchReport.Cell> cells =
        List.of(
            cell(ceilings, 16, 1, worstError),
            cell(ceilings, 16, 64, 0.5),
            cell(ceilings, 64, 1, 0.5));
    return new BenchReport(
        List.of("--tokens", "1,64"),
        "2026-01-01T00:00:00Z",
        "a GPU",
        "1",
        "25",
        1,
        ceilings,
        cells);
  }

  private static BenchReport.Cell cell(
      BenchReport.Ceilings ceilings, int rank, int tokens, double worstError) {
    return new BenchReport.Cell(
        "mixtral",
        "bf16",
        rank,
        tokens,
        2,
        6e6,
        1e9,
        ceilings.floorMicros(6e6, 1e9),
        List.of(
            new BenchReport.Variant(1, 9, 30, worstError, true),
            new BenchReport.Variant(16, 6, 30, 0.25, false)),
        null);
  }

  @Test
  void countsTheFloorWithTheHigherCeilings() throws IOException {
    BenchReport.Cell before = report(0.5).cells().getFirst();
    assertThat(before.floorMicros()).isCloseTo(3, within(1e-9)); // 6 MB at 2 TB/s
    assertThat(before.timesFloor()).isCloseTo(3, within(1e-9));
    BenchReport.Cell after = report(0.5).withVllmLine(CEILINGS).cells().getFirst();
    assertThat(after.floorMicros()).isCloseTo(2, within(1e-9)); // 1 GFLOP at 500 TFLOP/s, too
  }

  @Test
  void mergesVllmsLinesAndKeepsThemInItsFile() throws IOException {
    BenchReport merged =
        report(0.5)
            .withVllmLine(CEILINGS)
            .withVllmLine(
                """
                {"case": "mixtral", "type": "bf16", "rank": 16, "tokens": 64,
                 "micros": {"naive": 20.0, "sorted16": 12.0}, "error": 0.002}\
                """);
    Path file = folder.resolve("report.json");
    merged.write(file);
    assertThat(BenchReport.read(file)).isEqualTo(merged);
    assertThat(merged.cells().get(1).timesVllm()).isEqualTo(0.75);
    assertThat(merged.cells().get(0).timesVllm()).isNull();
    assertThat(merged.table()).contains("sorted16").contains("0.75").doesNotContain("WRONG");
    assertThatThrownBy(
            () -> report(0.5).withVllmLine("{\"case\": \"other\", \"micros\": {}, \"error\": 0}"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("other");
  }

  @Test
  void drawsAnEarlierRunAndFailsIfItWasWrong() throws IOException {
    Path json = folder.resolve("report.json");
    Path png = folder.resolve("report.png");
    report(0.5).write(json);
    assertThat(BenchGpu.run("--from", json.toString(), "--plot", png.toString())).isZero();
    BufferedImage image = ImageIO.read(png.toFile());
    assertThat(image.getWidth()).isPositive();
    report(1.5).write(json);
    assertThat(BenchGpu.run("--from", json.toString())).isOne();
    Files.writeString(json, "{}");
    assertThat(BenchGpu.run("--from", json.toString())).isOne();
  }

  @Test
  void countsBytesAndFlopOfABatch() {
    BenchShape shape = BenchShape.named("qwen3_30b_w2");
    Workload.Sizes sizes = shape.sizes(1, 16, DType.BF16);
    Batch batch = shape.batch(1, 1);
    // one token, 8 experts: 8 pairs of matrices, 8 rows of x, 8 rows of y twice
    double weights = 8.0 * 16 * (768 + 2048);
    assertThat((double) sizes.movedBytes(shape.call(), batch))
        .isEqualTo(2 * (weights + 8 * 768 + 2 * 8 * 2048));
    assertThat((double) sizes.flops(shape.call(), batch)).isEqualTo(2 * weights);
  }
}
