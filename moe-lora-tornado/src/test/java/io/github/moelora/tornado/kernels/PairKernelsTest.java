package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link PairKernels} on the emulated device; EngineRoutingTest runs them on a real one. */
@Tag("emulated")
class PairKernelsTest {

  @ParameterizedTest
  @CsvSource({
    "F32, 1, 4, 4, 1, 1",
    "BF16, 3, 68, 36, 3, 5",
    "F16, 5, 132, 44, 17, 60",
    "BF16, 2, 4, 140, 9, 8",
    "F16, 2, 276, 72, 70, 3",
    "F32, 3, 141, 275, 9, 6"
  })
  void matchesTheReference(DType type, int tokens, int hidden, int inner, int rank, int units) {
    MoeModel model = new MoeModel(hidden, inner, 3, GateUp.HALVES, List.of(2));
    Problem problem =
        new Problem(Seeds.of("pairs " + tokens), model, tokens, 2)
            .types(type, DType.F32, DType.F32)
            .addAdapter(rank, false)
            .addEmptySlot()
            .addAdapter(1, true, 0.5)
            .route();
    for (ProjectionCall call :
        List.of(
            ProjectionCall.gateUp(2).withColumnOffset(3),
            ProjectionCall.gateUp(2).deltaOnly(),
            ProjectionCall.down(2),
            ProjectionCall.down(2).withRoutedWeight(false).deltaOnly())) {
      new LoopProjection(problem, call, 1).checkPairs(units);
    }
  }

  /** exp and tanh of the Java library here; each of some ten operations rounds by 2^-24. */
  @Test
  void activations() {
    for (float g = -12; g < 12; g += 0.37f) {
      for (float u = -9; u < 9; u += 0.71f) {
        double silu = g / (1 + Math.exp(-(double) g));
        double tanh = Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g * g * g));
        double gate = Math.min(g, 7);
        double clamped = gate / (1 + Math.exp(-1.702 * gate)) * (Math.clamp(u, -7, 7) + 1);
        close(PairKernels.SWIGLU, g, u, silu * u);
        close(PairKernels.GEGLU, g, u, 0.5 * g * (1 + tanh) * u);
        close(PairKernels.RELU2, g, u, Math.max(u, 0.0) * Math.max(u, 0.0));
        close(PairKernels.CLAMPED_SWIGLU, g, u, clamped);
      }
    }
  }

  private static void close(int activation, float g, float u, double expected) {
    assertThat((double) PairY.activation(activation, g, u))
        .as("activation %d of %f, %f", activation, g, u)
        .isCloseTo(expected, within(2e-6 * (Math.abs(expected) + Math.abs(g * u))));
  }
}
