package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.emulator.RecordedGraph;
import io.github.moelora.tornado.launch.FinishLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.layout.StepWords;
import io.github.moelora.tornado.weights.PackedWeights;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** {@link Activate} on the emulated device, beside the formulas in float64. */
@Tag("emulated")
class ActivateTest {
  private static final int PER_TOKEN = 3;
  private static final int MAX_TOKENS = 4;
  private static final int TOKENS = 3;
  private static final int OFFSET = 4;

  /** Tokens of rows with more words than the grid has threads, and fewer. */
  @ParameterizedTest
  @CsvSource({
    "BF16, HALVES, 0, 68",
    "BF16, INTERLEAVED, 3, 70",
    "BF16, UP_ONLY, 2, 2",
    "F16, HALVES, 1, 1030",
    "F16, INTERLEAVED, 0, 36",
    "F16, UP_ONLY, 2, 38"
  })
  void matchesTheFormula(DType type, GateUp gateUp, int number, int inner) {
    MoeModel model = new MoeModel(4, inner, PER_TOKEN, gateUp, List.of(0));
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 1, PER_TOKEN).withMaxTokens(MAX_TOKENS).withWeightType(type);
    int columns = gateUp.gated() ? 2 * inner : inner;
    int yWidth = columns + 2 * OFFSET;
    int pairs = TOKENS * PER_TOKEN;
    Matrix base = new Problem(3, model, TOKENS, PER_TOKEN).random(pairs, yWidth, type);
    TornadoNativeArray y = PackedWeights.words(type, config.maxPairs() * yWidth);
    TornadoNativeArray out = PackedWeights.words(type, config.maxPairs() * inner);
    y.getSegment().fill((byte) 0xff);
    out.getSegment().fill((byte) 0xff);
    y.getSegment().asSlice(0, base.data().byteSize()).copyFrom(base.data());
    StepArrays step = StepArrays.of(config);
    step.step().set(StepWords.TOKENS, TOKENS);
    FinishLaunch.Reads reads =
        new FinishLaunch.Reads(
            step, new IntArray(1), new IntArray(Sizes.COUNT), config.maxPairs(), 1);
    ProjectionCall call = ProjectionCall.gateUp(0).withColumnOffset(OFFSET);
    FinishLaunch.writeSizes(reads, config, call, yWidth, false);
    int gates = gateUp.gated() ? PairMode.GATED : 0;
    gates |= gateUp == GateUp.INTERLEAVED ? PairMode.INTERLEAVED : 0;
    int mode = PairMode.withActivation(gates, number);
    RecordedGraph graph = new RecordedGraph("activate");
    GridScheduler grids = new GridScheduler();
    FinishLaunch.appendActivate(
        new Target(graph, "activate", grids),
        "Activate",
        reads,
        new FinishLaunch.Activated(y, out, mode));
    graph.launches(grids).forEach(launch -> launch.run(5));

    double rounding = type == DType.BF16 ? 0x1p-8 : 0x1p-11;
    Matrix result = Matrix.of(out.getSegment(), type, config.maxPairs(), inner);
    for (int p = 0; p < config.maxPairs(); p++) {
      for (int i = 0; i < inner; i++) {
        if (p < pairs) {
          int gate = gateUp == GateUp.INTERLEAVED ? 2 * i : i;
          int up = gateUp == GateUp.INTERLEAVED ? gate + 1 : gateUp.gated() ? inner + i : i;
          double g = base.get(p, OFFSET + gate);
          double u = base.get(p, OFFSET + up);
          double expected = EmulatedPairs.activation(number, g, u);
          // some ten operations in float32, then one rounding
          double bound = rounding * (Math.abs(expected) + 0x1p-13) + 0x1p-20 * Math.abs(g * u);
          assertThat((double) result.get(p, i))
              .as("out[%d, %d]", p, i)
              .isCloseTo(expected, within(bound));
        } else {
          assertThat(result.get(p, i)).as("out[%d, %d]", p, i).isNaN();
        }
      }
    }
  }
}
