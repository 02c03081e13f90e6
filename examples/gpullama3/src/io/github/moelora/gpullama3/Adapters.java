package io.github.moelora.gpullama3;

import io.github.moelora.MoeLora;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.EngineArrays;
import io.github.moelora.tornado.EngineGraph;
import io.github.moelora.tornado.EngineRouting;
import io.github.moelora.tornado.EngineTasks;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The adapters of a {@link MoeLora} inside the single-token plan of GPULlama3.java's Qwen2-MoE. The
 * engine calls the static methods where it builds a layer and where it begins a token; without
 * adapters, null, they leave it as it was.
 *
 * <p>The router's own arrays say which experts a token uses. Gate and up get their delta before the
 * activation, from a buffer that the engine's fused kernel adds; down's delta is added to the
 * residual, weighted, as the engine's own kernel does.
 */
public final class Adapters {
  /** The graph before the first layer's makes a token's activations. */
  private static final int FIRST_LAYER = 1;

  private final EngineTasks tasks;
  private final int inner;
  private final int hidden;
  private final FloatArray delta;
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
   * Behind the router of a layer.
   *
   * @param experts {@code [K]}, what the router chose
   * @param weights {@code [K]}
   * @param x {@code [H]}, what gate and up will read
   */
  public static void gateUp(
      @Nullable Adapters adapters,
      TaskGraph layer,
      int index,
      IntArray experts,
      FloatArray weights,
      FloatArray x) {
    if (adapters == null) {
      return;
    }
    EngineGraph to = graph(layer, index);
    adapters.tasks.route(to, new EngineRouting(experts, weights));
    ProjectionCall call = ProjectionCall.gateUp(index).deltaOnly();
    adapters.tasks.append(to, call, new EngineArrays(x, adapters.delta, 2 * adapters.inner));
  }

  /**
   * What the engine's kernel of gate and up adds, {@code [K, 2I]}; {@code other} without adapters.
   */
  public static FloatArray delta(@Nullable Adapters adapters, FloatArray other) {
    return adapters == null ? other : adapters.delta;
  }

  /** Whether that kernel has something to add: 1, or 0 without adapters. */
  public static int inUse(@Nullable Adapters adapters) {
    return adapters == null ? 0 : 1;
  }

  /**
   * Behind the layer's down projection.
   *
   * @param active {@code [K, I]}, what down read
   * @param residual {@code [H]}, what it added to
   */
  public static void down(
      @Nullable Adapters adapters,
      TaskGraph layer,
      int index,
      FloatArray active,
      FloatArray residual) {
    if (adapters != null) {
      adapters.tasks.appendCombined(
          graph(layer, index),
          ProjectionCall.down(index),
          new EngineArrays(active, residual, adapters.hidden));
    }
  }

  /** The engine's plan with our graphs behind its own, in place of one without. */
  public TornadoExecutionPlan plan(List<ImmutableTaskGraph> engine, GridScheduler grids) {
    List<ImmutableTaskGraph> all = new ArrayList<>(engine);
    all.addAll(tasks.graphs());
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
