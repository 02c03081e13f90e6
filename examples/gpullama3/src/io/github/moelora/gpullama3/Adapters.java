package io.github.moelora.gpullama3;

import io.github.moelora.MoeLora;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.EngineArrays;
import io.github.moelora.tornado.EngineGraph;
import io.github.moelora.tornado.EngineRouting;
import io.github.moelora.tornado.EngineTasks;
import io.github.moelora.tornado.RouterLogits;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * The adapters of a {@link MoeLora} inside the single-token plan of GPULlama3.java's Qwen2-MoE. The
 * engine calls the static methods where it builds a layer and where it begins a token; without
 * adapters, null, they leave it as it was.
 *
 * <p>Gate and up get their delta before the activation, from a buffer that the engine's fused
 * kernel adds; down's delta is added to the residual, weighted, as the engine's own kernel does. A
 * task costs more than most of them do, so each of the two takes one of the engine's along: the
 * choice of the experts, and the sum with the shared expert, whose score is one more row of the
 * router.
 */
public final class Adapters {
  /** The graph before the first layer's makes a token's activations. */
  private static final int FIRST_LAYER = 1;

  /** Tasks of a layer that ours take along. */
  private static final Set<String> REPLACED =
      Set.of("router_softmax_topk", "shared_expert_gate_and_accumulate");

  private final EngineTasks tasks;
  private final int inner;
  private final int hidden;
  private final FloatArray delta;
  private final Map<Integer, FloatArray> routers = new HashMap<>();
  private volatile int slot = -1;

  /**
   * Before the first adapter is loaded.
   *
   * @param lora for one token a step
   */
  public Adapters(MoeLora lora) {
    tasks = EngineTasks.of(lora);
    inner = lora.config().model().intermediateSize();
    hidden = lora.config().model().hiddenSize();
    delta = new FloatArray(lora.config().expertsPerToken() * 2 * inner);
  }

  /** The adapter of the tokens from now on: its slot, or -1 for none. */
  public void use(int newSlot) {
    slot = newSlot;
  }

  /**
   * Weights of a layer's router with those of the shared expert's score behind them, {@code [E + 1,
   * H]}; as they are without adapters.
   *
   * @param router {@code [E, H]}
   * @param score {@code [H]}
   */
  public static FloatArray router(
      @Nullable Adapters adapters, int index, FloatArray router, FloatArray score) {
    return adapters == null
        ? router
        : adapters.routers.computeIfAbsent(index, any -> FloatArray.concat(router, score));
  }

  /**
   * Behind the router of a layer, in place of the choice.
   *
   * @param logits {@code [E + 1]}
   * @param routing {@code [K]} and {@code [K + 1]}, to be written
   * @param x {@code [H]}, what gate and up will read
   */
  public static void gateUp(
      @Nullable Adapters adapters,
      TaskGraph layer,
      int index,
      FloatArray logits,
      EngineRouting routing,
      FloatArray x) {
    if (adapters == null) {
      return;
    }
    EngineGraph to = graph(layer, index);
    adapters.tasks.route(to, routing, new RouterLogits(logits, false, true));
    ProjectionCall call = ProjectionCall.gateUp(index).deltaOnly();
    adapters.tasks.append(to, call, new EngineArrays(x, adapters.delta, 2 * adapters.inner));
  }

  /**
   * What the engine's kernel of gate and up adds, {@code [K, 2I]}; {@code other} without adapters.
   */
  public static FloatArray delta(@Nullable Adapters adapters, FloatArray other) {
    return adapters == null ? other : adapters.delta;
  }

  /** Whether there is something more to add, or a row more: 1, or 0 without adapters. */
  public static int inUse(@Nullable Adapters adapters) {
    return adapters == null ? 0 : 1;
  }

  /**
   * At the end of a layer, in place of adding the shared expert.
   *
   * @param active {@code [K, I]}, what down read
   * @param shared {@code [H]}, what the shared expert made
   * @param residual {@code [H]}, what both add to
   */
  public static void down(
      @Nullable Adapters adapters,
      TaskGraph layer,
      int index,
      FloatArray active,
      FloatArray shared,
      FloatArray residual) {
    if (adapters != null) {
      adapters.tasks.appendCombined(
          graph(layer, index),
          ProjectionCall.down(index),
          new EngineArrays(active, residual, adapters.hidden),
          shared);
    }
  }

  /** The engine's plan with our graphs behind its own, in place of one without. */
  public TornadoExecutionPlan plan(List<ImmutableTaskGraph> engine, GridScheduler grids) {
    List<ImmutableTaskGraph> all = new ArrayList<>(engine);
    all.addAll(tasks.graphs());
    // TornadoVM writes all grids into a string at each run of a graph
    grids.keySet().removeIf(task -> REPLACED.contains(task.substring(task.indexOf('.') + 1)));
    tasks.addGrids(grids);
    TornadoExecutionPlan plan = new TornadoExecutionPlan(all.toArray(ImmutableTaskGraph[]::new));
    tasks.attach(plan, engine.size());
    return plan;
  }

  /** Before the graphs of a token. */
  public static void begin(@Nullable Adapters adapters) {
    if (adapters != null) {
      adapters.tasks.begin(1, adapters.slot);
    }
  }

  private static EngineGraph graph(TaskGraph layer, int index) {
    return new EngineGraph(layer, index + FIRST_LAYER, 1);
  }
}
