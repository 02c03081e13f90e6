package io.github.moelora.tornado.kernels;

import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.testkit.Operands;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.emulator.KernelLoader;
import io.github.moelora.tornado.emulator.Launch;
import io.github.moelora.tornado.emulator.RecordedGraph;
import io.github.moelora.tornado.launch.NarrowArrays;
import io.github.moelora.tornado.launch.NarrowLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.weights.PackedWeights;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.IntStream;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * One projection of a random batch, ready for the emulated device: weights packed and tasks built
 * as in production, but a plan of its own, and the result that the reference expects.
 */
final class EmulatedProjection implements EmulatedRun {
  /** What no kernel may take for an index or an id. */
  private static final int UNUSED = -77_777_777;

  /** A NaN in float16 and bfloat16 that no arithmetic makes. */
  private static final short FRESH = 0x7fed;

  private final MoeLoraConfig config;
  private final ProjectionCall call;
  private final Operands operands;
  private final boolean exact;
  private final int yWidth;
  private final byte[] before;
  private final FloatArray z;
  private final TornadoNativeArray y;
  private final List<Launch> launches;
  private final Intermediate intermediate;
  private final List<State> states = new ArrayList<>();

  /**
   * @param problem routed, all types of 16 bits
   * @param call with an even column offset
   * @param blockSize rows of a block, at most those of {@code tiling}
   */
  EmulatedProjection(
      Problem problem, MoeLoraConfig config, ProjectionCall call, Tiling tiling, int blockSize) {
    this.config = config;
    this.call = call;
    PackedWeights weights = SlotWeights.packed(problem, config, call);
    operands = problem.operands(call);
    // in whole words: all of the operand and a column more, or so little that a read beyond fails
    exact = call.columnOffset() == 0;
    yWidth =
        exact
            ? config.model().outputWidth(call.projection())
            : (operands.y().columns() + 4) / 4 * 4;
    before = before(problem.pairs());
    Matrix x = operands.x();

    DevicePlan routing = plan(problem, config, call, blockSize);
    intermediate = new Intermediate(config, call, problem, weights, routing, tiling);
    NarrowLaunch.writeSizes(routing.sizes(), config, call, yWidth, tiling);
    HalfFloatArray deviceX = new HalfFloatArray(x.rows() * x.columns());
    deviceX.getSegment().copyFrom(x.data());
    z = new FloatArray(tiling.zElements(config, routing.counts().get(PlanFormat.ACTIVE_BLOCKS)));
    y = PackedWeights.words(config.weightType(), before.length / Short.BYTES);
    RecordedGraph graph = new RecordedGraph("emulated");
    GridScheduler scheduler = new GridScheduler();
    NarrowLaunch.append(
        new Target(graph, "emulated", scheduler),
        "",
        config,
        weights,
        tiling,
        new NarrowArrays(routing, deviceX, z, y));
    launches = graph.launches(scheduler);
  }

  /** Blocks of pairs with the same adapter and expert, and one block without work behind them. */
  static DevicePlan plan(
      Problem problem, MoeLoraConfig config, ProjectionCall call, int blockSize) {
    SortedMap<Integer, int[]> groups = new TreeMap<>();
    int pairs = problem.expertIds().length;
    int perToken = config.expertsPerToken();
    int localExperts = config.expertMap().localExperts();
    for (int p = 0; p < pairs; p++) {
      int slot = problem.adapterIds()[p / perToken];
      int expert = problem.expertIds()[p];
      int local = expert < 0 ? -1 : config.expertMap().local(expert);
      if (slot >= 0 && problem.adapters().get(slot) != null && local >= 0) {
        groups.merge(
            slot * localExperts + local,
            new int[] {p},
            (a, b) -> IntStream.concat(Arrays.stream(a), Arrays.stream(b)).toArray());
      }
    }
    int blocks =
        groups.values().stream().mapToInt(list -> (list.length + blockSize - 1) / blockSize).sum();
    DevicePlan routing = DevicePlan.of((blocks + 1) * blockSize, blocks + 1, Math.max(1, pairs));
    routing.sortedTokenIds().init(UNUSED);
    routing.blockExperts().init(-1);
    routing.blockAdapters().init(-1);
    int block = 0;
    for (var group : groups.entrySet()) {
      int[] list = group.getValue();
      for (int first = 0; first < list.length; first += blockSize, block++) {
        routing.blockAdapters().set(block, group.getKey() / localExperts);
        routing.blockExperts().set(block, group.getKey() % localExperts);
        for (int row = 0; row < blockSize; row++) {
          int pair = first + row < list.length ? list[first + row] : pairs;
          routing.sortedTokenIds().set(block * blockSize + row, pair);
        }
      }
    }
    for (int p = 0; p < pairs; p++) {
      float weight = problem.routingWeights()[p];
      routing.routingWeights().set(p, call.routedWeight() ? weight : Float.NaN);
    }
    routing.counts().init(UNUSED);
    routing.counts().set(PlanFormat.NUM_TOKENS_POST_PADDED, blocks * blockSize);
    routing.counts().set(PlanFormat.ACTIVE_BLOCKS, blocks);
    routing.counts().set(PlanFormat.ALL_BLOCKS, blocks + 1);
    routing.counts().set(PlanFormat.TOKENS, problem.tokens());
    routing.counts().set(PlanFormat.PAIRS, pairs);
    routing.counts().set(PlanFormat.BLOCK_SIZE, blockSize);
    return routing;
  }

  /** What y holds at first: {@link #FRESH} wherever the operand has nothing to keep. */
  private byte[] before(int pairs) {
    Matrix from = operands.y();
    int rows = exact ? pairs : from.rows();
    Matrix to = deviceMatrix(new byte[rows * yWidth * Short.BYTES]);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < yWidth; j++) {
        int column = j - call.columnOffset();
        boolean output =
            i < pairs && column >= 0 && column < config.model().outputWidth(call.projection());
        boolean fresh = j >= from.columns() || (output && !call.add());
        setBits(to, i, j, fresh ? FRESH : bits(from, i, j));
      }
    }
    return to.data().toArray(ValueLayout.JAVA_BYTE);
  }

  private Matrix deviceMatrix(byte[] bytes) {
    int rows = bytes.length / Short.BYTES / yWidth;
    return Matrix.of(MemorySegment.ofArray(bytes), config.weightType(), rows, yWidth);
  }

  private static short bits(Matrix matrix, int row, int column) {
    return matrix
        .data()
        .get(ValueLayout.JAVA_SHORT_UNALIGNED, matrix.index(row, column) * Short.BYTES);
  }

  private static void setBits(Matrix matrix, int row, int column, short bits) {
    matrix
        .data()
        .set(ValueLayout.JAVA_SHORT_UNALIGNED, matrix.index(row, column) * Short.BYTES, bits);
  }

  /**
   * Runs all tasks on a spoilt z and checks y.
   *
   * @throws AssertionError for the first element of y outside its bound, or if a kernel does what
   *     the device leaves undefined
   */
  @Override
  public void run(long seed) {
    states.clear();
    z.init(Float.NaN);
    y.getSegment().copyFrom(MemorySegment.ofArray(before));
    for (Launch launch : launches) {
      states.add(State.of(z, y));
      launch.run(seed);
    }
    states.add(State.of(z, y));
    check();
  }

  /**
   * Runs shrink alone on a spoilt z and checks z.
   *
   * @throws AssertionError for the first element of z outside its bound, or if the kernel does what
   *     the device leaves undefined
   */
  void runShrink(long seed) {
    z.init(Float.NaN);
    launches.getFirst().run(seed);
    intermediate.check(z, operands.x());
  }

  /**
   * Runs expand alone, on the z that the reference has and NaN elsewhere, and checks y.
   *
   * @throws AssertionError as {@link #run}
   */
  void runExpand(long seed) {
    z.init(Float.NaN);
    intermediate.fill(z, operands.x());
    y.getSegment().copyFrom(MemorySegment.ofArray(before));
    launches.getLast().run(seed);
    check();
  }

  /**
   * After {@link #run}, runs the tasks again with the kernels that {@code loader} has mutated, and
   * checks y. Tasks on whose input the mutant has no effect are left out.
   *
   * @throws AssertionError as {@link #run}
   */
  @Override
  public void runMutated(KernelLoader loader, long seed) {
    boolean same = true;
    for (int i = 0; i < launches.size(); i++) {
      Launch launch = launches.get(i);
      boolean mutated = loader.mutates(launch.kernel());
      if (same && mutated) {
        states.get(i).restore(z, y);
      }
      if (mutated || !same) {
        launch.run(loader, seed);
        same = states.get(i + 1).equals(z, y);
      }
    }
    if (!same) {
      check();
    }
  }

  /**
   * Without add the narrow kernels store nothing where a pair has no delta, so what is still fresh
   * counts as the zero that the call makes of it.
   */
  private void check() {
    Matrix actual = operands.y();
    Matrix device = deviceMatrix(y.getSegment().toArray(ValueLayout.JAVA_BYTE));
    for (int i = 0; i < device.rows(); i++) {
      for (int j = 0; j < yWidth; j++) {
        short bits = bits(device, i, j);
        if (j < actual.columns()) {
          setBits(actual, i, j, bits == FRESH ? 0 : bits);
        } else if (bits != FRESH) {
          throw new AssertionError("y[%d,%d] must not be written".formatted(i, j));
        }
      }
    }
    operands.check(actual);
  }

  /** What z and y held between two tasks. */
  private record State(byte[] z, byte[] y) {

    static State of(FloatArray z, TornadoNativeArray y) {
      return new State(
          z.getSegment().toArray(ValueLayout.JAVA_BYTE),
          y.getSegment().toArray(ValueLayout.JAVA_BYTE));
    }

    void restore(FloatArray toZ, TornadoNativeArray toY) {
      toZ.getSegment().copyFrom(MemorySegment.ofArray(z));
      toY.getSegment().copyFrom(MemorySegment.ofArray(y));
    }

    boolean equals(FloatArray otherZ, TornadoNativeArray otherY) {
      return MemorySegment.ofArray(z).mismatch(otherZ.getSegment()) < 0
          && MemorySegment.ofArray(y).mismatch(otherY.getSegment()) < 0;
    }
  }
}
