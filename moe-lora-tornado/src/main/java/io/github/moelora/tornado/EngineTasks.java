package io.github.moelora.tornado;

import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.StalePlanException;
import io.github.moelora.Step;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.engine.EngineChanges;
import io.github.moelora.tornado.engine.EngineMemory;
import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.launch.LoopLaunch;
import io.github.moelora.tornado.launch.NarrowArrays;
import io.github.moelora.tornado.launch.NarrowLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.plan.HostPlan;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.step.TornadoStep;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * The adapters of one {@link MoeLora} inside an engine's own execution plan: tasks that read and
 * write the engine's device arrays, with no copy to the host between.
 *
 * <pre>{@code
 * EngineTasks tasks = EngineTasks.of(lora);                 // before any adapter is loaded
 * for (int i = 0; i < layers; i++) {
 *   EngineGraph layer = new EngineGraph(taskGraph[i], i, scheduler, maxTokens);
 *   ... tasks of the base model ...
 *   tasks.append(layer, ProjectionCall.gateUp(i), gateUpArrays);
 *   ... activation, down projection ...
 *   tasks.append(layer, ProjectionCall.down(i), downArrays);
 * }
 * graphs.addAll(tasks.graphs());                            // after the engine's own
 * TornadoExecutionPlan plan = new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
 * tasks.attach(plan, layers);
 * for each step:
 *   step.plan(...);
 *   tasks.begin(step);                                      // then run the engine's graphs
 * }</pre>
 *
 * <p>Weights, routing and scratch memory belong to graphs of our own in the engine's plan; the
 * engine's graphs hold arrays of one element that are mapped to them. So the memory exists once
 * whatever the number of layers, and the graphs may run in any order: TornadoVM's {@code
 * consumeFromDevice} would take arrays only from the graph that ran last.
 *
 * <p>{@link MoeLora#load} and {@link MoeLora#unload} may be called by any thread at any time; the
 * device takes over at the next {@link #begin}. {@link Step#run} is refused. All methods of this
 * class are called by the thread that runs the engine's plan.
 */
public final class EngineTasks {
  private final MoeLoraConfig config;
  private final TornadoBackend backend;

  /** Plans of routed experts, by the most tokens that they take. */
  private final NavigableMap<Integer, HostPlan> routings = new TreeMap<>();

  /** Plans of dense modules, by the most tokens that they take. */
  private final NavigableMap<Integer, HostPlan> denseRoutings = new TreeMap<>();

  private final EngineMemory memory = new EngineMemory();
  private final EngineChanges changes = new EngineChanges(memory);
  private final Set<Integer> graphsWithTasks = new HashSet<>();
  private final Set<Integer> graphsWithPlan = new HashSet<>();
  private int appended;

  private EngineTasks(MoeLoraConfig config, TornadoBackend backend) {
    this.config = config;
    this.backend = backend;
  }

  /**
   * Takes the adapters of an instance into an engine's plan, for as long as the instance is open.
   *
   * @throws IllegalArgumentException if the instance does not use the tornado backend
   * @throws IllegalStateException if adapters were loaded already, or other tasks have the instance
   */
  public static EngineTasks of(MoeLora lora) {
    if (!(lora.backend() instanceof TornadoBackend backend)) {
      throw new IllegalArgumentException(
          "lora must use the tornado backend, got " + lora.backendName());
    }
    EngineTasks tasks = new EngineTasks(lora.config(), backend);
    backend.embed(tasks.changes);
    return tasks;
  }

  /**
   * Appends the tasks of one projection or dense module, which do for every pair what {@link
   * Step#run} does.
   *
   * @param to graph of the engine that gets the tasks
   * @param call what to compute
   * @param arrays the engine's arrays, long enough for {@code to.maxTokens()} tokens
   * @throws IllegalArgumentException if an array has the wrong type or is too small
   * @throws IllegalStateException after {@link #graphs}
   */
  public void append(EngineGraph to, ProjectionCall call, EngineArrays arrays) {
    HostPlan routing = routing(to, call.isDense());
    if (graphsWithPlan.contains(to.index())) {
      throw new IllegalStateException(
          "the graph that transfers the plan must not have tasks of ours, got index " + to.index());
    }
    ProjectionWeights owner = backend.weights(call);
    boolean narrow = arrays.requireFit(owner, call, to.maxTokens());
    ProjectionWeights handles = owner.handles();
    DevicePlan reads = routing.handles().withSizes(new IntArray(Sizes.COUNT));
    to.graph()
        .transferToDevice(DataTransferMode.FIRST_EXECUTION, reads.sizes())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, handles.resident())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, reads.plan())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, memory.scratch());
    String name = "lora" + appended++ + kind(call);
    if (narrow) {
      appendNarrow(to, name, call, (PackedWeights) handles, reads, arrays);
    } else {
      appendFloats(to, name, call, handles, reads, arrays);
    }
    graphsWithTasks.add(to.index());
    memory.map(to.index(), owner, handles, routing);
  }

  private static String kind(ProjectionCall call) {
    if (call.isDense()) {
      return "Dense";
    }
    return call.projection() == Projection.GATE_UP ? "GateUp" : "Down";
  }

  private void appendFloats(
      EngineGraph to,
      String name,
      ProjectionCall call,
      ProjectionWeights handles,
      DevicePlan reads,
      EngineArrays arrays) {
    MoeLoraConfig layer = handles.config();
    int rows = routing(to, call.isDense()).rows();
    int zStride = SliceTable.maxStack(layer);
    memory.needScratch(Math.multiplyExact(rows, zStride));
    Sizes.write(reads.sizes(), layer, call, arrays.yWidth());
    LoopLaunch.append(
        to.graph(),
        name,
        handles,
        new LoopLaunch.Bounds(rows, zStride, layer.model().outputWidth(call.projection())),
        new LoopLaunch.Arrays(
            reads, (FloatArray) arrays.x(), memory.scratch(), (FloatArray) arrays.y()));
  }

  private void appendNarrow(
      EngineGraph to,
      String name,
      ProjectionCall call,
      PackedWeights handles,
      DevicePlan reads,
      EngineArrays arrays) {
    MoeLoraConfig layer = handles.config();
    HostPlan routing = routing(to, call.isDense());
    BlockChoice choice = call.isDense() ? new BlockChoice(layer, true, null) : backend.choice();
    Tiling tiling = choice.ofGraph(to.maxTokens(), call.projection());
    memory.needScratch(tiling.zElements(layer, routing.maxActiveBlocks()));
    NarrowLaunch.writeSizes(reads.sizes(), layer, call, arrays.yWidth(), tiling);
    if (!call.add()) {
      int columns = layer.model().outputWidth(call.projection());
      appendZero(to, name + "Zero", reads, arrays.y(), routing.maxPairs(), columns);
    }
    NarrowLaunch.append(
        new Target(to.graph(), to.graph().getTaskGraphName(), to.scheduler()),
        name,
        layer,
        handles,
        tiling,
        new NarrowArrays(reads, (HalfFloatArray) arrays.x(), memory.scratch(), arrays.y()));
  }

  /** The narrow kernels only add, so a delta alone is added to zeros. */
  private static void appendZero(
      EngineGraph to, String name, DevicePlan reads, TornadoNativeArray y, int pairs, int columns) {
    if (y instanceof IntArray words) {
      to.graph()
          .task(
              name,
              SmallKernels::zeroWords,
              reads.sizes(),
              reads.counts(),
              words,
              pairs,
              columns / 2);
    } else {
      to.graph()
          .task(
              name,
              SmallKernels::zeroHalves,
              reads.sizes(),
              reads.counts(),
              (HalfFloatArray) y,
              pairs,
              columns);
    }
  }

  /**
   * Lets a graph of the engine transfer the plans of steps up to its {@code maxTokens}, those of
   * dense modules too where the model lists some, so that {@link #begin} need not run a graph for
   * that. The engine runs it before the graphs with our tasks; itself it must have none.
   *
   * @throws IllegalStateException if the graph has tasks of ours, or after {@link #graphs}
   */
  public void transferPlan(EngineGraph first) {
    transferPlan(first, routing(first, false));
    if (!config.model().dense().isEmpty()) {
      transferPlan(first, routing(first, true));
    }
  }

  private void transferPlan(EngineGraph first, HostPlan routing) {
    if (graphsWithTasks.contains(first.index())) {
      throw new IllegalStateException(
          "the graph that transfers the plan must not have tasks of ours, got index "
              + first.index());
    }
    first.graph().transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.transferred());
    routing.leaveTransferToEngine();
    graphsWithPlan.add(first.index());
    memory.mapTransfer(first.index(), routing);
  }

  private HostPlan routing(EngineGraph graph, boolean dense) {
    memory.requireNoGraphs();
    int tokens = graph.maxTokens();
    if (tokens > config.maxTokens()) {
      throw new IllegalArgumentException(
          "maxTokens must be at most %d as in the config, got %d"
              .formatted(config.maxTokens(), tokens));
    }
    if (dense) {
      // the plan is of no width, so any module will do
      MoeLoraConfig layer = config.ofDense(config.model().dense().getFirst());
      int largeBlock = backend.denseChoice().largeBlock();
      return denseRoutings.computeIfAbsent(
          tokens, most -> new HostPlan("lora_dense_plan_", layer, most, largeBlock));
    }
    return routings.computeIfAbsent(
        tokens, most -> new HostPlan("lora_plan_", config, most, backend.choice().largeBlock()));
  }

  /**
   * The graphs that hold weights, plans and scratch memory; called once, after the last {@link
   * #append}. The engine puts them into its execution plan, in this order and next to each other.
   * It never runs them itself.
   *
   * @throws IllegalStateException if there are no tasks, or at a second call
   */
  public List<ImmutableTaskGraph> graphs() {
    List<HostPlan> plans = new ArrayList<>(routings.values());
    plans.addAll(denseRoutings.values());
    return memory.graphs(plans);
  }

  /**
   * Reserves the device memory and maps it into the engine's graphs; called once, before any of
   * them runs.
   *
   * @param enginePlan the plan that holds the engine's graphs and {@link #graphs}
   * @param first position of the first of {@link #graphs} in the plan
   * @throws IllegalStateException before {@link #graphs} or at a second call
   */
  public void attach(TornadoExecutionPlan enginePlan, int first) {
    memory.attach(enginePlan, first);
  }

  /**
   * Begins a step: brings loaded and unloaded adapters to the device, then the step's plan. The
   * engine then runs its graphs, each with {@code withGraph}; the first of them must not consume
   * anything from the device, because TornadoVM looks for it in the graph that ran last.
   *
   * @param step planned, of the same instance
   * @throws StalePlanException if a slot named by the plan has changed since
   * @throws IllegalArgumentException if the step is of another instance, or has more tokens than
   *     any graph takes
   * @throws IllegalStateException before {@link #attach}, without a plan, or after the instance was
   *     closed
   */
  public void begin(Step step) {
    memory.requireAttached();
    if (!(step.backendStep() instanceof TornadoStep tornadoStep)
        || tornadoStep.backend() != backend) {
      throw new IllegalArgumentException("step must be of the instance that the tasks are of");
    }
    changes.apply(backend.weights());
    // after the changes: it waits for a load that has just handed one over
    step.requireFresh();
    requireTokens(routings, step.routing());
    if (!denseRoutings.isEmpty()) {
      requireTokens(denseRoutings, step.denseRouting());
      transfer(denseRoutings, step.denseRouting());
    }
    transfer(routings, step.routing());
  }

  private static void requireTokens(NavigableMap<Integer, HostPlan> plans, Routing routing) {
    if (!plans.isEmpty() && routing.tokens() > plans.lastKey()) {
      throw new IllegalArgumentException(
          "the step must have at most %d tokens, as the largest graph, got %d"
              .formatted(plans.lastKey(), routing.tokens()));
    }
  }

  private void transfer(NavigableMap<Integer, HostPlan> plans, Routing routing) {
    for (HostPlan each : plans.values()) {
      each.write(routing);
      if (!each.engineTransfers()) {
        memory.transfer(each);
      }
    }
  }
}
