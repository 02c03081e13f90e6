package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.Activation;
import io.github.moelora.tornado.EngineArrays;
import io.github.moelora.tornado.EngineGraph;
import io.github.moelora.tornado.EngineRouting;
import io.github.moelora.tornado.EngineTasks;
import io.github.moelora.tornado.tune.CapturedTimer;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.RandomAdapters;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoExecutionResult;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * The LoRA part of a whole layer as an engine has it: plan on the device, gate/up, down, in one
 * captured graph per batch size, all through {@link EngineTasks}. Its parts come from graphs that
 * repeat only some of it.
 */
final class BenchLayer implements AutoCloseable {
  /** Every repeat is compiled on its own; a layer of many tokens takes long enough for fewer. */
  private static final int REPEATS = 5;

  private static final int REPEATS_OF_MANY = 3;
  private static final int MANY_TOKENS = 512;

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
  private final DType type;
  private final long seed;
  private final Graphs graphs;
  private final MoeLoraConfig config;
  private final MoeLora lora;
  private final EngineTasks tasks;
  private final Arena arena = Arena.ofShared();
  private final LayerCheck check;
  private final HalfFloatArray x;
  private final HalfFloatArray active;
  private final TornadoNativeArray gateUp;
  private final TornadoNativeArray down;
  private final IntArray expertIds;
  private final FloatArray routingWeights;
  private final IntArray flag = new IntArray(16);
  private final TornadoExecutionPlan plan;

  /**
   * @param shape one whose model counts; both of its projections are measured
   */
  BenchLayer(BenchShape shape, int rank, DType type, long seed, Graphs graphs) {
    this.shape = shape;
    this.type = type;
    this.seed = seed;
    this.graphs = graphs;
    int most = graphs.most();
    Workload.Sizes sizes = shape.sizes(most, rank, type);
    config = sizes.config();
    MoeModel model = config.model();
    lora = MoeLora.open(config, "tornado");
    tasks = EngineTasks.of(lora);
    x = new HalfFloatArray(most * model.hiddenSize());
    active = new HalfFloatArray(config.maxPairs() * model.intermediateSize());
    gateUp = words(config.maxPairs(), model.outputWidth(Projection.GATE_UP));
    down = words(graphs.variants() ? most : config.maxPairs(), model.hiddenSize());
    expertIds = new IntArray(config.maxPairs());
    expertIds.init(0);
    routingWeights = new FloatArray(config.maxPairs());
    routingWeights.init(0);
    flag.init(0);
    plan = makePlan();
    SplittableRandom random = new SplittableRandom(seed);
    Matrix pool = Bits.random(arena, random, type, 1, POOL);
    fill(x, pool);
    fill(active, pool);
    RandomAdapters randomAdapters = new RandomAdapters(arena, random, sizes);
    List<LoraAdapter> adapters = new ArrayList<>();
    for (int slot = 0; slot < shape.adapters(); slot++) {
      adapters.add(
          randomAdapters.next("adapter" + slot, List.of(Projection.GATE_UP, Projection.DOWN)));
      lora.load(slot, adapters.get(slot));
    }
    check = new LayerCheck(config, type, adapters, seed);
  }

  private TornadoNativeArray words(int rows, int width) {
    return PackedWeights.words(type, Math.multiplyExact(rows, width));
  }

  private void fill(HalfFloatArray array, Matrix pool) {
    long bytes = (long) array.getSize() * type.bytes();
    for (long at = 0; at < bytes; at += pool.data().byteSize()) {
      long count = Math.min(bytes - at, pool.data().byteSize());
      MemorySegment.copy(pool.data(), 0, array.getSegment(), at, count);
    }
  }

  private TornadoExecutionPlan makePlan() {
    Object[] all = {x, active, gateUp, down, expertIds, routingWeights, flag};
    GridScheduler grids = new GridScheduler();
    List<ImmutableTaskGraph> list = new ArrayList<>();
    list.add(
        new TaskGraph("load")
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, all)
            .task("touch", BenchCopy::touch, flag)
            .persistOnDevice(all)
            .snapshot());
    for (int count : graphs.maxTokens()) {
      for (int kind = 0; kind < graphs.each(); kind++) {
        TaskGraph graph = new TaskGraph("t%d_%d".formatted(count, kind));
        graph.consumeFromDevice("load", all);
        append(new EngineGraph(graph, list.size(), count), kind);
        graph.persistOnDevice(all);
        graph.transferToHost(DataTransferMode.UNDER_DEMAND, gateUp, down);
        if (graphs.variants()) {
          graph.transferToHost(DataTransferMode.UNDER_DEMAND, active);
        }
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

  private static int repeats(int tokens) {
    return tokens <= MANY_TOKENS ? REPEATS : REPEATS_OF_MANY;
  }

  private void append(EngineGraph to, int kind) {
    EngineRouting routing = new EngineRouting(expertIds, routingWeights);
    int repeats = kind == 0 ? 1 : repeats(to.maxTokens());
    for (int i = 0; i < repeats; i++) {
      if (i == 0 || kind == 1) {
        tasks.route(to, routing);
      }
      appendGateUp(to);
      if (i == 0 || kind < GRAPHS_WITH_PARTS - 1) {
        appendDown(to);
      }
    }
  }

  private void appendGateUp(EngineGraph to) {
    ProjectionCall call = ProjectionCall.gateUp(0);
    EngineArrays arrays =
        new EngineArrays(x, gateUp, config.model().outputWidth(Projection.GATE_UP));
    if (graphs.variants()) {
      tasks.appendActivated(to, call, Activation.SWIGLU, arrays, active);
    } else {
      tasks.append(to, call, arrays);
    }
  }

  private void appendDown(EngineGraph to) {
    EngineArrays arrays = new EngineArrays(active, down, config.model().hiddenSize());
    if (graphs.variants()) {
      tasks.appendCombined(to, ProjectionCall.down(0), arrays);
    } else {
      tasks.append(to, ProjectionCall.down(0), arrays);
    }
  }

  /**
   * Times a batch, after a check of its result.
   *
   * @param tokens at most what a graph takes
   */
  LayerReport.Time measure(int tokens) {
    int at = graphs.position(tokens);
    // the graph before them transfers the arrays
    int first = 1 + at * graphs.each();
    Batch batch = shape.batch(tokens, seed + tokens);
    for (int p = 0; p < batch.pairs(); p++) {
      expertIds.set(p, batch.expertIds()[p]);
      routingWeights.set(p, batch.routingWeights()[p]);
    }
    gateUp.getSegment().fill((byte) 0);
    down.getSegment().fill((byte) 0);
    tasks.begin(batch.tokens(), batch.adapterIds());
    plan.withGraph(0).execute();
    TornadoExecutionResult result = plan.withGraph(first).execute();
    result.transferToHost(gateUp, down);
    if (graphs.variants()) {
      result.transferToHost(active);
    }
    double error = check.worst(batch, arrays());
    int[] timed = IntStream.range(first, first + graphs.each()).toArray();
    double[] nanos = new CapturedTimer(plan, BenchKernels.WARM_UP_NANOS).medians(timed);
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

  private LayerCheck.Arrays arrays() {
    return new LayerCheck.Arrays(x, gateUp, active, down, graphs.variants());
  }

  @Override
  public void close() {
    lora.close();
    // the graphs share these buffers, which only the first of them may free
    plan.withGraph(0).freeDeviceMemory();
    arena.close();
  }
}
