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
import java.util.function.BiFunction;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * Runs projections on a TornadoVM device, with x from and y to the host. Weights go to the device
 * once and stay there. Runs of several steps take turns.
 */
final class TornadoBackend implements Backend {
  /** Rows of a block where pairs share weights; neighbouring threads then read the same ones. */
  private static final int SMALL_BLOCK = 16;

  /** Groups of this many pairs and more get large blocks where the tuned kernels have them. */
  private static final int LARGE_GROUP = 32;

  private final MoeLoraConfig config;
  private final String device;
  private final int maxBlockSize;
  private final List<ProjectionPlan> plans = new ArrayList<>();
  private boolean closed;

  /**
   * @param tensorCores whether the tuned kernels can run
   */
  TornadoBackend(MoeLoraConfig config, String device, boolean tensorCores) {
    this.config = config;
    this.device = device;
    boolean packed = tensorCores && PackedWeights.suits(config);
    int largest = SMALL_BLOCK;
    if (packed) {
      PackedWeights.Staging staging = PackedWeights.Staging.of(config);
      addPlans((layer, projection) -> new PackedWeights(config, layer, projection, staging));
      largest = Tiling.large(config, Projection.GATE_UP).rows();
    } else {
      FloatArray staging = PortableWeights.newStaging(config);
      addPlans((layer, projection) -> new PortableWeights(config, layer, projection, staging));
    }
    maxBlockSize = largest;
  }

  private void addPlans(BiFunction<Integer, Projection, ProjectionWeights> weights) {
    for (int layer : config.model().layers()) {
      for (Projection projection : Projection.values()) {
        plans.add(new ProjectionPlan(config, weights.apply(layer, projection)));
      }
    }
  }

  int maxBlockSize() {
    return maxBlockSize;
  }

  /** Rows of a block for a batch; 1 where no two pairs share weights. */
  int blockSize(int activePairs, int groups) {
    if (activePairs == groups) {
      return 1;
    }
    return activePairs >= groups * LARGE_GROUP ? maxBlockSize : SMALL_BLOCK;
  }

  @Override
  public String device() {
    return device;
  }

  @Override
  public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    List<ProjectionWeights.Packed> packed =
        plans.stream().map(plan -> plan.weights().pack(adapter)).toList();
    return new PreparedAdapter() {
      @Override
      public void commit() {
        store(slot, packed);
      }

      @Override
      public void close() {
        // only heap memory
      }
    };
  }

  private synchronized void store(int slot, List<ProjectionWeights.Packed> packed) {
    for (int i = 0; i < plans.size(); i++) {
      packed.get(i).stage(slot);
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
