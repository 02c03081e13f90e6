package io.github.moelora.tornado.step;

import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.device.FirstUse;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.device.PinnedArrays;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.function.Consumer;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoProfilerResult;

/**
 * Brings pieces of weights to the pools of a site beside runs: an execution plan of its own, which
 * has its own queue of the device. Used by one thread at a time, which may be another than the one
 * that runs.
 *
 * <p>The pools belong to the graph that stores the table; this one has arrays of one element that
 * are mapped to them. What a piece writes no run reads: a slot's runs are locked out, and the table
 * names its weights once they are all there.
 */
final class PieceUpload implements AutoCloseable {
  private final ProjectionWeights owner;
  private final ProjectionWeights handles;
  private final ImmutableTaskGraph graph;
  private final ChosenDevice device;
  private final TornadoExecutionPlan plan;
  private final HostPins pins;
  private volatile boolean compiled;
  private boolean used;
  private Consumer<TornadoProfilerResult> profile = result -> {};

  /**
   * @param pins closed by the caller, after this
   */
  PieceUpload(ProjectionWeights owner, ChosenDevice device, HostPins pins) {
    this.owner = owner;
    this.device = device;
    handles = owner.handles();
    this.pins = pins;
    graph = handles.pieceGraph().snapshot();
    plan = new TornadoExecutionPlan(graph);
    device.use(plan);
    if (DeviceTraits.hasGraphCapture(device.device())) {
      plan.withCUDAGraph();
    }
  }

  /** What stand-ins take on the device; the rest is counted with the weights. */
  DeviceBytes bytes() {
    return DeviceBytes.of(handles.pools());
  }

  /**
   * Maps the pools and pins what travels, before the first piece, which captures it.
   *
   * @param ownerGraph the graph that has them, and has run in this thread
   */
  void attach(ImmutableTaskGraph ownerGraph) {
    TornadoExecutionPlan both = new TornadoExecutionPlan(ownerGraph, graph);
    Object[] pools = owner.pools();
    for (int i = 0; i < pools.length; i++) {
      PinnedArrays.keep(device.device(), handles.pools()[i]);
      both.mapOnDeviceMemoryRegion(handles.pools()[i], pools[i], 0, 0, 1);
    }
    owner.carriers().forEach(pins::pin);
  }

  /** Whether {@link #store} may be called beside runs. */
  boolean isCompiled() {
    return compiled;
  }

  /** Puts what is staged into its place; waits until it is there. */
  void store() {
    if (compiled) {
      FirstUse.beside(this::execute);
    } else {
      used = true;
      FirstUse.run(this::execute);
      compiled = true;
    }
  }

  private void execute() {
    profile.accept(plan.execute().getProfilerResult());
  }

  /** See {@link ProjectionGraphs#profile}. */
  void profile(Consumer<TornadoProfilerResult> each) {
    profile = each;
  }

  TornadoExecutionPlan plan() {
    return plan;
  }

  @Override
  public void close() {
    // without a run there is no memory, and TornadoVM fails to free it
    if (used) {
      plan.freeDeviceMemory();
    }
  }
}
