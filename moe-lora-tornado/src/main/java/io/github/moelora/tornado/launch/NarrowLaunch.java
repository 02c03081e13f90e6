package io.github.moelora.tornado.launch;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.kernels.OneShot;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Appends one projection on 16-bit activations, on tensor cores: shrink and expand, or both in one
 * launch, as the tiling says.
 */
public final class NarrowLaunch {
  private NarrowLaunch() {}

  /** Writes the sizes that the kernels for 16-bit types read, beside those of every kernel. */
  public static void writeSizes(
      IntArray sizes, MoeLoraConfig config, ProjectionCall call, int yWidth, Tiling tiling) {
    Sizes.write(sizes, config, call, yWidth);
    switch (tiling) {
      case SplitTiling split -> writeSizes(sizes, config, call, split);
      case OneShotTiling oneShot -> writeSizes(sizes, config, call, oneShot);
    }
  }

  private static void writeSizes(
      IntArray sizes, MoeLoraConfig config, ProjectionCall call, SplitTiling tiling) {
    sizes.set(Sizes.Z_STRIDE, tiling.zStride(config));
    sizes.set(Sizes.STAGES, tiling.stages(config.model().inputWidth(call.projection())));
    sizes.set(Sizes.TARGET_ITEMS, tiling.targetItems());
    sizes.set(Sizes.ITEM_RANKS, tiling.itemRanks());
    sizes.set(Sizes.EXPAND_ITEMS, tiling.expandItems());
    sizes.set(Sizes.CHUNKS, tiling.chunks(config.model().outputWidth(call.projection())));
  }

  private static void writeSizes(
      IntArray sizes, MoeLoraConfig config, ProjectionCall call, OneShotTiling tiling) {
    sizes.set(Sizes.STAGES, PackedLayout.stages(config.model().inputWidth(call.projection())));
    sizes.set(Sizes.EXPAND_ITEMS, tiling.targetItems());
    sizes.set(
        Sizes.CHUNKS,
        (config.model().outputWidth(call.projection()) + OneShot.CHUNK - 1) / OneShot.CHUNK);
  }

  /**
   * Appends the task {@code name + "OneShot"}, or {@code name + "Shrink"} and {@code name +
   * "Expand"}, and enters their grids.
   */
  public static void append(
      Target target,
      String name,
      MoeLoraConfig config,
      PackedWeights weights,
      Tiling tiling,
      NarrowArrays arrays) {
    switch (tiling) {
      case SplitTiling split -> {
        MmaShrinkLaunch.append(target, name + "Shrink", config, weights, split, arrays);
        MmaExpandLaunch.append(target, name + "Expand", config, weights, split, arrays);
      }
      case OneShotTiling oneShot ->
          OneShotLaunch.append(target, name + "OneShot", config, weights, oneShot, arrays);
    }
  }
}
