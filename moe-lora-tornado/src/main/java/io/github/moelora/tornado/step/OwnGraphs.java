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
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The graphs of all projections and dense modules, while no engine has the device: made when
 * weights first go there. {@link #run} may be called by several threads and beside the others,
 * which the backend calls one at a time.
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

  /** Whoever has it has the device: a run, or a load that changes what runs read. */
  private final ReentrantLock turn = new ReentrantLock(true);

  private volatile List<ProjectionGraphs> graphs = List.of();
  private volatile @Nullable Throwable failure;

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
    writer = new SlotWriter(weights, new Stores(), turn);
  }

  private final class Stores implements SlotWriter.Stores {
    @Override
    public void piece(int index) {
      // a run may have failed between two pieces
      requireWorking();
      ProjectionGraphs of = graphs.get(index);
      if (of.isPieceStored()) {
        of.storePiece();
      } else {
        // what it compiles and captures takes no runs beside it
        inTurn(of::storePiece);
      }
    }

    @Override
    public void table(int index) {
      requireWorking();
      graphs.get(index).storeTable();
    }
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

  /** Whether {@link #run} finds its graphs, and a table on the device. */
  boolean isReady(int index) {
    return isMade() && graphs.get(index).isStored();
  }

  /** Makes the graphs and brings the table to the device, where that has not been done. */
  void makeReady(int index) {
    ProjectionGraphs of = all().get(index);
    if (!of.isStored()) {
      inTurn(of::storeTable);
    }
  }

  /** Computes a projection or dense module that is ready. */
  void run(int index, Routing routing, ProjectionCall call, Matrix x, Matrix y) {
    ProjectionGraphs of = graphs.get(index);
    inTurn(() -> of.run(routing, call, x, y));
  }

  private void inTurn(Runnable action) {
    DeviceRecords.await(turn);
    try {
      requireWorking();
      action.run();
    } catch (RuntimeException | Error e) {
      noteFailure(e);
      throw e;
    } finally {
      turn.unlock();
    }
  }

  @Override
  public void change(int slot, List<ProjectionWeights.Packed> packed) {
    for (int i = 0; i < all().size(); i++) {
      makeReady(i);
    }
    writer.change(slot, packed);
  }

  /** Notes what did not come from the Java heap or stack alone. */
  private void noteFailure(Throwable e) {
    if (SlotWriter.isOfDevice(e) && failure == null) {
      failure = e;
    }
  }

  private @Nullable Throwable failure() {
    return failure == null ? writer.loss() : failure;
  }

  private void requireWorking() {
    Throwable first = failure();
    if (first != null) {
      throw new IllegalStateException(
          "%s has failed, and what it holds is unknown: close the instance and open another (%s)"
              .formatted(device.description(), first),
          first);
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
        if (failure() == null) {
          throw e;
        }
        LOG.warn("device memory could not be freed after a failure: {}", e.toString());
      }
    }
  }
}
