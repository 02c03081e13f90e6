package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.Activation;
import io.github.moelora.tornado.EngineArrays;
import io.github.moelora.tornado.EngineGraph;
import io.github.moelora.tornado.EngineRouting;
import io.github.moelora.tornado.EngineTasks;
import io.github.moelora.tornado.TestDevice;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Activations and layouts of gate and up on a device, against float64; EngineRoutingTest has SwiGLU
 * of halves.
 */
class ActivationsTest {
  private static final int HIDDEN = 5;
  private static final int INNER = 37;
  private static final int TOKENS = 2;
  private static final int RANK = 3;

  private final long seed = Seeds.of("activations");
  private final Random random = new Random(seed);

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @ParameterizedTest
  @CsvSource({"INTERLEAVED, CLAMPED_SWIGLU, 3", "UP_ONLY, RELU2, 2", "HALVES, GEGLU, 1"})
  void matchesTheFormula(GateUp gateUp, Activation activation, int number) {
    int width = gateUp.gated() ? 2 * INNER : INNER;
    MoeModel model = new MoeModel(HIDDEN, INNER, 1, gateUp, List.of(0));
    MoeLoraConfig config = MoeLoraConfig.of(model, 1, 1).withMaxTokens(TOKENS).withMaxRank(RANK);
    FloatArray x = numbers(TOKENS * HIDDEN, 1);
    // beyond where gpt-oss clamps, too
    FloatArray base = numbers(TOKENS * width, 6);
    FloatArray out = new FloatArray(TOKENS * INNER);
    IntArray expertIds = new IntArray(TOKENS);
    expertIds.init(0);
    FloatArray weights = numbers(TOKENS, 1);
    Matrix a = matrix(RANK, HIDDEN);
    Matrix b = matrix(width, RANK);
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      EngineTasks tasks = EngineTasks.of(lora);
      TaskGraph layer = new TaskGraph("layer");
      layer.transferToDevice(DataTransferMode.EVERY_EXECUTION, x, base, out, expertIds, weights);
      EngineGraph to = new EngineGraph(layer, 0, TOKENS);
      tasks.route(to, new EngineRouting(expertIds, weights));
      EngineArrays arrays = new EngineArrays(x, base, width);
      tasks.appendActivated(to, ProjectionCall.gateUp(0), activation, arrays, out);
      layer.transferToHost(DataTransferMode.EVERY_EXECUTION, out);
      List<ImmutableTaskGraph> graphs = new ArrayList<>(List.of(layer.snapshot()));
      graphs.addAll(tasks.graphs());
      TornadoExecutionPlan plan =
          new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
      GridScheduler grids = new GridScheduler();
      tasks.addGrids(grids);
      plan.withGridScheduler(grids);
      tasks.attach(plan, 1);
      LoraSlice slice = new LoraSlice(0, a, b, 0.5f);
      lora.load(0, LoraAdapter.builder("any").add(0, Projection.GATE_UP, 0, slice).build());
      // of one token, work-groups share the columns
      for (int tokens = TOKENS; tokens > 0; tokens--) {
        out.init(Float.NaN);
        tasks.begin(tokens, 0, -1);
        plan.withGraph(0).execute();
        for (int t = 0; t < tokens; t++) {
          double[] sums = new double[width];
          for (int c = 0; c < width; c++) {
            sums[c] = base.get(t * width + c) + (t == 0 ? 0.5 * product(a, b, x, c) : 0);
          }
          for (int i = 0; i < INNER; i++) {
            int gate = gateUp == GateUp.INTERLEAVED ? 2 * i : i;
            int up = gateUp == GateUp.INTERLEAVED ? gate + 1 : gateUp.gated() ? INNER + i : i;
            double expected = EmulatedPairs.activation(number, sums[gate], sums[up]);
            assertThat((double) out.get(t * INNER + i))
                .as("seed %d, out[%d, %d]", seed, t, i)
                .isCloseTo(expected, within(1e-5 * (1 + Math.abs(sums[gate] * sums[up]))));
          }
        }
      }
      plan.withAllGraphs().freeDeviceMemory();
    }
  }

  /** {@code sum_r b[c, r] * sum_h a[r, h] * x[0, h]}. */
  private static double product(Matrix a, Matrix b, FloatArray x, int c) {
    double sum = 0;
    for (int r = 0; r < RANK; r++) {
      for (int h = 0; h < HIDDEN; h++) {
        sum += (double) b.get(c, r) * a.get(r, h) * x.get(h);
      }
    }
    return sum;
  }

  private FloatArray numbers(int count, double size) {
    FloatArray array = new FloatArray(count);
    for (int i = 0; i < count; i++) {
      array.set(i, (float) (size * random.nextGaussian()));
    }
    return array;
  }

  private Matrix matrix(int rows, int columns) {
    return Matrix.ofFloats(rows, columns, numbers(rows * columns, 0.5).toHeapArray());
  }
}
