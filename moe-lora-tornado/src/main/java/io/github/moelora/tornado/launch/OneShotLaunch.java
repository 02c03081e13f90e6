package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.kernels.OneShot;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task20;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Appends {@link OneShot} with its constants and its grid. */
final class OneShotLaunch {
  private OneShotLaunch() {}

  /** Appends the kernel as a task, and enters its grid. */
  @SuppressWarnings("unchecked")
  static void append(
      Target target,
      String task,
      PackedWeights weights,
      OneShotTiling tiling,
      NarrowArrays arrays) {
    DevicePlan plan = arrays.plan();
    SliceTable table = weights.table();
    boolean bf16 = weights.type() == DType.BF16;
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
            weights.poolA(),
            weights.poolB(),
            weights.poolA(),
            weights.poolB(),
            arrays.x(),
            arrays.x(),
            plan.routingWeights(),
            bf16 ? arrays.y() : new IntArray(1),
            bf16 ? new HalfFloatArray(1) : arrays.y(),
            tiling.rows(),
            tiling.groups(),
            bf16 ? 1 : 0);
    target.addGrid(task, tiling.groups(), OneShot.THREADS);
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
            LongArray,
            HalfFloatArray,
            HalfFloatArray,
            IntArray,
            HalfFloatArray,
            FloatArray,
            IntArray,
            HalfFloatArray,
            Integer,
            Integer,
            Integer>)
        OneShot::compute;
  }
}
