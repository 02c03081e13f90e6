package io.github.moelora.tornado.step;

import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.launch.TunedTasks;
import io.github.moelora.tornado.layout.DeviceRouting;
import io.github.moelora.tornado.weights.PackedWeights;
import java.lang.foreign.MemorySegment;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Activations in the 16-bit type of the weights, for the tuned kernels. Rows of y travel there and
 * back, so that the device rounds once; a delta alone is added to zeros.
 */
final class PackedChunk implements Chunk {
  private final MoeLoraConfig config;
  private final PackedWeights weights;
  private final Tiling tiling;
  private final int fewestRows;
  private final int rows;
  private final int outputWidth;
  private final DeviceRouting routing;
  private final HalfFloatArray x;
  private final FloatArray z;
  private final TornadoNativeArray y;

  /**
   * @param fewestRows rows of the smallest blocks that this chunk takes; z has room for as many of
   *     them as there are rows
   */
  PackedChunk(
      MoeLoraConfig config, PackedWeights weights, Tiling tiling, int fewestRows, int rows) {
    this.config = config;
    this.weights = weights;
    this.tiling = tiling;
    this.fewestRows = fewestRows;
    this.rows = rows;
    outputWidth = config.model().outputWidth(weights.projection());
    routing = DeviceRouting.of(rows, rows, rows);
    x = new HalfFloatArray(rows * config.model().inputWidth(weights.projection()));
    z = new FloatArray(tiling.zElements(config, rows / fewestRows));
    y = PackedWeights.words(config.weightType(), rows * outputWidth);
  }

  Tiling tiling() {
    return tiling;
  }

  @Override
  public int rows() {
    return rows;
  }

  @Override
  public DeviceRouting routing() {
    return routing;
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
    TunedTasks.writeSizes(routing.sizes(), config, inChunk, outputWidth, tiling);
  }

  @Override
  public void gather(int position, ProjectionCall call, Matrix xs, int xRow, Matrix ys, int yRow) {
    copyRow(xs, xRow, 0, x.getSegment(), position, xs.columns(), true);
    if (call.add()) {
      copyRow(ys, yRow, call.columnOffset(), y.getSegment(), position, outputWidth, true);
    } else {
      long bytes = 2L * outputWidth;
      y.getSegment().asSlice(position * bytes, bytes).fill((byte) 0);
    }
  }

  @Override
  public void scatter(int position, ProjectionCall call, Matrix ys, int yRow, int site) {
    if (!call.add() || site >= 0) {
      copyRow(ys, yRow, call.columnOffset(), y.getSegment(), position, outputWidth, false);
    }
  }

  private static void copyRow(
      Matrix matrix,
      int row,
      int column,
      MemorySegment array,
      int position,
      int width,
      boolean toArray) {
    long matrixBytes = 2 * matrix.index(row, column);
    long arrayBytes = 2L * position * width;
    if (toArray) {
      MemorySegment.copy(matrix.data(), matrixBytes, array, arrayBytes, 2L * width);
    } else {
      MemorySegment.copy(array, arrayBytes, matrix.data(), matrixBytes, 2L * width);
    }
  }

  @Override
  public TaskGraph graph(String name, GridScheduler scheduler) {
    TaskGraph graph =
        new TaskGraph(name)
            .consumeFromDevice(weights.uploadName(), weights.resident())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.all())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, x, y);
    TunedTasks.append(
        graph,
        name,
        scheduler,
        "",
        config,
        weights,
        tiling,
        new TunedTasks.Arrays(routing, x, z, y));
    return graph.transferToHost(DataTransferMode.EVERY_EXECUTION, y);
  }
}
