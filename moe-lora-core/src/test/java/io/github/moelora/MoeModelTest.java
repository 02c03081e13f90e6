package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.github.moelora.testkit.Allocation;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MoeModelTest {

  @ParameterizedTest
  @CsvSource({"UP_ONLY, 30, false", "HALVES, 60, true", "INTERLEAVED, 60, true"})
  void widthsOfTheProjections(GateUp gateUp, int gateUpWidth, boolean gated) {
    MoeModel model = new MoeModel(20, 30, 4, gateUp, List.of(1));
    assertThat(gateUp.gated()).isEqualTo(gated);
    assertThat(model.inputWidth(Projection.GATE_UP)).isEqualTo(20);
    assertThat(model.outputWidth(Projection.GATE_UP)).isEqualTo(gateUpWidth);
    assertThat(model.inputWidth(Projection.DOWN)).isEqualTo(30);
    assertThat(model.outputWidth(Projection.DOWN)).isEqualTo(20);
  }

  @Test
  void layersAreCopiedAndFound() {
    List<Integer> layers = new ArrayList<>(List.of(0, 3, 200));
    MoeModel model = new MoeModel(1, 1, 1, GateUp.HALVES, layers);
    layers.clear();
    assertThat(model.layers()).containsExactly(0, 3, 200);
    assertThat(model.layerIndex(0)).isZero();
    assertThat(model.layerIndex(200)).isEqualTo(2);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.layerIndex(1))
        .withMessage("layer must be one of [0, 3, 200], got 1");
    assertThat(Allocation.bytesPerCall(() -> model.layerIndex(200))).isZero();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "0 | 1 | 1 | hiddenSize must be in [1, 1073741823), got 0",
        "2147483647 | 1 | 1 | hiddenSize must be in [1, 1073741823), got 2147483647",
        "1 | 1 | 268435456 | layers.size() * experts must be in [1, 268435456), got 268435456",
        "1 | 0 | 1 | intermediateSize must be in [1, 1073741823), got 0",
        "1 | 1073741823 | 1 | intermediateSize must be in [1, 1073741823), got 1073741823",
        "1 | 1 | 0 | experts must be at least 1, got 0",
      })
  void sizesOutOfRangeAreRefused(int hidden, int intermediate, int experts, String message) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new MoeModel(hidden, intermediate, experts, GateUp.HALVES, List.of(0)))
        .withMessage(message);
  }

  @Test
  void layersMustAscend() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new MoeModel(1, 1, 1, GateUp.HALVES, List.of()))
        .withMessage("layers.size() must be at least 1, got 0");
    for (List<Integer> wrong : List.of(List.of(-1), List.of(1, 1), List.of(2, 1))) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> new MoeModel(1, 1, 1, GateUp.HALVES, wrong))
          .withMessage("layers must be ascending and not negative, got " + wrong);
    }
  }
}
