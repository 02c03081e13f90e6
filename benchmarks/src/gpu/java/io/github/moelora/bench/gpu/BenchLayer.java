package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
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

  private static final int SAMPLES = 24;

  /** Random numbers that x and the activations are windows of. */
  private static final int POOL = 1 << 22;

  /**
   * The captured graphs.
   *
   * @param maxTokens most tokens of each, ascending
   * @param parts whether a layer's parts are timed, too, which costs as many compilations again
   */
  record Graphs(List<Integer> maxTokens, boolean parts) {
    Graphs(List<Integer> maxTokens, boolean parts) {
      this.maxTokens = maxTokens.stream().distinct().sorted().toList();
      this.parts = parts;
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
  private final List<LoraAdapter> adapters = new ArrayList<>();
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
    down = words(config.maxPairs(), model.hiddenSize());
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
    for (int slot = 0; slot < shape.adapters(); slot++) {
      adapters.add(
          randomAdapters.next("adapter" + slot, List.of(Projection.GATE_UP, Projection.DOWN)));
      lora.load(slot, adapters.get(slot));
    }
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
      int width = config.model().outputWidth(Projection.GATE_UP);
      tasks.append(to, ProjectionCall.gateUp(0), new EngineArrays(x, gateUp, width));
      if (i == 0 || kind < GRAPHS_WITH_PARTS - 1) {
        int hidden = config.model().hiddenSize();
        tasks.append(to, ProjectionCall.down(0), new EngineArrays(active, down, hidden));
      }
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
    plan.withGraph(first).execute().transferToHost(gateUp, down);
    double error = Math.max(error(batch, Projection.GATE_UP), error(batch, Projection.DOWN));
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
    // one rounding of the result, and of the terms' sums in float32 far less
    double most = type == DType.BF16 ? 1.0 / 128 : 1.0 / 512;
    return new LayerReport.Time(layer, nanos[0] / 1e3, parts, error / most);
  }

  /** Largest error of some elements, as a share of the sum of their terms' sizes. */
  private double error(Batch batch, Projection projection) {
    boolean first = projection == Projection.GATE_UP;
    int width = config.model().outputWidth(projection);
    int inputWidth = config.model().inputWidth(projection);
    int perToken = config.expertsPerToken();
    HalfFloatArray input = first ? x : active;
    Matrix in = Matrix.of(input.getSegment(), type, input.getSize() / inputWidth, inputWidth);
    MemorySegment output = (first ? gateUp : down).getSegment();
    Matrix out = Matrix.of(output, type, batch.pairs(), width);
    SplittableRandom random = new SplittableRandom(seed);
    double worst = 0;
    for (int i = 0; i < SAMPLES; i++) {
      int pair = random.nextInt(batch.pairs());
      int column = random.nextInt(width);
      int row = first ? pair / perToken : pair;
      double factor = first ? 1 : batch.routingWeights()[pair];
      LoraAdapter adapter = adapters.get(batch.adapterIds()[pair / perToken]);
      double sum = 0;
      double magnitude = 0;
      for (LoraSlice slice : adapter.slices(0, projection, batch.expertIds()[pair])) {
        int inSlice = column - slice.firstColumn();
        for (int r = 0; inSlice >= 0 && inSlice < slice.columns() && r < slice.rank(); r++) {
          double z = 0;
          for (int h = 0; h < inputWidth; h++) {
            z += (double) slice.a().get(r, h) * in.get(row, h);
          }
          double term = factor * slice.scale() * slice.b().get(inSlice, r) * z;
          sum += term;
          magnitude += Math.abs(term);
        }
      }
      double difference = Math.abs(out.get(pair, column) - sum);
      worst = Double.isNaN(difference) ? Double.MAX_VALUE : Math.max(worst, difference / magnitude);
    }
    return worst;
  }

  @Override
  public void close() {
    lora.close();
    // the graphs share these buffers, which only the first of them may free
    plan.withGraph(0).freeDeviceMemory();
    arena.close();
  }
}
