package io.github.moelora.bench.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.workload.BatchTrace;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import javax.imageio.ImageIO;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Sums of layers over a server's steps; no device needed. */
@Tag("tornado")
@Tag("no-device")
class ServingReportTest {
  @TempDir private Path folder = Path.of("");

  /** Two requests at once, 2 tokens in, 2 out: steps of 4 tokens (prompts) and of 2. */
  private static final BatchTrace.Load LOAD = new BatchTrace.Load(4, 2, 2, 2, 8);

  private static ServingReport report(int layers, boolean withVllm) {
    LayerReport.Run run = new LayerReport.Run(List.of(), "now", "a GPU", "1", "25", 1, false);
    return new ServingReport(
        LOAD,
        layers,
        new LayerReport(
            run,
            List.of(cell(2, 30, withVllm ? 100.0 : null), cell(4, 50, withVllm ? 120.0 : null))));
  }

  private static LayerReport.Cell cell(int tokens, double micros, @Nullable Double theirs) {
    return new LayerReport.Cell(
        "qwen3_30b",
        "bf16",
        64,
        tokens,
        new LayerReport.Time(micros, micros + 20, null, 0.5),
        theirs == null ? null : new BenchReport.Vllm(Map.of("sorted16", theirs), 0.001, null));
  }

  @Test
  void countsEveryStepAsManyTimesAsThereAreLayers() {
    ServingReport.Total total = report(10, true).totals().getFirst();
    assertThat(total.seconds()).isCloseTo(1e-6 * 10 * (2 * 50 + 2 * 30), within(1e-12));
    assertThat(total.decodeSeconds()).isCloseTo(1e-6 * 10 * 2 * 30, within(1e-12));
    assertThat(total.vllmSeconds()).isCloseTo(1e-6 * 10 * (2 * 120 + 2 * 100), within(1e-12));
    assertThat(total.vllmDecodeSeconds()).isCloseTo(1e-6 * 10 * 2 * 100, within(1e-12));
    assertThat(report(10, true).table()).contains("ratio 0.364");
    assertThat(report(10, false).totals().getFirst().vllmSeconds()).isNaN();
  }

  @Test
  void keepsAllInItsFileAndDrawsIt() throws IOException {
    Path json = folder.resolve("serving.json");
    Path png = folder.resolve("serving.png");
    for (boolean withVllm : new boolean[] {true, false}) {
      report(10, withVllm).write(json);
      assertThat(ServingReport.read(json)).isEqualTo(report(10, withVllm));
      assertThat(BenchGpu.run("--serving", "--from", json.toString(), "--plot", png.toString()))
          .isZero();
      assertThat(ImageIO.read(png.toFile()).getWidth()).isPositive();
    }
    Files.writeString(json, "{}");
    assertThat(BenchGpu.run("--serving", "--from", json.toString())).isOne();
  }

  @Test
  void theGraphsTakeEveryBatchOfTheRun() {
    int most = BatchTrace.of(ServingReport.LOAD).stepsByTokens().lastKey();
    assertThat(new BenchLayer.Graphs(ServingReport.GRAPHS, false, false).most())
        .isGreaterThanOrEqualTo(most);
  }
}
