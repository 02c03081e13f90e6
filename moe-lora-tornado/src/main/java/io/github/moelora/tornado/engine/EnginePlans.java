package io.github.moelora.tornado.engine;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Routing;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.plan.HostPlan;
import io.github.moelora.tornado.plan.PairPlan;
import io.github.moelora.tornado.plan.PlanSource;
import io.github.moelora.tornado.plan.SortedPlan;
import io.github.moelora.tornado.plan.StepInput;
import io.github.moelora.tornado.step.TornadoBackend;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Which plan each graph of an engine reads, and how a step gets to them. Used by the thread that
 * runs the engine's plan.
 */
public final class EnginePlans {

  /**
   * Logits of a router.
   *
   * @param logits float32 {@code [T, E]}, or {@code [T, E + 1]}
   * @param mode what {@link PairMode} says of the choice
   */
  public record Choice(FloatArray logits, int mode) {}

  /** What the calls of one graph read, until its next layer is routed. */
  public static final class Source {
    private final PlanSource plan;
    private final int graph;
    private final @Nullable StepInput input;
    private @Nullable Choice choice;
    private @Nullable SortedPlan sorted;
    private boolean errorsTaken;

    private Source(PlanSource plan, int graph, @Nullable StepInput input, @Nullable Choice choice) {
      this.plan = plan;
      this.graph = graph;
      this.input = input;
      this.choice = choice;
    }

    /** Pairs that are routed on the device, or a plan from the host. */
    public PlanSource plan() {
      return plan;
    }

    /** Whether the next task counts ids out of range: the first of a layer does. */
    boolean takeErrors() {
      boolean take = !errorsTaken;
      errorsTaken = true;
      return take;
    }

    /** Whether the next task must make a choice. */
    public boolean awaitsChoice() {
      return choice != null;
    }

    /** The choice that the next task must make, if any: the first of a layer does. */
    public @Nullable Choice takeChoice() {
      Choice take = choice;
      choice = null;
      return take;
    }

    /**
     * Refuses a call that cannot make the choice.
     *
     * @throws IllegalStateException if it is still to be made
     */
    public void requireChosen() {
      if (choice != null) {
        throw new IllegalStateException(
            "the first call after route with logits must be append or appendActivated, sort no"
                + " pairs and apply no routing weights");
      }
    }
  }

  /** Steps from one look at the errors to the next: each look waits for the device. */
  private static final int STEPS_UNREAD = 64;

  private final MoeLoraConfig config;
  private final TornadoBackend backend;
  private final EngineMemory memory;
  private final StepInput step;
  private final @Nullable StepInput denseStep;

  /** By position of the graph. */
  private final Map<Integer, Source> routes = new HashMap<>();

  private final Map<Integer, Source> denseSources = new HashMap<>();

  /** By the most tokens that they take. */
  private final NavigableMap<Integer, HostPlan> hostPlans = new TreeMap<>();

  /** Positions of graphs of the engine that transfer steps. */
  private final Set<Integer> transfers = new HashSet<>();

  private final Map<String, SortedPlan> sortedPlans = new TreeMap<>();
  private boolean idsOnDevice;
  private boolean routed;
  private int errors;
  private int stepsUnread;

  /**
   * @param memory maps what the engine's graphs read
   */
  public EnginePlans(MoeLoraConfig config, TornadoBackend backend, EngineMemory memory) {
    this.config = config;
    this.backend = backend;
    this.memory = memory;
    step = new StepInput("lora_step", config, false);
    boolean hasDense = !config.model().dense().isEmpty();
    // a step is of no width, so any module will do
    denseStep =
        hasDense
            ? new StepInput(
                "lora_dense_step", config.ofDense(config.model().dense().getFirst()), true)
            : null;
  }

  /**
   * Takes adapter ids from an array of the engine on the device.
   *
   * @throws IllegalStateException if a graph was routed or has tasks
   */
  public void useAdapterIds(IntArray ids) {
    if (routed || !transfers.isEmpty() || !hostPlans.isEmpty() || !denseSources.isEmpty()) {
      throw new IllegalStateException("useAdapterIds must come before any task");
    }
    step.useAdapterIds(ids);
    if (denseStep != null) {
      denseStep.useAdapterIds(ids);
    }
    idsOnDevice = true;
  }

  /**
   * Lets a graph of the engine transfer steps.
   *
   * @throws IllegalStateException if the graph was routed or has tasks
   */
  public void transferWith(TaskGraph graph, int index) {
    if (routes.containsKey(index) || denseSources.containsKey(index)) {
      throw new IllegalStateException(
          "transferStep must come before tasks of its graph, got index " + index);
    }
    for (StepInput each : inputs()) {
      graph.transferToDevice(DataTransferMode.EVERY_EXECUTION, each.transferred());
      memory.map(index, each.transferred(), each.transferred(), each.name());
    }
    transfers.add(index);
  }

  private List<StepInput> inputs() {
    return denseStep == null ? List.of(step) : List.of(step, denseStep);
  }

  /**
   * Names the router's arrays for the calls of a graph that come next.
   *
   * @param choice what the first of them makes of its logits; null if the router does
   */
  public void route(
      int graph,
      int maxTokens,
      IntArray expertIds,
      FloatArray routingWeights,
      @Nullable Choice choice) {
    int pairs = maxTokens * config.expertsPerToken();
    routed = true;
    routes.put(
        graph,
        new Source(
            new PairPlan(step.handles(transfers.contains(graph)), expertIds, routingWeights, pairs),
            graph,
            step,
            choice));
  }

  /**
   * Refuses a call that only pairs can serve.
   *
   * @throws IllegalStateException if the graph has none
   */
  public void requireRoute(int graph, boolean dense, String call) {
    if (!routes.containsKey(graph) && !(dense && denseStep != null)) {
      throw new IllegalStateException("route must come before " + call);
    }
  }

  /** What a call reads. */
  public Source source(int graph, int maxTokens, boolean dense) {
    if (dense && denseStep != null) {
      StepInput input = denseStep;
      return denseSources.computeIfAbsent(
          graph,
          index ->
              new Source(
                  input.onlyExpert(maxTokens, transfers.contains(index)), index, input, null));
    }
    Source route = routes.get(graph);
    if (route != null) {
      return route;
    }
    HostPlan host =
        hostPlans.computeIfAbsent(
            maxTokens,
            most -> new HostPlan("lora_plan_", config, most, backend.largeEngineBlock()));
    return new Source(host, graph, null, null);
  }

  /**
   * Whether the next task counts ids out of range: the first of a layer does, if there can be any.
   * Ids of the host are checked in {@link #requireStep}, and a choice of our own is in range.
   *
   * @param chosen whether the task makes the choice
   */
  public boolean takeErrors(Source source, boolean chosen) {
    boolean ofEngine = !chosen && source.input != denseStep;
    return source.takeErrors() && (idsOnDevice || ofEngine);
  }

  /** Whether the tokens' adapters come from the host, with the other words of a step. */
  public boolean hasHostIds() {
    return !idsOnDevice;
  }

  /** Lets tasks read pairs of which they need the words of the step alone. */
  public void useWords(Source source, TaskGraph graph) {
    StepInput input = source.input;
    if (input == null || input == denseStep) {
      use(source, graph);
    } else if (!transfers.contains(source.graph)) {
      Object[] handle = {input.wordsHandle()};
      if (memory.map(source.graph, handle, new Object[] {input.words()}, input.name())) {
        graph.transferToDevice(DataTransferMode.UNDER_DEMAND, handle);
      }
    }
  }

  /** Lets tasks read pairs. */
  public void use(Source source, TaskGraph graph) {
    StepInput input = source.input;
    if (input != null) {
      boolean transferring = transfers.contains(source.graph);
      Object[] handles = input.allHandles(transferring);
      graph.transferToDevice(DataTransferMode.UNDER_DEMAND, handles);
      memory.map(source.graph, handles, input.allArrays(transferring), input.name());
    }
    if (input == denseStep && source.plan instanceof PairPlan pairs) {
      // no task reads them, but named, closing the plan unpins their host memory
      graph.transferToDevice(DataTransferMode.UNDER_DEMAND, pairs.routingWeights());
    }
  }

  /** Lets tasks read a plan from the host. */
  public void use(HostPlan host, TaskGraph graph, int index) {
    graph.transferToDevice(DataTransferMode.UNDER_DEMAND, host.handles().plan());
    memory.map(index, host.handles().plan(), host.transferred(), host.name());
  }

  /**
   * The block list of a layer; its tasks are appended at the first call.
   *
   * @param limits configuration of the layer, with the graph's most tokens
   */
  public SortedPlan sorted(Source source, Target target, MoeLoraConfig limits, int blockSize) {
    source.requireChosen();
    SortedPlan plan = source.sorted;
    if (plan == null) {
      String kind = source.input == denseStep ? "dense_" : "";
      String name = "lora_%ssorted_%d_%d".formatted(kind, limits.maxTokens(), blockSize);
      plan = sortedPlans.computeIfAbsent(name, each -> new SortedPlan(each, limits, blockSize));
      use(source, target.graph());
      target.graph().transferToDevice(DataTransferMode.UNDER_DEMAND, plan.handles());
      memory.map(source.graph, plan.handles(), plan.arrays(), plan.name());
      String task = "lora%d".formatted(memory.nextPlan());
      plan.append(target, task, (PairPlan) source.plan, source.takeErrors());
      source.sorted = plan;
    }
    return plan;
  }

  /** Our graphs for steps and plans. */
  public List<TaskGraph> graphs() {
    List<TaskGraph> graphs = new ArrayList<>();
    for (StepInput each : inputs()) {
      graphs.add(each.graph());
      memory.keep(each.allArrays(false));
    }
    sortedPlans.values().forEach(each -> graphs.add(each.graph()));
    hostPlans.values().forEach(each -> graphs.add(each.graph()));
    return graphs;
  }

  /**
   * Refuses a step that is none.
   *
   * @throws IllegalArgumentException naming the first argument outside its range
   */
  public void requireStep(int tokens, int[] adapterIds) {
    if (tokens < 0 || tokens > config.maxTokens()) {
      throw new IllegalArgumentException(
          "tokens must be in [0, %d], got %d".formatted(config.maxTokens(), tokens));
    }
    if (adapterIds.length < tokens && !idsOnDevice) {
      throw new IllegalArgumentException(
          "adapterIds must hold %d elements, got %d".formatted(tokens, adapterIds.length));
    }
    for (int t = 0; t < Math.min(tokens, adapterIds.length); t++) {
      if (adapterIds[t] < -1 || adapterIds[t] >= config.slots()) {
        throw new IllegalArgumentException(
            "adapterIds[%d] must be in [-1, %d), got %d"
                .formatted(t, config.slots(), adapterIds[t]));
      }
    }
  }

  /** Whether a step may name a slot: the host does not know which, where the device has the ids. */
  public boolean mayName(int slot, int tokens, int[] adapterIds) {
    boolean names = idsOnDevice;
    for (int t = 0; t < Math.min(tokens, adapterIds.length); t++) {
      names |= adapterIds[t] == slot;
    }
    return names;
  }

  /** Brings a step to the graphs that route on the device; those of the host's plans do nothing. */
  public void write(int tokens, int[] adapterIds, boolean[] active) {
    for (StepInput each : inputs()) {
      if (each.write(tokens, adapterIds, active) && transfers.isEmpty()) {
        memory.run(each.name());
      }
    }
    for (HostPlan each : hostPlans.values()) {
      if (each.clear()) {
        memory.run(each.name());
      }
    }
  }

  /**
   * Refuses plans that no graph takes.
   *
   * @throws IllegalArgumentException if there are more tokens than the largest graph takes
   */
  public void requireFits(Routing experts, Routing tokens) {
    int most = Math.max(experts.tokens(), tokens.tokens());
    if (!hostPlans.isEmpty() && most > hostPlans.lastKey()) {
      throw new IllegalArgumentException(
          "the step must have at most %d tokens, as the largest graph, got %d"
              .formatted(hostPlans.lastKey(), most));
    }
  }

  /**
   * Brings plans of the host to the device.
   *
   * @param experts of routed experts
   * @param tokens a plan that names the adapter of every token which has work
   */
  public void write(Routing experts, Routing tokens) {
    int[] adapterIds = new int[tokens.tokens()];
    Arrays.fill(adapterIds, PlanFormat.NO_WORK);
    int perToken = tokens.tokens() == 0 ? 1 : tokens.pairs() / tokens.tokens();
    for (int block = 0; block < tokens.activeBlocks(); block++) {
      for (int i = 0; i < tokens.blockSize(); i++) {
        int pair = tokens.sortedTokenId(block * tokens.blockSize() + i);
        if (pair < tokens.pairs()) {
          adapterIds[pair / perToken] = tokens.blockAdapter(block);
        }
      }
    }
    // the plan names only slots that took part when it was made
    boolean[] all = new boolean[config.slots()];
    Arrays.fill(all, true);
    for (StepInput each : inputs()) {
      if (each.write(tokens.tokens(), adapterIds, all) && transfers.isEmpty()) {
        memory.run(each.name());
      }
    }
    for (HostPlan each : hostPlans.values()) {
      each.write(experts);
      memory.run(each.name());
    }
  }

  /** Pairs with ids out of range, if it is time to look; 0 at most steps. */
  public int errorsOfStep() {
    stepsUnread++;
    return stepsUnread < STEPS_UNREAD ? 0 : newErrors();
  }

  /** Pairs with ids out of range since the last look. */
  public int newErrors() {
    stepsUnread = 0;
    if (!routed && !idsOnDevice) {
      return 0;
    }
    int total = 0;
    for (StepInput each : inputs()) {
      memory.read(each.name(), each.errors());
      for (int i = 0; i < each.errors().getSize(); i++) {
        total += each.errors().get(i);
      }
    }
    int found = total - errors;
    errors = total;
    return found;
  }
}
