package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.testkit.Operands;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
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
 * Every kind of call in graphs of an engine, for few and for many tokens, against the reference.
 */
class EngineTasksTest {
  private static final int PER_TOKEN = 2;
  private static final int FEW = 6;
  private static final int MANY = 90;
  private static final MoeModel MODEL =
      new MoeModel(36, 28, 3, GateUp.HALVES, List.of(2))
          .withDense(List.of(new DenseModule("q", 36, 44), new DenseModule("o", 44, 36)));
  private static final List<ProjectionCall> CALLS =
      List.of(
          ProjectionCall.gateUp(2),
          ProjectionCall.gateUp(2).deltaOnly().withColumnOffset(4),
          ProjectionCall.down(2),
          ProjectionCall.down(2).withRoutedWeight(false).deltaOnly(),
          ProjectionCall.dense(0),
          ProjectionCall.dense(1).deltaOnly().withColumnOffset(4));

  @RegisterExtension private final EnginePlans opened = new EnginePlans();

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  /** A graph of the engine with one call, on arrays that go there and back. */
  private record Graph(ProjectionCall call, int maxTokens, EngineArrays arrays) {

    static Graph of(ProjectionCall call, int maxTokens, DType type) {
      int pairs = call.isDense() ? maxTokens : maxTokens * PER_TOKEN;
      int xSize = (call.pairRows() ? pairs : maxTokens) * MODEL.inputWidth(call);
      int yWidth = call.columnOffset() + MODEL.outputWidth(call) + 4;
      int ySize = (pairs + 2) * yWidth;
      TornadoNativeArray x = type == DType.F32 ? new FloatArray(xSize) : new HalfFloatArray(xSize);
      TornadoNativeArray y =
          switch (type) {
            case F32 -> new FloatArray(ySize);
            case F16 -> new HalfFloatArray(ySize);
            case BF16 -> new IntArray(ySize / 2);
          };
      return new Graph(call, maxTokens, new EngineArrays(x, y, yWidth));
    }
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void floatActivations(DType weightType) {
    matchesTheReference(weightType, DType.F32);
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F16", "BF16"})
  void narrowActivations(DType type) {
    if (TestDevice.hasTensorCores()) {
      matchesTheReference(type, type);
    } else {
      assertThatThrownBy(() -> matchesTheReference(type, type))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageStartingWith("x and y must be FloatArrays for these weights on this device");
    }
  }

  private void matchesTheReference(DType weightType, DType type) {
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 3, PER_TOKEN)
            .withMaxTokens(MANY)
            .withMaxRank(12)
            .withWeightType(weightType);
    try (MoeLora lora = MoeLora.open(config, "tornado");
        Step step = lora.newStep()) {
      EngineTasks tasks = EngineTasks.of(lora);
      List<Graph> graphs = new ArrayList<>();
      for (int maxTokens : new int[] {FEW, MANY}) {
        for (ProjectionCall call : CALLS) {
          graphs.add(Graph.of(call, maxTokens, type));
        }
      }
      // captured and replayed where the backend can, for one of the types
      boolean captured = weightType == DType.F16 && TestDevice.hasGraphCapture();
      TornadoExecutionPlan plan = plan(tasks, graphs, captured);
      if (weightType == DType.F32) {
        // as engines do; it must not disturb what attach has mapped
        plan.withAllGraphs().withPreCompilation();
      }
      long seed = Seeds.of("engine " + weightType + " " + type);
      for (int tokens : new int[] {FEW, 1, MANY, 3, 41, 0, FEW}) {
        Problem problem =
            new Problem(seed + tokens, MODEL, tokens, PER_TOKEN)
                .types(weightType, type, type)
                .addAdapter(12, false)
                .addEmptySlot()
                .addAdapter(5, true, 0.6)
                .route();
        problem.load(lora);
        problem.plan(step);
        tasks.begin(step);
        for (int i = 0; i < graphs.size(); i++) {
          if (tokens <= graphs.get(i).maxTokens()) {
            check(plan, i, graphs.get(i), problem, type);
          }
        }
        // before a router has run: dense modules alone, and no pairs of the plan before
        problem.planDense(step);
        tasks.begin(step);
        for (int i = 0; i < graphs.size(); i++) {
          if (tokens <= graphs.get(i).maxTokens()) {
            if (graphs.get(i).call().isDense()) {
              check(plan, i, graphs.get(i), problem, type);
            } else {
              checkUntouched(plan, i, graphs.get(i), problem, type);
            }
          }
        }
      }
    }
  }

  private TornadoExecutionPlan plan(EngineTasks tasks, List<Graph> graphs, boolean captured) {
    GridScheduler scheduler = new GridScheduler();
    List<ImmutableTaskGraph> list = new ArrayList<>();
    for (Graph graph : graphs) {
      TaskGraph engine =
          new TaskGraph("engine_" + list.size())
              .transferToDevice(
                  DataTransferMode.EVERY_EXECUTION, graph.arrays().x(), graph.arrays().y());
      tasks.append(
          new EngineGraph(engine, list.size(), graph.maxTokens()), graph.call(), graph.arrays());
      list.add(
          engine.transferToHost(DataTransferMode.EVERY_EXECUTION, graph.arrays().y()).snapshot());
    }
    list.addAll(tasks.graphs());
    TornadoExecutionPlan plan = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
    tasks.addGrids(scheduler);
    if (!scheduler.keySet().isEmpty()) {
      plan.withGridScheduler(scheduler);
    }
    if (captured) {
      plan.withCUDAGraph();
    }
    opened.add(plan);
    tasks.attach(plan, graphs.size());
    return plan;
  }

  private static void check(
      TornadoExecutionPlan plan, int index, Graph graph, Problem problem, DType type) {
    Operands operands = problem.operands(graph.call());
    EngineArrays arrays = graph.arrays();
    Matrix x = operands.x();
    Matrix y = operands.y();
    int width = arrays.yWidth();
    // beyond the batch lies what must not matter
    Matrix deviceX = matrix(arrays.x(), type, x.columns());
    Matrix deviceY = matrix(arrays.y(), type, width);
    copy(x, deviceX);
    copy(y, deviceY);
    plan.withGraph(index).execute();
    copy(deviceY, y);
    operands.check(y);
    byte[] bits = y.data().toArray(ValueLayout.JAVA_BYTE);
    copy(operands.y(), deviceY);
    plan.withGraph(index).execute();
    copy(deviceY, y);
    assertThat(y.data().toArray(ValueLayout.JAVA_BYTE)).as("a second run").isEqualTo(bits);
  }

  /** A graph on experts that are not planned leaves y as it was. */
  private static void checkUntouched(
      TornadoExecutionPlan plan, int index, Graph graph, Problem problem, DType type) {
    Operands operands = problem.operands(graph.call());
    Matrix y = operands.y();
    Matrix deviceY = matrix(graph.arrays().y(), type, graph.arrays().yWidth());
    copy(y, deviceY);
    plan.withGraph(index).execute();
    copy(deviceY, y);
    assertThat(y.data().toArray(ValueLayout.JAVA_BYTE))
        .as("without a plan of experts")
        .isEqualTo(operands.y().data().toArray(ValueLayout.JAVA_BYTE));
  }

  private static Matrix matrix(TornadoNativeArray array, DType type, int columns) {
    MemorySegment segment = array.getSegment();
    int rows = Math.toIntExact(segment.byteSize() / type.bytes() / columns);
    return Matrix.of(segment, type, rows, columns);
  }

  /** Bit for bit, as much as both hold. */
  private static void copy(Matrix from, Matrix to) {
    int columns = Math.min(from.columns(), to.columns());
    int bytes = from.type().bytes();
    for (int row = 0; row < Math.min(from.rows(), to.rows()); row++) {
      MemorySegment.copy(
          from.data(),
          from.index(row, 0) * bytes,
          to.data(),
          to.index(row, 0) * bytes,
          (long) columns * bytes);
    }
  }

  /** What changed since a step was planned waits for the step after. */
  @Test
  void planOfOldAdaptersRunsWithThem() {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 1, PER_TOKEN).withMaxTokens(FEW).withMaxRank(12);
    try (MoeLora lora = MoeLora.open(config, "tornado");
        Step step = lora.newStep()) {
      EngineTasks tasks = EngineTasks.of(lora);
      List<Graph> graphs = List.of(Graph.of(ProjectionCall.gateUp(2), FEW, DType.F32));
      TornadoExecutionPlan plan = plan(tasks, graphs, false);
      Problem old = new Problem(5, MODEL, FEW, PER_TOKEN).addAdapter(12, false).route();
      Problem later = new Problem(6, MODEL, FEW, PER_TOKEN).addAdapter(3, true).route();
      old.load(lora);
      old.plan(step);
      later.load(lora);
      tasks.begin(step);
      check(plan, 0, graphs.getFirst(), old, DType.F32);
      lora.unload(0);
      tasks.begin(step);
      check(plan, 0, graphs.getFirst(), old, DType.F32);
      later.load(lora);
      later.plan(step);
      tasks.begin(step);
      check(plan, 0, graphs.getFirst(), later, DType.F32);
    }
  }

  @Test
  void refusesMoreTokensThanAnyGraphTakes() {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 1, PER_TOKEN).withMaxTokens(MANY);
    MoeLora lora = MoeLora.open(config, "tornado");
    Step step = lora.newStep();
    EngineTasks tasks = EngineTasks.of(lora);
    try (lora) {
      plan(tasks, List.of(Graph.of(ProjectionCall.gateUp(2), FEW, DType.F32)), false);
      new Problem(1, MODEL, FEW + 1, PER_TOKEN).addEmptySlot().route().plan(step);
      assertThatThrownBy(() -> tasks.begin(step))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("the step must have at most 6 tokens, as the largest graph, got 7");
      new Problem(1, MODEL, FEW, PER_TOKEN).addEmptySlot().route().planDense(step);
      tasks.begin(step);
    }
    assertThatThrownBy(() -> tasks.begin(step)).isInstanceOf(IllegalStateException.class);
  }
}
