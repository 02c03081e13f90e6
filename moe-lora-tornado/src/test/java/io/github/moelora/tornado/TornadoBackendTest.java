package io.github.moelora.tornado;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The TornadoVM backend against the reference. */
class TornadoBackendTest {

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Test
  void matchesTheReference() {
    MoeModel model = new MoeModel(33, 47, 5, GateUp.HALVES, List.of(0, 2));
    Problem problem =
        new Problem(5, model, 21, 2)
            .types(DType.BF16, DType.F32, DType.F32)
            .addAdapter(3, false)
            .addAdapter(8, true)
            .addEmptySlot()
            .addAdapter(7, false, 0.6)
            .route();
    MoeLoraConfig config = MoeLoraConfig.of(model, 4, 2).withMaxTokens(32).withMaxRank(8);
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      for (int layer : model.layers()) {
        problem.check(lora, ProjectionCall.gateUp(layer));
        problem.check(lora, ProjectionCall.gateUp(layer).deltaOnly().withColumnOffset(3));
        problem.check(lora, ProjectionCall.down(layer));
        problem.check(lora, ProjectionCall.down(layer).deltaOnly().withRoutedWeight(false));
      }
    }
  }
}
