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

/** {@link PackedLoops} called as Java. */
@Tag("no-device")
class PackedLoopsTest {

  @ParameterizedTest
  @CsvSource({
    "BF16, 1, 4, 4, 1, 1",
    "F16, 7, 68, 36, 3, 1",
    "BF16, 19, 100, 20, 17, 16",
    "F16, 5, 132, 44, 9, 4",
    "BF16, 6, 36, 12, 257, 1",
    "F16, 5, 12, 20, 320, 4",
    "BF16, 4, 20, 12, 512, 2"
  })
  void matchesTheReference(DType type, int tokens, int hidden, int inner, int rank, int blockSize) {
    MoeModel model = new MoeModel(hidden, inner, 3, GateUp.HALVES, List.of(2));
    Problem problem =
        new Problem(Seeds.of("checkPackedLoops " + tokens), model, tokens, 2)
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
      new LoopProjection(problem, call, blockSize).checkPackedLoops();
    }
  }
}
