package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.Tiling;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Dense modules on the emulated device as the backend computes them: a layer with one expert and
 * one choice, in the kernels that it chooses for small and large batches.
 */
@Tag("emulated")
class EmulatedDenseTest {

  @ParameterizedTest
  @CsvSource({
    // T, in, out, block size: one-shot of single tokens and of two, shrink and expand
    "1, 36, 132, 1",
    "5, 132, 20, 2",
    "37, 68, 44, 16",
  })
  void matchesTheReference(int tokens, int in, int out, int blockSize) {
    MoeLoraConfig any =
        MoeLoraConfig.of(new MoeModel(4, 4, 3, GateUp.HALVES, List.of(0)), 3, 2)
            .withMaxTokens(tokens)
            .withMaxRank(17)
            .withWeightType(DType.BF16);
    MoeLoraConfig config = any.ofDense(new DenseModule("q", in, out));
    Problem problem =
        new Problem(Seeds.of("dense " + tokens), config.model(), tokens, 1)
            .types(DType.BF16, DType.BF16, DType.BF16)
            .addAdapter(17, true)
            .addEmptySlot()
            .addAdapter(4, true)
            .route()
            .dealAdapters();
    ProjectionCall call = ProjectionCall.gateUp(0);
    Tiling tiling =
        BlockChoice.kernels(config, call.projection(), null).stream()
            .filter(each -> each.rows() >= blockSize)
            .findFirst()
            .orElseThrow();
    new EmulatedProjection(problem, config, call, tiling, blockSize).run(tokens);
    new EmulatedProjection(problem, config, call.deltaOnly().withColumnOffset(4), tiling, blockSize)
        .run(tokens);
  }
}
