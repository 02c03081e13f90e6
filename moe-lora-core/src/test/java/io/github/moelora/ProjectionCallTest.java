package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;

class ProjectionCallTest {

  @Test
  void theUsualCalls() {
    assertThat(ProjectionCall.gateUp(3))
        .isEqualTo(new ProjectionCall(3, Projection.GATE_UP, false, false, true, 0));
    assertThat(ProjectionCall.down(4))
        .isEqualTo(new ProjectionCall(4, Projection.DOWN, true, true, true, 0));
  }

  @Test
  void eachChangeLeavesTheRest() {
    ProjectionCall call = ProjectionCall.down(4).withColumnOffset(9);
    assertThat(call).isEqualTo(new ProjectionCall(4, Projection.DOWN, true, true, true, 9));
    assertThat(call.deltaOnly())
        .isEqualTo(new ProjectionCall(4, Projection.DOWN, true, true, false, 9));
    assertThat(call.withPairRows(false))
        .isEqualTo(new ProjectionCall(4, Projection.DOWN, false, true, true, 9));
    assertThat(call.withRoutedWeight(false))
        .isEqualTo(new ProjectionCall(4, Projection.DOWN, true, false, true, 9));
    assertThat(call.deltaOnly().withRoutedWeight(false).withPairRows(false).withColumnOffset(1))
        .isEqualTo(new ProjectionCall(4, Projection.DOWN, false, false, false, 1));
  }

  @Test
  void negativeNumbersAreRefused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ProjectionCall.gateUp(-1))
        .withMessage("layer must be at least 0, got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ProjectionCall.gateUp(0).withColumnOffset(-1))
        .withMessage("columnOffset must be at least 0, got -1");
  }
}
