package io.github.moelora.tornado.kernels;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import io.github.moelora.tornado.weights.WeightSite;

/**
 * Weights of a problem's adapters, each stored in its slot by the kernels that do so on a device;
 * NaN where there are none.
 */
final class SlotWeights {
  private SlotWeights() {}

  static FloatWeights floats(Problem problem, MoeLoraConfig config, ProjectionCall call) {
    FloatWeights weights = new FloatWeights(site(config, call));
    weights.pool().init(Float.NaN);
    store(
        problem,
        weights,
        () -> FloatLoops.storeSlot(weights.staging(), weights.range(), weights.pool()));
    return weights;
  }

  static PackedWeights packed(Problem problem, MoeLoraConfig config, ProjectionCall call) {
    PackedWeights weights = new PackedWeights(site(config, call));
    weights.poolA().getSegment().fill((byte) 0xff);
    weights.poolB().getSegment().fill((byte) 0xff);
    store(
        problem,
        weights,
        () -> {
          PackedLoops.store(weights.stagingA(), weights.range(), weights.poolA(), 0);
          PackedLoops.store(weights.stagingB(), weights.range(), weights.poolB(), 2);
        });
    return weights;
  }

  private static WeightSite site(MoeLoraConfig config, ProjectionCall call) {
    return WeightSite.of(config, call.layer(), call.projection());
  }

  private static void store(Problem problem, ProjectionWeights weights, Runnable piece) {
    for (int slot = 0; slot < problem.adapters().size(); slot++) {
      LoraAdapter adapter = problem.adapters().get(slot);
      if (adapter != null) {
        ProjectionWeights.Packed packed = weights.pack(adapter);
        packed.stage(slot);
        do {
          piece.run();
        } while (packed.stageNext());
      }
    }
  }
}
