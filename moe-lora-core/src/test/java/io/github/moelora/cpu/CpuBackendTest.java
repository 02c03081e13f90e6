package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** The CPU backend against the reference over types, sizes and modes. */
class CpuBackendTest {

  @ParameterizedTest
  @CsvSource({
    "1, 1, 1, 1, 1, 1",
    "1, 33, 47, 5, 2, 3",
    "7, 64, 48, 6, 2, 16",
    "37, 65, 31, 4, 3, 5",
    "128, 40, 24, 3, 2, 8",
    "5, 129, 257, 4, 4, 64",
  })
  void matchesTheReference(int tokens, int hidden, int intermediate, int experts, int k, int rank) {
    long seed = 31L * tokens + rank;
    MoeModel model = new MoeModel(hidden, intermediate, experts, GateUp.HALVES, List.of(0, 2));
    Problem problem =
        new Problem(seed, model, tokens, k)
            .addAdapter(rank, false)
            .addAdapter(rank, true)
            .addEmptySlot()
            .addAdapter(2 * rank + 1, false, 0.6)
            .route();
    try (MoeLora lora = MoeLora.open(MoeLoraConfig.of(model, 4, k).withMaxRank(256), "cpu")) {
      for (int layer : model.layers()) {
        problem.check(lora, ProjectionCall.gateUp(layer));
        problem.check(lora, ProjectionCall.gateUp(layer).deltaOnly().withColumnOffset(3));
        problem.check(lora, ProjectionCall.down(layer));
        problem.check(lora, ProjectionCall.down(layer).deltaOnly().withRoutedWeight(false));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void everyType(DType type) {
    MoeModel model = new MoeModel(70, 50, 5, GateUp.HALVES, List.of(1));
    for (DType other : DType.values()) {
      Problem problem =
          new Problem(7, model, 19, 2)
              .types(type, other, type)
              .addAdapter(9, false)
              .addAdapter(4, true)
              .route();
      try (MoeLora lora = MoeLora.open(MoeLoraConfig.of(model, 2, 2).withWeightType(type), "cpu")) {
        problem.check(lora, ProjectionCall.gateUp(1));
        problem.check(lora, ProjectionCall.down(1).deltaOnly());
      }
    }
  }
}
