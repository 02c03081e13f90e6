package io.github.moelora.tornado.step;

import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.device.FirstUse;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoProfilerResult;
import uk.ac.manchester.tornado.api.enums.ProfilerMode;

/**
 * The execution plan of one projection of one layer: a graph that stores the table of slots, and
 * graphs that run a chunk of blocks. Each is compiled once, at its first use; what a chunk holds is
 * read from the device.
 *
 * <p>All graphs of a plan hold the pool: TornadoVM hands device buffers from the graph that ran
 * last to the next one, and only from that. Not thread-safe, but for {@link #storePiece}, which has
 * a plan of its own.
 */
public final class ProjectionGraphs implements AutoCloseable {
  /** Rows of the small chunk. */
  public static final int SMALL_CHUNK = 64;

  /**
   * Decode batches fit the small chunk; a large one amortises the launch over 16 MiB of transfers
   * at usual widths.
   */
  private static final int LARGE_CHUNK = 1024;

  /** Most elements of x or y of a large chunk; rows of a head, 100,000 wide, are fewer. */
  private static final int CHUNK_ELEMENTS = 1 << 24;

  private final MoeLoraConfig config;
  private final ProjectionWeights weights;
  private final List<Chunk> chunks;
  private final TornadoExecutionPlan plan;
  private final ImmutableTaskGraph table;
  private final HostPins pins;
  private final PieceUpload pieces;
  private final boolean[] compiled;
  private volatile boolean stored;
  private boolean used;
  private Consumer<TornadoProfilerResult> profile = result -> {};

  /**
   * Takes nothing on the device yet.
   *
   * @param tuning measured choices, null for the built-in ones
   */
  public ProjectionGraphs(
      MoeLoraConfig config,
      ProjectionWeights weights,
      @Nullable Tuning tuning,
      ChosenDevice device) {
    this.config = config;
    this.weights = weights;
    chunks = chunks(config, weights, tuning);
    GridScheduler scheduler = new GridScheduler();
    List<ImmutableTaskGraph> graphs = new ArrayList<>();
    table = weights.tableGraph().snapshot();
    graphs.add(table);
    for (int i = 0; i < chunks.size(); i++) {
      String name = "run_%s_%d".formatted(weights.site().name(), i);
      graphs.add(chunks.get(i).graph(name, scheduler).snapshot());
    }
    plan = new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
    pins = HostPins.of(device.device());
    pieces = new PieceUpload(weights, device, pins);
    compiled = new boolean[graphs.size()];
    device.use(plan);
    if (weights instanceof PackedWeights || DeviceTraits.isGpu(device.device())) {
      plan.withGridScheduler(scheduler);
    }
    if (DeviceTraits.hasGraphCapture(device.device())) {
      for (int i = 0; i < graphs.size(); i++) {
        plan.withGraph(i).withCUDAGraph();
      }
    }
  }

  /** Whether the table has gone to the device, and pieces may come. */
  boolean isStored() {
    return stored;
  }

  /** Whether {@link #storePiece} has been called. */
  boolean isPieceStored() {
    return pieces.isCompiled();
  }

  /** What chunks and stand-ins take on the device once each has been used. */
  DeviceBytes chunkBytes() {
    DeviceBytes sum = pieces.bytes();
    for (Chunk chunk : chunks) {
      sum = sum.plus(chunk.bytes());
    }
    return sum;
  }

  /** From the most to the least wanted. */
  static List<Chunk> chunks(
      MoeLoraConfig config, ProjectionWeights weights, @Nullable Tuning tuning) {
    List<Chunk> list = new ArrayList<>();
    int large = largeChunk(config, weights.projection());
    if (weights instanceof PackedWeights packed) {
      List<Tiling> kernels = BlockChoice.kernels(config, weights.projection(), tuning);
      Tiling pairs = kernels.getFirst();
      Tiling twoRows = kernels.get(1);
      list.add(new NarrowChunk(config, packed, pairs, 1, SMALL_CHUNK));
      list.add(new NarrowChunk(config, packed, twoRows, 1, SMALL_CHUNK));
      list.add(new NarrowChunk(config, packed, twoRows, 1, large));
      List<Tiling> split = kernels.subList(2, kernels.size());
      // smaller blocks would be mostly padding in a kernel for larger ones
      int fewest = twoRows.rows() + 1;
      if (!split.isEmpty()) {
        list.add(new NarrowChunk(config, packed, split.getFirst(), fewest, SMALL_CHUNK));
      }
      for (Tiling tiling : split) {
        list.add(new NarrowChunk(config, packed, tiling, fewest, large));
        fewest = tiling.rows() + 1;
      }
    }
    list.add(new FloatChunk(config, weights, SMALL_CHUNK));
    list.add(new FloatChunk(config, weights, large));
    return list;
  }

  /** Rows of the large chunk, a power of two from {@link #SMALL_CHUNK} on. */
  private static int largeChunk(MoeLoraConfig config, Projection projection) {
    int width =
        Math.max(config.model().inputWidth(projection), config.model().outputWidth(projection));
    int rows = Integer.highestOneBit(Math.max(CHUNK_ELEMENTS / width, 1));
    return Math.clamp(rows, SMALL_CHUNK, LARGE_CHUNK);
  }

  ProjectionWeights weights() {
    return weights;
  }

  /** Brings the table to the device. */
  public void storeTable() {
    execute(0);
    if (!stored) {
      FirstUse.run(() -> pieces.attach(table));
      stored = true;
    }
  }

  /**
   * Puts the staged piece into its place in the pools, once {@link #isStored}. May be called beside
   * runs while nothing moves within the pools, but for the first time.
   */
  public void storePiece() {
    pieces.store();
  }

  private void execute(int graph) {
    if (compiled[graph]) {
      executeCompiled(graph);
    } else {
      used = true;
      FirstUse.run(
          () -> {
            if (graph > 0) {
              // before they are captured
              chunks.get(graph - 1).carriers().forEach(pins::pin);
            }
            executeCompiled(graph);
          });
      compiled[graph] = true;
    }
  }

  private void executeCompiled(int graph) {
    profile.accept(plan.withGraph(graph).execute().getProfilerResult());
  }

  /** Graphs that run a chunk, each compiled at its first use. */
  int runGraphs() {
    return chunks.size();
  }

  /**
   * Turns TornadoVM's profiler on, for tests and measurements.
   *
   * @param each gets what it noted of each execution, before the next one
   */
  void profile(Consumer<TornadoProfilerResult> each) {
    plan.withProfiler(ProfilerMode.SILENT);
    pieces.plan().withProfiler(ProfilerMode.SILENT);
    profile = each;
    pieces.profile(each);
  }

  /** Computes all blocks of a plan, a chunk at a time. */
  public void run(Routing routing, ProjectionCall call, Matrix x, Matrix y) {
    int blocks = call.add() ? routing.activeBlocks() : routing.allBlocks();
    int size = routing.blockSize();
    int at = 0;
    while (at < blocks) {
      int index = choose(chunks, call, x, y, size, (blocks - at) * size);
      Chunk chunk = chunks.get(index);
      int count = Math.min(blocks - at, chunk.rows() / size);
      chunk.writeSizes(call);
      chunk.writeRouting(routing, at, count);
      int localExperts = config.expertMap().localExperts();
      for (int row = 0; row < count * size; row++) {
        int pair = routing.sortedTokenId(at * size + row);
        if (pair < routing.pairs()) {
          int xRow = call.pairRows() ? pair : pair / config.expertsPerToken();
          chunk.gather(row, call, x, xRow, y, pair);
        }
      }
      execute(1 + index);
      for (int row = 0; row < count * size; row++) {
        int pair = routing.sortedTokenId(at * size + row);
        if (pair < routing.pairs()) {
          int block = at + row / size;
          int slot = routing.blockAdapter(block);
          int site = slot < 0 ? -1 : slot * localExperts + routing.blockExpert(block);
          chunk.scatter(row, call, y, pair, site);
        }
      }
      at += count;
    }
  }

  /** The first chunk that takes the call and holds all rows, else the last that takes it. */
  static int choose(
      List<Chunk> chunks, ProjectionCall call, Matrix x, Matrix y, int blockSize, int rows) {
    int last = -1;
    for (int i = 0; i < chunks.size(); i++) {
      Chunk chunk = chunks.get(i);
      boolean sameKind = last < 0 || chunk.getClass() == chunks.get(last).getClass();
      if (sameKind && chunk.rows() >= blockSize && chunk.accepts(call, x, y, blockSize)) {
        last = i;
        if (chunk.rows() >= rows) {
          break;
        }
      }
    }
    return last;
  }

  @Override
  public void close() {
    // TornadoVM marks mapped memory as free twice, between which nobody may be given it
    FirstUse.run(
        () -> {
          pieces.close();
          // without a run there is no memory, and TornadoVM fails to free it
          if (used) {
            // of the selected graphs alone, and the last one to run is selected
            plan.withAllGraphs().freeDeviceMemory();
          }
          pins.close();
        });
  }
}
