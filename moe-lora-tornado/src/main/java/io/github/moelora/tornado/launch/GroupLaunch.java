package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.choice.GroupTiling;
import io.github.moelora.tornado.kernels.GroupKernels;
import io.github.moelora.tornado.kernels.MmaExpand;
import io.github.moelora.tornado.layout.GroupNumbers;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task20;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** Appends {@link GroupKernels} with their numbers and grid: one task for each projection. */
public final class GroupLaunch {
  private GroupLaunch() {}

  /**
   * Arrays of one projection, all on the device when the task runs.
   *
   * @param step what the engine said of the step
   * @param expertIds int32 {@code [T, K]}
   * @param routingWeights float32 {@code [T, K]}
   * @param sizes of the call
   * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}
   * @param y in and out, 16-bit {@code [P, yWidth]}
   */
  public record Arrays(
      StepArrays step,
      IntArray expertIds,
      FloatArray routingWeights,
      IntArray sizes,
      HalfFloatArray x,
      TornadoNativeArray y) {}

  /**
   * Numbers of a call.
   *
   * @param maxPairs of a step
   * @param pairRows whether x has a row per pair
   * @param countErrors whether pairs with an id out of range are counted
   */
  public record Call(int maxPairs, boolean pairRows, boolean countErrors) {}

  /** Appends a task, and enters its grid. */
  @SuppressWarnings("unchecked")
  public static void append(
      Target target,
      String task,
      PackedWeights weights,
      GroupTiling tiling,
      Call call,
      Arrays arrays) {
    MoeLoraConfig config = weights.config();
    StepArrays step = arrays.step();
    int localExperts = config.expertMap().localExperts();
    target
        .graph()
        .task(
            task,
            kernel(weights.type()),
            new KernelContext(),
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            step.errors(),
            arrays.sizes(),
            weights.table().slices(),
            weights.table().scales(),
            weights.poolA(),
            weights.poolB(),
            arrays.routingWeights(),
            arrays.x(),
            arrays.y(),
            config.model().inputWidth(weights.projection()),
            call.maxPairs(),
            config.expertsPerToken(),
            GroupNumbers.sites(config.slots(), localExperts),
            tiling.cut(call.pairRows(), call.countErrors()),
            tiling.tiles());
    target.addGrid(task, tiling.groups(localExperts), MmaExpand.THREADS);
  }

  @SuppressWarnings("rawtypes")
  private static Task20 kernel(DType type) {
    return type == DType.BF16
        ? RawTask.of(GroupKernels::bfloat16)
        : RawTask.of(GroupKernels::float16);
  }
}
