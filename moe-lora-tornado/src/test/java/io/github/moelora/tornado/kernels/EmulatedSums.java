package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.emulator.Launch;
import io.github.moelora.tornado.emulator.RecordedGraph;
import io.github.moelora.tornado.launch.FinishLaunch;
import io.github.moelora.tornado.launch.NarrowArrays;
import io.github.moelora.tornado.launch.NarrowLaunch;
import io.github.moelora.tornado.launch.PairLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.weights.PackedWeights;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * A combined call on a 16-bit y, on the emulated device: deltas by {@link PairKernels}, or by
 * {@link MmaShrink} and {@link MmaDelta}, then their sums by {@link Combine}. What must not be read
 * is NaN, what must not be written keeps its bits.
 */
final class EmulatedSums {
  private static final int LAYER = 1;
  private static final int EXPERTS = 3;
  private static final int PER_TOKEN = 2;

  /** Columns of a row of y before the projection's, and behind them. */
  private static final int GUARD = 4;

  /**
   * A case.
   *
   * @param name what is special
   * @param type of weights, x and y
   * @param tokens of the batch
   * @param hidden width of down's result
   * @param inner width of its x
   * @param rank of the first adapter; the last has rank 1, on some experts
   * @param call with an offset of {@link #GUARD}
   * @param tiling of shrink and deltas, null for pairs as they come
   * @param units multiprocessors
   */
  record Case(
      String name,
      DType type,
      int tokens,
      int hidden,
      int inner,
      int rank,
      ProjectionCall call,
      @Nullable SplitTiling tiling,
      int units) {

    EmulatedSums build(long seed) {
      MoeModel model = new MoeModel(hidden, inner, EXPERTS, GateUp.HALVES, List.of(LAYER));
      Problem problem =
          new Problem(seed, model, tokens, PER_TOKEN)
              .types(type, type, DType.F32)
              .expertMap(ExpertMap.of(1, -1, 0))
              .addAdapter(rank, false)
              .addEmptySlot()
              .addAdapter(1, false, 0.5)
              .route();
      // a token with both pairs, one with one, one without an adapter
      problem.adapterIds()[0] = 0;
      problem.expertIds()[0] = 2;
      problem.expertIds()[1] = tokens == 1 ? 1 : 0;
      if (tokens > 2) {
        problem.adapterIds()[1] = 0;
        problem.expertIds()[2] = 1;
        problem.expertIds()[3] = 0;
        problem.adapterIds()[2] = -1;
      }
      return new EmulatedSums(problem, this);
    }

    @Override
    public String toString() {
      return "%s (%s)".formatted(name, type);
    }
  }

  private final Case of;
  private final Problem problem;
  private final MoeLoraConfig config;
  private final int columns;
  private final int yWidth;
  private final Reference.Result expected;
  private final Matrix before;
  private final FloatArray deltas;
  private final TornadoNativeArray y;
  private final List<Launch> launches;

  private EmulatedSums(Problem problem, Case of) {
    this.problem = problem;
    this.of = of;
    config = problem.config();
    ProjectionCall call = of.call();
    columns = config.model().outputWidth(call.projection());
    yWidth = columns + 2 * GUARD;
    int xRows = call.pairRows() ? problem.pairs() : problem.tokens();
    Matrix x = problem.random(xRows, config.model().inputWidth(call.projection()), of.type());
    before = problem.random(problem.tokens() + 1, yWidth, of.type());
    expected = reference(x);
    HalfFloatArray deviceX = new HalfFloatArray(x.rows() * x.columns());
    deviceX.getSegment().copyFrom(x.data());
    y = PackedWeights.words(of.type(), before.rows() * yWidth);
    deltas = new FloatArray(problem.pairs() * columns);
    ProjectionCall plain = call.deltaOnly().withColumnOffset(0);
    PackedWeights weights = SlotWeights.packed(problem, config, call);
    StepArrays step = EmulatedPairs.step(problem, config);
    IntArray experts = IntArray.fromArray(problem.expertIds());
    RecordedGraph graph = new RecordedGraph("sums");
    GridScheduler grids = new GridScheduler();
    Target target = new Target(graph, "sums", grids);
    if (of.tiling() == null) {
      appendPairs(target, plain, weights, step, deviceX);
    } else {
      appendSplit(target, plain, weights, of.tiling(), deviceX);
    }
    FinishLaunch.Reads reads =
        new FinishLaunch.Reads(
            step, experts, new IntArray(Sizes.COUNT), config.maxPairs(), of.units());
    FinishLaunch.writeSizes(reads, config, call, yWidth, true);
    FinishLaunch.appendCombine(
        target, "Combine", reads, new FinishLaunch.Deltas(weights.table().slices(), deltas), y);
    launches = graph.launches(grids);
  }

  /** Deltas of all pairs in float64. */
  private Reference.Result reference(Matrix x) {
    List<@Nullable LoraAdapter> adapters = new ArrayList<>(problem.adapters());
    int[] experts = problem.expertIds().clone();
    for (int p = 0; p < experts.length; p++) {
      experts[p] = experts[p] < 0 || config.expertMap().local(experts[p]) < 0 ? -1 : experts[p];
    }
    return Reference.compute(
        new Reference.Inputs(
            config.model(),
            of.call().deltaOnly().withColumnOffset(0),
            adapters,
            experts,
            problem.routingWeights(),
            problem.adapterIds(),
            x,
            Matrix.ofFloats(problem.pairs(), columns, new float[problem.pairs() * columns])));
  }

  private void appendPairs(
      Target target,
      ProjectionCall plain,
      PackedWeights weights,
      StepArrays step,
      HalfFloatArray x) {
    IntArray sizes = new IntArray(Sizes.COUNT);
    int mode = PairMode.NARROW_X | (plain.routedWeight() ? PairMode.ROUTED_WEIGHT : 0);
    PairLaunch.Call numbers =
        new PairLaunch.Call(config.maxPairs(), 1, SliceTable.maxStack(config), columns, mode);
    Sizes.write(sizes, config, plain, columns);
    PairLaunch.writeSizes(sizes, numbers, of.units());
    PairLaunch.append(
        target,
        "Pairs",
        weights,
        numbers,
        new PairLaunch.Arrays(
            step,
            IntArray.fromArray(problem.expertIds()),
            FloatArray.fromArray(problem.routingWeights()),
            sizes,
            x,
            deltas,
            null,
            null,
            Stream.generate(() -> new FloatArray(1)).limit(PairLaunch.MOST_SPARE).toList()));
  }

  private void appendSplit(
      Target target,
      ProjectionCall plain,
      PackedWeights weights,
      SplitTiling tiling,
      HalfFloatArray x) {
    DevicePlan plan = EmulatedProjection.plan(problem, config, plain, tiling.rows());
    NarrowLaunch.writeSizes(plan.sizes(), config, plain, columns, tiling);
    int blocks = problem.pairs() / tiling.rows() + config.slots() * EXPERTS;
    FloatArray z = new FloatArray(tiling.zElements(config, blocks));
    z.init(Float.NaN);
    NarrowArrays arrays = new NarrowArrays(plan, x, z, deltas);
    NarrowLaunch.append(target, "", config, weights, tiling, arrays);
  }

  /** Runs all tasks and checks deltas and y. */
  void run(long seed) {
    reset();
    launches.forEach(launch -> launch.run(seed));
    checkDeltas();
    checkSums();
  }

  private void reset() {
    deltas.init(Float.NaN);
    y.getSegment().copyFrom(before.data());
  }

  /** Whether a pair's adapter has a slice of the column. */
  private boolean isActive(int pair, int column) {
    return expected.bounds()[pair][column] > 0;
  }

  private void checkDeltas() {
    for (int p = 0; p < problem.pairs(); p++) {
      for (int c = 0; c < columns; c++) {
        float actual = deltas.get(p * columns + c);
        if (isActive(p, c)) {
          require(actual, expected.values()[p][c], expected.bounds()[p][c], "deltas", p, c);
        } else if (of.tiling() != null) {
          assertThat(actual).as("deltas[%d, %d] of no pair", p, c).isNaN();
        }
      }
    }
  }

  private void checkSums() {
    Matrix result = Matrix.of(y.getSegment(), of.type(), before.rows(), yWidth);
    double rounding = of.type() == DType.BF16 ? 0x1p-8 : 0x1p-11;
    for (int t = 0; t < before.rows(); t++) {
      for (int j = 0; j < yWidth; j++) {
        int c = j - GUARD;
        double sum = before.get(t, j);
        double bound = 0;
        boolean touched = false;
        for (int k = 0; k < PER_TOKEN && t < problem.tokens() && c >= 0 && c < columns; k++) {
          int p = t * PER_TOKEN + k;
          touched |= isActive(p, c);
          sum += expected.values()[p][c];
          // a sum in float32 of few terms
          bound += expected.bounds()[p][c] + 0x1p-22 * Math.abs(expected.values()[p][c]);
        }
        if (touched) {
          // one rounding, of numbers that are not tiny
          require(result.get(t, j), sum, bound + rounding * (Math.abs(sum) + 0x1p-13), "y", t, j);
        } else {
          assertThat(result.get(t, j)).as("y[%d, %d]", t, j).isEqualTo(before.get(t, j));
        }
      }
    }
  }

  private void require(float actual, double value, double bound, String what, int row, int at) {
    // written so that a NaN fails
    if (!(Math.abs(actual - value) <= bound)) {
      throw new AssertionError(
          "%s[%d, %d] must be %s within %s, got %s; %s"
              .formatted(what, row, at, value, bound, actual, problem));
    }
  }

  /** Cases by pairs as they come. */
  static List<Case> ofPairs() {
    ProjectionCall down = ProjectionCall.down(LAYER).withColumnOffset(GUARD);
    ProjectionCall up = ProjectionCall.gateUp(LAYER).withColumnOffset(GUARD);
    return List.of(
        new Case("gate and up", DType.BF16, 4, 36, 68, 5, up, null, 2),
        new Case("one token, shares", DType.BF16, 1, 524, 20, 3, down, null, 40),
        new Case("tokens in turn", DType.BF16, 5, 36, 44, 9, down, null, 1),
        new Case("no weights", DType.F16, 3, 40, 20, 5, down.withRoutedWeight(false), null, 2),
        new Case(
            "a row for each token", DType.F16, 4, 68, 68, 4, down.withPairRows(false), null, 9));
  }

  /** Cases by blocks of pairs. */
  static List<Case> ofBlocks() {
    ProjectionCall down = ProjectionCall.down(LAYER).withColumnOffset(GUARD);
    ProjectionCall up = ProjectionCall.gateUp(LAYER).withColumnOffset(GUARD);
    SplitTiling small = new SplitTiling(1, 1, 4, 1, 4, 4, 3, 5, 16, 128, 12, 12);
    SplitTiling narrow = new SplitTiling(1, 1, 4, 1, 4, 4, 3, 2, 16, 32, 4, 2);
    SplitTiling large = new SplitTiling(2, 1, 2, 1, 4, 4, 2, 2, 32, 64, 2, 3);
    return List.of(
        new Case("gate and up", DType.F16, 9, 36, 68, 5, up, small, 2),
        new Case("chunks in turn", DType.BF16, 23, 100, 36, 17, down, narrow, 2),
        new Case("a wide chunk", DType.BF16, 9, 260, 68, 9, down, small, 3),
        new Case("rows of 32", DType.BF16, 41, 132, 36, 12, down, large, 1),
        new Case("chunks in turn", DType.F16, 23, 100, 36, 17, down, narrow, 2),
        new Case(
            "rows of 32, no weights",
            DType.F16,
            41,
            132,
            36,
            12,
            down.withRoutedWeight(false),
            large,
            2));
  }
}
