package io.github.moelora.tornado;

import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.Step;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.GroupTiling;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.engine.EngineChanges;
import io.github.moelora.tornado.engine.EngineMemory;
import io.github.moelora.tornado.engine.EnginePlans;
import io.github.moelora.tornado.kernels.PairKernels;
import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.launch.FinishLaunch;
import io.github.moelora.tornado.launch.GroupLaunch;
import io.github.moelora.tornado.launch.LoopLaunch;
import io.github.moelora.tornado.launch.NarrowArrays;
import io.github.moelora.tornado.launch.NarrowLaunch;
import io.github.moelora.tornado.launch.PairLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.plan.HostPlan;
import io.github.moelora.tornado.plan.PairPlan;
import io.github.moelora.tornado.plan.PlanSource;
import io.github.moelora.tornado.plan.SortedPlan;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.step.TornadoStep;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import uk.ac.manchester.tornado.api.GridScheduler;
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
 * EngineTasks lora = EngineTasks.of(moeLora);               // before any adapter is loaded
 * for (int i = 0; i < layers; i++) {
 *   EngineGraph layer = new EngineGraph(taskGraph[i], i, maxTokens);
 *   ... tasks of the base model, its router among them ...
 *   lora.route(layer, new EngineRouting(expertIds, routingWeights));
 *   lora.append(layer, ProjectionCall.gateUp(i), gateUpArrays);
 *   ... activation, down projection ...
 *   lora.append(layer, ProjectionCall.down(i), downArrays);
 * }
 * graphs.addAll(lora.graphs());                             // after the engine's own
 * TornadoExecutionPlan plan = new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
 * lora.addGrids(scheduler);
 * plan.withGridScheduler(scheduler);
 * lora.attach(plan, layers);
 * for each step:
 *   lora.begin(tokens, adapterIds);                         // then run the engine's graphs
 * }</pre>
 *
 * <p>Weights, plans and scratch memory belong to graphs of our own in the engine's plan; the
 * engine's graphs hold arrays of one element that are mapped to them. So the memory exists once
 * whatever the number of layers, and the graphs may run in any order: TornadoVM's {@code
 * consumeFromDevice} would take arrays only from the graph that ran last.
 *
 * <p>{@link MoeLora#load}, {@link MoeLora#unload} and {@link MoeLora#setEnabled} may be called by
 * any thread at any time. A step has its slots to itself from {@link #begin} to the next one: what
 * changes meanwhile waits on the host and goes to the device there. {@link Step#run} is refused.
 * All methods of this class are called by the thread that runs the engine's plan.
 */
public final class EngineTasks {
  private static final Logger LOG = LoggerFactory.getLogger(EngineTasks.class);

  private final MoeLora lora;
  private final MoeLoraConfig config;
  private final TornadoBackend backend;
  private final EngineMemory memory = new EngineMemory();
  private final EngineChanges changes = new EngineChanges(memory);
  private final EnginePlans plans;
  private final GridScheduler grids = new GridScheduler();
  private final Map<Integer, List<FloatArray>> spares = new HashMap<>();
  private final boolean[] active;
  private int appended;

  private EngineTasks(MoeLora lora, TornadoBackend backend) {
    this.lora = lora;
    this.config = lora.config();
    this.backend = backend;
    plans = new EnginePlans(config, backend, memory);
    active = new boolean[config.slots()];
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
    EngineTasks tasks = new EngineTasks(lora, backend);
    backend.embed(tasks.changes);
    return tasks;
  }

  /**
   * Takes the tokens' adapters from an array of the engine on the device, in place of those that
   * {@link #begin(int, int...)} brings; called before any {@link #route} and {@link #append}.
   *
   * @param adapterIds in, int32 {@code [T]}, slots in {@code [-1, L)}; tokens with others get no
   *     delta, and {@link #takeErrors} counts them
   * @throws IllegalArgumentException if the array is too short
   * @throws IllegalStateException if tasks were appended
   */
  public void useAdapterIds(IntArray adapterIds) {
    if (adapterIds.getSize() < config.maxTokens()) {
      throw new IllegalArgumentException(
          "adapterIds must hold at least maxTokens = %d elements, got %d"
              .formatted(config.maxTokens(), adapterIds.getSize()));
    }
    plans.useAdapterIds(adapterIds);
  }

  /**
   * Lets a graph of the engine transfer what {@link #begin} says of a step, so that begin need not
   * run a graph for that. The engine runs it before other graphs with our tasks; it may have some
   * itself.
   *
   * @throws IllegalStateException after {@link #graphs}
   */
  public void transferStep(EngineGraph first) {
    memory.requireNoGraphs();
    plans.transferWith(first.graph(), first.index());
  }

  /**
   * Names the arrays of a layer's router for the calls that are appended to the same graph from now
   * on. Without it they read the plan of {@link #begin(Step)}.
   *
   * <p>Calls read the router's arrays as they are, but those on a 16-bit y in graphs of more tokens
   * than the kernels on pairs and on groups take: before the first of them come tasks that sort the
   * pairs, one for up to 1024 pairs, else two, or three where slots times local experts are some
   * thousand.
   *
   * @throws IllegalArgumentException if an array is too short for {@code layer.maxTokens()} tokens
   * @throws IllegalStateException after {@link #graphs}
   */
  public void route(EngineGraph layer, EngineRouting routing) {
    requireRoom(layer);
    routing.requireFit(layer.maxTokens() * config.expertsPerToken());
    plans.route(
        layer.index(), layer.maxTokens(), routing.expertIds(), routing.routingWeights(), null);
  }

  /**
   * The same for a layer whose router leaves its logits: the next call on the graph chooses the
   * experts, too, and writes what becomes of that into the arrays of {@code routing}. The engine
   * runs no task for it, and reads them behind that call.
   *
   * @param routing with room for the weights of a shared expert where it has a score
   * @throws IllegalArgumentException if an array is too short, or a token has more than 64 experts
   * @throws IllegalStateException after {@link #graphs}; from the next call if that sorts pairs,
   *     applies routing weights or is combined
   */
  public void route(EngineGraph layer, EngineRouting routing, RouterLogits logits) {
    requireRoom(layer);
    int perToken = config.expertsPerToken();
    if (perToken > PairKernels.MOST_CHOICES) {
      throw new IllegalArgumentException(
          "expertsPerToken must be at most %d for a choice of our own, got %d"
              .formatted(PairKernels.MOST_CHOICES, perToken));
    }
    int pairs = layer.maxTokens() * perToken;
    routing.requireFit(pairs);
    logits.requireFit(layer.maxTokens(), config.model().experts());
    if (logits.sharedScore()) {
      EngineRouting.requireShared(routing.routingWeights(), pairs, layer.maxTokens());
    }
    int mode =
        PairMode.CHOOSES
            | (logits.renormalized() ? PairMode.RENORMALIZED : 0)
            | (logits.sharedScore() ? PairMode.SHARED_SCORE : 0);
    plans.route(
        layer.index(),
        layer.maxTokens(),
        routing.expertIds(),
        routing.routingWeights(),
        new EnginePlans.Choice(logits.logits(), mode));
  }

  /**
   * Appends the tasks of one projection or dense module, which do for every pair what {@link
   * Step#run} does: added in place, or with {@link ProjectionCall#deltaOnly} written to every
   * element of the rows of live pairs, zero where there is no delta.
   *
   * @param to graph of the engine that gets the tasks
   * @param call what to compute
   * @param arrays the engine's arrays, long enough for {@code to.maxTokens()} tokens
   * @throws IllegalArgumentException if an array has the wrong type or is too small
   * @throws IllegalStateException after {@link #graphs}
   */
  public void append(EngineGraph to, ProjectionCall call, EngineArrays arrays) {
    requireRoom(to);
    ProjectionWeights owner = backend.weights(call);
    arrays.requireFit(owner, call, to.maxTokens());
    if (arrays.isNarrowX() && !arrays.isNarrowY()) {
      plans.requireRoute(to.index(), call.isDense(), "a call on a 16-bit x and a float32 y");
    }
    EnginePlans.Source source = plans.source(to.index(), to.maxTokens(), call.isDense());
    // ranks that only the one-shot kernel holds still have their pairs sorted where there are many
    boolean fewPairs =
        to.maxTokens() <= BlockChoice.FEW_TOKENS
            && tiling(to, call, owner.config(), source) instanceof OneShotTiling;
    boolean asTheyCome = !arrays.isNarrowY() || fewPairs;
    Optional<GroupTiling> groups = grouped(to, call, arrays, source);
    if (!asTheyCome || call.routedWeight()) {
      source.requireChosen();
    }
    if (groups.isPresent()) {
      appendGroups(to, call, (PackedWeights) map(to, owner), groups.get(), source, arrays);
    } else if (source.plan() instanceof PairPlan pairs && asTheyCome) {
      PairCall what = new PairCall(call, arrays, 1, mode(call), null, null);
      appendPairs(to, owner, source, pairs, what);
    } else if (arrays.isNarrowY()) {
      appendNarrow(to, call, (PackedWeights) map(to, owner), new Reads(source, sizes(to), arrays));
    } else {
      HostPlan host = (HostPlan) source.plan();
      appendLoops(to, call, map(to, owner), new Reads(source, sizes(to), arrays), host);
    }
  }

  /** How the kernel on groups cuts a call, if it suits that: it adds, and makes no choice. */
  private Optional<GroupTiling> grouped(
      EngineGraph to, ProjectionCall call, EngineArrays arrays, EnginePlans.Source source) {
    boolean can =
        arrays.isNarrowY()
            && call.add()
            && !call.isDense()
            && source.plan() instanceof PairPlan
            && !source.awaitsChoice();
    int units = backend.chosenDevice().computeUnits();
    return can
        ? backend.choice().ofGroups(to.maxTokens(), call.projection(), units)
        : Optional.empty();
  }

  private void appendGroups(
      EngineGraph to,
      ProjectionCall call,
      PackedWeights handles,
      GroupTiling tiling,
      EnginePlans.Source source,
      EngineArrays arrays) {
    PairPlan pairs = (PairPlan) source.plan();
    IntArray sizes = sizes(to);
    plans.use(source, to.graph());
    Sizes.write(sizes, handles.config(), call, arrays.yWidth());
    GroupLaunch.append(
        target(to),
        nextName(call),
        handles,
        tiling,
        new GroupLaunch.Call(pairs.maxPairs(), call.pairRows(), plans.takeErrors(source, false)),
        new GroupLaunch.Arrays(
            pairs.step(),
            pairs.expertIds(),
            pairs.routingWeights(),
            sizes,
            (HalfFloatArray) arrays.x(),
            arrays.y()));
  }

  /** Which narrow kernel suits a call. */
  private Tiling tiling(
      EngineGraph to, ProjectionCall call, MoeLoraConfig layer, EnginePlans.Source source) {
    BlockChoice choice = call.isDense() ? backend.choice().ofLayer(layer) : backend.choice();
    return source.plan() instanceof PairPlan
        ? choice.ofRoutedGraph(to.maxTokens(), call.projection())
        : choice.ofGraph(to.maxTokens(), call.projection());
  }

  /**
   * Appends the tasks of a projection whose result is combined: {@code y[t, offset + c] += sum_k
   * w[t, k]? * delta[t * K + k, c]}, the pairs of a token added in their order. For engines whose
   * down projection adds up its experts itself.
   *
   * <p>Of a 16-bit y, deltas of all pairs go to memory of ours in float32, {@code [P, H]}, and the
   * last task adds those of a token up in float32, then to y, and rounds once: the same bits every
   * time. Rows of y of tokens without a delta are not touched.
   *
   * @param to graph of the engine, which has a {@link #route}
   * @param call adds; {@link ProjectionCall#withRoutedWeight} says whether the weights count
   * @param arrays x {@code [P, I]}, or {@code [T, H]} for a call without a row per pair; y {@code
   *     [T, yWidth]}
   * @throws IllegalArgumentException if an array has the wrong type or is too small, or the call is
   *     on a dense module or for the delta alone
   * @throws IllegalStateException without {@link #route}, or after {@link #graphs}
   */
  public void appendCombined(EngineGraph to, ProjectionCall call, EngineArrays arrays) {
    combine(to, call, arrays, null);
  }

  /**
   * The same together with a shared expert: adds {@code weight[t] * shared[t, columnOffset + c]},
   * too, also for tokens without an adapter. For engines that would run a task for it.
   *
   * @param arrays as above, with a float32 y
   * @param shared in, float32 {@code [T, yWidth]}; its weights stand behind those of the pairs, see
   *     {@link EngineRouting}
   * @throws IllegalArgumentException as above, or if y is narrow or there is no room for the
   *     weights
   * @throws IllegalStateException as above, or where this call would have to make a router's choice
   */
  public void appendCombined(
      EngineGraph to, ProjectionCall call, EngineArrays arrays, FloatArray shared) {
    combine(to, call, arrays, shared);
  }

  private void combine(
      EngineGraph to, ProjectionCall call, EngineArrays arrays, @Nullable FloatArray shared) {
    requireRoom(to);
    if (call.isDense() || !call.add()) {
      throw new IllegalArgumentException(
          "a combined call must add and be on routed experts, got " + call);
    }
    ProjectionWeights owner = backend.weights(call);
    arrays.requireCombined(owner, call, to.maxTokens());
    plans.requireRoute(to.index(), false, "a combined call");
    EnginePlans.Source source = plans.source(to.index(), to.maxTokens(), false);
    PairPlan pairs = (PairPlan) source.plan();
    source.requireChosen();
    if (shared != null) {
      arrays.requireWideY("y of a call with a shared expert");
      EngineRouting.requireShared(pairs.routingWeights(), pairs.maxPairs(), to.maxTokens());
      EngineArrays.requireAtLeast("shared", shared, (long) to.maxTokens() * arrays.yWidth());
    }
    if (arrays.isNarrowY()) {
      appendSummed(to, call, owner, source, arrays);
    } else {
      int perToken = config.expertsPerToken();
      int mode = mode(call) | (shared == null ? 0 : PairMode.SHARED);
      PairCall what = new PairCall(call, arrays, perToken, mode, null, shared);
      appendPairs(to, owner, source, pairs, what);
    }
  }

  /**
   * Appends the tasks of gate and up with the activation that follows: {@code out[p, i] = act(base
   * + delta)}, in place of the engine's own: in one pass, but for a 16-bit y in graphs of more
   * tokens than the one-shot kernel takes. There the delta is added to y first, as {@link #append}
   * does, and a task computes the activation of that.
   *
   * @param to graph of the engine, which has a {@link #route}
   * @param call on gate and up; whether it adds does not matter
   * @param activation what the model has
   * @param arrays y {@code [P, yWidth]} is the base, and only read in one pass
   * @param out out, {@code [P, I]} in an array of y's type, or for a bfloat16 y in a {@code
   *     HalfFloatArray}, which the down projection takes for its x: rows of live pairs are written
   * @throws IllegalArgumentException if an array has the wrong type or is too small, or call and
   *     activation do not fit
   * @throws IllegalStateException without {@link #route}, or after {@link #graphs}
   */
  public void appendActivated(
      EngineGraph to,
      ProjectionCall call,
      Activation activation,
      EngineArrays arrays,
      TornadoNativeArray out) {
    requireRoom(to);
    GateUp gateUp = config.model().gateUp();
    if (call.isDense()
        || call.projection() != Projection.GATE_UP
        || activation.gated() != gateUp.gated()) {
      throw new IllegalArgumentException(
          "%s must be on gate and up of experts that have the activation's gate, got %s of %s"
              .formatted(activation, call, gateUp));
    }
    ProjectionWeights owner = backend.weights(call);
    arrays.requireFit(owner, call, to.maxTokens());
    long pairsOfStep = (long) to.maxTokens() * config.expertsPerToken();
    arrays.requireOut(out, pairsOfStep * config.model().intermediateSize());
    plans.requireRoute(to.index(), false, "an activated call");
    EnginePlans.Source source = plans.source(to.index(), to.maxTokens(), false);
    PairPlan pairs = (PairPlan) source.plan();
    int gates =
        switch (gateUp) {
          case UP_ONLY -> 0;
          case HALVES -> PairMode.GATED;
          case INTERLEAVED -> PairMode.GATED | PairMode.INTERLEAVED;
        };
    int mode = PairMode.withActivation(gates, activation.number());
    if (arrays.isNarrowY() && tiling(to, call, owner.config(), source) instanceof SplitTiling) {
      source.requireChosen();
      ProjectionCall adding =
          ProjectionCall.gateUp(call.layer())
              .withPairRows(call.pairRows())
              .withColumnOffset(call.columnOffset());
      append(to, adding, arrays);
      FinishLaunch.Reads reads = finish(to, source, pairs);
      FinishLaunch.writeSizes(reads, owner.config(), adding, arrays.yWidth(), false);
      FinishLaunch.Activated what = new FinishLaunch.Activated(arrays.y(), out, mode);
      FinishLaunch.appendActivate(target(to), nextName(call) + "Activate", reads, what);
    } else {
      appendPairs(to, owner, source, pairs, new PairCall(call, arrays, 1, mode, out, null));
    }
  }

  /** What a task behind a projection reads of a step. */
  private FinishLaunch.Reads finish(EngineGraph to, EnginePlans.Source source, PairPlan pairs) {
    plans.use(source, to.graph());
    int units = backend.chosenDevice().computeUnits();
    return new FinishLaunch.Reads(
        pairs.step(), pairs.expertIds(), sizes(to), pairs.maxPairs(), units);
  }

  /** Appends a combined call on a 16-bit y: deltas of pairs in float32, and their sums. */
  private void appendSummed(
      EngineGraph to,
      ProjectionCall call,
      ProjectionWeights owner,
      EnginePlans.Source source,
      EngineArrays arrays) {
    PackedWeights handles = (PackedWeights) map(to, owner);
    MoeLoraConfig layer = handles.config();
    PairPlan pairs = (PairPlan) source.plan();
    int columns = layer.model().outputWidth(call.projection());
    FloatArray deltas = memory.deltas();
    memory.needDeltas(to.index(), Math.multiplyExact(pairs.maxPairs(), columns));
    to.graph().transferToDevice(DataTransferMode.UNDER_DEMAND, deltas);
    ProjectionCall plain = call.deltaOnly().withColumnOffset(0);
    EngineArrays toDeltas = new EngineArrays(arrays.x(), deltas, columns);
    if (tiling(to, call, layer, source) instanceof SplitTiling tiling) {
      IntArray sizes = sizes(to);
      SortedPlan sorted = sorted(to, source, layer, tiling);
      memory.needScratch(tiling.zElements(layer, sorted.maxActiveBlocks()));
      NarrowLaunch.writeSizes(sizes, layer, plain, columns, tiling);
      NarrowArrays reads = narrow(sorted.reads(sizes, pairs), toDeltas);
      NarrowLaunch.append(target(to), nextName(call), layer, handles, tiling, reads);
    } else {
      PairCall what = new PairCall(plain, toDeltas, 1, mode(plain), null, null);
      appendPairs(to, owner, source, pairs, what);
    }
    FinishLaunch.Reads last = finish(to, source, pairs);
    FinishLaunch.writeSizes(last, layer, call, arrays.yWidth(), true);
    FinishLaunch.appendCombine(
        target(to),
        nextName(call) + "Combine",
        last,
        new FinishLaunch.Deltas(handles.table().slices(), deltas),
        arrays.y());
  }

  private SortedPlan sorted(
      EngineGraph to, EnginePlans.Source source, MoeLoraConfig layer, Tiling tiling) {
    MoeLoraConfig limits = layer.withMaxTokens(to.maxTokens());
    return plans.sorted(source, target(to), limits, tiling.rows());
  }

  private NarrowArrays narrow(DevicePlan plan, EngineArrays arrays) {
    return new NarrowArrays(plan, (HalfFloatArray) arrays.x(), memory.scratch(), arrays.y());
  }

  private void requireRoom(EngineGraph to) {
    memory.requireNoGraphs();
    if (to.maxTokens() > config.maxTokens()) {
      throw new IllegalArgumentException(
          "maxTokens must be at most %d as in the config, got %d"
              .formatted(config.maxTokens(), to.maxTokens()));
    }
  }

  private ProjectionWeights map(EngineGraph to, ProjectionWeights owner) {
    ProjectionWeights handles = owner.handles();
    to.graph()
        .transferToDevice(DataTransferMode.UNDER_DEMAND, handles.resident())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, memory.scratch());
    memory.map(to.index(), owner, handles);
    return handles;
  }

  private static IntArray sizes(EngineGraph to) {
    IntArray sizes = new IntArray(Sizes.COUNT);
    to.graph().transferToDevice(DataTransferMode.FIRST_EXECUTION, sizes);
    return sizes;
  }

  /** The pools and the table of a projection alone. */
  private ProjectionWeights mapWide(EngineGraph to, ProjectionWeights owner) {
    ProjectionWeights handles = owner.handles();
    to.graph()
        .transferToDevice(DataTransferMode.UNDER_DEMAND, handles.pools())
        .transferToDevice(DataTransferMode.UNDER_DEMAND, handles.table().floats());
    memory.mapWide(to.index(), owner, handles);
    return handles;
  }

  /** Arrays for what calls on pairs do without, the same for all of a graph; nobody reads them. */
  private List<FloatArray> spare(EngineGraph to, int count) {
    List<FloatArray> spare = spares.computeIfAbsent(to.index(), any -> new ArrayList<>());
    while (spare.size() < count) {
      FloatArray another = new FloatArray(1);
      to.graph().transferToDevice(DataTransferMode.UNDER_DEMAND, another);
      spare.add(another);
    }
    return spare;
  }

  private Target target(EngineGraph to) {
    return new Target(to.graph(), to.graph().getTaskGraphName(), grids);
  }

  private static String kind(ProjectionCall call) {
    if (call.isDense()) {
      return "Dense";
    }
    return call.projection() == Projection.GATE_UP ? "GateUp" : "Down";
  }

  /** A name for the next task. */
  private String nextName(ProjectionCall call) {
    return "lora" + appended++ + kind(call);
  }

  /** What a call reads beside its weights. */
  private record Reads(EnginePlans.Source source, IntArray sizes, EngineArrays arrays) {}

  /**
   * A call on pairs.
   *
   * @param pairsPerItem K to combine the pairs of a token, else 1
   * @param mode but for the errors
   * @param out what an activation writes
   * @param shared what a shared expert adds
   */
  private record PairCall(
      ProjectionCall call,
      EngineArrays arrays,
      int pairsPerItem,
      int mode,
      @Nullable TornadoNativeArray out,
      @Nullable FloatArray shared) {}

  private static int mode(ProjectionCall call) {
    return (call.add() ? PairMode.ADD : 0) | (call.routedWeight() ? PairMode.ROUTED_WEIGHT : 0);
  }

  private void appendPairs(
      EngineGraph to,
      ProjectionWeights owner,
      EnginePlans.Source source,
      PairPlan pairs,
      PairCall what) {
    EnginePlans.Choice choice = source.takeChoice();
    MoeLoraConfig layer = owner.config();
    PairLaunch.Call numbers =
        new PairLaunch.Call(
            pairs.maxPairs(),
            what.pairsPerItem(),
            SliceTable.maxStack(layer),
            layer.model().outputWidth(what.call().projection()),
            what.mode()
                | (choice == null ? 0 : choice.mode())
                | (plans.takeErrors(source, choice != null) ? PairMode.COUNT_ERRORS : 0)
                | (what.arrays().isNarrowX() ? PairMode.NARROW_X : 0)
                | (what.arrays().isNarrowY() ? PairMode.NARROW_Y : 0));
    boolean wide = PairLaunch.isWide(numbers, plans.hasHostIds());
    FloatArray side = choice == null ? what.shared() : choice.logits();
    IntArray sizes = wide ? new IntArray(Sizes.COUNT) : sizes(to);
    Sizes.write(sizes, layer, what.call(), what.arrays().yWidth());
    PairLaunch.writeSizes(sizes, numbers, backend.chosenDevice().computeUnits());
    PairLaunch.Arrays arrays =
        new PairLaunch.Arrays(
            pairs.step(),
            pairs.expertIds(),
            pairs.routingWeights(),
            sizes,
            what.arrays().x(),
            what.arrays().y(),
            what.out(),
            side,
            spare(to, !wide ? PairLaunch.MOST_SPARE : side == null ? 1 : 0));
    String task = nextName(what.call());
    if (wide) {
      plans.useWords(source, to.graph());
      PairLaunch.appendWide(target(to), task, mapWide(to, owner), numbers, arrays);
    } else {
      plans.use(source, to.graph());
      PairLaunch.append(target(to), task, map(to, owner), numbers, arrays);
    }
  }

  private void appendLoops(
      EngineGraph to, ProjectionCall call, ProjectionWeights handles, Reads reads, HostPlan host) {
    plans.use(host, to.graph(), to.index());
    MoeLoraConfig layer = handles.config();
    int zStride = SliceTable.maxStack(layer);
    memory.needScratch(Math.multiplyExact(host.rows(), zStride));
    Sizes.write(reads.sizes(), layer, call, reads.arrays().yWidth());
    LoopLaunch.append(
        to.graph(),
        nextName(call),
        handles,
        new LoopLaunch.Bounds(host.rows(), zStride, layer.model().outputWidth(call.projection())),
        new LoopLaunch.Arrays(
            host.handles().withSizes(reads.sizes()),
            (FloatArray) reads.arrays().x(),
            memory.scratch(),
            (FloatArray) reads.arrays().y()));
  }

  private void appendNarrow(
      EngineGraph to, ProjectionCall call, PackedWeights handles, Reads reads) {
    String name = nextName(call);
    MoeLoraConfig layer = handles.config();
    EngineArrays arrays = reads.arrays();
    Tiling tiling = tiling(to, call, layer, reads.source());
    PlanSource source = reads.source().plan();
    DevicePlan plan;
    int blocks;
    if (source instanceof PairPlan pairs) {
      SortedPlan sorted = sorted(to, reads.source(), layer, tiling);
      plan = sorted.reads(reads.sizes(), pairs);
      blocks = sorted.maxActiveBlocks();
    } else {
      HostPlan host = (HostPlan) source;
      plans.use(host, to.graph(), to.index());
      plan = host.handles().withSizes(reads.sizes());
      blocks = host.maxActiveBlocks();
    }
    memory.needScratch(tiling.zElements(layer, blocks));
    NarrowLaunch.writeSizes(reads.sizes(), layer, call, arrays.yWidth(), tiling);
    if (!call.add()) {
      int columns = layer.model().outputWidth(call.projection());
      appendZero(to, name + "Zero", plan, arrays.y(), source.maxPairs(), columns);
    }
    NarrowLaunch.append(target(to), name, layer, handles, tiling, narrow(plan, arrays));
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
   * The graphs that hold weights, plans and scratch memory; called once, after the last task was
   * appended. The engine puts them into its execution plan, in this order and next to each other.
   * It never runs them itself.
   *
   * @throws IllegalStateException if there are no tasks, or at a second call
   */
  public List<ImmutableTaskGraph> graphs() {
    return memory.graphs(plans.graphs());
  }

  /**
   * Enters the worker grids of all tasks into the scheduler of the engine's plan; called after the
   * last task was appended and before the plan runs, also after the graphs' snapshots.
   */
  public void addGrids(GridScheduler scheduler) {
    grids.keySet().forEach(task -> scheduler.addWorkerGrid(task, grids.get(task)));
  }

  /**
   * Reserves the device memory and maps it into the engine's graphs; called once, before any of
   * them runs.
   *
   * @param enginePlan the plan that holds the engine's graphs and {@link #graphs}
   * @param first position of the first of {@link #graphs} in the plan
   * @throws IllegalStateException before {@link #graphs}, at a second call, or if the device has
   *     too little memory for plans and scratch memory
   */
  public void attach(TornadoExecutionPlan enginePlan, int first) {
    memory.attach(enginePlan, first, backend::reserve);
  }

  /**
   * Begins a step, and ends the one before: brings loaded and unloaded adapters to the device, then
   * the step's tokens. Slots that the step names are brought there whole, others by a few pieces a
   * step, so that a load ahead of its first token holds no step up for long. It may come between
   * any two graphs of the engine. Graphs of ours run only if something changed. A slot that was
   * unloaded or disabled gives no delta; nothing is refused for that.
   *
   * @param tokens {@code T}, in {@code [0, maxTokens]}; graphs for fewer tokens do nothing
   * @param adapterIds in, {@code [T]}, slots in {@code [-1, L)}; -1 is no adapter; none after
   *     {@link #useAdapterIds}
   * @return as {@link #takeErrors}, but it looks at every 64th step only, and is 0 at the others
   * @throws IllegalArgumentException naming the first argument outside its range
   * @throws IllegalStateException before {@link #attach}, or after the instance was closed
   */
  public int begin(int tokens, int... adapterIds) {
    memory.requireAttached();
    plans.requireStep(tokens, adapterIds);
    changes.apply(
        backend.weights(),
        new EngineChanges.Named(slot -> plans.mayName(slot, tokens, adapterIds), Long.MAX_VALUE));
    for (int slot = 0; slot < active.length; slot++) {
      active[slot] = lora.isActive(slot);
    }
    plans.write(tokens, adapterIds, active);
    return report(plans.errorsOfStep());
  }

  /**
   * Begins a step that is routed on the host. It runs with the adapters of its plan: a slot that it
   * names and that changed since keeps, for this step, what it held then.
   *
   * @param step planned, of the same instance
   * @return as {@link #begin(int, int...)}
   * @throws IllegalArgumentException if the step is of another instance, or has more tokens than
   *     any graph takes
   * @throws IllegalStateException before {@link #attach}, without a plan, or after the instance was
   *     closed
   */
  public int begin(Step step) {
    memory.requireAttached();
    if (!(step.backendStep() instanceof TornadoStep tornadoStep)
        || tornadoStep.backend() != backend) {
      throw new IllegalArgumentException("step must be of the instance that the tasks are of");
    }
    step.requirePlanned();
    Routing experts = step.routing();
    Routing tokens = config.model().dense().isEmpty() ? experts : step.denseRouting();
    plans.requireFits(experts, tokens);
    changes.apply(
        backend.weights(),
        new EngineChanges.Named(
            slot -> experts.namesSlot(slot) || tokens.namesSlot(slot), tornadoStep.slotVersion()));
    plans.write(experts, tokens);
    return report(plans.errorsOfStep());
  }

  /**
   * Brings from the device how many pairs had an id out of range. It waits for what the plan has
   * under way, which {@link #begin} does at every 64th step only; an engine that must know sooner
   * asks here, and once more before it closes its plan.
   *
   * @return pairs with an expert or adapter out of range that the device has met since the last
   *     look, each once for each layer that routed it; they got no delta, and a warning is logged
   * @throws IllegalStateException before {@link #attach}, or after the instance was closed
   */
  public int takeErrors() {
    memory.requireAttached();
    return report(plans.newErrors());
  }

  private int report(int errors) {
    if (errors > 0) {
      LOG.warn(
          "{} pairs had an expert not in [-1, {}) or a slot not in [-1, {}) and got no delta: see"
              + " what the router and adapterIds hold on the device",
          errors,
          config.model().experts(),
          config.slots());
    }
    return errors;
  }
}
