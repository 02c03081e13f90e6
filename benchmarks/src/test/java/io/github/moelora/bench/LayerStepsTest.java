package io.github.moelora.bench;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
import java.util.List;
import org.junit.jupiter.api.Test;

final class LayerStepsTest {
  private static final Preset TINY =
      new Preset("tiny", new MoeModel(24, 10, 5, GateUp.HALVES, List.of(0)), 2);

  @Test
  void stepsRunThroughLayersAndReportTheirRates() {
    try (LayerSteps steps =
        new LayerSteps(new Workload.Sizes(TINY, 3, 3, 4, 7, DType.BF16, DType.F32), 2, "cpu")) {
      long end = System.nanoTime() + 100_000_000;
      while (System.nanoTime() < end) {
        steps.run();
      }
    }
    assertThat(Meter.shared().weightBytesPerSecond()).isPositive();
    assertThat(Meter.shared().flopsPerSecond()).isPositive();
  }
}
