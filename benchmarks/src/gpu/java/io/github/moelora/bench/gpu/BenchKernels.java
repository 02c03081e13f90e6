package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.launch.NarrowArrays;
import io.github.moelora.tornado.launch.NarrowLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.tune.CapturedTimer;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Check;
import io.github.moelora.workload.RandomAdapters;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.util.ArrayList;
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
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * The narrow kernels of one shape, rank and type with everything on the device: weights, routing,
 * x, y. A graph uploads a slot, one loads a batch, and captured graphs compute it once or many
 * times.
 */
final class BenchKernels implements BenchSubject {
  /** Every repeat is compiled on its own; kernels for many tokens take long enough for fewer. */
  private static final int REPEATS = 9;

  private static final int REPEATS_OF_MANY = 4;

  private static final int PAIR_BLOCK_TOKENS = 8;
  private static final int TWO_ROWS_TOKENS = 64;
  private static final int LARGE_BLOCK_TOKENS = 1024;

  /** A captured graph. */
  private record Key(Tiling tiling, int repeats) {}

  private final BenchShape shape;
  private final Workload.Sizes sizes;
  private final DType type;
  private final long seed;
  private final TornadoBackend backend;
  private final PackedWeights weights;
  private final Arena arena = Arena.ofShared();
  private final List<LoraAdapter> adapters = new ArrayList<>();
  private final List<Tiling> tilings;
  private final DevicePlan routing;
  private final HalfFloatArray x;
  private final FloatArray z;
  private final TornadoNativeArray y;
  private final IntArray flag = new IntArray(16);
  private final BenchOperands operands;
  private final Map<Key, Integer> graphs = new HashMap<>();
  private final TornadoExecutionPlan plan;
  private final WarmUp warmUp = new WarmUp();

  /**
   * @param tokens of all batches to come
   */
  BenchKernels(BenchShape shape, int rank, DType type, List<Integer> tokens, long seed) {
    this.shape = shape;
    this.type = type;
    this.seed = seed;
    int maxTokens = Collections.max(tokens);
    sizes = shape.sizes(maxTokens, rank, type);
    MoeLoraConfig config = sizes.config();
    backend = new TornadoBackend(config, ChosenDevice.first(), null);
    weights = (PackedWeights) backend.weights(0, shape.projection());
    SplittableRandom random = new SplittableRandom(seed);
    Matrix pool = BenchOperands.pool(arena, random, type);
    RandomAdapters randomAdapters = new RandomAdapters(arena, random, sizes);
    for (int slot = 0; slot < shape.adapters(); slot++) {
      adapters.add(randomAdapters.next("adapter" + slot, List.of(shape.projection())));
    }
    tilings = tilings(config, shape, tokens);
    int pairs = config.maxPairs();
    routing =
        DevicePlan.of(PlanFormat.sortedCapacity(config, tilings.getLast().rows()), pairs, pairs);
    x = new HalfFloatArray(shape.inputRows(maxTokens) * shape.inputWidth());
    z = new FloatArray(zElements(config));
    y = PackedWeights.words(type, Math.multiplyExact(pairs, shape.outputWidth()));
    flag.init(0);
    operands =
        new BenchOperands(shape, pool, List.copyOf(adapters), x.getSegment(), y.getSegment());
    plan = makePlan(config);
    BenchGraphs.upload(plan, weights, adapters);
    compile();
  }

  /**
   * Runs every graph on a plan without pairs, so that nothing is compiled between what is timed.
   */
  private void compile() {
    routing.counts().init(0);
    for (Tiling tiling : tilings) {
      NarrowLaunch.writeSizes(
          routing.sizes(), sizes.config(), shape.call(), shape.outputWidth(), tiling);
      plan.withGraph(BenchGraphs.LOAD).execute();
      plan.withGraph(graph(tiling, 1)).execute();
      plan.withGraph(graph(tiling, repeats(tiling))).execute();
    }
  }

  private int zElements(MoeLoraConfig config) {
    int groups = shape.adapters() * shape.preset().model().experts();
    int pairBlocks = Math.min(config.maxTokens(), PAIR_BLOCK_TOKENS) * config.expertsPerToken();
    int most = 1;
    for (Tiling tiling : tilings) {
      int blocks = Math.max(pairBlocks, blocks(config.maxPairs(), tiling, groups));
      most = Math.max(most, tiling.zElements(config, blocks));
    }
    return most;
  }

  /** Enters the graphs and captures those of kernels. */
  private TornadoExecutionPlan makePlan(MoeLoraConfig config) {
    List<Object> resident = BenchGraphs.resident(weights, routing, x, y, z, flag);
    GridScheduler scheduler = new GridScheduler();
    List<ImmutableTaskGraph> list = BenchGraphs.first(weights, routing, flag, x, y, z, flag);
    for (Key key : keys()) {
      String name = "rows%d_%d".formatted(key.tiling().rows(), key.repeats);
      TaskGraph graph = new TaskGraph(name).consumeFromDevice("load", resident.toArray());
      Target target = new Target(graph, name, scheduler);
      NarrowArrays arrays = new NarrowArrays(routing, x, z, y);
      for (int i = 0; i < key.repeats(); i++) {
        NarrowLaunch.append(target, "t" + i, config, weights, key.tiling(), arrays);
      }
      graph.persistOnDevice(resident.toArray());
      graph.transferToHost(DataTransferMode.UNDER_DEMAND, y);
      graphs.put(key, list.size());
      list.add(graph.snapshot());
    }
    TornadoExecutionPlan made = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
    made.withGridScheduler(scheduler);
    made.withCUDAGraph();
    return made;
  }

  /** Blocks that pairs can make: each group may end in one partly filled block. */
  private static int blocks(int pairs, Tiling tiling, int groups) {
    return pairs / tiling.rows() + Math.min(pairs, groups);
  }

  /** The narrow kernels that suit one of the batches, by the rows of a block. */
  private static List<Tiling> tilings(
      MoeLoraConfig config, BenchShape shape, List<Integer> tokens) {
    List<Tiling> list = new ArrayList<>();
    int fewest = Collections.min(tokens);
    boolean oneShotOnly = !BlockChoice.hasSplit(config);
    if (fewest <= PAIR_BLOCK_TOKENS || oneShotOnly) {
      list.add(OneShotTiling.pairs());
    }
    if (fewest <= TWO_ROWS_TOKENS || oneShotOnly) {
      list.add(OneShotTiling.twoRows());
    }
    if (!oneShotOnly) {
      List<SplitTiling> split = SplitTiling.all(config, shape.projection());
      boolean many = Collections.max(tokens) >= LARGE_BLOCK_TOKENS;
      list.addAll(many ? split : split.subList(0, 1));
    }
    return list;
  }

  private List<Key> keys() {
    List<Key> keys = new ArrayList<>();
    for (Tiling tiling : tilings) {
      keys.add(new Key(tiling, 1));
      keys.add(new Key(tiling, repeats(tiling)));
    }
    return keys;
  }

  private static int repeats(Tiling tiling) {
    return tiling.rows() > BlockChoice.SMALL_BLOCK ? REPEATS_OF_MANY : REPEATS;
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
    operands.fillX(batch);
    List<BenchOperands.Sample> samples = operands.samples(batch);
    List<Result> results = new ArrayList<>();
    for (Tiling tiling : tilings(batch)) {
      int blockSize = tiling.rows();
      BenchBlocks.write(batch, shape.preset().model().experts(), routing, blockSize);
      NarrowLaunch.writeSizes(
          routing.sizes(),
          shape.sizes(batch.tokens(), sizes.rank(), type).config(),
          shape.call(),
          shape.outputWidth(),
          tiling);
      operands.fillY(batch);
      plan.withGraph(BenchGraphs.LOAD).execute();
      int one = graph(tiling, 1);
      TornadoExecutionResult result = plan.withGraph(one).execute();
      result.transferToHost(y);
      Check check = new Check();
      samples.forEach(sample -> sample.check(check));
      // what the repeats add up to does not matter: it takes as long
      int repeats = repeats(tiling);
      CapturedTimer.Time time =
          new CapturedTimer(plan, warmUp.nanos()).measure(one, graph(tiling, repeats), repeats);
      results.add(new Result(blockSize, time, check.worst()));
    }
    return results;
  }

  private List<Tiling> tilings(Batch batch) {
    // more ranks than shrink and expand take
    if (tilings.getLast() instanceof OneShotTiling) {
      return batch.tokens() <= PAIR_BLOCK_TOKENS ? tilings : List.of(tilings.getLast());
    }
    return tilings.stream()
        .filter(
            tiling ->
                tiling.rows() == 1
                    ? batch.tokens() <= PAIR_BLOCK_TOKENS
                    : tiling instanceof OneShotTiling
                        ? batch.tokens() <= TWO_ROWS_TOKENS
                        : tiling.rows() <= 16 || batch.tokens() >= LARGE_BLOCK_TOKENS)
        .toList();
  }

  private int graph(Tiling tiling, int repeats) {
    Integer index = graphs.get(new Key(tiling, repeats));
    if (index == null) {
      throw new IllegalStateException("no graph of %d repeats of %s".formatted(repeats, tiling));
    }
    return index;
  }

  @Override
  public void close() {
    // of the graph that names most arrays; freeing one in a second graph is an error
    plan.withGraph(BenchGraphs.LOAD).freeDeviceMemory();
    backend.close();
    arena.close();
  }
}
