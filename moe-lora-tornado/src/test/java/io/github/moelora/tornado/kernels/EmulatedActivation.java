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
import io.github.moelora.tornado.emulator.Launch;
import io.github.moelora.tornado.emulator.RecordedGraph;
import io.github.moelora.tornado.launch.FinishLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.layout.StepWords;
import io.github.moelora.tornado.weights.PackedWeights;
import java.util.List;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** {@link Activate} on the emulated device, beside the formulas in float64. */
final class EmulatedActivation {
  private static final int PER_TOKEN = 3;
  private static final int MAX_TOKENS = 4;
  private static final int TOKENS = 3;
  private static final int PAIRS = TOKENS * PER_TOKEN;
  private static final int OFFSET = 4;

  /**
   * A case.
   *
   * @param number of the activation
   * @param inner columns of the result
   */
  record Case(DType type, GateUp gateUp, int number, int inner) {
    EmulatedActivation build() {
      return new EmulatedActivation(this);
    }
  }

  /** Rows with more words than the grid has threads, and fewer. */
  static List<Case> all() {
    return List.of(
        new Case(DType.BF16, GateUp.HALVES, PairKernels.SWIGLU, 68),
        new Case(DType.BF16, GateUp.INTERLEAVED, PairKernels.CLAMPED_SWIGLU, 70),
        new Case(DType.BF16, GateUp.UP_ONLY, PairKernels.RELU2, 2),
        new Case(DType.F16, GateUp.HALVES, PairKernels.GEGLU, 1030),
        new Case(DType.F16, GateUp.INTERLEAVED, PairKernels.SWIGLU, 36),
        new Case(DType.F16, GateUp.UP_ONLY, PairKernels.RELU2, 38));
  }

  private final Case of;
  private final Matrix base;
  private final int maxPairs;
  private final TornadoNativeArray out;
  private final List<Launch> launches;

  private EmulatedActivation(Case of) {
    this.of = of;
    GateUp gateUp = of.gateUp();
    MoeModel model = new MoeModel(4, of.inner(), PER_TOKEN, gateUp, List.of(0));
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 1, PER_TOKEN).withMaxTokens(MAX_TOKENS).withWeightType(of.type());
    maxPairs = config.maxPairs();
    int yWidth = (gateUp.gated() ? 2 : 1) * of.inner() + 2 * OFFSET;
    base = new Problem(3, model, TOKENS, PER_TOKEN).random(PAIRS, yWidth, of.type());
    TornadoNativeArray y = PackedWeights.words(of.type(), maxPairs * yWidth);
    out = PackedWeights.words(of.type(), maxPairs * of.inner());
    y.getSegment().fill((byte) 0xff);
    y.getSegment().asSlice(0, base.data().byteSize()).copyFrom(base.data());
    StepArrays step = StepArrays.of(config);
    step.step().set(StepWords.TOKENS, TOKENS);
    FinishLaunch.Reads reads =
        new FinishLaunch.Reads(step, new IntArray(1), new IntArray(Sizes.COUNT), maxPairs, 1);
    ProjectionCall call = ProjectionCall.gateUp(0).withColumnOffset(OFFSET);
    FinishLaunch.writeSizes(reads, config, call, yWidth, false);
    int gates = gateUp.gated() ? PairMode.GATED : 0;
    gates |= gateUp == GateUp.INTERLEAVED ? PairMode.INTERLEAVED : 0;
    RecordedGraph graph = new RecordedGraph("activate");
    GridScheduler grids = new GridScheduler();
    FinishLaunch.appendActivate(
        new Target(graph, "activate", grids),
        "Activate",
        reads,
        new FinishLaunch.Activated(y, out, PairMode.withActivation(gates, of.number())));
    launches = graph.launches(grids);
  }

  void run(long seed) {
    out.getSegment().fill((byte) 0xff);
    launches.forEach(launch -> launch.run(seed));
    check();
  }

  private void check() {
    int inner = of.inner();
    GateUp gateUp = of.gateUp();
    double rounding = of.type() == DType.BF16 ? 0x1p-8 : 0x1p-11;
    Matrix result = Matrix.of(out.getSegment(), of.type(), maxPairs, inner);
    for (int p = 0; p < maxPairs; p++) {
      for (int i = 0; i < inner; i++) {
        if (p < PAIRS) {
          int gate = gateUp == GateUp.INTERLEAVED ? 2 * i : i;
          int up = gateUp == GateUp.INTERLEAVED ? gate + 1 : gateUp.gated() ? inner + i : i;
          double g = base.get(p, OFFSET + gate);
          double u = base.get(p, OFFSET + up);
          double expected = EmulatedPairs.activation(of.number(), g, u);
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
