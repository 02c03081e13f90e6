package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.kernels.MmaShrink;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.KernelContext;

/** Appends {@link MmaShrink} with its constants and its grid. */
final class MmaShrinkLaunch {
  private MmaShrinkLaunch() {}

  /** Appends the kernel as a task, and enters its grid. */
  static void append(
      Target target,
      String task,
      MoeLoraConfig config,
      PackedWeights weights,
      SplitTiling tiling,
      NarrowArrays arrays) {
    if (tiling.rowTiles() > 1) {
      appendTwoRowTiles(target, task, config, weights, tiling, arrays);
    } else {
      appendOneRowTile(target, task, config, weights, tiling, arrays);
    }
    target.addGrid(task, tiling.shrinkGroups(), tiling.shrinkThreads());
  }

  @SuppressWarnings("unchecked")
  private static void appendOneRowTile(
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
            RawTask.of(MmaShrink::oneRowTile),
            new KernelContext(),
            plan.sizes(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            weights.table().slices(),
            weights.poolA(),
            arrays.x(),
            arrays.z(),
            config.model().inputWidth(weights.projection()),
            tiling.zStride(config),
            bf16(weights),
            tiling.rowWarps(),
            tiling.rankWarps(),
            tiling.stepWarps(),
            tiling.rankTiles(),
            tiling.steps(),
            tiling.shrinkGroups());
  }

  @SuppressWarnings("unchecked")
  private static void appendTwoRowTiles(
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
            RawTask.of(MmaShrink::twoRowTiles),
            new KernelContext(),
            plan.sizes(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            weights.table().slices(),
            weights.poolA(),
            arrays.x(),
            arrays.z(),
            config.model().inputWidth(weights.projection()),
            tiling.zStride(config),
            bf16(weights),
            tiling.rowWarps(),
            tiling.rankWarps(),
            tiling.rankTiles(),
            tiling.steps(),
            tiling.shrinkGroups());
  }

  private static int bf16(PackedWeights weights) {
    return weights.type() == DType.BF16 ? 1 : 0;
  }
}
