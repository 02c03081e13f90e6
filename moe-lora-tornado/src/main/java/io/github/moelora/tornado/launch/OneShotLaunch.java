package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.kernels.OneShot;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task16;

/** Appends {@link OneShot} with its constants and its grid. */
final class OneShotLaunch {
  private OneShotLaunch() {}

  /** Appends the kernel as a task, and enters its grid. */
  @SuppressWarnings("unchecked")
  static void append(
      Target target,
      String task,
      MoeLoraConfig config,
      PackedWeights weights,
      OneShotTiling tiling,
      NarrowArrays arrays) {
    DevicePlan plan = arrays.plan();
    target
        .graph()
        .task(
            task,
            kernel(weights.type()),
            new KernelContext(),
            plan.sizes(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            weights.table().slices(),
            weights.table().scales(),
            weights.poolA(),
            weights.poolB(),
            arrays.x(),
            plan.routingWeights(),
            arrays.y(),
            tiling.rows(),
            OneShotTiling.zWidth(config),
            tiling.groups());
    target.addGrid(task, tiling.groups(), OneShot.THREADS);
  }

  @SuppressWarnings("rawtypes")
  private static Task16 kernel(DType type) {
    return type == DType.BF16 ? RawTask.of(OneShot::bfloat16) : RawTask.of(OneShot::float16);
  }
}
