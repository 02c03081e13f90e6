package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.launch.LoopLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.tune.CapturedTimer;
import io.github.moelora.tornado.weights.ProjectionWeights;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Check;
import io.github.moelora.workload.RandomAdapters;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoExecutionResult;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.enums.ProfilerMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The portable kernels of one shape and rank on any backend: weights of a 16-bit type, widened to
 * float32 as the backend widens them, x and y of float32, all on the device. Every batch size has
 * graphs of its own, bounded by its rows, as an engine's graphs are.
 */
final class BenchLoops implements BenchSubject {
  private static final int MOST_RUNS = 72;
  private static final int LEAST_RUNS = 3;

  /** Slow kernels are run less often, so that a time takes no longer than that by much. */
  private static final long MOST_NANOS = 500_000_000;

  private final BenchShape shape;
  private final Workload.Sizes sizes;
  private final long seed;
  private final TornadoBackend backend;
  private final ProjectionWeights weights;
  private final Arena arena = Arena.ofShared();
  private final DevicePlan routing;
  private final FloatArray x;
  private final FloatArray z;
  private final FloatArray y;
  private final IntArray flag = new IntArray(16);
  private final BenchOperands operands;

  /** Position of the graph of so many tokens. */
  private final Map<Integer, Integer> graphs = new HashMap<>();

  private final TornadoExecutionPlan plan;

  /**
   * @param type that the adapters' numbers are of
   * @param tokens of all batches to come
   */
  BenchLoops(BenchShape shape, int rank, DType type, List<Integer> tokens, long seed) {
    this.shape = shape;
    this.seed = seed;
    int maxTokens = Collections.max(tokens);
    sizes = shape.sizes(maxTokens, rank, DType.F32);
    MoeLoraConfig config = sizes.config();
    backend = new TornadoBackend(config, ChosenDevice.first(), null);
    weights = backend.weights(0, shape.projection());
    SplittableRandom random = new SplittableRandom(seed);
    RandomAdapters randomAdapters =
        new RandomAdapters(arena, random, shape.sizes(maxTokens, rank, type));
    List<LoraAdapter> adapters = new ArrayList<>();
    for (int slot = 0; slot < shape.adapters(); slot++) {
      adapters.add(randomAdapters.next("adapter" + slot, List.of(shape.projection())));
    }
    int pairs = config.maxPairs();
    int rows = 1;
    for (int count : tokens) {
      rows = Math.max(rows, rows(batch(count)));
    }
    routing = DevicePlan.of(rows, pairs, pairs);
    x = new FloatArray(shape.inputRows(maxTokens) * shape.inputWidth());
    z = new FloatArray(Math.multiplyExact(rows, SliceTable.maxStack(config)));
    y = new FloatArray(Math.multiplyExact(pairs, shape.outputWidth()));
    flag.init(0);
    Matrix pool = BenchOperands.pool(arena, random, DType.F32);
    operands = new BenchOperands(shape, pool, adapters, x.getSegment(), y.getSegment());
    plan = makePlan(config, tokens);
    BenchGraphs.upload(plan, weights, adapters);
  }

  /** Rows that graphs for batches like this one compute. */
  private int rows(Batch batch) {
    MoeLoraConfig config = sizes.config().withMaxTokens(batch.tokens());
    return PlanFormat.sortedCapacity(config, chosenBlockSize(batch));
  }

  /** Enters the graphs, whose kernels TornadoVM's profiler times. */
  private TornadoExecutionPlan makePlan(MoeLoraConfig config, List<Integer> tokens) {
    List<Object> resident = BenchGraphs.resident(weights, routing, x, y, z, flag);
    List<ImmutableTaskGraph> list = BenchGraphs.first(weights, routing, flag, x, y, z, flag);
    GridScheduler scheduler = new GridScheduler();
    for (int count : tokens) {
      graphs.put(count, list.size());
      list.add(graph(config, count, resident, scheduler).snapshot());
    }
    TornadoExecutionPlan made = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
    if (DeviceTraits.isGpu(ChosenDevice.first().device())) {
      made.withGridScheduler(scheduler);
    }
    return made.withProfiler(ProfilerMode.SILENT);
  }

  private TaskGraph graph(
      MoeLoraConfig config, int tokens, List<Object> resident, GridScheduler scheduler) {
    String name = "tokens" + tokens;
    TaskGraph graph = new TaskGraph(name).consumeFromDevice("load", resident.toArray());
    LoopLaunch.Bounds bounds =
        new LoopLaunch.Bounds(
            rows(batch(tokens)), SliceTable.maxStack(config), shape.outputWidth());
    LoopLaunch.Arrays arrays = new LoopLaunch.Arrays(routing, x, z, y);
    Target target = new Target(graph, name, scheduler);
    LoopLaunch.append(target, "t", weights, bounds, arrays);
    return graph
        .persistOnDevice(resident.toArray())
        .transferToHost(DataTransferMode.UNDER_DEMAND, y);
  }

  @Override
  public BenchShape shape() {
    return shape;
  }

  @Override
  public Workload.Sizes sizes() {
    return sizes;
  }

  @Override
  public Batch batch(int tokens) {
    return shape.batch(tokens, seed + tokens);
  }

  @Override
  public int chosenBlockSize(Batch batch) {
    return backend.blockSize(batch.pairs(), batch.distinctExperts());
  }

  @Override
  public List<Result> measure(Batch batch) {
    Integer graph = graphs.get(batch.tokens());
    if (graph == null) {
      throw new IllegalArgumentException("no graph for %d tokens".formatted(batch.tokens()));
    }
    int blockSize = chosenBlockSize(batch);
    operands.fillX(batch);
    List<BenchOperands.Sample> samples = operands.samples(batch);
    BenchBlocks.write(batch, shape.preset().model().experts(), routing, blockSize);
    Sizes.write(
        routing.sizes(),
        shape.sizes(batch.tokens(), sizes.rank(), DType.F32).config(),
        shape.call(),
        shape.outputWidth());
    operands.fillY(batch);
    plan.withGraph(BenchGraphs.LOAD).execute();
    plan.withGraph(graph).execute().transferToHost(y);
    Check check = new Check();
    samples.forEach(sample -> sample.check(check));
    return List.of(new Result(blockSize, time(graph), check.worst()));
  }

  /**
   * Time of shrink and expand by the backend's own events, so that what the host spends between two
   * launches is not in it. Runs add to y again and again, which float32 has room for.
   */
  private CapturedTimer.Time time(int graph) {
    long end = System.nanoTime() + WarmUp.NANOS;
    long call;
    do {
      long start = System.nanoTime();
      plan.withGraph(graph).execute();
      call = System.nanoTime() - start;
    } while (System.nanoTime() < end);
    int runs = Math.clamp(MOST_NANOS / call, LEAST_RUNS, MOST_RUNS);
    double[] nanos = new double[runs];
    double[] callNanos = new double[runs];
    for (int i = 0; i < runs; i++) {
      long start = System.nanoTime();
      TornadoExecutionResult result = plan.withGraph(graph).execute();
      callNanos[i] = System.nanoTime() - start;
      nanos[i] = result.getProfilerResult().getDeviceKernelTime();
    }
    Arrays.sort(nanos);
    Arrays.sort(callNanos);
    return new CapturedTimer.Time(nanos[runs / 2], callNanos[runs / 2]);
  }

  @Override
  public void close() {
    // of the graph that names most arrays; freeing one in a second graph is an error
    plan.withGraph(BenchGraphs.LOAD).freeDeviceMemory();
    backend.close();
    arena.close();
  }
}
