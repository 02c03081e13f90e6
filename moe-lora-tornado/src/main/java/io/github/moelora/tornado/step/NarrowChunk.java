package io.github.moelora.tornado.step;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.launch.NarrowArrays;
import io.github.moelora.tornado.launch.NarrowLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.weights.PackedWeights;
import java.lang.foreign.MemorySegment;
import java.util.List;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Activations in the 16-bit type of the weights, for the narrow kernels. Rows of y travel there and
 * back, so that the device rounds once; a delta alone is added to zeros.
 */
final class NarrowChunk implements Chunk {
  private final MoeLoraConfig config;
  private final PackedWeights weights;
  private final Tiling tiling;
  private final int fewestRows;
  private final int rows;
  private final int outputWidth;
  private final DevicePlan routing;
  private final HalfFloatArray x;
  private final FloatArray z;
  private final TornadoNativeArray y;

  /**
   * @param fewestRows rows of the smallest blocks that this chunk takes; z has room for as many of
   *     them as there are rows
   */
  NarrowChunk(
      MoeLoraConfig config, PackedWeights weights, Tiling tiling, int fewestRows, int rows) {
    this.config = config;
    this.weights = weights;
    this.tiling = tiling;
    this.fewestRows = fewestRows;
    this.rows = rows;
    outputWidth = config.model().outputWidth(weights.projection());
    routing = DevicePlan.of(rows, rows, rows);
    x = HostPins.halves(rows * config.model().inputWidth(weights.projection()));
    z = new FloatArray(tiling.zElements(config, rows / fewestRows));
    y =
        config.weightType() == DType.BF16
            ? HostPins.ints(rows * outputWidth / 2)
            : HostPins.halves(rows * outputWidth);
  }

  Tiling tiling() {
    return tiling;
  }

  @Override
  public int rows() {
    return rows;
  }

  @Override
  public DevicePlan routing() {
    return routing;
  }

  @Override
  public DeviceBytes bytes() {
    return DeviceBytes.of(x, z, y).plus(DeviceBytes.of(routing.all()));
  }

  @Override
  public List<TornadoNativeArray> carriers() {
    return List.of(x, y);
  }

  @Override
  public boolean accepts(ProjectionCall call, Matrix xs, Matrix ys, int blockSize) {
    return xs.type() == config.weightType()
        && ys.type() == config.weightType()
        && fewestRows <= blockSize
        && blockSize <= tiling.rows();
  }

  @Override
  public void writeSizes(ProjectionCall call) {
    ProjectionCall inChunk =
        new ProjectionCall(call.layer(), call.projection(), true, call.routedWeight(), true, 0);
    NarrowLaunch.writeSizes(routing.sizes(), config, inChunk, outputWidth, tiling);
  }

  @Override
  public void gather(int position, ProjectionCall call, Matrix xs, int xRow, Matrix ys, int yRow) {
    int width = xs.columns();
    MemorySegment.copy(
        xs.data(), bytes(xs, xRow, 0), x.getSegment(), bytes(position, width), bytes(1, width));
    if (call.add()) {
      MemorySegment.copy(
          ys.data(),
          bytes(ys, yRow, call.columnOffset()),
          y.getSegment(),
          bytes(position, outputWidth),
          bytes(1, outputWidth));
    } else {
      y.getSegment().asSlice(bytes(position, outputWidth), bytes(1, outputWidth)).fill((byte) 0);
    }
  }

  @Override
  public void scatter(int position, ProjectionCall call, Matrix ys, int yRow, int site) {
    if (!call.add() || site >= 0) {
      MemorySegment.copy(
          y.getSegment(),
          bytes(position, outputWidth),
          ys.data(),
          bytes(ys, yRow, call.columnOffset()),
          bytes(1, outputWidth));
    }
  }

  /** Where an element of a matrix lies. */
  private static long bytes(Matrix matrix, int row, int column) {
    return Short.BYTES * matrix.index(row, column);
  }

  /** What rows take. */
  private static long bytes(int rows, int width) {
    return (long) Short.BYTES * rows * width;
  }

  @Override
  public TaskGraph graph(String name, GridScheduler scheduler) {
    TaskGraph graph =
        new TaskGraph(name)
            .consumeFromDevice(weights.uploadName(), weights.resident())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.all())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, x, y);
    NarrowLaunch.append(
        new Target(graph, name, scheduler),
        "",
        config,
        weights,
        tiling,
        new NarrowArrays(routing, x, z, y));
    // named, so that closing the plan frees its device memory and its pinned host memory
    return graph.persistOnDevice(z).transferToHost(DataTransferMode.EVERY_EXECUTION, y);
  }
}
