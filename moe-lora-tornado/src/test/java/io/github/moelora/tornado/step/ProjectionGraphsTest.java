package io.github.moelora.tornado.step;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.WeightSite;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which chunk, and with it which kernel, takes a batch. */
@Tag("no-device")
class ProjectionGraphsTest {
  private static final MoeModel MODEL = new MoeModel(48, 36, 5, GateUp.HALVES, List.of(0));

  @ParameterizedTest
  @CsvSource({
    "1, 40, 1, 64",
    "1, 3000, 2, 1024",
    "2, 64, 2, 64",
    "2, 3000, 2, 1024",
    "16, 48, 16, 64",
    "16, 3000, 16, 1024",
    "32, 32, 32, 1024",
    "32, 3000, 32, 1024",
    "64, 64, 64, 1024",
    "64, 3000, 64, 1024"
  })
  void chunkOfTheSmallestKernel(int blockSize, int rows, int kernelRows, int chunkRows) {
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 2, 2)
            .withMaxRank(16)
            .withMaxTokens(2000)
            .withWeightType(DType.BF16);
    PackedWeights weights = new PackedWeights(WeightSite.of(config, 0, Projection.GATE_UP));
    Matrix x = matrix(48);
    Matrix y = matrix(72);

    List<Chunk> chunks = ProjectionGraphs.chunks(config, weights, null);
    ProjectionCall call = ProjectionCall.gateUp(0);
    Chunk chunk = chunks.get(ProjectionGraphs.choose(chunks, call, x, y, blockSize, rows));

    assertThat(chunk.rows()).isEqualTo(chunkRows);
    assertThat(chunk)
        .isInstanceOfSatisfying(
            NarrowChunk.class, packed -> assertThat(packed.tiling().rows()).isEqualTo(kernelRows));
  }

  private static Matrix matrix(int columns) {
    return Matrix.of(MemorySegment.ofArray(new byte[2 * columns]), DType.BF16, 1, columns);
  }
}
