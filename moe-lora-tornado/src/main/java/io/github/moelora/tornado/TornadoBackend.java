package io.github.moelora.tornado;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendStep;
import java.util.ArrayList;
import java.util.List;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * Runs projections on a TornadoVM device, with x from and y to the host. Weights go to the device
 * once and stay there. Runs of several steps take turns.
 */
final class TornadoBackend implements Backend {
  /** Rows of a block where pairs share weights; neighbouring threads then read the same ones. */
  static final int BLOCK_SIZE = 16;

  private final MoeLoraConfig config;
  private final String device;
  private final List<ProjectionPlan> plans = new ArrayList<>();
  private boolean closed;

  TornadoBackend(MoeLoraConfig config, String device) {
    this.config = config;
    this.device = device;
    int staging = 0;
    for (Projection projection : Projection.values()) {
      staging = Math.max(staging, ProjectionWeights.slotElements(config, projection));
    }
    FloatArray stagingArray = new FloatArray(staging);
    for (int layer : config.model().layers()) {
      for (Projection projection : Projection.values()) {
        plans.add(
            new ProjectionPlan(
                config, new ProjectionWeights(config, layer, projection, stagingArray)));
      }
    }
  }

  @Override
  public String device() {
    return device;
  }

  @Override
  public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    float[][] packed = new float[plans.size()][];
    for (int i = 0; i < packed.length; i++) {
      ProjectionWeights weights = plans.get(i).weights();
      packed[i] = new float[weights.count(adapter)];
      weights.pack(adapter, packed[i]);
    }
    return new PreparedAdapter() {
      @Override
      public void commit() {
        store(slot, adapter, packed);
      }

      @Override
      public void close() {
        // only heap memory
      }
    };
  }

  private synchronized void store(int slot, LoraAdapter adapter, float[][] packed) {
    for (int i = 0; i < packed.length; i++) {
      plans.get(i).weights().stage(slot, adapter, packed[i]);
      plans.get(i).store();
    }
  }

  @Override
  public synchronized void unload(int slot) {
    for (ProjectionPlan plan : plans) {
      plan.weights().stageEmpty(slot);
      plan.store();
    }
  }

  @Override
  public BackendStep newStep() {
    return new TornadoStep(this, config);
  }

  synchronized void run(Routing routing, ProjectionCall call, Matrix x, Matrix y) {
    int layerIndex = config.model().layerIndex(call.layer());
    plans
        .get(2 * layerIndex + (call.projection() == Projection.GATE_UP ? 0 : 1))
        .run(routing, call, x, y);
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      plans.forEach(ProjectionPlan::close);
    }
  }
}
