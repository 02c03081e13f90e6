package io.github.moelora.tornado.step;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeModel;
import io.github.moelora.Step;
import io.github.moelora.testkit.Allocation;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.TestDevice;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A plan allocates nothing; what a run allocates is TornadoVM's, see docs/gpu.md. */
class StepAllocationTest {
  private static final MoeModel MODEL = new MoeModel(32, 16, 4, GateUp.HALVES, List.of(0));

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 8, 64})
  void aPlanAllocatesNothing(int tokens) {
    Problem problem =
        new Problem(Seeds.of("allocation"), MODEL, tokens, 2)
            .types(DType.BF16, DType.BF16, DType.BF16)
            .addAdapter(4, false)
            .addAdapter(3, true)
            .route()
            .dealAdapters();
    MemorySegment expertIds = MemorySegment.ofArray(problem.expertIds());
    MemorySegment routingWeights = MemorySegment.ofArray(problem.routingWeights());
    MemorySegment adapterIds = MemorySegment.ofArray(problem.adapterIds());
    try (MoeLora lora = MoeLora.open(problem.config(), "tornado");
        Step step = lora.newStep()) {
      problem.load(lora);
      assertThat(
              Allocation.bytesPerCall(
                  () -> step.plan(tokens, expertIds, routingWeights, adapterIds)))
          .isZero();
    }
  }
}
