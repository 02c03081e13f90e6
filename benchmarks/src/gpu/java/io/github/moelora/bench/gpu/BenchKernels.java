package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.reference.Reference;
import io.github.moelora.spi.PlanFormat;
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
import io.github.moelora.tornado.weights.ProjectionWeights;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.Check;
import io.github.moelora.workload.RandomAdapters;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
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
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * The narrow kernels of one shape, rank and type with everything on the device: weights, routing,
 * x, y. A graph uploads a slot, one loads a batch, and captured graphs compute it once or many
 * times.
 */
final class BenchKernels implements AutoCloseable {
  /** Random numbers that x is windows of. */
  private static final int POOL = 1 << 23;

  private static final int SAMPLES = 6;

  /** Content of y before a run repeats after this many elements. */
  private static final int Y_PERIOD = 13;

  /** Every repeat is compiled on its own. */
  private static final int REPEATS = 9;

  private static final int PAIR_BLOCK_TOKENS = 8;
  private static final int TWO_ROWS_TOKENS = 64;
  private static final int LARGE_BLOCK_TOKENS = 1024;

  static final long WARM_UP_NANOS = 60_000_000;

  private static final int UPLOAD = 0;
  private static final int LOAD = 1;

  /** A captured graph. */
  private record Key(Tiling tiling, int repeats) {}

  /**
   * Time of one block size.
   *
   * @param blockSize rows of a block
   * @param time of shrink and expand
   * @param worstError largest error of a checked element, as a share of what it may be
   */
  record Result(int blockSize, CapturedTimer.Time time, double worstError) {}

  private final BenchShape shape;
  private final Workload.Sizes sizes;
  private final DType type;
  private final long seed;
  private final TornadoBackend backend;
  private final PackedWeights weights;
  private final Arena arena = Arena.ofShared();
  private final Matrix pool;
  private final List<LoraAdapter> adapters = new ArrayList<>();
  private final List<Tiling> tilings;
  private final DevicePlan routing;
  private final HalfFloatArray x;
  private final FloatArray z;
  private final TornadoNativeArray y;
  private final IntArray flag = new IntArray(16);
  private final Map<Key, Integer> graphs = new HashMap<>();
  private final TornadoExecutionPlan plan;

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
    pool = Bits.random(arena, random, type, 1, POOL);
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
    plan = makePlan(config);
    for (int slot = 0; slot < adapters.size(); slot++) {
      ProjectionWeights.Packed packed = weights.pack(adapters.get(slot));
      packed.stage(slot);
      do {
        plan.withGraph(UPLOAD).execute();
      } while (packed.stageNext());
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
    List<Object> resident = new ArrayList<>(List.of(weights.resident()));
    resident.addAll(List.of(routing.all()));
    resident.addAll(List.of(x, y, z, flag));
    GridScheduler scheduler = new GridScheduler();
    List<ImmutableTaskGraph> list = new ArrayList<>();
    list.add(weights.uploadGraph().snapshot());
    list.add(
        new TaskGraph("load")
            .consumeFromDevice(weights.uploadName(), weights.resident())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.all())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, x, y, z, flag)
            .task("touch", BenchCopy::touch, flag)
            .persistOnDevice(resident.toArray())
            .snapshot());
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
    if (fewest <= PAIR_BLOCK_TOKENS) {
      list.add(OneShotTiling.pairs());
    }
    if (fewest <= TWO_ROWS_TOKENS) {
      list.add(OneShotTiling.twoRows());
    }
    List<SplitTiling> split = SplitTiling.all(config, shape.projection());
    boolean many = Collections.max(tokens) >= LARGE_BLOCK_TOKENS;
    list.addAll(many ? split : split.subList(0, 1));
    return list;
  }

  private List<Key> keys() {
    List<Key> keys = new ArrayList<>();
    for (Tiling tiling : tilings) {
      keys.add(new Key(tiling, 1));
      keys.add(new Key(tiling, REPEATS));
    }
    return keys;
  }

  BenchShape shape() {
    return shape;
  }

  Workload.Sizes sizes() {
    return sizes;
  }

  Batch batch(int tokens) {
    return shape.batch(tokens, seed + tokens);
  }

  /** Rows of a block that the backend takes for a batch. */
  int chosenBlockSize(Batch batch) {
    return backend.blockSize(batch.pairs(), batch.distinctExperts());
  }

  /** Times every block size that suits a batch, each after a check of its result. */
  List<Result> measure(Batch batch) {
    fillX(batch);
    List<Sample> samples = samples(batch);
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
      fillY(batch);
      plan.withGraph(LOAD).execute();
      int one = graph(tiling, 1);
      TornadoExecutionResult result = plan.withGraph(one).execute();
      result.transferToHost(y);
      Check check = new Check();
      samples.forEach(sample -> sample.check(check));
      // a sum over all repeats may overflow, and must not start from what the last one left
      fillY(batch);
      plan.withGraph(LOAD).execute();
      CapturedTimer.Time time =
          new CapturedTimer(plan, WARM_UP_NANOS).measure(one, graph(tiling, REPEATS), REPEATS);
      results.add(new Result(blockSize, time, check.worst()));
    }
    return results;
  }

  private List<Tiling> tilings(Batch batch) {
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

  private void fillX(Batch batch) {
    long bytes = (long) shape.inputRows(batch.tokens()) * shape.inputWidth() * type.bytes();
    MemorySegment to = x.getSegment();
    long at = 0;
    while (at < bytes) {
      long count = Math.min(bytes - at, pool.data().byteSize());
      MemorySegment.copy(pool.data(), 0, to, at, count);
      at += count;
    }
  }

  private void fillY(Batch batch) {
    long bytes = (long) batch.pairs() * shape.outputWidth() * type.bytes();
    MemorySegment to = y.getSegment();
    for (int i = 0; i < Y_PERIOD; i++) {
      type.set(to, i, before(i));
    }
    long filled = (long) Y_PERIOD * type.bytes();
    while (filled < bytes) {
      long count = Math.min(filled, bytes - filled);
      MemorySegment.copy(to, 0, to, filled, count);
      filled += count;
    }
  }

  /** Element of y before a run; exact in every type. */
  private static float before(long index) {
    return index % Y_PERIOD * 0.25f;
  }

  /** What some rows of y, spread over the batch, must hold. */
  private List<Sample> samples(Batch batch) {
    int count = Math.min(batch.tokens(), SAMPLES);
    List<Sample> samples = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int token = count == 1 ? 0 : (int) ((long) i * (batch.tokens() - 1) / (count - 1));
      samples.add(sample(batch, token));
    }
    return samples;
  }

  private Sample sample(Batch batch, int token) {
    int perToken = shape.preset().expertsPerToken();
    int width = shape.outputWidth();
    int first = token * perToken;
    int xRows = shape.inputRows(1);
    Matrix inputs =
        new Matrix(
            x.getSegment(),
            type,
            xRows,
            shape.inputWidth(),
            (long) token * xRows * shape.inputWidth(),
            shape.inputWidth(),
            1);
    Matrix outputs =
        Matrix.of(MemorySegment.ofArray(new short[perToken * width]), type, perToken, width);
    for (int p = 0; p < perToken; p++) {
      for (int c = 0; c < width; c++) {
        outputs.set(p, c, before((long) (first + p) * width + c));
      }
    }
    return new Sample(
        first,
        Reference.compute(
            new Reference.Inputs(
                shape.preset().model(),
                shape.call(),
                new ArrayList<>(adapters),
                Arrays.copyOfRange(batch.expertIds(), first, first + perToken),
                Arrays.copyOfRange(batch.routingWeights(), first, first + perToken),
                new int[] {batch.adapterIds()[token]},
                inputs,
                outputs)));
  }

  /** Expected rows of y from {@code firstPair} on. */
  private final class Sample {
    private final int firstPair;
    private final Reference.Result expected;

    Sample(int firstPair, Reference.Result expected) {
      this.firstPair = firstPair;
      this.expected = expected;
    }

    /** Compares the rows of y with them. */
    void check(Check check) {
      int width = shape.outputWidth();
      Matrix rows =
          new Matrix(
              y.getSegment(),
              type,
              expected.values().length,
              width,
              (long) firstPair * width,
              width,
              1);
      check.compare(expected, rows);
    }
  }

  @Override
  public void close() {
    // of the graph that names most arrays; freeing one in a second graph is an error
    plan.withGraph(LOAD).freeDeviceMemory();
    backend.close();
    arena.close();
  }
}
