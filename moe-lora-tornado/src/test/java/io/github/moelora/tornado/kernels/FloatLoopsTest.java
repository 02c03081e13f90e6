package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link FloatLoops} called as Java; the contract test runs them on the device. */
@Tag("no-device")
class FloatLoopsTest {

  @ParameterizedTest
  @CsvSource({
    "F32, 1, 1, 1, 1, 1",
    "F32, 7, 13, 5, 3, 1",
    "BF16, 19, 32, 17, 9, 16",
    "F16, 5, 31, 8, 16, 4",
    "F32, 6, 13, 5, 257, 1",
    "BF16, 5, 13, 6, 320, 4",
    "F16, 4, 11, 5, 512, 2"
  })
  void matchesTheReference(DType type, int tokens, int hidden, int inner, int rank, int blockSize) {
    MoeModel model = new MoeModel(hidden, inner, 3, GateUp.HALVES, List.of(2));
    Problem problem =
        new Problem(Seeds.of("checkFloatLoops " + tokens), model, tokens, 2)
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
      new LoopProjection(problem, call, blockSize).checkFloatLoops();
    }
  }
}
