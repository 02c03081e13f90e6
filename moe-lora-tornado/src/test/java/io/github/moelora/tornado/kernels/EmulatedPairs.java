package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.choice.GroupTiling;
import io.github.moelora.tornado.emulator.KernelLoader;
import io.github.moelora.tornado.emulator.Launch;
import io.github.moelora.tornado.emulator.RecordedGraph;
import io.github.moelora.tornado.launch.GroupLaunch;
import io.github.moelora.tornado.launch.PairLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.layout.StepWords;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * One projection of a random batch by {@link PairKernels} or {@link GroupKernels} on the emulated
 * device, beside float64 loops over the adapters. Whatever must not be read is NaN, and whatever
 * must not be written keeps its bits.
 */
final class EmulatedPairs implements EmulatedRun {
  /** What the last columns of a row of y hold, behind the projection's. */
  private static final int GUARD = 4;

  private final Problem problem;
  private final MoeLoraConfig config;
  private final ProjectionCall call;
  private final int mode;
  private final int perItem;
  private final int yWidth;

  /** Of a number of z, what two numbers of 16 bits may leave out. */
  private final double splitting;

  private final Matrix x;
  private final Matrix y;
  private final @Nullable Matrix out;
  private final TornadoNativeArray deviceY;
  private final @Nullable TornadoNativeArray deviceOut;
  private final IntArray expertIds;
  private final FloatArray routingWeights;
  private final @Nullable Matrix side;
  private final MemorySegment before;
  private final StepArrays step;

  /** By {@link PairKernels}. */
  private final List<Launch> launches;

  /** By {@link WidePairs}; empty where they cannot do it. */
  private final List<Launch> wide;

  /**
   * @param problem routed; narrow x and y are of the type of the weights
   * @param mode what {@link PairMode} has beside the call and the types
   * @param combined whether a token's pairs are added up
   * @param units multiprocessors
   */
  EmulatedPairs(Problem problem, ProjectionCall call, int mode, boolean combined, int units) {
    this(problem, call, mode, combined, units, null);
  }

  /** The same call by {@link GroupKernels}. */
  EmulatedPairs(Problem problem, ProjectionCall call, GroupTiling tiling) {
    this(problem, call, 0, false, 1, tiling);
  }

  private EmulatedPairs(
      Problem problem,
      ProjectionCall call,
      int mode,
      boolean combined,
      int units,
      @Nullable GroupTiling tiling) {
    splitting = tiling == null ? 0 : 0x1p-17;
    this.problem = problem;
    this.call = call;
    config = problem.config();
    perItem = combined ? config.expertsPerToken() : 1;
    int columns = config.model().outputWidth(call.projection());
    yWidth = call.columnOffset() + columns + GUARD;
    int xRows = call.pairRows() ? problem.pairs() : problem.tokens();
    x = problem.random(xRows, config.model().inputWidth(call.projection()), problem.xType());
    y = problem.random(problem.pairs() / perItem + 1, yWidth, problem.yType());
    if (PairMode.activation(mode) == PairKernels.CLAMPED_SWIGLU) {
      // so that some are far beyond where they are clamped
      multiply(y, 12);
    }
    for (int row = 0; row < y.rows(); row++) {
      // what adding a 0 would change
      for (int j = row % 3; j < yWidth; j += 3) {
        y.set(row, j, -0.0f);
      }
    }
    boolean activated = PairMode.has(mode, PairMode.ACTIVATED);
    int inner = config.model().intermediateSize();
    out = activated ? problem.random(problem.pairs() + 1, inner, problem.yType()) : null;
    this.mode =
        mode
            | PairMode.COUNT_ERRORS
            | (!activated && call.add() ? PairMode.ADD : 0)
            | (!activated && call.routedWeight() ? PairMode.ROUTED_WEIGHT : 0)
            | (problem.xType() == DType.F32 ? 0 : PairMode.NARROW_X)
            | (problem.yType() == DType.F32 ? 0 : PairMode.NARROW_Y);
    expertIds = IntArray.fromArray(problem.expertIds());
    routingWeights = new FloatArray(config.maxPairs() + problem.tokens());
    side = side();
    TornadoNativeArray deviceX = device(x);
    deviceY = device(y);
    deviceOut = out == null ? null : device(out);
    before = MemorySegment.ofArray(deviceY.getSegment().toArray(ValueLayout.JAVA_BYTE));
    step = step(problem, config);
    if (tiling == null) {
      PairLaunch.Arrays arrays = arrays(deviceX);
      ProjectionWeights weights = weights();
      PairLaunch.Call numbers = numbers(this.mode);
      PairLaunch.writeSizes(arrays.sizes(), numbers, units);
      launches = record(target -> PairLaunch.append(target, "pairs", weights, numbers, arrays));
      PairLaunch.Call uncounted = numbers(this.mode & ~PairMode.COUNT_ERRORS);
      wide =
          PairLaunch.isWide(uncounted, true)
              ? record(target -> PairLaunch.appendWide(target, "pairs", weights, uncounted, arrays))
              : List.of();
    } else {
      launches = record(target -> appendGroups(target, deviceX, tiling));
      wide = List.of();
    }
  }

  private IntArray sizes() {
    IntArray sizes = new IntArray(Sizes.COUNT);
    Sizes.write(sizes, config, call, yWidth);
    return sizes;
  }

  private void appendGroups(Target target, TornadoNativeArray deviceX, GroupTiling tiling) {
    HalfFloatArray halves = new HalfFloatArray(x.rows() * x.columns());
    halves.getSegment().copyFrom(deviceX.getSegment());
    GroupLaunch.append(
        target,
        "groups",
        SlotWeights.packed(problem, config, call),
        tiling,
        new GroupLaunch.Call(config.maxPairs(), call.pairRows(), true),
        new GroupLaunch.Arrays(step, expertIds, routingWeights, sizes(), halves, deviceY));
  }

  private PairLaunch.Call numbers(int ofMode) {
    int columns = config.model().outputWidth(call.projection());
    return new PairLaunch.Call(
        config.maxPairs(), perItem, SliceTable.maxStack(config), columns, ofMode);
  }

  private PairLaunch.Arrays arrays(TornadoNativeArray deviceX) {
    return new PairLaunch.Arrays(
        step,
        expertIds,
        routingWeights,
        sizes(),
        deviceX,
        deviceY,
        deviceOut,
        side == null ? null : (FloatArray) device(side),
        Stream.generate(() -> new FloatArray(1)).limit(PairLaunch.MOST_SPARE).toList());
  }

  private static List<Launch> record(Consumer<Target> append) {
    RecordedGraph graph = new RecordedGraph("pairs");
    GridScheduler grids = new GridScheduler();
    append.accept(new Target(graph, "pairs", grids));
    return graph.launches(grids);
  }

  /** Whether {@link WidePairs} can do it. */
  boolean isWide() {
    return !wide.isEmpty();
  }

  /**
   * Logits of a router, of which the problem gets the choice, or what a shared expert makes; null
   * if the mode asks for neither.
   */
  private @Nullable Matrix side() {
    if (!has(PairMode.CHOOSES)) {
      return has(PairMode.SHARED) ? problem.random(problem.tokens(), yWidth, DType.F32) : null;
    }
    int experts = config.model().experts();
    int width = experts + (has(PairMode.SHARED_SCORE) ? 1 : 0);
    float[] logits = new float[problem.tokens() * width];
    Matrix random = problem.random(problem.tokens(), width, DType.F32);
    for (int t = 0; t < problem.tokens(); t++) {
      for (int e = 0; e < width; e++) {
        logits[t * width + e] = random.get(t, t == 0 && e == 1 ? 0 : e) + lift(t, e, experts);
      }
      for (int e = 0; e < experts; e++) {
        int before = 0;
        for (int j = 0; j < experts; j++) {
          float other = logits[t * width + j];
          float own = logits[t * width + e];
          before += other > own || (other == own && j < e) ? 1 : 0;
        }
        if (before < config.expertsPerToken()) {
          problem.expertIds()[t * config.expertsPerToken() + before] = e;
        }
      }
    }
    return Matrix.ofFloats(problem.tokens(), width, logits);
  }

  /**
   * Of the first token two equal experts come first, of the second the last and the first one, and
   * of the third one that is e^200 times as likely as others.
   */
  private static float lift(int token, int expert, int experts) {
    boolean first = token == 0 ? expert < 2 : token == 1 && expert == 0;
    float last = token == 1 && expert == experts - 1 ? 8 : first ? 4 : 0;
    return token == 2 && expert == 5 ? 200 : last;
  }

  private boolean has(int part) {
    return PairMode.has(mode, part);
  }

  private static void multiply(Matrix matrix, float factor) {
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        matrix.set(i, j, factor * matrix.get(i, j));
      }
    }
  }

  /** An array with the elements of a matrix, which is contiguous. */
  private static TornadoNativeArray device(Matrix matrix) {
    int elements = matrix.rows() * matrix.columns();
    TornadoNativeArray array =
        switch (matrix.type()) {
          case F32 -> new FloatArray(elements);
          case F16 -> new HalfFloatArray(elements);
          case BF16 -> new IntArray((elements + 1) / 2);
        };
    array.getSegment().copyFrom(matrix.data());
    return array;
  }

  private ProjectionWeights weights() {
    return config.weightType() == DType.F32
        ? SlotWeights.floats(problem, config, call)
        : SlotWeights.packed(problem, config, call);
  }

  /** What a step of a batch is on the device. */
  static StepArrays step(Problem problem, MoeLoraConfig config) {
    StepArrays arrays = StepArrays.of(config);
    arrays.step().set(StepWords.TOKENS, problem.tokens());
    for (int slot = 0; slot < config.slots(); slot++) {
      arrays.step().set(StepWords.FIRST_SLOT + slot, problem.adapters().get(slot) == null ? 0 : 1);
    }
    for (int t = 0; t < problem.tokens(); t++) {
      arrays.adapterIds().set(t, problem.adapterIds()[t]);
      arrays.step().set(StepWords.firstId(config.slots()) + t, problem.adapterIds()[t]);
    }
    return arrays;
  }

  /** Runs the kernels on y and out as they were at first, and checks them. */
  @Override
  public void run(long seed) {
    reset();
    launches.forEach(launch -> launch.run(seed));
    check(wrong());
    if (isWide()) {
      runWide(seed);
    }
  }

  /** The same with {@link WidePairs} alone. */
  void runWide(long seed) {
    reset();
    wide.forEach(launch -> launch.run(seed));
    check(0);
  }

  /** The same with the kernel that a loader has mutated. */
  @Override
  public void runMutated(KernelLoader loader, long seed) {
    runMutated(launches, wrong(), loader, seed);
    runMutated(wide, 0, loader, seed);
  }

  private void runMutated(List<Launch> way, int errors, KernelLoader loader, long seed) {
    if (way.stream().anyMatch(launch -> loader.mutates(launch.kernel()))) {
      reset();
      way.forEach(launch -> launch.run(loader, seed));
      check(errors);
    }
  }

  private void reset() {
    step.errors().init(0);
    routingWeights.init(Float.NaN);
    if (has(PairMode.CHOOSES)) {
      expertIds.init(-7);
    } else {
      for (int p = 0; p < problem.pairs(); p++) {
        routingWeights.set(p, problem.routingWeights()[p]);
      }
      for (int t = 0; t < problem.tokens() && has(PairMode.SHARED); t++) {
        routingWeights.set(config.maxPairs() + t, 0.25f + t);
      }
    }
    deviceY.getSegment().copyFrom(before);
    if (deviceOut != null) {
      deviceOut.getSegment().fill((byte) 0xff);
    }
  }

  private void check(int errors) {
    int columns = config.model().outputWidth(call.projection());
    Matrix old = matrix(y, before);
    Matrix result = matrix(y, deviceY.getSegment());
    double[][] sums = new double[y.rows()][columns];
    double[][] bounds = new double[y.rows()][columns];
    boolean[][] touched = new boolean[y.rows()][columns];
    for (int p = 0; p < problem.pairs(); p++) {
      addPair(p, sums[p / perItem], bounds[p / perItem], touched[p / perItem]);
    }
    if (side != null && has(PairMode.CHOOSES)) {
      checkChoice(side);
    } else if (side != null) {
      for (int t = 0; t < problem.tokens(); t++) {
        for (int c = 0; c < columns; c++) {
          double shared = (0.25 + t) * side.get(t, call.columnOffset() + c);
          touched[t][c] = true;
          sums[t][c] += shared;
          // what the pairs are added to, one after the other
          bounds[t][c] += 0x1p-24 * (perItem + 1) * Math.abs(shared);
        }
      }
    }
    boolean add = has(PairMode.ADD);
    boolean writes = !has(PairMode.ACTIVATED);
    for (int row = 0; row < y.rows(); row++) {
      for (int j = 0; j < yWidth; j++) {
        int c = j - call.columnOffset();
        boolean mine = row < problem.pairs() / perItem && c >= 0 && c < columns;
        if (writes && mine && (!add || touched[row][c])) {
          double base = add ? old.get(row, j) : 0;
          double bound = bounds[row][c] + 0x1p-24 * (perItem - 1) * Math.abs(base);
          close(result.get(row, j), base + sums[row][c], bound, "y", row, j);
        } else {
          assertThat(Float.floatToRawIntBits(result.get(row, j)))
              .as("bits of y[%d, %d]", row, j)
              .isEqualTo(Float.floatToRawIntBits(old.get(row, j)));
        }
      }
    }
    assertThat(Arrays.stream(step.errors().toHeapArray()).sum()).as("errors").isEqualTo(errors);
    if (out != null && deviceOut != null) {
      checkActivated(old, matrix(out, deviceOut.getSegment()), sums, bounds);
    }
  }

  /** Pairs with an id out of range. */
  private int wrong() {
    int wrong = 0;
    for (int p = 0; p < problem.pairs(); p++) {
      int slot = problem.adapterIds()[p / config.expertsPerToken()];
      int expert = problem.expertIds()[p];
      boolean valid = slot >= -1 && slot < config.slots();
      wrong += valid && expert >= -1 && expert < config.model().experts() ? 0 : 1;
    }
    return wrong;
  }

  private void checkChoice(Matrix logits) {
    int experts = config.model().experts();
    int perToken = config.expertsPerToken();
    for (int p = 0; p < problem.pairs(); p++) {
      int t = p / perToken;
      assertThat(expertIds.get(p)).as("expertIds[%d]", p).isEqualTo(problem.expertIds()[p]);
      double sum = 0;
      for (int e = 0; e < experts; e++) {
        boolean chosen = false;
        for (int k = 0; k < perToken; k++) {
          chosen |= problem.expertIds()[t * perToken + k] == e;
        }
        sum += chosen || !has(PairMode.RENORMALIZED) ? Math.exp(logits.get(t, e)) : 0;
      }
      double expected = Math.exp(logits.get(t, problem.expertIds()[p])) / sum;
      assertThat((double) routingWeights.get(p)).isCloseTo(expected, within(2e-6));
    }
    for (int t = 0; t < problem.tokens(); t++) {
      double weight = routingWeights.get(config.maxPairs() + t);
      if (has(PairMode.SHARED_SCORE)) {
        double expected = 1 / (1 + Math.exp(-logits.get(t, experts)));
        assertThat(weight).isCloseTo(expected, within(2e-6));
      } else {
        assertThat(weight).isNaN();
      }
    }
  }

  private void checkActivated(Matrix base, Matrix result, double[][] sums, double[][] bounds) {
    int inner = result.columns();
    GateUp gateUp = config.model().gateUp();
    for (int p = 0; p < result.rows(); p++) {
      for (int i = 0; i < inner; i++) {
        if (p == problem.pairs()) {
          assertThat(result.get(p, i)).isNaN();
        } else {
          int gate = gateUp == GateUp.INTERLEAVED ? 2 * i : i;
          int up = gateUp == GateUp.INTERLEAVED ? gate + 1 : gateUp.gated() ? inner + i : i;
          double g = base.get(p, call.columnOffset() + gate) + sums[p][gate];
          double u = base.get(p, call.columnOffset() + up) + sums[p][up];
          double expected = activation(PairMode.activation(mode), g, u);
          // the steepest of them: what is added to g by an error comes back times u, and a little
          double bound =
              4 * (bounds[p][gate] * (1 + Math.abs(u)) + bounds[p][up] * (1 + Math.abs(g)));
          // what exp is taken of, 1.702 g at most, is rounded, too: twice, by 2^-24 of it
          bound += 0x1p-23 * 1.702 * Math.abs(g * expected);
          close(result.get(p, i), expected, bound, "out", p, i);
        }
      }
    }
  }

  static double activation(int number, double g, double u) {
    double silu = g / (1 + Math.exp(-g));
    double tanh = Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g * g * g));
    double gate = Math.min(g, 7);
    return switch (number) {
      case PairKernels.SWIGLU -> silu * u;
      case PairKernels.GEGLU -> 0.5 * g * (1 + tanh) * u;
      case PairKernels.RELU2 -> Math.max(u, 0.0) * Math.max(u, 0.0);
      default -> gate / (1 + Math.exp(-1.702 * gate)) * (Math.clamp(u, -7, 7) + 1);
    };
  }

  private void close(float actual, double expected, double bound, String what, int row, int at) {
    double rounding =
        switch (problem.yType()) {
          case F32 -> 0x1p-22;
          case F16 -> 0x1p-10;
          case BF16 -> 0x1p-7;
        };
    double error = Math.abs(actual - expected);
    // written so that a NaN fails
    if (!(error <= bound + rounding * (Math.abs(expected) + 0x1p-14))) {
      throw new AssertionError(
          "%s[%d, %d] must be %s, got %s; %s".formatted(what, row, at, expected, actual, problem));
    }
  }

  private static Matrix matrix(Matrix like, MemorySegment data) {
    return Matrix.of(data, like.type(), like.rows(), like.columns());
  }

  /** Adds what a pair's adapter makes, and n 2^-24 of what the sums are of. */
  private void addPair(int p, double[] sums, double[] bounds, boolean[] touched) {
    int slot = problem.adapterIds()[p / config.expertsPerToken()];
    int expert = problem.expertIds()[p];
    boolean isSlot = slot >= 0 && slot < config.slots();
    LoraAdapter adapter = isSlot ? problem.adapters().get(slot) : null;
    boolean isExpert = expert >= 0 && expert < config.model().experts();
    if (adapter == null || !isExpert || config.expertMap().local(expert) < 0) {
      return;
    }
    Projection projection = call.projection();
    int row = call.pairRows() ? p : p / config.expertsPerToken();
    double weight = PairMode.has(mode, PairMode.ROUTED_WEIGHT) ? problem.routingWeights()[p] : 1;
    for (LoraSlice slice : adapter.slices(call.layer(), projection, expert)) {
      for (int c = 0; c < slice.columns(); c++) {
        touched[slice.firstColumn() + c] = true;
      }
      for (int r = 0; r < slice.rank(); r++) {
        double z = 0;
        double size = 0;
        for (int h = 0; h < slice.a().columns(); h++) {
          double product = (double) slice.a().get(r, h) * x.get(row, h);
          z += product;
          size += Math.abs(product);
        }
        for (int c = 0; c < slice.columns(); c++) {
          double factor = weight * slice.scale() * slice.b().get(c, r);
          sums[slice.firstColumn() + c] += factor * z;
          bounds[slice.firstColumn() + c] +=
              (splitting + 0x1p-24 * (slice.a().columns() + slice.rank() + 8))
                  * Math.abs(factor)
                  * size;
        }
      }
    }
  }
}
