package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.kernels.TunedExpand;
import io.github.moelora.tornado.kernels.TunedOneShot;
import io.github.moelora.tornado.kernels.TunedShrink;
import io.github.moelora.tornado.layout.DeviceRouting;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.PackedWeights;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.WorkerGrid;
import uk.ac.manchester.tornado.api.WorkerGrid1D;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task20;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** Appends the tuned shrink and expand of one projection to a task graph. */
public final class TunedTasks {
  private TunedTasks() {}

  /**
   * Arrays of one projection, all on the device when the tasks run.
   *
   * @param routing the plan
   * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}
   * @param z scratch, at least {@link Tiling#zElements} long
   * @param y in and out, 16-bit {@code [P, yWidth]}: an {@code IntArray} of words for bfloat16, a
   *     {@code HalfFloatArray} for float16
   */
  public record Arrays(
      DeviceRouting routing, HalfFloatArray x, FloatArray z, TornadoNativeArray y) {}

  /** Writes the sizes that the tuned kernels read, beside those of every kernel. */
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
        (config.model().outputWidth(call.projection()) + TunedOneShot.CHUNK - 1)
            / TunedOneShot.CHUNK);
  }

  /**
   * Appends the task {@code name + "OneShot"}, or {@code name + "Shrink"} and {@code name +
   * "Expand"}, and enters their grids.
   *
   * @param graphName name of the graph, as the scheduler knows its tasks
   */
  public static void append(
      TaskGraph graph,
      String graphName,
      GridScheduler scheduler,
      String name,
      MoeLoraConfig config,
      PackedWeights weights,
      Tiling tiling,
      Arrays arrays) {
    switch (tiling) {
      case SplitTiling split ->
          appendSplit(graph, graphName, scheduler, name, config, weights, split, arrays);
      case OneShotTiling oneShot ->
          appendOneShot(graph, graphName, scheduler, name, weights, oneShot, arrays);
    }
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static void appendSplit(
      TaskGraph graph,
      String graphName,
      GridScheduler scheduler,
      String name,
      MoeLoraConfig config,
      PackedWeights weights,
      SplitTiling tiling,
      Arrays arrays) {
    KernelContext context = new KernelContext();
    DeviceRouting routing = arrays.routing();
    SliceTable table = weights.table();
    int bf16 = weights.type() == DType.BF16 ? 1 : 0;
    // raw, because the kernels see x and y in other types than they have here
    Task20 shrink =
        (Task20<
                KernelContext,
                IntArray,
                IntArray,
                IntArray,
                IntArray,
                IntArray,
                IntArray,
                LongArray,
                LongArray,
                FloatArray,
                Integer,
                Integer,
                Integer,
                Integer,
                Integer,
                Integer,
                Integer,
                Integer,
                Integer,
                Integer>)
            TunedShrink::shrink;
    graph.task(
        name + "Shrink",
        shrink,
        context,
        routing.sizes(),
        routing.counts(),
        routing.sortedTokenIds(),
        routing.expertIds(),
        routing.adapterIds(),
        table.slices(),
        weights.poolA(),
        arrays.x(),
        arrays.z(),
        config.model().inputWidth(weights.projection()),
        tiling.zStride(config),
        bf16,
        tiling.rowWarps(),
        tiling.rankWarps(),
        tiling.stepWarps(),
        tiling.rowTiles(),
        tiling.rankTiles(),
        tiling.steps(),
        tiling.shrinkGroups());
    addGrid(scheduler, graphName, name + "Shrink", tiling.shrinkGroups(), tiling.shrinkThreads());
    Task20 expand =
        (Task20<
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
            TunedExpand::expand;
    graph.task(
        name + "Expand",
        expand,
        context,
        routing.sizes(),
        routing.counts(),
        routing.sortedTokenIds(),
        routing.expertIds(),
        routing.adapterIds(),
        table.slices(),
        table.scales(),
        weights.poolB(),
        arrays.z(),
        routing.routingWeights(),
        bf16 != 0 ? arrays.y() : new LongArray(1),
        bf16 != 0 ? new HalfFloatArray(1) : arrays.y(),
        tiling.zStride(config),
        tiling.rankSteps(config),
        tiling.rows(),
        tiling.expandRows(),
        tiling.chunk(),
        tiling.expandGroups(),
        bf16);
    addGrid(scheduler, graphName, name + "Expand", tiling.expandGroups(), TunedExpand.THREADS);
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static void appendOneShot(
      TaskGraph graph,
      String graphName,
      GridScheduler scheduler,
      String name,
      PackedWeights weights,
      OneShotTiling tiling,
      Arrays arrays) {
    DeviceRouting routing = arrays.routing();
    SliceTable table = weights.table();
    boolean bf16 = weights.type() == DType.BF16;
    // raw, because the kernel sees arrays in other types than they have here
    Task20 kernel =
        (Task20<
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
            TunedOneShot::compute;
    graph.task(
        name + "OneShot",
        kernel,
        new KernelContext(),
        routing.sizes(),
        routing.counts(),
        routing.sortedTokenIds(),
        routing.expertIds(),
        routing.adapterIds(),
        table.slices(),
        table.scales(),
        weights.poolA(),
        weights.poolB(),
        weights.poolA(),
        weights.poolB(),
        arrays.x(),
        arrays.x(),
        routing.routingWeights(),
        bf16 ? arrays.y() : new IntArray(1),
        bf16 ? new HalfFloatArray(1) : arrays.y(),
        tiling.rows(),
        tiling.groups(),
        bf16 ? 1 : 0);
    addGrid(scheduler, graphName, name + "OneShot", tiling.groups(), TunedOneShot.THREADS);
  }

  private static void addGrid(
      GridScheduler scheduler, String graphName, String task, int groups, int threads) {
    WorkerGrid grid = new WorkerGrid1D(groups * threads);
    grid.setLocalWork(threads, 1, 1);
    scheduler.addWorkerGrid(graphName + "." + task, grid);
  }
}
