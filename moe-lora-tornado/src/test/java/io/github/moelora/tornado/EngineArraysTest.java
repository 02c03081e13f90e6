package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.WeightSite;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** Sizes that must not wrap around on their way to a check. */
@Tag("no-device")
class EngineArraysTest {

  @ParameterizedTest
  @CsvSource({"2147483647, 2147483655", "2147483640, 2147483648", "1, 9"})
  void refusesColumnsBehindTheRow(int columnOffset, long needed) {
    MoeLoraConfig config = MoeLoraConfig.of(new MoeModel(8, 4, 2, GateUp.HALVES, List.of(0)), 1, 1);
    FloatWeights weights = new FloatWeights(WeightSite.of(config, 0, Projection.GATE_UP));
    EngineArrays arrays = new EngineArrays(new FloatArray(8), new FloatArray(8), 8);
    ProjectionCall call = ProjectionCall.gateUp(0).withColumnOffset(columnOffset);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> arrays.requireFit(weights, call, 1))
        .withMessage("yWidth must be at least columnOffset + output width = %d, got 8", needed);
  }
}
