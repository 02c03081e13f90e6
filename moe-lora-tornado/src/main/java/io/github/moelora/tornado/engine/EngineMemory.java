package io.github.moelora.tornado.engine;

import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.plan.HostPlan;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * The device memory behind the arrays of one element in an engine's graphs: weights, plans and
 * scratch belong to graphs of our own in the engine's execution plan, and are mapped. Used by the
 * thread that runs the plan, but for {@link #close}.
 */
public final class EngineMemory {
  private static final String SCRATCH = "lora_scratch";

  /** An array in a graph of the engine, and the array of ours whose memory it gets. */
  private record Mapping(Object handle, int engineGraph, Object array, String owner) {}

  /** Those with tasks, by the name of their upload graph. */
  private final Map<String, ProjectionWeights> weights = new LinkedHashMap<>();

  private final List<Mapping> mappings = new ArrayList<>();
  private final FloatArray scratchHandle = new FloatArray(1);
  private int scratchFloats;

  /** Names of our graphs, in order; empty until {@link #graphs}. */
  private final List<String> ownGraphs = new ArrayList<>();

  private @Nullable TornadoExecutionPlan plan;
  private int firstGraph;
  private volatile boolean closed;

  /** The array of one element that stands for scratch memory in the engine's graphs. */
  public FloatArray scratch() {
    return scratchHandle;
  }

  /**
   * Makes sure that scratch memory will have so many floats.
   *
   * @param floats at least 1
   */
  public void needScratch(int floats) {
    scratchFloats = Math.max(scratchFloats, floats);
  }

  /**
   * Maps what the tasks of a projection read.
   *
   * @param engineGraph position of their graph in the engine's plan
   * @param owner has the memory
   * @param handles of {@code owner}, in the engine's graph
   * @param hostPlan the plan that the tasks read
   */
  public void map(
      int engineGraph, ProjectionWeights owner, ProjectionWeights handles, HostPlan hostPlan) {
    weights.put(owner.uploadName(), owner);
    map(engineGraph, handles.resident(), owner.resident(), owner.uploadName());
    map(engineGraph, hostPlan.handles().plan(), hostPlan.transferred(), hostPlan.name());
    mappings.add(new Mapping(scratchHandle, engineGraph, scratchHandle, SCRATCH));
  }

  /** Maps the arrays of a plan that a graph of the engine transfers. */
  public void mapTransfer(int engineGraph, HostPlan hostPlan) {
    map(engineGraph, hostPlan.transferred(), hostPlan.transferred(), hostPlan.name());
  }

  private void map(int engineGraph, Object[] handles, Object[] arrays, String owner) {
    for (int i = 0; i < handles.length; i++) {
      mappings.add(new Mapping(handles[i], engineGraph, arrays[i], owner));
    }
  }

  /** Whether tasks read weights. */
  public boolean holds(ProjectionWeights candidate) {
    return weights.containsKey(candidate.uploadName());
  }

  /**
   * Refuses what must come before {@link #graphs}.
   *
   * @throws IllegalStateException after that, or once closed
   */
  public void requireNoGraphs() {
    requireOpen();
    if (!ownGraphs.isEmpty()) {
      throw new IllegalStateException("tasks must be appended before graphs() is called");
    }
  }

  /**
   * The graphs that hold weights, plans and scratch memory.
   *
   * @throws IllegalStateException if there are no tasks, or at a second call
   */
  public List<ImmutableTaskGraph> graphs(Collection<HostPlan> plans) {
    requireOpen();
    if (weights.isEmpty() || !ownGraphs.isEmpty()) {
      throw new IllegalStateException("graphs() must be called once, after append");
    }
    List<TaskGraph> list = new ArrayList<>();
    weights.values().forEach(each -> list.add(each.uploadGraph()));
    FloatArray scratch = new FloatArray(scratchFloats);
    mappings.replaceAll(
        each ->
            each.owner().equals(SCRATCH)
                ? new Mapping(each.handle(), each.engineGraph(), scratch, SCRATCH)
                : each);
    list.add(
        new TaskGraph(SCRATCH)
            .task("clear", SmallKernels::clear, scratch)
            .persistOnDevice(scratch));
    plans.forEach(each -> list.add(each.graph()));
    list.forEach(graph -> ownGraphs.add(graph.getTaskGraphName()));
    return list.stream().map(TaskGraph::snapshot).toList();
  }

  /**
   * Reserves the device memory and maps it into the engine's graphs.
   *
   * @param enginePlan the plan that holds the engine's graphs and {@link #graphs}
   * @param first position of the first of {@link #graphs} in the plan
   * @throws IllegalStateException before {@link #graphs} or at a second call
   */
  public void attach(TornadoExecutionPlan enginePlan, int first) {
    requireOpen();
    if (ownGraphs.isEmpty() || plan != null) {
      throw new IllegalStateException("attach must be called once, after graphs()");
    }
    for (int i = 0; i < ownGraphs.size(); i++) {
      enginePlan.withGraph(first + i).execute();
    }
    for (Mapping mapping : mappings) {
      enginePlan.mapOnDeviceMemoryRegion(
          mapping.handle(),
          mapping.array(),
          0,
          first + ownGraphs.indexOf(mapping.owner()),
          mapping.engineGraph());
    }
    plan = enginePlan;
    firstGraph = first;
  }

  /**
   * Refuses what must come after {@link #attach}.
   *
   * @throws IllegalStateException before that, or once closed
   */
  public void requireAttached() {
    requireOpen();
    if (plan == null) {
      throw new IllegalStateException("attach must be called before begin");
    }
  }

  /** Runs the graph of ours that brings a plan to the device. */
  public void transfer(HostPlan hostPlan) {
    run(hostPlan.name());
  }

  /** Runs the graph of ours that stores what weights have staged. */
  void store(ProjectionWeights owner) {
    run(owner.uploadName());
  }

  private void run(String graph) {
    if (plan == null) {
      throw new IllegalStateException("attach must be called before begin");
    }
    try {
      plan.withGraph(firstGraph + ownGraphs.indexOf(graph)).execute();
    } catch (RuntimeException e) {
      // what is on the device is unknown now
      closed = true;
      throw e;
    }
  }

  /** The memory is the engine's plan's, which the engine closes. Called by any thread. */
  void close() {
    closed = true;
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("the instance is closed, or its device has failed");
    }
  }
}
