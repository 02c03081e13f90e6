package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.kernels.MmaExpand;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task20;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Appends {@link MmaExpand} with its constants and its grid. */
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
    SliceTable table = weights.table();
    int bf16 = weights.type() == DType.BF16 ? 1 : 0;
    target
        .graph()
        .task(
            task,
            kernel(),
            new KernelContext(),
            plan.sizes(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            table.slices(),
            table.scales(),
            weights.poolB(),
            arrays.z(),
            plan.routingWeights(),
            bf16 != 0 ? arrays.y() : new LongArray(1),
            bf16 != 0 ? new HalfFloatArray(1) : arrays.y(),
            tiling.zStride(config),
            tiling.rankSteps(config),
            tiling.rows(),
            tiling.expandRows(),
            tiling.chunk(),
            tiling.expandGroups(),
            bf16);
    target.addGrid(task, tiling.expandGroups(), MmaExpand.THREADS);
  }

  /** The kernel, raw because it sees arrays in other types than they have here. */
  @SuppressWarnings("rawtypes")
  private static Task20 kernel() {
    return (Task20<
            KernelContext,
            IntArray,
            IntArray,
            IntArray,
            IntArray,
            IntArray,
            IntArray,
            FloatArray,
            LongArray,
            FloatArray,
            FloatArray,
            LongArray,
            HalfFloatArray,
            Integer,
            Integer,
            Integer,
            Integer,
            Integer,
            Integer,
            Integer>)
        MmaExpand::expand;
  }
}
