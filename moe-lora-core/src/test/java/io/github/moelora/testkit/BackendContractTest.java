package io.github.moelora.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.DenseModule.Split;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.StalePlanException;
import io.github.moelora.Step;
import io.github.moelora.spi.BackendProvider;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What every backend must do. A backend's tests extend it and say which backend; expected values
 * come from the float64 reference or are worked out by hand.
 */
public abstract class BackendContractTest {
  private long seed;

  /** The backend under test. */
  protected abstract BackendProvider provider();

  @BeforeEach
  void seed(TestInfo test) {
    seed = Seeds.of(test.getDisplayName());
  }

  private MoeLora open(Problem problem) {
    return open(problem.config());
  }

  private MoeLora open(MoeLoraConfig config) {
    return MoeLora.open(config, provider());
  }

  /** Opens the backend for a problem and checks the calls on it. */
  private void check(Problem problem, ProjectionCall... calls) {
    try (MoeLora lora = open(problem)) {
      problem.check(lora, calls);
    }
  }

  private static MoeModel model(int hidden, int intermediate, int experts) {
    return new MoeModel(hidden, intermediate, experts, GateUp.HALVES, List.of(0));
  }

  // ---- what is computed ----

  @Test
  void anExampleWorkedOutByHand() {
    MoeModel model = new MoeModel(2, 1, 2, GateUp.HALVES, List.of(3));
    // expert 1: z = x0 + 2 x1 and gate += 2 * 3 z; z' = 4 x0 and up += 0.5 * -z'
    LoraAdapter adapter =
        LoraAdapter.builder("by hand")
            .add(3, Projection.GATE_UP, 1, slice(0, 1, 2, 2, new float[] {1, 2}, 3))
            .add(3, Projection.GATE_UP, 1, slice(1, 1, 2, 0.5f, new float[] {4, 0}, -1))
            .add(3, Projection.DOWN, 1, slice(0, 2, 1, 1, new float[] {5}, 1, 10))
            .build();
    try (MoeLora lora = open(MoeLoraConfig.of(model, 1, 2).withMaxTokens(2));
        Step step = lora.newStep()) {
      lora.load(0, adapter);
      step.plan(
          2,
          MemorySegment.ofArray(new int[] {1, 0, 0, 1}),
          MemorySegment.ofArray(new float[] {0.25f, 0.75f, 0.5f, 0.5f}),
          MemorySegment.ofArray(new int[] {0, -1}));

      float[] y = {1, 2, 3, 4, 5, 6, 7, 8};
      step.run(
          ProjectionCall.gateUp(3),
          Matrix.ofFloats(2, 2, 1, 10, 7, 7),
          Matrix.of(MemorySegment.ofArray(y), DType.F32, 4, 2));
      // 1 + 10 * 2 = 21, times 6; 4 * 1, times -0.5
      assertThat(y).containsExactly(1 + 126, 2 - 2, 3, 4, 5, 6, 7, 8);

      float[] down = {Float.NaN, Float.NaN, 9, 9, 9, 9, 9, 9};
      step.run(
          ProjectionCall.down(3).deltaOnly(),
          Matrix.ofFloats(4, 1, 2, 3, 4, 5),
          Matrix.of(MemorySegment.ofArray(down), DType.F32, 4, 2));
      // z = 5 * 2, times the routed weight 0.25
      assertThat(down).containsExactly(2.5f, 25, 0, 0, 0, 0, 0, 0);
    }
  }

  private static LoraSlice slice(
      int firstColumn, int outputs, int inputs, float scale, float[] a, float... b) {
    return new LoraSlice(
        firstColumn, Matrix.ofFloats(1, inputs, a), Matrix.ofFloats(outputs, 1, b), scale);
  }

  @Test
  void everyModeOnSeveralLayersWithAllKindsOfAdaptersInOneBatch() {
    MoeModel model = new MoeModel(33, 47, 5, GateUp.HALVES, List.of(0, 2, 7));
    Problem problem =
        new Problem(seed, model, 23, 3)
            .addAdapter(5, false)
            .addAdapter(8, true)
            .addEmptySlot()
            .addAdapter(3, false, 0.6);
    problem
        .addAdapter(problem.randomAdapter(6, (layer, projection, e) -> (layer + e) % 2 == 0))
        .route()
        .skip(0.1);
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.plan(step);
      for (int layer : model.layers()) {
        for (boolean add : new boolean[] {true, false}) {
          problem.check(step, new ProjectionCall(layer, Projection.GATE_UP, false, false, add, 0));
          problem.check(step, new ProjectionCall(layer, Projection.DOWN, true, true, add, 0));
          problem.check(step, new ProjectionCall(layer, Projection.DOWN, true, false, add, 2));
        }
      }
      // unusual but permitted
      problem.check(step, new ProjectionCall(2, Projection.GATE_UP, true, true, true, 5));
      problem.check(step, new ProjectionCall(7, Projection.GATE_UP, false, true, false, 1));
      problem.check(step, new ProjectionCall(0, Projection.DOWN, false, false, true, 0));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = GateUp.class,
      names = {"UP_ONLY", "INTERLEAVED"})
  void modelsWithoutGateAndWithInterleavedColumns(GateUp gateUp) {
    MoeModel model = new MoeModel(20, 13, 3, gateUp, List.of(1));
    Problem problem =
        new Problem(seed, model, 9, 2).addAdapter(4, true).addAdapter(2, true, 0.5).route();
    check(
        problem,
        ProjectionCall.gateUp(1),
        ProjectionCall.gateUp(1).deltaOnly(),
        ProjectionCall.down(1));
  }

  @Test
  void slicesThatCoverOnlySomeColumns() {
    MoeModel model = model(19, 40, 2);
    Problem problem = new Problem(seed, model, 7, 2);
    LoraAdapter.Builder builder = LoraAdapter.builder("patches");
    for (int e = 0; e < model.experts(); e++) {
      builder
          .add(0, Projection.GATE_UP, e, problem.slice(3, 2, 19, 34))
          .add(0, Projection.GATE_UP, e, problem.slice(41 + e, 5, 19, 1))
          .add(0, Projection.DOWN, e, problem.slice(18, 3, 40, 1));
    }
    problem.addAdapter(builder.build()).dealAdapters().route();
    check(
        problem,
        ProjectionCall.gateUp(0),
        ProjectionCall.gateUp(0).deltaOnly().withColumnOffset(6),
        ProjectionCall.down(0),
        ProjectionCall.down(0).deltaOnly());
  }

  @ParameterizedTest
  @CsvSource({"true", "false"})
  void expertsThatLiveElsewhere(boolean some) {
    MoeModel model = model(18, 21, 5);
    ExpertMap map = some ? ExpertMap.of(2, -1, 0, -1, 1) : ExpertMap.of(-1, -1, -1, -1, -1);
    Problem problem =
        new Problem(seed, model, 13, 3)
            .expertMap(map)
            .addAdapter(4, false)
            .addAdapter(7, true)
            .route();
    check(
        problem,
        ProjectionCall.gateUp(0),
        ProjectionCall.gateUp(0).deltaOnly(),
        ProjectionCall.down(0),
        ProjectionCall.down(0).deltaOnly());
  }

  @Test
  void emptyAndDisabledSlotsAddNothing() {
    Problem problem =
        new Problem(seed, model(17, 12, 3), 12, 2)
            .addEmptySlot()
            .addAdapter(3, false)
            .addAdapter(5, true)
            .addEmptySlot()
            .disable(1)
            .disable(3)
            .route()
            .dealAdapters();
    check(problem, ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly());
  }

  // ---- dense modules ----

  /** Modules of attention, shared expert and head, none as wide as another. */
  private static MoeModel wholeModel(ExpertMap map) {
    return model(33, 20, map.experts())
        .withDense(DenseModule.inLayers("model.layers.*.self_attn.q_proj", List.of(0), 33, 47))
        .withDense(
            List.of(
                new DenseModule("model.layers.0.self_attn.kv_a_proj_with_mqa", 33, 5),
                new DenseModule("model.layers.0.mlp.shared_expert.down_proj", 1, 33),
                new DenseModule("lm_head", 33, 131)));
  }

  private static MoeModel wholeModel() {
    return wholeModel(ExpertMap.identity(3));
  }

  private static void checkDense(Problem problem, Step step) {
    checkDense(problem, step, IntStream.range(0, problem.model().dense().size()).toArray());
  }

  private static void checkDense(Problem problem, Step step, int... modules) {
    for (int module : modules) {
      problem.check(step, ProjectionCall.dense(module));
      problem.check(step, ProjectionCall.dense(module).deltaOnly().withColumnOffset(3));
    }
  }

  @Test
  void aDenseModuleWorkedOutByHand() {
    MoeModel model =
        new MoeModel(1, 1, 1, GateUp.UP_ONLY, List.of(0))
            .withDense(List.of(new DenseModule("other", 2, 3), new DenseModule("o_proj", 2, 3)));
    // z = x0 + 2 x1; y += 0.5 * (1, 10, 100) z
    LoraAdapter adapter =
        LoraAdapter.builder("by hand")
            .addDense("o_proj", slice(0, 3, 2, 0.5f, new float[] {1, 2}, 1, 10, 100))
            .build();
    try (MoeLora lora = open(MoeLoraConfig.of(model, 2, 1).withMaxTokens(3));
        Step step = lora.newStep()) {
      lora.load(1, adapter);
      step.planDense(3, MemorySegment.ofArray(new int[] {1, -1, 1}));
      Matrix x = Matrix.ofFloats(3, 2, 2, 4, 7, 7, -2, 0);

      float[] y = {1, 2, 3, 4, 5, 6, 7, 8, 9};
      step.run(
          ProjectionCall.dense(model.denseIndex("o_proj")),
          x,
          Matrix.of(MemorySegment.ofArray(y), DType.F32, 3, 3));
      // z = 10 and -2
      assertThat(y).containsExactly(1 + 5, 2 + 50, 3 + 500, 4, 5, 6, 7 - 1, 8 - 10, 9 - 100);

      float[] other = new float[9];
      Arrays.fill(other, Float.NaN);
      step.run(
          ProjectionCall.dense(model.denseIndex("other")).deltaOnly(),
          x,
          Matrix.of(MemorySegment.ofArray(other), DType.F32, 3, 3));
      assertThat(other).containsOnly(0);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 17})
  void denseModulesBesideExperts(int tokens) {
    Problem problem =
        new Problem(seed, wholeModel(), tokens, 2)
            .addAdapter(5, false)
            .addAdapter(8, true, 0.5)
            .addEmptySlot();
    problem
        .addAdapter(problem.randomDense(21, 0.8))
        .addAdapter(problem.randomAdapter(3, (layer, projection, e) -> e == 0))
        .addAdapter(4, true)
        .disable(5)
        .route();
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.planDense(step);
      problem.check(step, ProjectionCall.dense(2));
      problem.plan(step);
      problem.check(step, ProjectionCall.gateUp(0));
      checkDense(problem, step);
      problem.check(step, ProjectionCall.down(0).deltaOnly());
    }
  }

  @Test
  void denseModulesWithGroupsOfManyBlocksAndOfOneToken() {
    Problem problem =
        new Problem(seed, wholeModel(), 257, 1)
            .addAdapter(3, false)
            .addAdapter(16, true)
            .addAdapter(65, true)
            .route();
    for (int t = 0; t < problem.tokens(); t++) {
      problem.adapterIds()[t] = t == 100 ? 1 : t % 11 == 0 ? 2 : t % 13 == 0 ? -1 : 0;
    }
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.planDense(step);
      checkDense(problem, step, 0, 2);
    }
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void denseModulesOfEveryType(DType weights) {
    Problem problem =
        new Problem(seed, wholeModel(), 7, 2)
            .types(weights, DType.F32, DType.F32)
            .addAdapter(9, false)
            .addAdapter(4, true)
            .route()
            .withStrides();
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.planDense(step);
      for (DType xType : DType.values()) {
        for (DType yType : DType.values()) {
          problem.types(weights, xType, yType);
          checkDense(problem, step, 1);
        }
      }
    }
  }

  /** Three adapters' modules on one fused projection of the engine, each at its own columns. */
  @Test
  void qkvInOneBufferByColumnOffset() {
    int[] widths = {24, 8, 9};
    List<DenseModule> modules = new ArrayList<>();
    for (int i = 0; i < widths.length; i++) {
      modules.add(new DenseModule("qkv".substring(i, i + 1), 19, widths[i]));
    }
    Problem problem =
        new Problem(seed, model(19, 7, 2).withDense(modules), 13, 1).addAdapter(6, true).route();
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.planDense(step);
      Matrix x = problem.random(13, 19, DType.F32);
      Matrix fused = problem.random(13, 41, DType.F32);
      int offset = 0;
      for (int i = 0; i < widths.length; i++) {
        Matrix alone = problem.random(13, widths[i], DType.F32);
        step.run(ProjectionCall.dense(i).deltaOnly(), x, alone);
        step.run(ProjectionCall.dense(i).deltaOnly().withColumnOffset(offset), x, fused);
        for (int t = 0; t < 13; t++) {
          for (int c = 0; c < widths[i]; c++) {
            assertThat(fused.get(t, offset + c)).isEqualTo(alone.get(t, c));
          }
        }
        offset += widths[i];
      }
      checkDense(problem, step);
    }
  }

  @Test
  void slotsOfDenseModulesChangeBetweenPlans() {
    Problem problem = new Problem(seed, wholeModel(), 14, 2).addAdapter(8, false).addEmptySlot();
    problem.route();
    List<Runnable> changes = new ArrayList<>();
    // fewer modules and ranks where more were: nothing of them may remain
    changes.add(() -> problem.set(0, problem.randomDense(3, 0.5)));
    changes.add(() -> problem.set(1, problem.randomAdapter(7, true, 1)));
    changes.add(() -> problem.disable(0));
    changes.add(() -> problem.set(1, null));
    changes.add(() -> problem.enable(0).set(1, problem.randomDense(8, 1)));
    changes.add(() -> problem.set(0, problem.randomAdapter(2, (layer, projection, e) -> true)));
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      for (Runnable change : changes) {
        change.run();
        for (int slot = 0; slot < 2; slot++) {
          if (problem.adapters().get(slot) == null) {
            lora.unload(slot);
          }
        }
        problem.load(lora);
        problem.planDense(step);
        checkDense(problem, step);
      }
    }
  }

  @Test
  void denseModulesOfAnInstanceWithoutLocalExperts() {
    ExpertMap elsewhere = ExpertMap.of(-1, -1);
    Problem problem =
        new Problem(seed, wholeModel(elsewhere), 5, 2)
            .expertMap(elsewhere)
            .addAdapter(6, true)
            .route();
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.plan(step);
      problem.check(step, ProjectionCall.down(0).deltaOnly());
      checkDense(problem, step);
    }
  }

  @Test
  void aPlanOfDenseModulesAloneHasNoExperts() {
    Problem problem = new Problem(seed, wholeModel(), 3, 1).addAdapter(2, false).route();
    problem.dealAdapters();
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      // of no token: nothing to do, and nothing wrong
      step.planDense(0, MemorySegment.ofArray(new int[0]));
      step.run(ProjectionCall.dense(0), Matrix.ofFloats(0, 33), Matrix.ofFloats(0, 47));
      problem.plan(step);
      problem.planDense(step);
      assertThatIllegalStateException()
          .isThrownBy(() -> problem.check(step, ProjectionCall.gateUp(0)))
          .withMessage("plan must be called before run");
      lora.unload(0);
      assertThatExceptionOfType(StalePlanException.class)
          .isThrownBy(() -> problem.check(step, ProjectionCall.dense(0)));
      problem.set(0, null).plan(step);
      problem.check(step, ProjectionCall.dense(0));
      problem.check(step, ProjectionCall.gateUp(0));
    }
  }

  // ---- shards ----

  private static Problem problemForShards(long seed, GateUp gateUp, boolean withDense) {
    List<DenseModule> dense =
        List.of(
            new DenseModule("q", 19, 24, Split.OUTPUT),
            new DenseModule("gate_up", 19, 32, Split.OUTPUT_HALVES),
            new DenseModule("o", 24, 19, Split.INPUT));
    MoeModel whole =
        new MoeModel(19, 16, 5, gateUp, List.of(0)).withDense(withDense ? dense : List.of());
    return new Problem(seed, whole, 11, 3)
        .addAdapter(5, false)
        .addAdapter(7, true)
        .addAdapter(3, false, 0.6)
        .addEmptySlot()
        .route()
        .skip(0.1);
  }

  private static ShardedProblem sharded(Problem problem) {
    List<ProjectionCall> calls = new ArrayList<>();
    calls.add(ProjectionCall.gateUp(0).deltaOnly());
    calls.add(ProjectionCall.down(0).deltaOnly());
    for (int module = 0; module < problem.model().dense().size(); module++) {
      calls.add(ProjectionCall.dense(module).deltaOnly());
    }
    return new ShardedProblem(problem, calls);
  }

  @ParameterizedTest
  @CsvSource({"2, HALVES, true", "4, INTERLEAVED, false", "8, UP_ONLY, false"})
  void shardsAddUpToTheWhole(int of, GateUp gateUp, boolean withDense) {
    Problem problem = problemForShards(seed, gateUp, withDense);
    ShardedProblem sharded = sharded(problem);
    sharded.addShards(provider(), of);
    sharded.check();
  }

  @Test
  void expertsOfSeveralInstancesAddUpToTheWhole() {
    Problem problem = problemForShards(seed, GateUp.HALVES, false);
    ShardedProblem sharded =
        new ShardedProblem(
            problem,
            List.of(ProjectionCall.gateUp(0).deltaOnly(), ProjectionCall.down(0).deltaOnly()));
    sharded.addExperts(provider(), ExpertMap.of(0, -1, 1, -1, -1));
    sharded.addExperts(provider(), ExpertMap.of(-1, 1, -1, 0, -1));
    sharded.addExperts(provider(), ExpertMap.of(-1, -1, -1, -1, 0));
    sharded.check();
  }

  // ---- what went wrong elsewhere ----

  /** A scale of alpha / sqrt(R) must arrive as it is, not be made anew as alpha / R. */
  @Test
  void rsLoraScaleIsTakenAsGiven_vllm55545() {
    int rank = 16;
    float alpha = 32;
    MoeModel model = new MoeModel(1, 1, 1, GateUp.UP_ONLY, List.of(0));
    float[] ones = new float[rank];
    Arrays.fill(ones, 1);
    LoraAdapter adapter =
        LoraAdapter.builder("rslora")
            .add(
                0,
                Projection.GATE_UP,
                0,
                new LoraSlice(
                    0,
                    Matrix.ofFloats(rank, 1, ones),
                    Matrix.ofFloats(1, rank, ones),
                    alpha / (float) Math.sqrt(rank)))
            .build();
    try (MoeLora lora = open(MoeLoraConfig.of(model, 1, 1).withMaxTokens(1));
        Step step = lora.newStep()) {
      lora.load(0, adapter);
      step.plan(
          1,
          MemorySegment.ofArray(new int[1]),
          MemorySegment.ofArray(new float[1]),
          MemorySegment.ofArray(new int[1]));
      float[] y = {1000};
      step.run(
          ProjectionCall.gateUp(0),
          Matrix.ofFloats(1, 1, 3),
          Matrix.of(MemorySegment.ofArray(y), DType.F32, 1, 1));
      // 32 / 4 * 16 * 3; with alpha / R it would be 96
      assertThat(y).containsExactly(1000 + 384);
    }
  }

  /** Tokens without adapter keep every bit, whatever is loaded and whoever shares the batch. */
  @Test
  void tokensWithoutAdapterAreNotChangedByALoadedOne_vllm42008_vllm49063() {
    Problem problem = new Problem(seed, model(24, 16, 4), 10, 2).addAdapter(8, false).route();
    try (MoeLora lora = open(problem)) {
      for (int slot : new int[] {-1, 0}) {
        // all tokens without adapter, then every other one
        for (int t = 0; t < problem.tokens(); t++) {
          problem.adapterIds()[t] = t % 2 == 0 ? slot : -1;
        }
        problem.check(
            lora,
            ProjectionCall.gateUp(0),
            ProjectionCall.down(0),
            ProjectionCall.gateUp(0).deltaOnly());
      }
    }
  }

  /** Every rank up to 256, also next to each other in one batch. */
  @Test
  void ranks1To256LiveTogether_vllm55158() {
    int[] ranks = {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 127, 128, 200, 255, 256};
    Problem problem = new Problem(seed, model(21, 18, 2), ranks.length, 2);
    for (int i = 0; i < ranks.length; i++) {
      problem.addAdapter(ranks[i], i % 2 == 0);
    }
    problem.route().dealAdapters();
    check(
        problem,
        ProjectionCall.gateUp(0),
        ProjectionCall.gateUp(0).deltaOnly(),
        ProjectionCall.down(0));
  }

  /** Also next to a small one, and on dense modules. */
  @Test
  void ranksBeyond256() {
    int[] ranks = {257, 320, 5, 511, 512};
    MoeModel model = model(21, 18, 2).withDense(List.of(new DenseModule("q", 19, 35)));
    Problem problem = new Problem(seed, model, 2 * ranks.length, 2);
    for (int i = 0; i < ranks.length; i++) {
      problem.addAdapter(ranks[i], i % 2 == 0);
    }
    problem.route().dealAdapters();
    check(
        problem,
        ProjectionCall.gateUp(0),
        ProjectionCall.down(0).deltaOnly(),
        ProjectionCall.dense(0));
  }

  // ---- sizes ----

  @ParameterizedTest
  @CsvSource({
    // T, H, I, E, K, R
    "1, 1, 1, 1, 1, 1",
    "1, 2, 1, 2, 2, 1",
    "1, 64, 32, 8, 4, 16",
    "2, 3, 5, 7, 1, 2",
    "5, 129, 67, 4, 4, 13",
    "31, 16, 48, 3, 3, 16",
    "61, 97, 15, 13, 2, 11",
    "3, 1100, 301, 2, 1, 19",
  })
  void oddAndPrimeSizes(int tokens, int hidden, int intermediate, int experts, int k, int rank) {
    Problem problem =
        new Problem(seed, model(hidden, intermediate, experts), tokens, k)
            .addAdapter(rank, false)
            .addAdapter(rank, true)
            .route()
            .dealAdapters();
    check(problem, ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly());
  }

  @Test
  void groupsOfManyBlocksAndOfOnePair() {
    Problem problem =
        new Problem(seed, model(12, 10, 3), 257, 2)
            .addAdapter(3, false)
            .addAdapter(2, true)
            .addAdapter(4, true)
            .route();
    // nearly all with one adapter, one token with another
    for (int t = 0; t < problem.tokens(); t++) {
      problem.adapterIds()[t] = t == 100 ? 1 : t % 11 == 0 ? 2 : 0;
    }
    check(
        problem,
        ProjectionCall.gateUp(0),
        ProjectionCall.down(0),
        ProjectionCall.down(0).deltaOnly().withRoutedWeight(false));
  }

  @Test
  void emptyBatchAndBatchWithoutWork() {
    Problem none = new Problem(seed, model(8, 6, 3), 0, 2).addAdapter(2, false);
    check(none, ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly());

    Problem skipped = new Problem(seed, model(8, 6, 3), 5, 2).addAdapter(2, false).route().skip(1);
    check(skipped, ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly());
  }

  // ---- types and memory ----

  @ParameterizedTest
  @EnumSource(DType.class)
  void everyTypeOfWeightsAndActivations(DType weights) {
    Problem problem =
        new Problem(seed, model(38, 26, 4), 11, 2)
            .types(weights, DType.F32, DType.F32)
            .addAdapter(9, false)
            .addAdapter(4, true)
            .addAdapter(16, true, 0.5)
            .route();
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.plan(step);
      for (DType xType : DType.values()) {
        for (DType yType : DType.values()) {
          problem.types(weights, xType, yType);
          problem.check(step, ProjectionCall.gateUp(0));
          problem.check(step, ProjectionCall.down(0));
          problem.check(step, ProjectionCall.gateUp(0).deltaOnly().withColumnOffset(1));
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"F32, F16", "F32, BF16", "F16, BF16", "BF16, F16"})
  void weightsAreRoundedToTheTypeOfTheSlots(DType file, DType slots) {
    Problem problem =
        new Problem(seed, model(14, 18, 2), 5, 2)
            .types(file, DType.F32, DType.F32)
            .slotType(slots)
            .addAdapter(6, false)
            .addAdapter(3, true)
            .route()
            .dealAdapters();
    check(problem, ProjectionCall.gateUp(0), ProjectionCall.down(0));
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void viewsWithOffsetsStridesAndOddAddresses(DType type) {
    Problem problem =
        new Problem(seed, model(35, 22, 3), 21, 2)
            .types(type, type, type)
            .withStrides()
            .addAdapter(5, false)
            .addAdapter(4, true, 0.7)
            .route();
    check(
        problem,
        ProjectionCall.gateUp(0),
        ProjectionCall.gateUp(0).deltaOnly().withColumnOffset(2),
        ProjectionCall.down(0),
        ProjectionCall.down(0).deltaOnly());
  }

  /** Java arrays of the element type, and of another one, are memory like any other. */
  @Test
  void heapArraysOfAnyKind() {
    Problem problem =
        new Problem(seed, model(33, 40, 2), 3, 1)
            .types(DType.BF16, DType.F32, DType.BF16)
            .addAdapter(4, true)
            .route()
            .dealAdapters();
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.plan(step);
      Operands operands = problem.operands(ProjectionCall.gateUp(0));
      Matrix y = operands.y();
      long bytes = y.data().byteSize();
      for (MemorySegment heap :
          List.of(
              MemorySegment.ofArray(new short[Math.toIntExact(bytes / 2)]),
              MemorySegment.ofArray(new float[Math.toIntExact((bytes + 3) / 4)]).asSlice(0, bytes),
              MemorySegment.ofArray(new long[Math.toIntExact((bytes + 7) / 8)])
                  .asSlice(0, bytes))) {
        MemorySegment.copy(y.data(), 0, heap, 0, bytes);
        Matrix result = Matrix.of(heap, y.type(), y.rows(), y.columns());
        float[] x = new float[problem.tokens() * 33];
        MemorySegment.copy(operands.x().data(), 0, MemorySegment.ofArray(x), 0, 4L * x.length);
        step.run(operands.call(), Matrix.ofFloats(problem.tokens(), 33, x), result);
        operands.check(result);
      }
    }
  }

  @Test
  void adaptersMayBeTransposedViews() {
    Problem problem = new Problem(seed, model(10, 6, 1), 3, 1);
    Matrix a = problem.random(10, 4, DType.F32);
    Matrix b = problem.random(4, 12, DType.F32);
    problem
        .addAdapter(
            LoraAdapter.builder("transposed")
                .add(
                    0,
                    Projection.GATE_UP,
                    0,
                    new LoraSlice(
                        0,
                        new Matrix(a.data(), DType.F32, 4, 10, 0, 1, 4),
                        new Matrix(b.data(), DType.F32, 12, 4, 0, 1, 12),
                        0.5f))
                .build())
        .route()
        .dealAdapters();
    check(problem, ProjectionCall.gateUp(0));
  }

  // ---- plans and slots ----

  @Test
  void slotsChangeBetweenPlans() {
    Problem problem =
        new Problem(seed, model(22, 15, 3), 14, 2)
            .addAdapter(8, false)
            .addAdapter(5, true)
            .addAdapter(2, false)
            .route();
    List<Runnable> changes = new ArrayList<>();
    // a smaller rank and fewer experts where a larger adapter was: nothing of it may remain
    changes.add(() -> problem.set(0, problem.randomAdapter(3, true, 0.5)));
    changes.add(() -> problem.set(1, problem.randomAdapter(8, false, 1)));
    changes.add(() -> problem.disable(0));
    changes.add(() -> problem.set(2, null));
    changes.add(() -> problem.enable(0));
    changes.add(() -> problem.set(2, problem.randomAdapter(8, true, 1)));
    changes.add(() -> problem.disable(1).set(1, problem.randomAdapter(1, true, 1)));
    changes.add(() -> problem.enable(1));
    try (MoeLora lora = open(problem);
        Step step = lora.newStep()) {
      problem.load(lora);
      for (Runnable change : changes) {
        change.run();
        for (int slot = 0; slot < 3; slot++) {
          if (problem.adapters().get(slot) == null) {
            lora.unload(slot);
          }
        }
        problem.load(lora);
        problem.plan(step);
        problem.check(step, ProjectionCall.gateUp(0));
        problem.check(step, ProjectionCall.down(0).deltaOnly());
      }
    }
  }

  @Test
  void aPlanOfAChangedSlotIsRefusedAndOthersGoOn() {
    Problem first = new Problem(seed, model(9, 7, 2), 4, 1).addAdapter(2, false);
    first.addAdapter(first.randomAdapter(3, true, 1)).route();
    Arrays.fill(first.adapterIds(), 0);
    Problem second = new Problem(seed + 1, model(9, 7, 2), 6, 1);
    first.adapters().forEach(adapter -> second.addAdapter(Objects.requireNonNull(adapter)));
    second.route();
    Arrays.fill(second.adapterIds(), 1);
    MoeLoraConfig config = second.config();
    try (MoeLora lora = open(config);
        Step usesFirst = lora.newStep();
        Step usesSecond = lora.newStep()) {
      first.load(lora);
      first.plan(usesFirst);
      second.plan(usesSecond);

      second.set(1, second.randomAdapter(1, false, 1));
      lora.load(1, Objects.requireNonNull(second.adapters().get(1)));
      first.check(usesFirst, ProjectionCall.gateUp(0));
      Operands operands = second.operands(ProjectionCall.gateUp(0));
      Matrix y = operands.y();
      byte[] before = bytes(y);
      assertThatExceptionOfType(StalePlanException.class)
          .isThrownBy(() -> usesSecond.run(operands.call(), operands.x(), y))
          .withMessage(
              "adapter slot 1 changed after the step was planned; call plan again before run");
      assertThat(bytes(y)).isEqualTo(before);

      second.plan(usesSecond);
      operands.check(usesSecond);
    }
  }

  private static byte[] bytes(Matrix matrix) {
    return matrix.data().toArray(ValueLayout.JAVA_BYTE);
  }

  @Test
  void stepsDoNotDisturbEachOther() {
    Problem small = new Problem(seed, model(16, 9, 3), 2, 2).addAdapter(4, false).route();
    Problem large = new Problem(seed + 1, model(16, 9, 3), 70, 2);
    large.addAdapter(Objects.requireNonNull(small.adapters().get(0))).route();
    small.dealAdapters();
    try (MoeLora lora = open(large.config());
        Step one = lora.newStep();
        Step two = lora.newStep()) {
      small.load(lora);
      small.plan(one);
      large.plan(two);
      small.check(one, ProjectionCall.gateUp(0));
      large.check(two, ProjectionCall.gateUp(0));
      small.check(one, ProjectionCall.down(0).deltaOnly());
      large.check(two, ProjectionCall.down(0).deltaOnly());
      // batches of other sizes in the same steps
      large.plan(one);
      small.plan(two);
      large.check(one, ProjectionCall.down(0));
      small.check(two, ProjectionCall.down(0));
    }
  }

  @Test
  void theSameInputGivesTheSameBits() {
    Problem problem =
        new Problem(seed, model(67, 45, 3), 53, 2)
            .addAdapter(16, false)
            .addAdapter(5, true)
            .route();
    Operands gateUp = problem.operands(ProjectionCall.gateUp(0));
    Operands down = problem.operands(ProjectionCall.down(0).deltaOnly());
    byte[] gateUpBits = null;
    byte[] downBits = null;
    for (int open = 0; open < 2; open++) {
      try (MoeLora lora = open(problem);
          Step step = lora.newStep()) {
        problem.load(lora);
        for (int plan = 0; plan < 2; plan++) {
          problem.plan(step);
          for (int run = 0; run < 3; run++) {
            byte[] gateUpResult = gateUp.check(step);
            byte[] downResult = down.check(step);
            if (gateUpBits == null || downBits == null) {
              gateUpBits = gateUpResult;
              downBits = downResult;
            }
            assertThat(gateUpResult).isEqualTo(gateUpBits);
            assertThat(downResult).isEqualTo(downBits);
          }
        }
      }
    }
  }

  // ---- life cycle ----

  @Test
  void closingTwiceDoesNothing() {
    Problem problem = new Problem(seed, model(4, 3, 2), 1, 1).addAdapter(1, false).route();
    MoeLora lora = open(problem);
    problem.load(lora);
    Step closed = lora.newStep();
    Step open = lora.newStep();
    closed.close();
    assertThatNoException().isThrownBy(closed::close);
    lora.close();
    assertThatNoException().isThrownBy(lora::close);
    assertThatNoException().isThrownBy(open::close);
  }

  @Test
  void saysWhatItRunsOn() {
    Problem problem = new Problem(seed, model(4, 3, 2), 1, 1).addAdapter(1, false);
    try (MoeLora lora = open(problem)) {
      assertThat(lora.device()).isNotBlank();
      assertThat(lora.backendName()).isEqualTo(provider().name());
    }
  }
}
