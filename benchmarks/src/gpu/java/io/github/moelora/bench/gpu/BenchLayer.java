package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.Activation;
import io.github.moelora.tornado.EngineArrays;
import io.github.moelora.tornado.EngineGraph;
import io.github.moelora.tornado.EngineTasks;
import io.github.moelora.tornado.tune.CapturedTimer;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.RandomAdapters;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;

/**
 * The LoRA part of a whole layer as an engine has it: plan on the device, gate/up, down, in one
 * captured graph per batch size, all through {@link EngineTasks}. Its parts come from graphs that
 * repeat only some of it.
 */
final class BenchLayer implements AutoCloseable {
  /** Every repeat is compiled on its own; a layer of many tokens takes long enough for fewer. */
  private static final int REPEATS = 5;

  private static final int REPEATS_OF_MANY = 3;
  private static final int FEW_TOKENS = 16;

  /** Graphs of a batch size: one layer, and layers. */
  private static final int GRAPHS = 2;

  /** The same, and for parts: products of one plan, gate/up of one plan. */
  private static final int GRAPHS_WITH_PARTS = 4;

  /** Random numbers that x and the activations are windows of. */
  private static final int POOL = 1 << 22;

  /**
   * The captured graphs.
   *
   * @param maxTokens most tokens of each, ascending
   * @param parts whether a layer's parts are timed, too, which costs as many compilations again
   * @param variants whether gate/up comes with the activation, and down is combined
   */
  record Graphs(List<Integer> maxTokens, boolean parts, boolean variants) {
    Graphs(List<Integer> maxTokens, boolean parts, boolean variants) {
      this.maxTokens = maxTokens.stream().distinct().sorted().toList();
      this.parts = parts;
      this.variants = variants;
    }

    int most() {
      return maxTokens.getLast();
    }

    private int each() {
      return parts ? GRAPHS_WITH_PARTS : GRAPHS;
    }

    /** Position of the first that takes so many tokens. */
    int position(int tokens) {
      for (int i = 0; i < maxTokens.size(); i++) {
        if (tokens <= maxTokens.get(i)) {
          return i;
        }
      }
      throw new IllegalArgumentException(
          "tokens must be at most %d, got %d".formatted(most(), tokens));
    }
  }

  private final BenchShape shape;
  private final long seed;
  private final Graphs graphs;
  private final MoeLoraConfig config;
  private final MoeLora lora;
  private final EngineTasks tasks;
  private final Arena arena = Arena.ofShared();
  private final LayerCheck check;

  /** By position of the size. */
  private final List<LayerArrays> arrays = new ArrayList<>();

  private final TornadoExecutionPlan plan;
  private final WarmUp warmUp = new WarmUp();

  /**
   * @param shape one whose model counts; both of its projections are measured
   */
  BenchLayer(BenchShape shape, int rank, DType type, long seed, Graphs graphs) {
    this.shape = shape;
    this.seed = seed;
    this.graphs = graphs;
    int most = graphs.most();
    Workload.Sizes sizes = shape.sizes(most, rank, type);
    config = sizes.config();
    lora = MoeLora.open(config, "tornado");
    tasks = EngineTasks.of(lora);
    SplittableRandom random = new SplittableRandom(seed);
    Matrix pool = Bits.random(arena, random, type, 1, POOL);
    for (int count : graphs.maxTokens()) {
      arrays.add(LayerArrays.of(config, count, pool, graphs.variants()));
    }
    plan = makePlan();
    RandomAdapters randomAdapters = new RandomAdapters(arena, random, sizes);
    List<LoraAdapter> adapters = new ArrayList<>();
    for (int slot = 0; slot < shape.adapters(); slot++) {
      adapters.add(
          randomAdapters.next("adapter" + slot, List.of(Projection.GATE_UP, Projection.DOWN)));
      lora.load(slot, adapters.get(slot));
    }
    check = new LayerCheck(config, type, adapters, seed);
    compile();
  }

  /** Runs every graph without tokens, so that nothing is compiled between what is timed. */
  private void compile() {
    tasks.begin(0);
    for (int size = 0; size < arrays.size(); size++) {
      for (int graph = load(size); graph < load(size + 1); graph++) {
        plan.withGraph(graph).execute();
      }
    }
  }

  /** For each size a graph that brings its arrays, and those that compute. */
  private TornadoExecutionPlan makePlan() {
    GridScheduler grids = new GridScheduler();
    List<ImmutableTaskGraph> list = new ArrayList<>();
    for (int size = 0; size < arrays.size(); size++) {
      LayerArrays of = arrays.get(size);
      int count = graphs.maxTokens().get(size);
      list.add(of.load("load" + count).snapshot());
      for (int kind = 0; kind < graphs.each(); kind++) {
        TaskGraph graph = new TaskGraph("t%d_%d".formatted(count, kind));
        graph.consumeFromDevice("load" + count, of.all());
        append(new EngineGraph(graph, list.size(), count), kind, of);
        graph.persistOnDevice(of.all());
        graph.transferToHost(DataTransferMode.UNDER_DEMAND, of.results());
        list.add(graph.snapshot());
      }
    }
    int own = list.size();
    list.addAll(tasks.graphs());
    TornadoExecutionPlan made = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
    tasks.addGrids(grids);
    made.withGridScheduler(grids);
    made.withCUDAGraph();
    tasks.attach(made, own);
    return made;
  }

  /** Position of the graph that brings the arrays of a size. */
  private int load(int size) {
    return size * (1 + graphs.each());
  }

  private static int repeats(int tokens) {
    return tokens <= FEW_TOKENS ? REPEATS : REPEATS_OF_MANY;
  }

  private void append(EngineGraph to, int kind, LayerArrays of) {
    int repeats = kind == 0 ? 1 : repeats(to.maxTokens());
    for (int i = 0; i < repeats; i++) {
      if (i == 0 || kind == 1) {
        tasks.route(to, of.routing());
      }
      appendGateUp(to, of);
      if (i == 0 || kind < GRAPHS_WITH_PARTS - 1) {
        appendDown(to, of);
      }
    }
  }

  private void appendGateUp(EngineGraph to, LayerArrays of) {
    ProjectionCall call = ProjectionCall.gateUp(0);
    int width = config.model().outputWidth(Projection.GATE_UP);
    EngineArrays with = new EngineArrays(of.x(), of.gateUp(), width);
    if (of.variants()) {
      tasks.appendActivated(to, call, Activation.SWIGLU, with, of.active());
    } else {
      tasks.append(to, call, with);
    }
  }

  private void appendDown(EngineGraph to, LayerArrays of) {
    EngineArrays with = new EngineArrays(of.active(), of.down(), config.model().hiddenSize());
    if (of.variants()) {
      tasks.appendCombined(to, ProjectionCall.down(0), with);
    } else {
      tasks.append(to, ProjectionCall.down(0), with);
    }
  }

  /**
   * Times a batch, after a check of its result.
   *
   * @param tokens at most what a graph takes
   */
  LayerReport.Time measure(int tokens) {
    int at = graphs.position(tokens);
    LayerArrays of = arrays.get(at);
    int first = load(at) + 1;
    Batch batch = shape.batch(tokens, seed + tokens);
    of.write(batch);
    tasks.begin(batch.tokens(), batch.adapterIds());
    plan.withGraph(load(at)).execute();
    plan.withGraph(first).execute().transferToHost(of.results());
    double error = check.worst(batch, of);
    int[] timed = IntStream.range(first, first + graphs.each()).toArray();
    double[] nanos = new CapturedTimer(plan, warmUp.nanos()).medians(timed);
    double each = 1e3 * (repeats(graphs.maxTokens().get(at)) - 1);
    double layer = (nanos[1] - nanos[0]) / each;
    LayerReport.Parts parts = null;
    if (graphs.parts()) {
      double products = (nanos[2] - nanos[0]) / each;
      double up = (nanos[3] - nanos[0]) / each;
      parts = new LayerReport.Parts(layer - products, up, products - up);
    }
    return new LayerReport.Time(layer, nanos[0] / 1e3, parts, error);
  }

  @Override
  public void close() {
    lora.close();
    // the graphs of a size share these buffers, which only the first of them may free
    for (int size = 0; size < arrays.size(); size++) {
      plan.withGraph(load(size)).freeDeviceMemory();
    }
    arena.close();
  }
}
