package io.github.moelora.tornado.engine;

import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.FirstUse;
import io.github.moelora.tornado.device.PinnedArrays;
import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoExecutionResult;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * The device memory behind the arrays of one element in an engine's graphs: weights, plans and
 * scratch belong to graphs of our own in the engine's execution plan, and are mapped. Used by the
 * thread that runs the plan, but for {@link #close}.
 */
public final class EngineMemory implements EngineChanges.Device {
  private static final String SCRATCH = "lora_scratch";
  private static final String DELTAS = "lora_deltas";

  /** An array in a graph of the engine, and the array of ours whose memory it gets. */
  private record Mapping(Object handle, int engineGraph, Object array, String owner) {}

  /** Those with tasks, by the name of their upload graph. */
  private final Map<String, ProjectionWeights> weights = new LinkedHashMap<>();

  private final Set<Mapping> mappings = new LinkedHashSet<>();

  /** Arrays of our graphs that are on the device whether any task of the engine's has them. */
  private final List<Object> kept = new ArrayList<>();

  private final FloatArray scratchHandle = new FloatArray(1);
  private FloatArray scratch = scratchHandle;
  private int scratchFloats = 1;
  private final FloatArray deltasHandle = new FloatArray(1);
  private FloatArray deltas = deltasHandle;
  private int deltaFloats;
  private int plansNamed;

  /** Names of our graphs, in order; empty until {@link #graphs}. */
  private final List<String> ownGraphs = new ArrayList<>();

  private List<ImmutableTaskGraph> snapshots = List.of();
  private final Map<String, TornadoExecutionResult> results = new HashMap<>();

  /**
   * Runs our graphs. A plan of their own, because TornadoVM lets a graph consume arrays only from
   * the graph of its plan that ran last: so ours may run between any two of the engine's.
   */
  private @Nullable TornadoExecutionPlan plan;

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

  /** The array of one element that stands for deltas to be added up in the engine's graphs. */
  public FloatArray deltas() {
    return deltasHandle;
  }

  /**
   * Makes sure that a graph of the engine will have deltas, which serve all layers in turn.
   *
   * @param engineGraph position of the graph in the engine's plan
   * @param floats at least 1
   */
  public void needDeltas(int engineGraph, int floats) {
    deltaFloats = Math.max(deltaFloats, floats);
    mappings.add(new Mapping(deltasHandle, engineGraph, deltasHandle, DELTAS));
  }

  /**
   * Maps what the tasks of a projection read, but for the plan.
   *
   * @param engineGraph position of their graph in the engine's plan
   * @param owner has the memory
   * @param handles of {@code owner}, in the engine's graph
   */
  public void map(int engineGraph, ProjectionWeights owner, ProjectionWeights handles) {
    weights.put(owner.uploadName(), owner);
    map(engineGraph, handles.resident(), owner.resident(), owner.uploadName());
    mappings.add(new Mapping(scratchHandle, engineGraph, scratchHandle, SCRATCH));
  }

  /**
   * Maps the pools and {@link SliceTable#floats} of a projection alone.
   *
   * @param engineGraph position of their graph in the engine's plan
   * @param owner has the memory
   * @param handles of {@code owner}, in the engine's graph
   */
  public void mapWide(int engineGraph, ProjectionWeights owner, ProjectionWeights handles) {
    weights.put(owner.uploadName(), owner);
    map(engineGraph, handles.pools(), owner.pools(), owner.uploadName());
    mappings.add(
        new Mapping(
            handles.table().floats(), engineGraph, owner.table().floats(), owner.uploadName()));
  }

  /**
   * Maps arrays, once however often it is asked.
   *
   * @param engineGraph position of a graph in the engine's plan
   * @param handles arrays of one element in that graph
   * @param arrays of ours, in the same order
   * @param owner name of our graph that has them
   * @return whether it was the first time
   */
  public boolean map(int engineGraph, Object[] handles, Object[] arrays, String owner) {
    boolean first = false;
    for (int i = 0; i < handles.length; i++) {
      first |= mappings.add(new Mapping(handles[i], engineGraph, arrays[i], owner));
    }
    return first;
  }

  /** Notes arrays that a graph of ours keeps on the device, also where none is mapped to them. */
  void keep(Object... arrays) {
    kept.addAll(List.of(arrays));
  }

  /** A number for the tasks of a plan, none twice. */
  int nextPlan() {
    return plansNamed++;
  }

  @Override
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
  public List<ImmutableTaskGraph> graphs(Collection<TaskGraph> plans) {
    requireOpen();
    if (weights.isEmpty() || !ownGraphs.isEmpty()) {
      throw new IllegalStateException("graphs() must be called once, after append");
    }
    List<TaskGraph> list = new ArrayList<>();
    weights.values().forEach(each -> list.add(each.uploadGraph()));
    scratch = new FloatArray(scratchFloats);
    list.add(cleared(SCRATCH, scratch));
    if (deltaFloats > 0) {
      deltas = new FloatArray(deltaFloats);
      list.add(cleared(DELTAS, deltas));
    }
    list.addAll(plans);
    list.forEach(graph -> ownGraphs.add(graph.getTaskGraphName()));
    snapshots = list.stream().map(TaskGraph::snapshot).toList();
    return snapshots;
  }

  private static TaskGraph cleared(String name, FloatArray array) {
    return new TaskGraph(name).task("clear", SmallKernels::clear, array).persistOnDevice(array);
  }

  /** The array behind a mapping; some are as large as all tasks together need. */
  private Object array(Mapping mapping) {
    Object array = mapping.array();
    return array == scratchHandle ? scratch : array == deltasHandle ? deltas : array;
  }

  /**
   * Reserves the device memory and maps it into the engine's graphs.
   *
   * @param enginePlan the plan that holds the engine's graphs and {@link #graphs}
   * @param first position of the first of {@link #graphs} in the plan
   * @param reserve is told what plans and scratch memory take, before any of it goes to the device;
   *     that of the weights was reserved when the instance was opened
   * @throws IllegalStateException before {@link #graphs} or at a second call
   */
  public void attach(TornadoExecutionPlan enginePlan, int first, Consumer<DeviceBytes> reserve) {
    requireOpen();
    if (ownGraphs.isEmpty() || plan != null) {
      throw new IllegalStateException("attach must be called once, after graphs()");
    }
    reserve.accept(bytes());
    TornadoExecutionPlan own =
        new TornadoExecutionPlan(snapshots.toArray(ImmutableTaskGraph[]::new));
    // an engine that has just named a graph of its plan has only that one before it
    ChosenDevice.of(enginePlan.withAllGraphs().getDevice(first)).use(own);
    FirstUse.run(
        () -> {
          for (int i = 0; i < ownGraphs.size(); i++) {
            results.put(ownGraphs.get(i), own.withGraph(i).execute());
          }
        });
    for (Mapping mapping : mappings) {
      PinnedArrays.keep(enginePlan.getDevice(first), mapping.handle());
      enginePlan.mapOnDeviceMemoryRegion(
          mapping.handle(),
          array(mapping),
          0,
          first + ownGraphs.indexOf(mapping.owner()),
          mapping.engineGraph());
    }
    plan = own;
  }

  /** What plans and scratch memory take on the device. */
  private DeviceBytes bytes() {
    Set<Object> arrays = Collections.newSetFromMap(new IdentityHashMap<>());
    arrays.add(scratch);
    arrays.addAll(kept);
    weights.values().forEach(each -> arrays.add(each.table().floats()));
    for (Mapping mapping : mappings) {
      if (!weights.containsKey(mapping.owner())) {
        arrays.add(array(mapping));
      }
    }
    return DeviceBytes.of(arrays.toArray());
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

  /** Brings an array that a graph of ours has under demand to the host. */
  public void read(String graph, Object array) {
    TornadoExecutionResult result = results.get(graph);
    if (plan != null && result != null) {
      // a result brings arrays of the graphs that its plan has selected last
      plan.withGraph(ownGraphs.indexOf(graph));
      result.transferToHost(array);
    }
  }

  /** Runs the graph of ours that does so. */
  @Override
  public void store(ProjectionWeights owner) {
    run(owner.uploadName());
  }

  /** Runs a graph of ours. */
  public void run(String graph) {
    if (plan == null) {
      throw new IllegalStateException("attach must be called before begin");
    }
    try {
      results.put(graph, plan.withGraph(ownGraphs.indexOf(graph)).execute());
    } catch (RuntimeException e) {
      // what is on the device is unknown now
      closed = true;
      throw e;
    }
  }

  /** The memory is the engine's plan's, which the engine closes. Called by any thread. */
  @Override
  public void close() {
    closed = true;
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("the instance is closed, or its device has failed");
    }
  }
}
