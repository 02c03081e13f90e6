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
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.choice.GroupTiling;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.weights.PackedWeights;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Calls on 16-bit arrays that the kernel on groups takes, in graphs of several sizes, against
 * float64: experts elsewhere, a disabled slot, tokens without an adapter, ids out of range, all
 * pairs on one expert.
 */
class EngineGroupsTest {
  private static final int HIDDEN = 332;
  private static final int INNER = 100;
  private static final int EXPERTS = 53;
  private static final int SLOTS = 3;
  private static final int PER_TOKEN = 3;
  private static final int[] SIZES = {9, 75, 128};
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
    private final TornadoNativeArray up;
    private final HalfFloatArray inner;
    private final TornadoNativeArray down;
    private final IntArray expertIds;
    private final FloatArray routingWeights;

    Layer(DType type, int maxTokens) {
      this.type = type;
      this.maxTokens = maxTokens;
      int pairs = maxTokens * PER_TOKEN;
      x = new HalfFloatArray(maxTokens * HIDDEN);
      up = PackedWeights.words(type, pairs * 2 * INNER);
      inner = new HalfFloatArray(pairs * INNER);
      down = PackedWeights.words(type, pairs * HIDDEN);
      expertIds = new IntArray(pairs);
      routingWeights = new FloatArray(pairs);
    }

    ImmutableTaskGraph append(EngineTasks tasks, int index) {
      TaskGraph graph = new TaskGraph("layer" + maxTokens);
      graph.transferToDevice(
          DataTransferMode.EVERY_EXECUTION, x, up, inner, down, expertIds, routingWeights);
      EngineGraph to = new EngineGraph(graph, index, maxTokens);
      tasks.route(to, new EngineRouting(expertIds, routingWeights));
      tasks.append(to, gateUp(), new EngineArrays(x, up, 2 * INNER));
      tasks.append(to, down(), new EngineArrays(inner, down, HIDDEN));
      return graph.transferToHost(DataTransferMode.EVERY_EXECUTION, up, down).snapshot();
    }

    void check(TornadoExecutionPlan plan, int index, Problem problem) {
      Matrix startX = LayerChecks.put(problem.random(problem.tokens(), HIDDEN, type), x);
      Matrix startUp = LayerChecks.put(problem.random(problem.pairs(), 2 * INNER, type), up);
      Matrix startInner = LayerChecks.put(problem.random(problem.pairs(), INNER, type), inner);
      Matrix startDown = LayerChecks.put(problem.random(problem.pairs(), HIDDEN, type), down);
      expertIds.init(0);
      routingWeights.init(Float.NaN);
      for (int p = 0; p < problem.pairs(); p++) {
        expertIds.set(p, problem.expertIds()[p]);
        routingWeights.set(p, problem.routingWeights()[p]);
      }
      plan.withGraph(index).execute();
      compare("up", problem, up, startUp, LayerChecks.deltas(problem, gateUp(), startX));
      compare("down", problem, down, startDown, LayerChecks.deltas(problem, down(), startInner));
    }

    private void compare(
        String what,
        Problem problem,
        TornadoNativeArray array,
        Matrix start,
        Reference.Result delta) {
      int columns = start.columns();
      Matrix result = Matrix.of(array.getSegment(), type, maxTokens * PER_TOKEN, columns);
      double rounding = LayerChecks.rounding(type);
      for (int p = 0; p < result.rows(); p++) {
        for (int c = 0; c < columns; c++) {
          if (p >= problem.pairs()) {
            assertThat(result.get(p, c)).as("%s[%d, %d]", what, p, c).isNaN();
          } else if (delta.bounds()[p][c] == 0) {
            assertThat(result.get(p, c)).as("%s[%d, %d]", what, p, c).isEqualTo(start.get(p, c));
          } else {
            double sum = start.get(p, c) + delta.values()[p][c];
            double bound = 2 * delta.bounds()[p][c] + rounding * (Math.abs(sum) + 0x1p-13);
            float actual = result.get(p, c);
            if (!LayerChecks.isWithin(actual, sum, bound, type)) {
              String element = "%s[%d, %d] of %s".formatted(what, p, c, problem);
              throw LayerChecks.wrong(element, actual, sum, bound);
            }
          }
        }
      }
    }
  }

  private static ProjectionCall gateUp() {
    return ProjectionCall.gateUp(0);
  }

  private static ProjectionCall down() {
    return ProjectionCall.down(0).withRoutedWeight(true);
  }

  private static ExpertMap map(boolean mapped) {
    int[] local = new int[EXPERTS];
    Arrays.setAll(
        local, e -> !mapped ? e : e == 3 ? -1 : e > 3 ? EXPERTS - 1 - e : EXPERTS - 2 - e);
    return ExpertMap.of(local);
  }

  @ParameterizedTest
  @CsvSource({"F16, 16, false", "F16, 28, true", "BF16, 32, false", "BF16, 16, true"})
  void matchesTheReference(DType type, int rank, boolean mapped) {
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, SLOTS, PER_TOKEN)
            .withMaxTokens(SIZES[2])
            .withMaxRank(rank)
            .withWeightType(type)
            .withExpertMap(map(mapped));
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      EngineTasks tasks = EngineTasks.of(lora);
      List<Layer> layers = Arrays.stream(SIZES).mapToObj(size -> new Layer(type, size)).toList();
      if (!TestDevice.hasTensorCores()) {
        assertThatThrownBy(() -> layers.getFirst().append(tasks, 0))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageStartingWith("x and y must be FloatArrays for these weights on this device");
        return;
      }
      int units = ChosenDevice.first().computeUnits();
      for (int size : SIZES) {
        assertThat(GroupTiling.of(config, Projection.DOWN, size, units)).isPresent();
      }
      TornadoExecutionPlan plan = attach(tasks, layers);
      for (int tokens : new int[] {9, 1, 75, 3, 128, 0, 41}) {
        Problem problem = problem(type, rank, config, tokens);
        problem.load(lora);
        lora.setEnabled(LayerChecks.DISABLED, false);
        run(tasks, plan, layers, problem, 0);
        if (tokens > 1) {
          Arrays.fill(problem.expertIds(), 7);
          Arrays.fill(problem.adapterIds(), 2);
          problem.expertIds()[0] = EXPERTS;
          problem.expertIds()[5] = -2;
          run(tasks, plan, layers, problem, 2);
        }
      }
    }
  }

  private TornadoExecutionPlan attach(EngineTasks tasks, List<Layer> layers) {
    List<ImmutableTaskGraph> list = new ArrayList<>();
    layers.forEach(layer -> list.add(layer.append(tasks, list.size())));
    list.addAll(tasks.graphs());
    TornadoExecutionPlan plan = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
    opened.add(plan);
    GridScheduler grids = new GridScheduler();
    tasks.addGrids(grids);
    plan.withGridScheduler(grids);
    tasks.attach(plan, layers.size());
    return plan;
  }

  private static Problem problem(DType type, int rank, MoeLoraConfig config, int tokens) {
    return new Problem(Seeds.of("groups " + type) + tokens, MODEL, tokens, PER_TOKEN)
        .types(type, type, type)
        .expertMap(config.expertMap())
        .addAdapter(rank, false)
        .addAdapter(7, false)
        .addAdapter(5, false, 0.6)
        .route();
  }

  private static void run(
      EngineTasks tasks,
      TornadoExecutionPlan plan,
      List<Layer> layers,
      Problem problem,
      int errors) {
    tasks.begin(problem.tokens(), problem.adapterIds());
    int ran = 0;
    for (int i = 0; i < layers.size(); i++) {
      if (problem.tokens() <= layers.get(i).maxTokens) {
        layers.get(i).check(plan, i, problem);
        ran++;
      }
    }
    assertThat(tasks.takeErrors()).isEqualTo(errors * ran);
  }
}
