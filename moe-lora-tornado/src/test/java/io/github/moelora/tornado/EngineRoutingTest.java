package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

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
import io.github.moelora.testkit.Seeds;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Layers that route on the device: the seams of {@link EngineTasks} against float64 loops. */
class EngineRoutingTest {
  private static final int HIDDEN = 13;
  private static final int INNER = 9;
  private static final int EXPERTS = 5;
  private static final int PER_TOKEN = 3;
  private static final int SLOTS = 3;
  private static final int TOKENS = 7;
  private static final int PAIRS = TOKENS * PER_TOKEN;

  /** Sums of at most 13 * 4 products of numbers around 1, of each some roundings of 2^-24. */
  private static final double TOLERANCE = 2e-5;

  private final long seed = Seeds.of("engine routing");
  private final Random random = new Random(seed);
  private final @Nullable LoraAdapter[] slots = new LoraAdapter[SLOTS];

  private final FloatArray x = new FloatArray(TOKENS * HIDDEN);
  private final FloatArray inner = new FloatArray(PAIRS * INNER);
  private final IntArray expertIds = new IntArray(PAIRS);
  private final FloatArray routingWeights = new FloatArray(PAIRS);
  private final FloatArray added = new FloatArray(PAIRS * 2 * INNER);
  private final FloatArray delta = new FloatArray(PAIRS * (2 * INNER + 1));
  private final FloatArray base = new FloatArray(PAIRS * 2 * INNER);
  private final FloatArray active = new FloatArray(PAIRS * INNER);
  private final FloatArray combined = new FloatArray(TOKENS * HIDDEN);

  @RegisterExtension private final EnginePlans opened = new EnginePlans();

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Test
  void seamsOfFreshStepsWithSwaps() {
    MoeLoraConfig config = config(ExpertMap.identity(EXPERTS));
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      EngineTasks tasks = EngineTasks.of(lora);
      TornadoExecutionPlan plan = plan(tasks);
      check(tasks, plan, TOKENS, ids(TOKENS, SLOTS), config);
      load(lora, 0, adapter(4, 1));
      load(lora, 2, adapter(3, 0.6));
      for (int tokens : new int[] {TOKENS, 1, 0, 5}) {
        check(tasks, plan, tokens, ids(tokens, SLOTS), config);
      }
      load(lora, 0, adapter(2, 1));
      check(tasks, plan, TOKENS, filled(TOKENS, 0), config);
      // nothing is refused: a disabled slot gives no delta
      lora.setEnabled(0, false);
      LoraAdapter disabled = slots[0];
      slots[0] = null;
      check(tasks, plan, TOKENS, filled(TOKENS, 0), config);
      lora.setEnabled(0, true);
      slots[0] = disabled;
      lora.unload(2);
      slots[2] = null;
      check(tasks, plan, TOKENS, ids(TOKENS, SLOTS), config);
    }
  }

  @Test
  void stepKeepsItsSlotsAndBeginComesAnywhere() {
    MoeLoraConfig config = config(ExpertMap.identity(EXPERTS));
    MoeLora lora = MoeLora.open(config, "tornado");
    try (lora) {
      EngineTasks tasks = EngineTasks.of(lora);
      TornadoExecutionPlan plan = plan(tasks);
      load(lora, 1, adapter(4, 1));
      int[] adapters = filled(TOKENS, 1);
      fill();
      assertThat(tasks.begin(TOKENS, adapters)).isZero();
      LoraAdapter next = adapter(3, 1);
      lora.load(1, next);
      run(plan, TOKENS, adapters, config);
      // between two graphs, of which the second consumes what the first left on the device
      plan.withGraph(0).execute();
      tasks.begin(TOKENS, adapters);
      slots[1] = next;
      clear();
      plan.withGraph(1).execute();
      compare(TOKENS, adapters, config);
    }
    assertThatThrownBy(() -> lora.load(0, adapter(1, 1))).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void expertsElsewhereAndIdsOutOfRange() {
    MoeLoraConfig config = config(ExpertMap.of(1, -1, 0, -1, 2));
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      EngineTasks tasks = EngineTasks.of(lora);
      TornadoExecutionPlan plan = plan(tasks);
      load(lora, 0, adapter(4, 1));
      check(tasks, plan, TOKENS, filled(TOKENS, 0), config);
      fill();
      expertIds.set(0, EXPERTS);
      expertIds.set(4, Integer.MAX_VALUE);
      expertIds.set(PAIRS - 1, -7);
      int[] adapters = filled(TOKENS, 0);
      tasks.begin(TOKENS, adapters);
      run(plan, TOKENS, adapters, config);
      // counted once for the layer, whatever the number of calls
      assertThat(tasks.takeErrors()).isEqualTo(3);
      assertThat(tasks.takeErrors()).isZero();
      clear();
      run(plan, TOKENS, adapters, config);
      clear();
      run(plan, TOKENS, adapters, config);
      // begin looks at every 64th step, which takes no copy from the others
      for (int step = 1; step < 64; step++) {
        assertThat(tasks.begin(TOKENS, adapters)).as("step %d", step).isZero();
      }
      assertThat(tasks.begin(TOKENS, adapters)).isEqualTo(6);
      assertThat(tasks.begin(TOKENS, adapters)).isZero();
    }
  }

  @Test
  void adapterIdsFromTheDevice() {
    MoeLoraConfig config = config(ExpertMap.identity(EXPERTS));
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      EngineTasks tasks = EngineTasks.of(lora);
      IntArray ids = new IntArray(TOKENS);
      assertThatThrownBy(() -> tasks.useAdapterIds(new IntArray(TOKENS - 1)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("adapterIds must hold at least maxTokens = 7 elements, got 6");
      tasks.useAdapterIds(ids);
      TaskGraph layer = new TaskGraph("layer");
      layer.transferToDevice(
          DataTransferMode.EVERY_EXECUTION, x, ids, expertIds, routingWeights, added);
      EngineGraph to = new EngineGraph(layer, 0, TOKENS);
      tasks.route(to, new EngineRouting(expertIds, routingWeights));
      tasks.append(to, ProjectionCall.gateUp(0), new EngineArrays(x, added, 2 * INNER));
      assertThatThrownBy(() -> tasks.useAdapterIds(ids))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("useAdapterIds must come before any task");
      layer.transferToHost(DataTransferMode.EVERY_EXECUTION, added);
      TornadoExecutionPlan plan = attach(tasks, layer);
      load(lora, 1, adapter(4, 1));
      fill();
      int[] adapters = {1, -1, 0, SLOTS, 1, -2, 1};
      for (int t = 0; t < TOKENS; t++) {
        ids.set(t, adapters[t]);
      }
      assertThat(tasks.begin(6)).isZero();
      plan.withGraph(0).execute();
      for (int p = 0; p < PAIRS; p++) {
        double[] up = new double[2 * INNER];
        boolean has = p / PER_TOKEN < 6 && adapters[p / PER_TOKEN] == 1 && expertIds.get(p) >= 0;
        addDelta(
            has ? slots[1] : null,
            Projection.GATE_UP,
            expertIds.get(p),
            x,
            p / PER_TOKEN * HIDDEN,
            up);
        for (int c = 0; c < 2 * INNER; c++) {
          close(added.get(p * 2 * INNER + c), 1 + up[c], "added[%d, %d]", p, c);
        }
      }
      assertThat(tasks.takeErrors()).isEqualTo(2 * PER_TOKEN);
    }
  }

  /** The choice of the experts and the shared expert's sum, taken along by our tasks. */
  @Test
  void choiceAndSharedExpert() {
    MoeLoraConfig config = config(ExpertMap.of(1, -1, 0, 3, 2));
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      EngineTasks tasks = EngineTasks.of(lora);
      FloatArray logits = new FloatArray(TOKENS * (EXPERTS + 1));
      FloatArray weights = new FloatArray(PAIRS + TOKENS);
      FloatArray shared = new FloatArray(TOKENS * HIDDEN);
      TaskGraph layer = new TaskGraph("layer");
      layer.transferToDevice(
          DataTransferMode.EVERY_EXECUTION, x, inner, expertIds, weights, logits, shared, combined);
      layer.transferToDevice(DataTransferMode.EVERY_EXECUTION, added);
      EngineGraph to = new EngineGraph(layer, 0, TOKENS);
      refuseShortArrays(tasks, to, logits, weights, shared);
      EngineArrays up = new EngineArrays(x, added, 2 * INNER);
      EngineArrays down = new EngineArrays(inner, combined, HIDDEN);
      tasks.route(to, new EngineRouting(expertIds, weights), new RouterLogits(logits, false, true));
      assertThatThrownBy(() -> tasks.appendCombined(to, ProjectionCall.down(0), down, shared))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith("the first call after route with logits must be append or");
      assertThatThrownBy(() -> tasks.appendCombined(to, ProjectionCall.down(0), down))
          .isInstanceOf(IllegalStateException.class);
      tasks.append(to, ProjectionCall.gateUp(0), up);
      tasks.appendCombined(to, ProjectionCall.down(0), down, shared);
      layer.transferToHost(DataTransferMode.EVERY_EXECUTION, added, combined, expertIds, weights);
      TornadoExecutionPlan plan = attach(tasks, layer);
      load(lora, 1, adapter(4, 1));
      int[] adapters = {1, -1, 1, 0, 1, 1, 1};
      for (int tokens : new int[] {TOKENS, 2, TOKENS}) {
        fill();
        for (FloatArray each : List.of(logits, shared)) {
          for (int i = 0; i < each.getSize(); i++) {
            each.set(i, (float) random.nextGaussian());
          }
        }
        weights.init(Float.NaN);
        expertIds.init(-9);
        assertThat(tasks.begin(tokens, adapters)).isZero();
        plan.withGraph(0).execute();
        for (int t = 0; t < TOKENS; t++) {
          checkChosen(t, t < tokens, adapters[t], config, logits, weights, shared);
        }
      }
      assertThat(tasks.takeErrors()).isZero();
    }
  }

  private static void refuseShortArrays(
      EngineTasks tasks, EngineGraph to, FloatArray logits, FloatArray weights, FloatArray shared) {
    IntArray ids = new IntArray(PAIRS);
    FloatArray few = new FloatArray(PAIRS);
    assertThatThrownBy(
            () ->
                tasks.route(to, new EngineRouting(ids, few), new RouterLogits(logits, false, true)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "routingWeights must hold at least maxTokens * (expertsPerToken + 1) = 28 elements with"
                + " a shared expert, got 21");
    assertThatThrownBy(
            () ->
                tasks.route(
                    to,
                    new EngineRouting(ids, weights),
                    new RouterLogits(new FloatArray(TOKENS * EXPERTS), false, true)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("logits must hold at least maxTokens * (experts + 1) = 42 elements, got 35");
    tasks.route(to, new EngineRouting(ids, few));
    EngineArrays down = new EngineArrays(new FloatArray(PAIRS * INNER), shared, HIDDEN);
    assertThatThrownBy(() -> tasks.appendCombined(to, ProjectionCall.down(0), down, shared))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("routingWeights must hold");
    tasks.route(to, new EngineRouting(ids, weights));
    FloatArray small = new FloatArray(TOKENS * HIDDEN - 1);
    assertThatThrownBy(() -> tasks.appendCombined(to, ProjectionCall.down(0), down, small))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("shared must hold at least 91 elements, got 90");
  }

  private void checkChosen(
      int t,
      boolean live,
      int adapter,
      MoeLoraConfig config,
      FloatArray logits,
      FloatArray weights,
      FloatArray shared) {
    double[] down = new double[HIDDEN];
    int from = t * (EXPERTS + 1);
    Integer[] order = {0, 1, 2, 3, 4};
    Arrays.sort(order, (a, b) -> Float.compare(logits.get(from + b), logits.get(from + a)));
    double sum = 0;
    for (int e = 0; e < EXPERTS; e++) {
      sum += Math.exp(logits.get(from + e));
    }
    for (int k = 0; k < PER_TOKEN; k++) {
      int p = t * PER_TOKEN + k;
      double[] up = new double[2 * INNER];
      if (live) {
        assertThat(expertIds.get(p)).as("seed %d, expertIds[%d]", seed, p).isEqualTo(order[k]);
        double weight = Math.exp(logits.get(from + order[k])) / sum;
        close(weights.get(p), weight, "weights[%d, %d]", t, k);
        LoraAdapter own = adapter < 0 ? null : slots[adapter];
        if (config.expertMap().local(order[k]) >= 0) {
          double[] pair = new double[HIDDEN];
          addDelta(own, Projection.GATE_UP, order[k], x, t * HIDDEN, up);
          addDelta(own, Projection.DOWN, order[k], inner, p * INNER, pair);
          for (int c = 0; c < HIDDEN; c++) {
            down[c] += weight * pair[c];
          }
        }
      } else {
        assertThat(expertIds.get(p)).isEqualTo(-9);
        assertThat(weights.get(p)).isNaN();
      }
      for (int c = 0; c < 2 * INNER; c++) {
        close(added.get(p * 2 * INNER + c), 1 + up[c], "added[%d, %d]", p, c);
      }
    }
    double weight = 1 / (1 + Math.exp(-logits.get(from + EXPERTS)));
    for (int c = 0; c < HIDDEN; c++) {
      double own = live ? weight * shared.get(t * HIDDEN + c) : 0;
      close(combined.get(t * HIDDEN + c), 2 + down[c] + own, "combined[%d, %d]", t, c);
    }
  }

  /** A step that has begun finishes on the engine's memory; the next one is refused. */
  @Test
  void closeBesideAStep() throws InterruptedException {
    MoeLoraConfig config = config(ExpertMap.identity(EXPERTS));
    MoeLora lora = MoeLora.open(config, "tornado");
    EngineTasks tasks = EngineTasks.of(lora);
    TornadoExecutionPlan plan = plan(tasks);
    load(lora, 0, adapter(4, 1));
    int[] adapters = filled(TOKENS, 0);
    fill();
    tasks.begin(TOKENS, adapters);
    plan.withGraph(0).execute();
    Thread other = new Thread(lora::close);
    other.start();
    other.join(10_000);
    assertThat(other.isAlive()).as("close waits").isFalse();
    plan.withGraph(1).execute();
    compare(TOKENS, adapters, config);
    assertThatThrownBy(() -> tasks.begin(TOKENS, adapters))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the instance is closed, or its device has failed");
    assertThatThrownBy(tasks::takeErrors).isInstanceOf(IllegalStateException.class);
  }

  private static MoeLoraConfig config(ExpertMap map) {
    MoeModel model = new MoeModel(HIDDEN, INNER, EXPERTS, GateUp.HALVES, List.of(0));
    return MoeLoraConfig.of(model, SLOTS, PER_TOKEN)
        .withMaxTokens(TOKENS)
        .withMaxRank(4)
        .withExpertMap(map);
  }

  /** A graph that brings what the router would leave, then one with the seams. */
  private TornadoExecutionPlan plan(EngineTasks tasks) {
    TaskGraph first = new TaskGraph("router");
    first
        .transferToDevice(DataTransferMode.EVERY_EXECUTION, expertIds, routingWeights)
        .task("touch", EngineRoutingTest::touch, expertIds, routingWeights)
        .persistOnDevice(expertIds, routingWeights);
    TaskGraph layer = new TaskGraph("layer");
    layer
        .consumeFromDevice("router", expertIds, routingWeights)
        .transferToDevice(
            DataTransferMode.EVERY_EXECUTION, x, inner, base, active, added, delta, combined);
    EngineGraph to = new EngineGraph(layer, 1, TOKENS);
    // the step travels with a graph that has tasks
    tasks.transferStep(to);
    tasks.route(to, new EngineRouting(expertIds, routingWeights));
    tasks.append(to, ProjectionCall.gateUp(0), new EngineArrays(x, added, 2 * INNER));
    tasks.append(
        to,
        ProjectionCall.gateUp(0).deltaOnly().withColumnOffset(1),
        new EngineArrays(x, delta, 2 * INNER + 1));
    tasks.appendActivated(
        to,
        ProjectionCall.gateUp(0),
        Activation.SWIGLU,
        new EngineArrays(x, base, 2 * INNER),
        active);
    tasks.appendCombined(to, ProjectionCall.down(0), new EngineArrays(inner, combined, HIDDEN));
    layer.transferToHost(DataTransferMode.EVERY_EXECUTION, active, added, delta, combined);
    return attach(tasks, first, layer);
  }

  /** A plan of graphs and what the tasks in them need. */
  private TornadoExecutionPlan attach(EngineTasks tasks, TaskGraph... graphs) {
    List<ImmutableTaskGraph> list = new ArrayList<>();
    for (TaskGraph each : graphs) {
      list.add(each.snapshot());
    }
    list.addAll(tasks.graphs());
    TornadoExecutionPlan plan = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
    GridScheduler grids = new GridScheduler();
    tasks.addGrids(grids);
    plan.withGridScheduler(grids);
    opened.add(plan);
    tasks.attach(plan, graphs.length);
    return plan;
  }

  /** Gives the router's graph a task that uses both arrays. */
  public static void touch(IntArray experts, FloatArray weights) {
    for (@uk.ac.manchester.tornado.api.annotations.Parallel int i = 0; i < experts.getSize(); i++) {
      experts.set(i, experts.get(i));
      weights.set(i, weights.get(i));
    }
  }

  private void fill() {
    for (FloatArray each : List.of(x, inner, base, routingWeights)) {
      for (int i = 0; i < each.getSize(); i++) {
        each.set(i, (float) random.nextGaussian());
      }
    }
    for (int p = 0; p < PAIRS; p++) {
      expertIds.set(p, random.nextInt(-1, EXPERTS));
    }
    clear();
  }

  private void clear() {
    added.init(1);
    delta.init(Float.NaN);
    active.init(Float.NaN);
    combined.init(2);
  }

  private void check(
      EngineTasks tasks,
      TornadoExecutionPlan plan,
      int tokens,
      int[] adapters,
      MoeLoraConfig config) {
    fill();
    assertThat(tasks.begin(tokens, adapters)).isZero();
    run(plan, tokens, adapters, config);
  }

  private void run(TornadoExecutionPlan plan, int tokens, int[] adapters, MoeLoraConfig config) {
    plan.withGraph(0).execute();
    plan.withGraph(1).execute();
    compare(tokens, adapters, config);
  }

  private void compare(int tokens, int[] adapters, MoeLoraConfig config) {
    double[][] sums = new double[TOKENS][HIDDEN];
    for (int p = 0; p < PAIRS; p++) {
      boolean live = p / PER_TOKEN < tokens;
      double[] up = new double[2 * INNER];
      double[] down = new double[HIDDEN];
      int adapter = live ? adapters[p / PER_TOKEN] : -1;
      int expert = expertIds.get(p);
      if (adapter >= 0
          && expert >= 0
          && expert < EXPERTS
          && config.expertMap().local(expert) >= 0) {
        addDelta(slots[adapter], Projection.GATE_UP, expert, x, p / PER_TOKEN * HIDDEN, up);
        addDelta(slots[adapter], Projection.DOWN, expert, inner, p * INNER, down);
      }
      for (int c = 0; c < 2 * INNER; c++) {
        close(added.get(p * 2 * INNER + c), 1 + up[c], "added[%d, %d]", p, c);
        float d = delta.get(p * (2 * INNER + 1) + 1 + c);
        if (live) {
          close(d, up[c], "delta[%d, %d]", p, c);
        } else {
          assertThat(d).isNaN();
        }
      }
      for (int i = 0; i < INNER && live; i++) {
        double g = base.get(p * 2 * INNER + i) + up[i];
        double u = base.get(p * 2 * INNER + INNER + i) + up[INNER + i];
        close(active.get(p * INNER + i), g / (1 + Math.exp(-g)) * u, "active[%d, %d]", p, i);
      }
      assertThat(delta.get(p * (2 * INNER + 1))).as("before the offset").isNaN();
      for (int c = 0; c < HIDDEN; c++) {
        sums[p / PER_TOKEN][c] += routingWeights.get(p) * down[c];
      }
    }
    for (int t = 0; t < TOKENS; t++) {
      for (int c = 0; c < HIDDEN; c++) {
        close(combined.get(t * HIDDEN + c), 2 + sums[t][c], "combined[%d, %d]", t, c);
      }
    }
  }

  private void close(double actual, double expected, String what, int row, int column) {
    assertThat(actual)
        .as("seed %d, " + what, seed, row, column)
        .isCloseTo(expected, within(TOLERANCE * (1 + Math.abs(expected))));
  }

  private static void addDelta(
      @Nullable LoraAdapter adapter,
      Projection projection,
      int expert,
      FloatArray input,
      int from,
      double[] y) {
    if (adapter == null) {
      return;
    }
    for (LoraSlice slice : adapter.slices(0, projection, expert)) {
      for (int r = 0; r < slice.rank(); r++) {
        double z = 0;
        for (int h = 0; h < slice.a().columns(); h++) {
          z += (double) slice.a().get(r, h) * input.get(from + h);
        }
        for (int c = 0; c < slice.columns(); c++) {
          y[slice.firstColumn() + c] += slice.scale() * slice.b().get(c, r) * z;
        }
      }
    }
  }

  private LoraAdapter adapter(int rank, double coverage) {
    LoraAdapter.Builder builder = LoraAdapter.builder("adapter");
    for (int e = 0; e < EXPERTS; e++) {
      if (e == 0 || random.nextDouble() < coverage) {
        builder
            .add(0, Projection.GATE_UP, e, slice(0, rank, HIDDEN, INNER))
            .add(0, Projection.GATE_UP, e, slice(INNER, Math.max(1, rank - 1), HIDDEN, INNER))
            .add(0, Projection.DOWN, e, slice(0, rank, INNER, HIDDEN));
      }
    }
    return builder.build();
  }

  private LoraSlice slice(int first, int rank, int in, int out) {
    return new LoraSlice(first, matrix(rank, in), matrix(out, rank), 0.5f);
  }

  private Matrix matrix(int rows, int columns) {
    float[] values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian() * 0.3f;
    }
    return Matrix.ofFloats(rows, columns, values);
  }

  private void load(MoeLora lora, int slot, LoraAdapter adapter) {
    lora.load(slot, adapter);
    slots[slot] = adapter;
  }

  private int[] ids(int count, int bound) {
    return random.ints(count, -1, bound).toArray();
  }

  private static int[] filled(int count, int value) {
    int[] array = new int[count];
    Arrays.fill(array, value);
    return array;
  }
}
