package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.kernels.MmaDelta;
import io.github.moelora.tornado.kernels.MmaExpand;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task18;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * Appends {@link MmaExpand}, or {@link MmaDelta} where y is of float32, with its constants and its
 * grid.
 */
final class MmaExpandLaunch {
  private MmaExpandLaunch() {}

  /** Appends the kernel as a task, and enters its grid. */
  @SuppressWarnings("unchecked")
  static void append(
      Target target,
      String task,
      MoeLoraConfig config,
      PackedWeights weights,
      SplitTiling tiling,
      NarrowArrays arrays) {
    DevicePlan plan = arrays.plan();
    target
        .graph()
        .task(
            task,
            kernel(weights.type(), arrays.y() instanceof FloatArray),
            new KernelContext(),
            plan.sizes(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            weights.table().slices(),
            weights.table().scales(),
            weights.poolB(),
            arrays.z(),
            plan.routingWeights(),
            arrays.y(),
            tiling.zStride(config),
            tiling.rankSteps(config),
            tiling.rows(),
            tiling.expandRows(),
            tiling.chunk(),
            tiling.expandGroups());
    target.addGrid(task, tiling.expandGroups(), MmaExpand.THREADS);
  }

  @SuppressWarnings("rawtypes")
  private static Task18 kernel(DType type, boolean deltas) {
    if (deltas) {
      return type == DType.BF16 ? RawTask.of(MmaDelta::bfloat16) : RawTask.of(MmaDelta::float16);
    }
    return type == DType.BF16 ? RawTask.of(MmaExpand::bfloat16) : RawTask.of(MmaExpand::float16);
  }
}
