package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.device.Devices;
import io.github.moelora.tornado.kernels.FloatLoops;
import io.github.moelora.tornado.kernels.PackedLoops;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** Appends shrink and expand of one projection on float32 activations to a task graph. */
public final class LoopLaunch {
  private LoopLaunch() {}

  /**
   * Arrays of one projection, all on the device when the tasks run.
   *
   * @param routing the plan
   * @param x in, {@code [T, H]} or {@code [P, H]}
   * @param z scratch, {@code [rows, zStride]}
   * @param y in and out, {@code [P, yWidth]}
   */
  public record Arrays(DevicePlan routing, FloatArray x, FloatArray z, FloatArray y) {}

  /**
   * Bounds of the loops.
   *
   * @param rows most rows of a batch, padding included
   * @param zStride floats of a row of z
   * @param outputWidth columns of the projection
   */
  public record Bounds(int rows, int zStride, int outputWidth) {}

  /**
   * Appends the tasks, and enters grids for GPUs: work-groups of one tile. A warp of 8 times 4
   * threads reads 8 rows of weights and 4 of x or z, where one of 32 ranks or columns reads 32 and
   * 1. TornadoVM by itself makes squares as large as the compiled kernel's registers allow, up to
   * 32 times 32 threads: too few work-groups for a small batch, and other ones on each backend.
   */
  public static void append(
      Target target, String name, ProjectionWeights weights, Bounds bounds, Arrays arrays) {
    append(target.graph(), name, weights, bounds, arrays);
    int rows = FloatLoops.tiles(bounds.rows());
    target.addTiles(name + "Shrink", FloatLoops.tiles(bounds.zStride()), rows, FloatLoops.SIDE);
    target.addTiles(name + "Expand", FloatLoops.tiles(bounds.outputWidth()), rows, FloatLoops.SIDE);
  }

  /** Appends the tasks {@code name + "Shrink"} and {@code name + "Expand"}. */
  public static void append(
      TaskGraph graph, String name, ProjectionWeights weights, Bounds bounds, Arrays arrays) {
    switch (weights) {
      case FloatWeights portable -> appendPortable(graph, name, portable, bounds, arrays);
      case PackedWeights packed -> appendPacked(graph, name, packed, bounds, arrays);
    }
  }

  private static void appendPortable(
      TaskGraph graph, String name, FloatWeights weights, Bounds bounds, Arrays arrays) {
    DevicePlan routing = arrays.routing();
    SliceTable table = weights.table();
    boolean unrolls = DeviceTraits.unrollsLoops(Devices.first());
    int products = unrolls ? FloatLoops.FEW : FloatLoops.MANY;
    graph
        .task(
            name + "Shrink",
            FloatLoops::shrink,
            routing.sizes(),
            routing.counts(),
            routing.sortedTokenIds(),
            routing.blockExperts(),
            routing.blockAdapters(),
            table.slices(),
            table.scales(),
            weights.pool(),
            arrays.x(),
            arrays.z(),
            FloatLoops.tiles(bounds.rows()),
            FloatLoops.tiles(bounds.zStride()),
            products)
        .task(
            name + "Expand",
            FloatLoops::expand,
            routing.sizes(),
            routing.counts(),
            routing.sortedTokenIds(),
            routing.blockExperts(),
            routing.blockAdapters(),
            table.slices(),
            weights.pool(),
            arrays.z(),
            routing.routingWeights(),
            arrays.y(),
            FloatLoops.tiles(bounds.rows()),
            FloatLoops.tiles(bounds.outputWidth()),
            bounds.outputWidth(),
            products);
  }

  private static void appendPacked(
      TaskGraph graph, String name, PackedWeights weights, Bounds bounds, Arrays arrays) {
    DevicePlan routing = arrays.routing();
    SliceTable table = weights.table();
    int bf16 = weights.type() == DType.BF16 ? 1 : 0;
    graph
        .task(
            name + "Shrink",
            PackedLoops::shrink,
            routing.sizes(),
            routing.counts(),
            routing.sortedTokenIds(),
            routing.blockExperts(),
            routing.blockAdapters(),
            table.slices(),
            table.scales(),
            weights.poolA(),
            arrays.x(),
            arrays.z(),
            FloatLoops.tiles(bounds.rows()),
            FloatLoops.tiles(bounds.zStride()),
            bf16)
        .task(
            name + "Expand",
            PackedLoops::expand,
            routing.sizes(),
            routing.counts(),
            routing.sortedTokenIds(),
            routing.blockExperts(),
            routing.blockAdapters(),
            table.slices(),
            weights.poolB(),
            arrays.z(),
            routing.routingWeights(),
            arrays.y(),
            FloatLoops.tiles(bounds.rows()),
            FloatLoops.tiles(bounds.outputWidth()),
            bounds.outputWidth(),
            bf16);
  }
}
