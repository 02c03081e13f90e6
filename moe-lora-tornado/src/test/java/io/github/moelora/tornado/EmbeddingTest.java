package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

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
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.example.MoeLayers;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** The example of docs/embedding.md against a float64 model of its layers. */
class EmbeddingTest {
  private static final int LAYERS = 3;
  private static final int HIDDEN = 33;
  private static final int INNER = 21;
  private static final int EXPERTS = 5;
  private static final int PER_TOKEN = 2;
  private static final int MAX_TOKENS = 24;
  private static final int SLOTS = 3;

  /** Three layers in float32, errors of each carried on: some hundred roundings of 2^-24. */
  private static final double TOLERANCE = 2e-5;

  private static final MoeModel MODEL =
      new MoeModel(
          HIDDEN, INNER, EXPERTS, GateUp.HALVES, IntStream.range(0, LAYERS).boxed().toList());
  private static final MoeLoraConfig CONFIG =
      MoeLoraConfig.of(MODEL, SLOTS, PER_TOKEN).withMaxTokens(MAX_TOKENS).withMaxRank(8);

  private final long seed = Seeds.of("embedding");
  private final Random random = new Random(seed);
  private final List<MoeLayers.Base> base = new ArrayList<>();
  private final @Nullable LoraAdapter[] slots = new LoraAdapter[SLOTS];

  EmbeddingTest() {
    for (int i = 0; i < LAYERS; i++) {
      base.add(
          new MoeLayers.Base(
              random(EXPERTS * 2 * INNER * HIDDEN, 0.15f), random(EXPERTS * HIDDEN * INNER, 0.2f)));
    }
  }

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Test
  void manyStepsWithSwaps() {
    try (MoeLora lora = MoeLora.open(CONFIG, "tornado");
        MoeLayers layers = new MoeLayers(lora, base)) {
      check(layers, 7);
      load(lora, 0, adapter(4, false, 1));
      load(lora, 1, adapter(8, true, 1));
      check(layers, 1);
      check(layers, MAX_TOKENS);
      check(layers, 0);
      load(lora, 2, adapter(3, false, 0.5));
      check(layers, 17);
      load(lora, 0, adapter(7, true, 0.7));
      check(layers, MAX_TOKENS);
      lora.unload(1);
      slots[1] = null;
      check(layers, 11);
      lora.setEnabled(2, false);
      LoraAdapter disabled = slots[2];
      slots[2] = null;
      check(layers, 12);
      lora.setEnabled(2, true);
      slots[2] = disabled;
      check(layers, 13);

      refusesWhatIsNotItsOwn(lora, layers);
    }
  }

  private void load(MoeLora lora, int slot, LoraAdapter adapter) {
    lora.load(slot, adapter);
    slots[slot] = adapter;
  }

  private LoraAdapter adapter(int rank, boolean fused, double coverage) {
    LoraAdapter.Builder builder = LoraAdapter.builder("adapter");
    for (int layer = 0; layer < LAYERS; layer++) {
      for (int e = 0; e < EXPERTS; e++) {
        for (Projection projection : Projection.values()) {
          int width = MODEL.outputWidth(projection);
          int slices = projection == Projection.GATE_UP && !fused ? 2 : 1;
          for (int s = 0; s < slices; s++) {
            // one that all tokens meet
            if (layer == 0 || random.nextDouble() < coverage) {
              Matrix a = matrix(rank, MODEL.inputWidth(projection), 0.3f);
              Matrix b = matrix(width / slices, rank, 0.3f);
              builder.add(layer, projection, e, new LoraSlice(s * width / slices, a, b, 0.5f));
            }
          }
        }
      }
    }
    return builder.build();
  }

  private Matrix matrix(int rows, int columns, float deviation) {
    float[] values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian() * deviation;
    }
    return Matrix.ofFloats(rows, columns, values);
  }

  private FloatArray random(int size, float deviation) {
    FloatArray array = new FloatArray(size);
    for (int i = 0; i < size; i++) {
      array.set(i, (float) random.nextGaussian() * deviation);
    }
    return array;
  }

  private void plan(MoeLayers layers, int[] adapterIds) {
    int tokens = adapterIds.length;
    for (int i = 0; i < tokens * HIDDEN; i++) {
      layers.input.set(i, (float) random.nextGaussian() * 0.5f);
    }
    for (int t = 0; t < tokens; t++) {
      int[] distinct = random.ints(0, EXPERTS).distinct().limit(PER_TOKEN).toArray();
      for (int k = 0; k < PER_TOKEN; k++) {
        layers.expertIds.set(t * PER_TOKEN + k, distinct[k]);
        // none so small that a token's adapter would hardly show
        layers.routingWeights.set(t * PER_TOKEN + k, 0.25f + random.nextFloat());
      }
    }
  }

  private void check(MoeLayers layers, int tokens) {
    int[] adapterIds = random.ints(tokens, -1, SLOTS).toArray();
    plan(layers, adapterIds);
    runAndCheck(layers, adapterIds);
  }

  private void runAndCheck(MoeLayers layers, int[] adapterIds) {
    layers.x.init(Float.NaN);
    layers.run(adapterIds.length, adapterIds);
    double[][] expected = forward(layers, adapterIds, true);
    double[][] without = forward(layers, adapterIds, false);
    double largest =
        Arrays.stream(expected).flatMapToDouble(Arrays::stream).map(Math::abs).max().orElse(0);
    for (int t = 0; t < adapterIds.length; t++) {
      LoraAdapter adapter = adapterIds[t] >= 0 ? slots[adapterIds[t]] : null;
      double moved = 0;
      for (int h = 0; h < HIDDEN; h++) {
        assertThat((double) layers.x.get(t * HIDDEN + h))
            .as("seed %d, x[%d,%d]", seed, t, h)
            .isCloseTo(expected[t][h], within(TOLERANCE * largest));
        moved = Math.max(moved, Math.abs(expected[t][h] - without[t][h]));
      }
      if (adapter != null) {
        assertThat(moved).as("what the adapters change").isGreaterThan(10 * TOLERANCE * largest);
      }
    }
  }

  private void refusesWhatIsNotItsOwn(MoeLora lora, MoeLayers layers) {
    assertThatThrownBy(() -> EngineTasks.of(lora))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("has one already");
    assertRefused(
        () -> layers.run(MAX_TOKENS + 1, new int[MAX_TOKENS + 1]),
        "tokens must be in [0, 24], got 25");
    assertRefused(() -> layers.run(2, 0), "adapterIds must hold 2 elements, got 1");
    assertRefused(() -> layers.run(2, 0, SLOTS), "adapterIds[1] must be in [-1, 3), got 3");
    Matrix x = matrix(1, HIDDEN, 1);
    Matrix y = matrix(PER_TOKEN, 2 * INNER, 1);
    try (Step step = lora.newStep()) {
      step.plan(
          1,
          layers.expertIds.getSegment(),
          layers.routingWeights.getSegment(),
          MemorySegment.ofArray(new int[] {1}));
      assertThatThrownBy(() -> step.run(ProjectionCall.gateUp(0), x, y))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("engine's plan");
    }
  }

  @Test
  void refusesWrongArraysAndOrder() {
    try (MoeLora lora = MoeLora.open(CONFIG, "tornado");
        Step step = lora.newStep()) {
      EngineTasks tasks = EngineTasks.of(lora);
      EngineGraph graph = new EngineGraph(new TaskGraph("engine"), 1, 4);
      FloatArray x = new FloatArray(4 * HIDDEN);
      FloatArray y = new FloatArray(4 * PER_TOKEN * 2 * INNER);
      ProjectionCall call = ProjectionCall.gateUp(0);
      assertThatThrownBy(tasks::graphs).isInstanceOf(IllegalStateException.class);
      assertThatThrownBy(() -> tasks.begin(step)).isInstanceOf(IllegalStateException.class);
      assertRefused(
          () -> tasks.append(graph, call, new EngineArrays(x, new IntArray(999), 2 * INNER)),
          "x and y must be FloatArrays for these weights on this device, got FloatArray and"
              + " IntArray");
      assertRefused(
          () -> tasks.append(graph, call, new EngineArrays(x, y, 2 * INNER - 1)),
          "yWidth must be at least columnOffset + output width = 42, got 41");
      assertRefused(
          () -> tasks.append(graph, call, new EngineArrays(x, y, 2 * INNER + 1)),
          "y must hold at least 344 elements, got 336");
      assertRefused(
          () -> tasks.append(graph, call.withPairRows(true), new EngineArrays(x, y, 2 * INNER)),
          "x must hold at least 264 elements, got 132");
      EngineGraph large = new EngineGraph(graph.graph(), 1, MAX_TOKENS + 1);
      assertRefused(
          () -> tasks.append(large, call, new EngineArrays(x, y, 2 * INNER)),
          "maxTokens must be at most 24 as in the config, got 25");
      assertRefused(
          () -> new EngineGraph(graph.graph(), -1, 1), "index must be at least 0, got -1");
      assertRefused(
          () -> new EngineGraph(graph.graph(), 0, 0), "maxTokens must be at least 1, got 0");
      assertRefused(
          () -> tasks.route(graph, new EngineRouting(new IntArray(8), new FloatArray(7))),
          "routingWeights must hold at least maxTokens * expertsPerToken = 8 elements, got 7");
      assertRefused(
          () -> tasks.useAdapterIds(new IntArray(MAX_TOKENS - 1)),
          "adapterIds must hold at least maxTokens = 24 elements, got 23");
      assertThatThrownBy(
              () ->
                  tasks.appendCombined(
                      graph,
                      ProjectionCall.down(0),
                      new EngineArrays(
                          new FloatArray(8 * INNER), new FloatArray(4 * HIDDEN), HIDDEN)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("route must come before a combined call");
      assertRefused(
          () ->
              tasks.appendCombined(
                  graph, ProjectionCall.down(0).deltaOnly(), new EngineArrays(x, y, HIDDEN)),
          "a combined call must add and be on routed experts, got "
              + ProjectionCall.down(0).deltaOnly());
    }
    try (MoeLora lora = MoeLora.open(CONFIG, "tornado")) {
      lora.load(0, adapter(1, false, 1));
      assertThatThrownBy(() -> EngineTasks.of(lora))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("EngineTasks.of must come before the first load and run");
    }
    try (MoeLora lora = MoeLora.open(CONFIG, "cpu")) {
      assertRefused(() -> EngineTasks.of(lora), "lora must use the tornado backend, got cpu");
    }
  }

  private static void assertRefused(ThrowingCallable call, String message) {
    assertThatThrownBy(call).isInstanceOf(IllegalArgumentException.class).hasMessage(message);
  }

  /** The page shows the file that is tested. */
  @Test
  void pageShowsTheExample() throws IOException {
    Path root = root();
    Path sources = root.resolve("moe-lora-tornado/src/test/java/io/github/moelora/tornado/example");
    List<String> example = Files.readAllLines(sources.resolve("MoeLayers.java"));
    String page = Files.readString(root.resolve("docs").resolve("embedding.md"));
    assertThat(example).hasSizeLessThanOrEqualTo(80);
    assertThat(page).contains("```java\n" + String.join("\n", example) + "\n```\n");
  }

  /** The checkout: Maven runs tests in the module's folder, scripts in any. */
  private static Path root() {
    Path here = Path.of("").toAbsolutePath();
    return Files.exists(here.resolve("docs")) ? here : here.resolveSibling("");
  }

  /** All layers in float64. */
  private double[][] forward(MoeLayers layers, int[] adapterIds, boolean adapted) {
    double[][] x = new double[adapterIds.length][HIDDEN];
    for (int t = 0; t < x.length; t++) {
      for (int h = 0; h < HIDDEN; h++) {
        x[t][h] = layers.input.get(t * HIDDEN + h);
      }
      LoraAdapter adapter = adapted && adapterIds[t] >= 0 ? slots[adapterIds[t]] : null;
      for (int layer = 0; layer < LAYERS; layer++) {
        double[] sum = x[t].clone();
        for (int k = 0; k < PER_TOKEN; k++) {
          int pair = t * PER_TOKEN + k;
          int expert = layers.expertIds.get(pair);
          double[] gateUp = project(base.get(layer).up(), expert, x[t], 2 * INNER);
          addDelta(adapter, layer, Projection.GATE_UP, expert, x[t], gateUp);
          double[] activated = new double[INNER];
          for (int i = 0; i < INNER; i++) {
            activated[i] = gateUp[i] / (1 + Math.exp(-gateUp[i])) * gateUp[i + INNER];
          }
          double[] y = project(base.get(layer).down(), expert, activated, HIDDEN);
          addDelta(adapter, layer, Projection.DOWN, expert, activated, y);
          for (int h = 0; h < HIDDEN; h++) {
            sum[h] += layers.routingWeights.get(pair) * y[h];
          }
        }
        x[t] = sum;
      }
    }
    return x;
  }

  private static double[] project(FloatArray weights, int expert, double[] x, int columns) {
    double[] y = new double[columns];
    for (int c = 0; c < columns; c++) {
      for (int h = 0; h < x.length; h++) {
        y[c] += weights.get((expert * columns + c) * x.length + h) * x[h];
      }
    }
    return y;
  }

  private static void addDelta(
      @Nullable LoraAdapter adapter,
      int layer,
      Projection projection,
      int expert,
      double[] x,
      double[] y) {
    if (adapter == null) {
      return;
    }
    for (LoraSlice slice : adapter.slices(layer, projection, expert)) {
      for (int r = 0; r < slice.rank(); r++) {
        double z = 0;
        for (int h = 0; h < x.length; h++) {
          z += slice.a().get(r, h) * x[h];
        }
        for (int c = 0; c < slice.columns(); c++) {
          y[slice.firstColumn() + c] += slice.scale() * slice.b().get(c, r) * z;
        }
      }
    }
  }
}
