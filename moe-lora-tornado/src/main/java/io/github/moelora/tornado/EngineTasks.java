package io.github.moelora.tornado;

import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.StalePlanException;
import io.github.moelora.Step;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.kernels.EngineKernels;
import io.github.moelora.tornado.launch.FloatTasks;
import io.github.moelora.tornado.launch.TunedTasks;
import io.github.moelora.tornado.layout.DeviceRouting;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.plan.EnginePlan;
import io.github.moelora.tornado.step.SlotStore;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.step.TornadoStep;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
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
  private static final String SCRATCH = "lora_scratch";

  /** An array in a graph of the engine, and the array of ours whose memory it gets. */
  private record Mapping(Object handle, int engineGraph, Object array, String owner) {}

  private final MoeLoraConfig config;
  private final TornadoBackend backend;

  /** By the most tokens that they take. */
  private final NavigableMap<Integer, EnginePlan> routings = new TreeMap<>();

  /** Those with tasks, by the name of their upload graph. */
  private final Map<String, ProjectionWeights> weights = new LinkedHashMap<>();

  private final List<Mapping> mappings = new ArrayList<>();
  private final Set<Integer> graphsWithTasks = new HashSet<>();
  private final Set<Integer> graphsWithPlan = new HashSet<>();
  private final FloatArray scratchHandle = new FloatArray(1);
  private int scratchFloats;
  private int appended;

  /** Names of our graphs, in order; empty until {@link #graphs}. */
  private final List<String> ownGraphs = new ArrayList<>();

  private @Nullable TornadoExecutionPlan plan;
  private int firstGraph;

  /** By slot, in the order of the changes; an empty list empties the slot. */
  private final Map<Integer, List<ProjectionWeights.Packed>> changes = new LinkedHashMap<>();

  private volatile boolean closed;

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
    backend.embed(tasks.new Changes());
    return tasks;
  }

  /**
   * Appends the tasks of one projection, which do for every pair what {@link Step#run} does.
   *
   * @param to graph of the engine that gets the tasks
   * @param call what to compute
   * @param arrays the engine's arrays, long enough for {@code to.maxTokens()} tokens
   * @throws IllegalArgumentException if an array has the wrong type or is too small
   * @throws IllegalStateException after {@link #graphs}
   */
  public void append(EngineGraph to, ProjectionCall call, EngineArrays arrays) {
    EnginePlan routing = routing(to);
    if (graphsWithPlan.contains(to.index())) {
      throw new IllegalStateException(
          "the graph that transfers the plan must not have tasks of ours, got index " + to.index());
    }
    ProjectionWeights owner = backend.weights(call.layer(), call.projection());
    boolean tuned = arrays.requireFit(config, owner, call, to.maxTokens());
    ProjectionWeights handles = owner.handles();
    DeviceRouting reads = routing.handles().withSizes(new IntArray(Sizes.COUNT));
    to.graph()
        .transferToDevice(DataTransferMode.FIRST_EXECUTION, reads.sizes())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, handles.resident())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, reads.plan())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, scratchHandle);
    boolean gateUp = call.projection() == Projection.GATE_UP;
    String name = "lora" + appended++ + (gateUp ? "GateUp" : "Down");
    if (tuned) {
      appendTuned(to, name, call, (PackedWeights) handles, reads, arrays);
    } else {
      appendFloats(to, name, call, handles, reads, arrays);
    }
    weights.put(owner.uploadName(), owner);
    graphsWithTasks.add(to.index());
    map(to, handles.resident(), owner.resident(), owner.uploadName());
    map(to, reads.plan(), routing.transferred(), routing.name());
    mappings.add(new Mapping(scratchHandle, to.index(), scratchHandle, SCRATCH));
  }

  private void appendFloats(
      EngineGraph to,
      String name,
      ProjectionCall call,
      ProjectionWeights handles,
      DeviceRouting reads,
      EngineArrays arrays) {
    int rows = routing(to).rows();
    int zStride = SliceTable.maxStack(config);
    needScratch(Math.multiplyExact(rows, zStride));
    Sizes.write(reads.sizes(), config, call, arrays.yWidth());
    FloatTasks.append(
        to.graph(),
        name,
        handles,
        new FloatTasks.Bounds(rows, zStride, config.model().outputWidth(call.projection())),
        new FloatTasks.Arrays(
            reads, (FloatArray) arrays.x(), scratchHandle, (FloatArray) arrays.y()));
  }

  private void appendTuned(
      EngineGraph to,
      String name,
      ProjectionCall call,
      PackedWeights handles,
      DeviceRouting reads,
      EngineArrays arrays) {
    Tiling tiling = tiling(to.maxTokens(), call);
    needScratch(tiling.zElements(config, routing(to).maxActiveBlocks()));
    TunedTasks.writeSizes(reads.sizes(), config, call, arrays.yWidth(), tiling);
    if (!call.add()) {
      appendZero(to, name + "Zero", call, reads, arrays.y());
    }
    TunedTasks.append(
        to.graph(),
        to.graph().getTaskGraphName(),
        to.scheduler(),
        name,
        config,
        handles,
        tiling,
        new TunedTasks.Arrays(reads, (HalfFloatArray) arrays.x(), scratchHandle, arrays.y()));
  }

  private Tiling tiling(int maxTokens, ProjectionCall call) {
    if (maxTokens <= BlockChoice.FEW_TOKENS) {
      return backend.pairsTiling();
    }
    return maxTokens <= BlockChoice.SMALL_TOKENS
        ? SplitTiling.small(config, call.projection())
        : SplitTiling.large(config, call.projection());
  }

  /** The tuned kernels only add, so a delta alone is added to zeros. */
  private void appendZero(
      EngineGraph to, String name, ProjectionCall call, DeviceRouting reads, TornadoNativeArray y) {
    int pairs = routing(to).maxPairs();
    int columns = config.model().outputWidth(call.projection());
    if (y instanceof IntArray words) {
      to.graph()
          .task(
              name,
              EngineKernels::zeroWords,
              reads.sizes(),
              reads.counts(),
              words,
              pairs,
              columns / 2);
    } else {
      to.graph()
          .task(
              name,
              EngineKernels::zeroHalves,
              reads.sizes(),
              reads.counts(),
              (HalfFloatArray) y,
              pairs,
              columns);
    }
  }

  /**
   * Lets a graph of the engine transfer the plans of steps up to its {@code maxTokens}, so that
   * {@link #begin} need not run a graph for that. The engine runs it before the graphs with our
   * tasks; itself it must have none.
   *
   * @throws IllegalStateException if the graph has tasks of ours, or after {@link #graphs}
   */
  public void transferPlan(EngineGraph first) {
    EnginePlan routing = routing(first);
    if (graphsWithTasks.contains(first.index())) {
      throw new IllegalStateException(
          "the graph that transfers the plan must not have tasks of ours, got index "
              + first.index());
    }
    first.graph().transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.transferred());
    routing.leaveTransferToEngine();
    graphsWithPlan.add(first.index());
    map(first, routing.transferred(), routing.transferred(), routing.name());
  }

  private void map(EngineGraph to, Object[] handles, Object[] arrays, String owner) {
    for (int i = 0; i < handles.length; i++) {
      mappings.add(new Mapping(handles[i], to.index(), arrays[i], owner));
    }
  }

  private void needScratch(int floats) {
    scratchFloats = Math.max(scratchFloats, floats);
  }

  private EnginePlan routing(EngineGraph graph) {
    requireOpen();
    if (!ownGraphs.isEmpty()) {
      throw new IllegalStateException("tasks must be appended before graphs() is called");
    }
    int tokens = graph.maxTokens();
    if (tokens > config.maxTokens()) {
      throw new IllegalArgumentException(
          "maxTokens must be at most %d as in the config, got %d"
              .formatted(config.maxTokens(), tokens));
    }
    return routings.computeIfAbsent(
        tokens, most -> new EnginePlan(config, most, backend.largeBlock()));
  }

  /**
   * The graphs that hold weights, plans and scratch memory; called once, after the last {@link
   * #append}. The engine puts them into its execution plan, in this order and next to each other.
   * It never runs them itself.
   *
   * @throws IllegalStateException if there are no tasks, or at a second call
   */
  public List<ImmutableTaskGraph> graphs() {
    requireOpen();
    if (weights.isEmpty() || !ownGraphs.isEmpty()) {
      throw new IllegalStateException("graphs() must be called once, after append");
    }
    List<TaskGraph> list = new ArrayList<>();
    weights.values().forEach(each -> list.add(each.uploadGraph()));
    FloatArray scratch = new FloatArray(scratchFloats);
    mappings.replaceAll(
        each ->
            each.owner().equals(SCRATCH)
                ? new Mapping(each.handle(), each.engineGraph(), scratch, SCRATCH)
                : each);
    list.add(
        new TaskGraph(SCRATCH)
            .task("clear", EngineKernels::clear, scratch)
            .persistOnDevice(scratch));
    routings.values().forEach(each -> list.add(each.graph()));
    list.forEach(graph -> ownGraphs.add(graph.getTaskGraphName()));
    return list.stream().map(TaskGraph::snapshot).toList();
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
    requireOpen();
    if (ownGraphs.isEmpty() || plan != null) {
      throw new IllegalStateException("attach must be called once, after graphs()");
    }
    for (int i = 0; i < ownGraphs.size(); i++) {
      enginePlan.withGraph(first + i).execute();
    }
    for (Mapping mapping : mappings) {
      enginePlan.mapOnDeviceMemoryRegion(
          mapping.handle(),
          mapping.array(),
          0,
          first + ownGraphs.indexOf(mapping.owner()),
          mapping.engineGraph());
    }
    plan = enginePlan;
    firstGraph = first;
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
    requireOpen();
    if (plan == null) {
      throw new IllegalStateException("attach must be called before begin");
    }
    if (!(step.backendStep() instanceof TornadoStep tornadoStep)
        || tornadoStep.backend() != backend) {
      throw new IllegalArgumentException("step must be of the instance that the tasks are of");
    }
    applyChanges(plan);
    // after the changes: it waits for a load that has just handed one over
    step.requireFresh();
    if (step.routing().tokens() > routings.lastKey()) {
      throw new IllegalArgumentException(
          "the step must have at most %d tokens, as the largest graph, got %d"
              .formatted(routings.lastKey(), step.routing().tokens()));
    }
    for (EnginePlan routing : routings.values()) {
      routing.write(step.routing());
      if (!routing.engineTransfers()) {
        run(plan, routing.name());
      }
    }
  }

  private void applyChanges(TornadoExecutionPlan enginePlan) {
    Map<Integer, List<ProjectionWeights.Packed>> taken;
    synchronized (changes) {
      taken = new LinkedHashMap<>(changes);
      changes.clear();
    }
    taken.forEach((slot, packed) -> apply(enginePlan, slot, packed));
  }

  private void apply(
      TornadoExecutionPlan enginePlan, int slot, List<ProjectionWeights.Packed> packed) {
    for (int i = 0; i < backend.weights().size(); i++) {
      ProjectionWeights each = backend.weights().get(i);
      if (weights.containsKey(each.uploadName())) {
        if (packed.isEmpty()) {
          each.stageEmpty(slot);
        } else {
          packed.get(i).stage(slot);
        }
        do {
          run(enginePlan, each.uploadName());
        } while (!packed.isEmpty() && packed.get(i).stageNext());
      }
    }
  }

  private void run(TornadoExecutionPlan enginePlan, String graph) {
    try {
      enginePlan.withGraph(firstGraph + ownGraphs.indexOf(graph)).execute();
    } catch (RuntimeException e) {
      // what is on the device is unknown now
      closed = true;
      throw e;
    }
  }

  /** What the backend hands over. */
  private final class Changes implements SlotStore {

    @Override
    public void change(int slot, List<ProjectionWeights.Packed> packed) {
      synchronized (changes) {
        changes.remove(slot);
        changes.put(slot, packed);
      }
    }

    /** The memory is the engine's plan's, which the engine closes. */
    @Override
    public void close() {
      closed = true;
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("the instance is closed, or its device has failed");
    }
  }
}
