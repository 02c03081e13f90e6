package io.github.moelora.tornado.step;

import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceMemory;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The graphs of all projections and dense modules, while no engine has the device: made when
 * weights first go there. Not thread-safe.
 *
 * <p>What fails on the device ends the use of the instance, since nobody knows then what the device
 * holds.
 */
final class OwnGraphs implements SlotStore {
  private static final Logger LOG = LoggerFactory.getLogger(OwnGraphs.class);

  private final List<ProjectionWeights> weights;
  private final @Nullable Tuning tuning;
  private final ChosenDevice device;
  private final DeviceMemory memory;
  private final SlotWriter writer;
  private List<ProjectionGraphs> graphs = List.of();
  private @Nullable Throwable failure;

  /**
   * @param weights of all projections and dense modules
   * @param tuning measured choices, null for the built-in ones
   * @param memory of the weights; that of the graphs is taken from it, too
   */
  OwnGraphs(
      List<ProjectionWeights> weights,
      @Nullable Tuning tuning,
      ChosenDevice device,
      DeviceMemory memory) {
    this.weights = weights;
    this.tuning = tuning;
    this.device = device;
    this.memory = memory;
    writer = new SlotWriter(weights, index -> graphs.get(index).store());
  }

  /** Whether the graphs were made. */
  boolean isMade() {
    return !graphs.isEmpty();
  }

  /**
   * Graphs of all projections, in the order of the weights, made at the first call.
   *
   * @throws IllegalStateException if the device has too little memory left, or has failed
   */
  List<ProjectionGraphs> all() {
    requireWorking();
    if (graphs.isEmpty()) {
      List<ProjectionGraphs> made = new ArrayList<>();
      DeviceBytes needed = DeviceBytes.NONE;
      for (ProjectionWeights each : weights) {
        // what was measured was measured on experts
        Tuning measured = each.site().module() == null ? tuning : null;
        ProjectionGraphs of = new ProjectionGraphs(each.config(), each, measured, device);
        needed = needed.plus(of.chunkBytes());
        made.add(of);
      }
      memory.take(needed.total(), needed.largest());
      graphs = made;
    }
    return graphs;
  }

  /** Computes a projection or dense module. */
  void run(int index, Routing routing, ProjectionCall call, Matrix x, Matrix y) {
    ProjectionGraphs of = all().get(index);
    try {
      if (!of.isStored()) {
        of.store();
      }
      of.run(routing, call, x, y);
    } catch (RuntimeException | Error e) {
      noteFailure(e);
      throw e;
    }
  }

  @Override
  public void change(int slot, List<ProjectionWeights.Packed> packed) {
    all();
    try {
      writer.change(slot, packed);
    } catch (RuntimeException | Error e) {
      noteFailure(e);
      throw e;
    }
  }

  /** Notes what did not come from the Java heap or stack alone. */
  private void noteFailure(Throwable e) {
    if (SlotWriter.isOfDevice(e) || writer.hasLost()) {
      failure = e;
    }
  }

  private void requireWorking() {
    if (failure != null) {
      throw new IllegalStateException(
          "%s has failed, and what it holds is unknown: close the instance and open another (%s)"
              .formatted(device.description(), failure),
          failure);
    }
  }

  /** Slots change at once here, and runs refuse plans made before. */
  @Override
  public long version() {
    return 0;
  }

  @Override
  public void close() {
    for (ProjectionGraphs each : graphs) {
      try {
        each.close();
      } catch (RuntimeException | Error e) {
        if (failure == null) {
          throw e;
        }
        LOG.warn("device memory could not be freed after a failure: {}", e.toString());
      }
    }
  }
}
