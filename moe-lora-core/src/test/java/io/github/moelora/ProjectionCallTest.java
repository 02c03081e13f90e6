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
  void aDenseModuleIsTheOnlyExpertOfALayer() {
    ProjectionCall call = ProjectionCall.dense(5);
    assertThat(call).isEqualTo(new ProjectionCall(5, 0, Projection.GATE_UP, false, false, true, 0));
    assertThat(call.isDense()).isTrue();
    assertThat(ProjectionCall.gateUp(5).isDense()).isFalse();
    assertThat(call.deltaOnly().withColumnOffset(7).withPairRows(true))
        .isEqualTo(new ProjectionCall(5, 0, Projection.GATE_UP, true, false, false, 7));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> call.withRoutedWeight(true))
        .withMessage(
            "a dense module must have layer 0, GATE_UP and no routed weight, got layer 0, GATE_UP,"
                + " a routed weight");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new ProjectionCall(5, 1, Projection.GATE_UP, false, false, true, 0))
        .withMessageEndingWith("got layer 1, GATE_UP, none");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new ProjectionCall(5, 0, Projection.DOWN, false, false, true, 0))
        .withMessageEndingWith("got layer 0, DOWN, none");
  }

  @Test
  void negativeNumbersAreRefused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ProjectionCall.gateUp(-1))
        .withMessage("layer must be at least 0, got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ProjectionCall.gateUp(0).withColumnOffset(-1))
        .withMessage("columnOffset must be at least 0, got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ProjectionCall.dense(-1))
        .withMessage("module must be at least 0, got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new ProjectionCall(-2, 0, Projection.DOWN, false, false, true, 0))
        .withMessage("module must be at least -1, got -2");
  }
}
