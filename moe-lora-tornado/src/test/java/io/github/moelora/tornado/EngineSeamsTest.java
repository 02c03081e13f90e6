package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.weights.PackedWeights;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Activated and combined calls on 16-bit arrays, in graphs of few and of many tokens, against
 * float64: experts elsewhere, disabled slots, tokens without an adapter.
 */
class EngineSeamsTest {
  private static final int HIDDEN = 140;
  private static final int INNER = 68;
  private static final int EXPERTS = 5;
  private static final int PER_TOKEN = 3;
  private static final int FEW = 9;
  private static final int MANY = 75;
  private static final int MOST = 530;
  private static final MoeModel MODEL =
      new MoeModel(HIDDEN, INNER, EXPERTS, GateUp.HALVES, List.of(0));

  @RegisterExtension private final EnginePlans opened = new EnginePlans();

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  /** An engine's graph of one size, and its arrays. */
  private static final class Layer {
    private final DType type;
    private final int maxTokens;
    private final HalfFloatArray x;
    private final TornadoNativeArray base;
    private final HalfFloatArray active;
    private final HalfFloatArray inner;
    private final TornadoNativeArray y;
    private final IntArray expertIds;
    private final FloatArray routingWeights;

    Layer(DType type, int maxTokens) {
      this.type = type;
      this.maxTokens = maxTokens;
      int pairs = maxTokens * PER_TOKEN;
      x = new HalfFloatArray(maxTokens * HIDDEN);
      base = PackedWeights.words(type, pairs * 2 * INNER);
      active = new HalfFloatArray(pairs * INNER);
      inner = new HalfFloatArray(pairs * INNER);
      y = PackedWeights.words(type, maxTokens * HIDDEN);
      expertIds = new IntArray(pairs);
      routingWeights = new FloatArray(pairs);
    }

    ImmutableTaskGraph append(EngineTasks tasks, int index) {
      TaskGraph graph = new TaskGraph("layer" + maxTokens);
      graph.transferToDevice(
          DataTransferMode.EVERY_EXECUTION, x, base, active, inner, y, expertIds, routingWeights);
      // else nothing is sent of what tasks only write, and CUDA memory for it begins as zeros
      graph.task("touch", EngineSeamsTest::touch, active);
      EngineGraph to = new EngineGraph(graph, index, maxTokens);
      tasks.route(to, new EngineRouting(expertIds, routingWeights));
      EngineArrays up = new EngineArrays(x, base, 2 * INNER);
      tasks.appendActivated(to, ProjectionCall.gateUp(0), Activation.SWIGLU, up, active);
      tasks.appendCombined(to, ProjectionCall.down(0), new EngineArrays(inner, y, HIDDEN));
      return graph.transferToHost(DataTransferMode.EVERY_EXECUTION, active, y).snapshot();
    }

    private Matrix matrix(TornadoNativeArray array, int columns) {
      int rows = (int) (array.getSegment().byteSize() / Short.BYTES / columns);
      return Matrix.of(array.getSegment(), type, rows, columns);
    }

    void check(TornadoExecutionPlan plan, int index, Problem problem) {
      Matrix startX = LayerChecks.put(problem.random(problem.tokens(), HIDDEN, type), x);
      Matrix startBase = LayerChecks.put(problem.random(problem.pairs(), 2 * INNER, type), base);
      Matrix startInner = LayerChecks.put(problem.random(problem.pairs(), INNER, type), inner);
      Matrix startY = LayerChecks.put(problem.random(problem.tokens(), HIDDEN, type), y);
      active.getSegment().fill((byte) 0xff);
      for (int p = 0; p < problem.pairs(); p++) {
        expertIds.set(p, problem.expertIds()[p]);
        routingWeights.set(p, problem.routingWeights()[p]);
      }
      plan.withGraph(index).execute();
      Reference.Result up = LayerChecks.deltas(problem, ProjectionCall.gateUp(0), startX);
      Reference.Result down = LayerChecks.deltas(problem, ProjectionCall.down(0), startInner);
      checkActive(problem, startBase, up);
      checkSums(problem, startY, down);
    }

    private void checkActive(Problem problem, Matrix start, Reference.Result up) {
      Matrix result = matrix(active, INNER);
      double rounding = LayerChecks.rounding(type);
      for (int p = 0; p < result.rows(); p++) {
        for (int i = 0; i < INNER; i++) {
          if (p >= problem.pairs()) {
            assertThat(result.get(p, i)).as("active[%d, %d]", p, i).isNaN();
            continue;
          }
          double g = start.get(p, i) + up.values()[p][i];
          double u = start.get(p, INNER + i) + up.values()[p][INNER + i];
          double silu = g / (1 + Math.exp(-g));
          // gate and up may be rounded before, where the slope of silu is at most 1.1
          double bound =
              (rounding * Math.abs(g) + up.bounds()[p][i]) * 1.1 * Math.abs(u)
                  + (rounding * Math.abs(u) + up.bounds()[p][INNER + i]) * Math.abs(silu)
                  + rounding * (Math.abs(silu * u) + 0x1p-13);
          float actual = result.get(p, i);
          if (!LayerChecks.isWithin(actual, silu * u, 1.01 * bound, type)) {
            String element = "active[%d, %d] of %s".formatted(p, i, problem);
            throw LayerChecks.wrong(element, actual, silu * u, 1.01 * bound);
          }
        }
      }
    }

    private void checkSums(Problem problem, Matrix start, Reference.Result down) {
      Matrix result = matrix(y, HIDDEN);
      double rounding = LayerChecks.rounding(type);
      for (int t = 0; t < problem.tokens(); t++) {
        for (int c = 0; c < HIDDEN; c++) {
          double sum = start.get(t, c);
          double bound = 0;
          for (int k = 0; k < PER_TOKEN; k++) {
            sum += down.values()[t * PER_TOKEN + k][c];
            bound += down.bounds()[t * PER_TOKEN + k][c];
          }
          if (bound == 0) {
            assertThat(result.get(t, c)).as("y[%d, %d]", t, c).isEqualTo(start.get(t, c));
          } else {
            double most = 2 * bound + rounding * (Math.abs(sum) + 0x1p-13);
            float actual = result.get(t, c);
            if (!LayerChecks.isWithin(actual, sum, most, type)) {
              String element = "y[%d, %d] of %s".formatted(t, c, problem);
              throw LayerChecks.wrong(element, actual, sum, most);
            }
          }
        }
      }
      for (int t = problem.tokens(); t < maxTokens; t++) {
        assertThat(result.get(t, 0)).as("y[%d] behind the batch", t).isNaN();
      }
    }
  }

  /** A task that reads the array, so that what it holds on the host is sent. */
  public static void touch(HalfFloatArray array) {
    for (@Parallel int i = 0; i < array.getSize(); i++) {
      array.set(i, array.get(i));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F16", "BF16"})
  void matchesTheReference(DType type) {
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 3, PER_TOKEN)
            .withMaxTokens(MOST)
            .withMaxRank(12)
            .withWeightType(type)
            .withExpertMap(ExpertMap.of(1, -1, 0, 3, 2));
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      EngineTasks tasks = EngineTasks.of(lora);
      List<Layer> layers =
          List.of(new Layer(type, FEW), new Layer(type, MANY), new Layer(type, MOST));
      if (!TestDevice.hasTensorCores()) {
        assertThatThrownBy(() -> layers.getFirst().append(tasks, 0))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageStartingWith("x and y must be FloatArrays for these weights on this device");
        return;
      }
      List<ImmutableTaskGraph> list = new ArrayList<>();
      layers.forEach(layer -> list.add(layer.append(tasks, list.size())));
      list.addAll(tasks.graphs());
      TornadoExecutionPlan plan = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
      opened.add(plan);
      GridScheduler grids = new GridScheduler();
      tasks.addGrids(grids);
      plan.withGridScheduler(grids);
      tasks.attach(plan, layers.size());
      for (int tokens : new int[] {FEW, 1, MANY, 3, MOST, 0, 41}) {
        Problem problem =
            new Problem(Seeds.of("seams " + type) + tokens, MODEL, tokens, PER_TOKEN)
                .types(type, type, type)
                .expertMap(config.expertMap())
                .addAdapter(12, false)
                .addAdapter(7, false)
                .addAdapter(5, false, 0.6)
                .route();
        problem.load(lora);
        lora.setEnabled(LayerChecks.DISABLED, false);
        tasks.begin(tokens, problem.adapterIds());
        for (int i = 0; i < layers.size(); i++) {
          if (tokens <= layers.get(i).maxTokens) {
            layers.get(i).check(plan, i, problem);
          }
        }
        assertThat(tasks.takeErrors()).isZero();
      }
    }
  }
}
