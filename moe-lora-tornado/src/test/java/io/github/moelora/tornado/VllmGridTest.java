package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The parameter grids of vLLM's own kernel tests: all of them on a GPU, elsewhere the same with
 * small sizes.
 *
 * <p>Some pairs of each batch are compared with the reference, all others must be finite and
 * written, or unchanged where they have no adapter.
 */
class VllmGridTest {
  private static final boolean FULL = Boolean.getBoolean("moelora.test.gpu");

  /** Pairs of a batch that are compared with the reference. */
  private static final int SAMPLES = 24;

  /** Elements of {@link #weights}, a prime: so adapters that begin at different places differ. */
  private static final int WEIGHTS = 4_000_037;

  private final Random random = new Random(Seeds.of("vllm grid"));

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  /** Limits of one instance, which serves many cases. */
  private record Shape(
      int tokens, int perToken, int experts, int slots, int outputs, int hidden, int slices) {

    MoeModel model() {
      return slices == 2
          ? new MoeModel(hidden, outputs, experts, GateUp.HALVES, List.of(0))
          : new MoeModel(hidden, outputs, experts, GateUp.UP_ONLY, List.of(0));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F16", "BF16"})
  void manyTokens(DType type) {
    for (int slices : new int[] {1, 2}) {
      for (int perToken : FULL ? new int[] {6, 12} : new int[] {6}) {
        Shape shape =
            FULL
                ? new Shape(100, perToken, 64, 16, 1408, 2048, slices)
                : new Shape(40, perToken, 16, 6, 44, 64, slices);
        try (MoeLora lora = open(shape, type, FULL ? 64 : 32);
            Step step = lora.newStep()) {
          for (int rank : FULL ? new int[] {16, 32, 64} : new int[] {16, 32}) {
            List<LoraAdapter> adapters = load(lora, shape, type, rank);
            for (int count : FULL ? new int[] {4, 6, 16} : new int[] {4, 6}) {
              check(step, shape, adapters.subList(0, count), type, shape.tokens(), true);
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F16", "BF16"})
  void fewTokens(DType type) {
    for (int perToken : FULL ? new int[] {1, 2} : new int[] {2}) {
      for (int experts : FULL ? new int[] {64, 128} : new int[] {64}) {
        Shape shape =
            FULL
                ? new Shape(8, perToken, experts, 8, 1408, 2048, 1)
                : new Shape(8, perToken, experts, 8, 22, 32, 1);
        try (MoeLora lora = open(shape, type, 32);
            Step step = lora.newStep()) {
          for (int rank : new int[] {16, 32}) {
            List<LoraAdapter> adapters = load(lora, shape, type, rank);
            for (int count : new int[] {4, 8}) {
              for (int tokens : new int[] {1, 2, 4, 8}) {
                check(step, shape, adapters.subList(0, count), type, tokens, true);
              }
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F16", "BF16"})
  void largeRanks(DType type) {
    Shape shape = FULL ? new Shape(64, 2, 4, 2, 256, 256, 1) : new Shape(16, 2, 4, 2, 40, 48, 1);
    try (MoeLora lora = open(shape, type, 256);
        Step step = lora.newStep()) {
      for (int rank : new int[] {128, 256}) {
        List<LoraAdapter> adapters = load(lora, shape, type, rank);
        for (boolean add : new boolean[] {true, false}) {
          check(step, shape, adapters, type, shape.tokens(), add);
        }
      }
    }
  }

  private static MoeLora open(Shape shape, DType type, int maxRank) {
    return MoeLora.open(
        MoeLoraConfig.of(shape.model(), shape.slots(), shape.perToken())
            .withMaxTokens(shape.tokens())
            .withMaxRank(maxRank)
            .withWeightType(type),
        "tornado");
  }

  /** Fills all slots; several threads, as packing takes longest. */
  private List<LoraAdapter> load(MoeLora lora, Shape shape, DType type, int rank) {
    Matrix weights = weights(type);
    int[] starts = random.ints(shape.slots(), 0, WEIGHTS).toArray();
    List<LoraAdapter> adapters =
        IntStream.range(0, shape.slots())
            .parallel()
            .mapToObj(slot -> adapter(shape, weights, rank, starts[slot]))
            .toList();
    IntStream.range(0, shape.slots())
        .parallel()
        .forEach(slot -> lora.load(slot, adapters.get(slot)));
    return adapters;
  }

  /** Random numbers that all adapters share, each from another place on. */
  private Matrix weights(DType type) {
    MemorySegment data = Arena.ofAuto().allocate((long) WEIGHTS * type.bytes(), 8);
    Matrix matrix = Matrix.of(data, type, 1, WEIGHTS);
    for (int i = 0; i < WEIGHTS; i++) {
      matrix.set(0, i, (random.nextFloat() - 0.5f) * 0.25f);
    }
    return matrix;
  }

  private static LoraAdapter adapter(Shape shape, Matrix weights, int rank, int start) {
    LoraAdapter.Builder builder = LoraAdapter.builder("adapter at " + start);
    long at = start;
    for (int e = 0; e < shape.experts(); e++) {
      for (int s = 0; s < shape.slices(); s++) {
        Matrix a = view(weights, at, rank, shape.hidden());
        at += 7919;
        Matrix b = view(weights, at, shape.outputs(), rank);
        at += 104729;
        builder.add(0, Projection.GATE_UP, e, new LoraSlice(s * shape.outputs(), a, b, 0.5f));
      }
    }
    return builder.build();
  }

  private static Matrix view(Matrix weights, long at, int rows, int columns) {
    long offset = at % (WEIGHTS - rows * columns);
    return new Matrix(weights.data(), weights.type(), rows, columns, offset, columns, 1);
  }

  /** One case: half of the tokens at most without adapter, experts at random. */
  private void check(
      Step step, Shape shape, List<LoraAdapter> adapters, DType type, int tokens, boolean add) {
    int pairs = tokens * shape.perToken();
    int[] expertIds = new int[pairs];
    float[] routingWeights = new float[pairs];
    int[] adapterIds = new int[tokens];
    for (int t = 0; t < tokens; t++) {
      adapterIds[t] = t == 0 ? 0 : random.nextInt(adapters.size() + 1) - 1;
      int[] distinct = random.ints(0, shape.experts()).distinct().limit(shape.perToken()).toArray();
      System.arraycopy(distinct, 0, expertIds, t * shape.perToken(), distinct.length);
    }
    for (int p = 0; p < pairs; p++) {
      routingWeights[p] = random.nextFloat();
    }
    int width = shape.slices() * shape.outputs();
    Matrix x = matrix(type, tokens, shape.hidden());
    Matrix before = matrix(type, pairs, width);
    MemorySegment copy = Arena.ofAuto().allocate(before.data().byteSize(), 8);
    copy.copyFrom(before.data());
    Matrix y = Matrix.of(copy, type, pairs, width);
    if (!add) {
      fillNaN(y);
    }
    ProjectionCall call = ProjectionCall.gateUp(0).withRoutedWeight(true);
    call = add ? call : call.deltaOnly();
    step.plan(
        tokens,
        MemorySegment.ofArray(expertIds),
        MemorySegment.ofArray(routingWeights),
        MemorySegment.ofArray(adapterIds));
    step.run(call, x, y);
    String description =
        "%s, rank %d, %d adapters, %d tokens, %s"
            .formatted(shape, adapters.getFirst().maxRank(), adapters.size(), tokens, call);
    for (int p = 0; p < pairs; p++) {
      boolean work = adapterIds[p / shape.perToken()] >= 0;
      for (int c = 0; c < width; c++) {
        float value = y.get(p, c);
        if (work ? !Float.isFinite(value) : value != (add ? before.get(p, c) : 0)) {
          throw new AssertionError(
              "y[%d,%d] must be %s, got %s; %s"
                  .formatted(p, c, work ? "finite" : "without a delta", value, description));
        }
      }
    }
    int[] sampled =
        IntStream.concat(IntStream.of(0, pairs - 1), random.ints(SAMPLES, 0, pairs))
            .filter(p -> adapterIds[p / shape.perToken()] >= 0)
            .distinct()
            .toArray();
    ProjectionCall sampledCall = call;
    Arrays.stream(sampled)
        .parallel()
        .forEach(
            p -> {
              int t = p / shape.perToken();
              Reference.Result expected =
                  Reference.compute(
                      new Reference.Inputs(
                          shape.model(),
                          sampledCall,
                          new ArrayList<@Nullable LoraAdapter>(adapters),
                          new int[] {expertIds[p]},
                          new float[] {routingWeights[p]},
                          new int[] {adapterIds[t]},
                          x.rows(t, 1),
                          before.rows(p, 1)));
              for (int c = 0; c < width; c++) {
                assertThat(Math.abs(y.get(p, c) - expected.values()[0][c]))
                    .as("error of y[%d,%d], %s", p, c, description)
                    .isLessThanOrEqualTo(expected.bounds()[0][c]);
              }
            });
  }

  private Matrix matrix(DType type, int rows, int columns) {
    MemorySegment data = Arena.ofAuto().allocate((long) rows * columns * type.bytes(), 8);
    Matrix matrix = Matrix.of(data, type, rows, columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        matrix.set(i, j, random.nextFloat() - 0.5f);
      }
    }
    return matrix;
  }

  private static void fillNaN(Matrix matrix) {
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        matrix.set(i, j, Float.NaN);
      }
    }
  }
}
