package io.github.moelora.tornado.example;

import static uk.ac.manchester.tornado.api.enums.DataTransferMode.*;

import io.github.moelora.*;
import io.github.moelora.tornado.*;
import java.util.*;
import uk.ac.manchester.tornado.api.*;
import uk.ac.manchester.tornado.api.types.arrays.*;

/** Layers of experts in an engine's execution plan, with the adapters of a MoeLora inside. */
public final class MoeLayers implements AutoCloseable {
  /** Base weights of a layer: {@code [E, 2I, H]}, gate rows first, and {@code [E, H, I]}. */
  public record Base(FloatArray up, FloatArray down) {}

  public final FloatArray input;
  public final FloatArray x;
  public final IntArray expertIds;
  public final FloatArray routingWeights;
  private final EngineTasks lora;
  private final TornadoExecutionPlan plan;
  private final int graphs;

  public MoeLayers(MoeLora adapters, List<Base> layers) {
    int tokens = adapters.config().maxTokens();
    int perToken = adapters.config().expertsPerToken();
    int pairs = tokens * perToken;
    int hidden = adapters.config().model().hiddenSize();
    int inner = adapters.config().model().intermediateSize();
    input = new FloatArray(tokens * hidden);
    x = new FloatArray(tokens * hidden);
    expertIds = new IntArray(pairs);
    routingWeights = new FloatArray(pairs);
    FloatArray gateUp = new FloatArray(pairs * 2 * inner);
    FloatArray active = new FloatArray(pairs * inner);
    FloatArray y = new FloatArray(pairs * hidden);
    GridScheduler grids = new GridScheduler("start.copy", new WorkerGrid1D(tokens * hidden));
    List<ImmutableTaskGraph> list = new ArrayList<>();
    TaskGraph start = new TaskGraph("start").task("copy", MoeKernels::copy, input, x);
    start.transferToDevice(EVERY_EXECUTION, input, expertIds, routingWeights);
    lora = EngineTasks.of(adapters);
    lora.transferStep(new EngineGraph(start, 0, tokens));
    list.add(start.persistOnDevice(x, expertIds, routingWeights).snapshot());
    for (Base base : layers) {
      int i = list.size() - 1;
      TaskGraph layer = new TaskGraph("layer_" + i).consumeFromDevice(x, expertIds, routingWeights);
      layer.transferToDevice(FIRST_EXECUTION, base.up(), base.down());
      layer.task(
          "up", MoeKernels::project, expertIds, base.up(), x, gateUp, hidden, 2 * inner, perToken);
      EngineGraph to = new EngineGraph(layer, i + 1, tokens);
      lora.route(to, new EngineRouting(expertIds, routingWeights));
      lora.append(to, ProjectionCall.gateUp(i), new EngineArrays(x, gateUp, 2 * inner));
      layer.task("activate", MoeKernels::activate, gateUp, active, inner);
      layer.task("down", MoeKernels::project, expertIds, base.down(), active, y, inner, hidden, 1);
      layer.task("combine", MoeKernels::combine, routingWeights, y, x, hidden, perToken);
      lora.appendCombined(to, ProjectionCall.down(i), new EngineArrays(active, x, hidden));
      list.add(layer.persistOnDevice(gateUp, active, y).snapshot());
    }
    graphs = list.size();
    list.addAll(lora.graphs());
    plan = new TornadoExecutionPlan(list.toArray(ImmutableTaskGraph[]::new));
    lora.addGrids(grids);
    plan.withGridScheduler(grids);
    lora.attach(plan, graphs);
  }

  /** Runs all layers on {@link #input} and the routing arrays; the result is in x. */
  public void run(int tokens, int... adapterIds) {
    lora.begin(tokens, adapterIds);
    for (int i = 0; i < graphs - 1; i++) {
      plan.withGraph(i).execute();
    }
    plan.withGraph(graphs - 1).execute().transferToHost(x);
  }

  @Override
  public void close() {
    plan.withAllGraphs().freeDeviceMemory();
  }
}
