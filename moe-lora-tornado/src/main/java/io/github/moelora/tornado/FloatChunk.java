package io.github.moelora.tornado;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Activations as float32, whatever their type on the host. The device computes the delta alone, and
 * the host adds it, only where there is one: other elements keep their bits.
 */
final class FloatChunk implements Chunk {
  private final MoeLoraConfig config;
  private final ProjectionWeights weights;
  private final int rows;
  private final int outputWidth;
  private final DeviceRouting routing;
  private final FloatArray x;
  private final FloatArray z;
  private final FloatArray delta;

  FloatChunk(MoeLoraConfig config, ProjectionWeights weights, int rows) {
    this.config = config;
    this.weights = weights;
    this.rows = rows;
    outputWidth = config.model().outputWidth(weights.projection());
    routing = DeviceRouting.of(rows, rows, rows);
    x = new FloatArray(rows * config.model().inputWidth(weights.projection()));
    z = new FloatArray(rows * SliceTable.maxStack(config));
    delta = new FloatArray(rows * outputWidth);
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
    return true;
  }

  @Override
  public void writeSizes(ProjectionCall call) {
    Sizes.write(
        routing.sizes(),
        config,
        call.deltaOnly().withColumnOffset(0).withPairRows(true),
        outputWidth);
  }

  @Override
  public void gather(int position, ProjectionCall call, Matrix xs, int xRow, Matrix ys, int yRow) {
    int width = xs.columns();
    for (int h = 0; h < width; h++) {
      x.set(position * width + h, xs.get(xRow, h));
    }
  }

  @Override
  public void scatter(int position, ProjectionCall call, Matrix ys, int yRow, int site) {
    if (!call.add()) {
      for (int c = 0; c < outputWidth; c++) {
        ys.set(yRow, call.columnOffset() + c, delta.get(position * outputWidth + c));
      }
    } else if (site >= 0) {
      IntArray slices = weights.table().slices();
      for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
        int slice = site * SliceTable.INTS + s * SliceTable.FIELDS;
        int first = slices.get(slice + SliceTable.FIRST_COLUMN);
        for (int c = first; c < first + slices.get(slice + SliceTable.COLUMNS); c++) {
          int to = call.columnOffset() + c;
          ys.set(yRow, to, ys.get(yRow, to) + delta.get(position * outputWidth + c));
        }
      }
    }
  }

  @Override
  public TaskGraph graph(String name, GridScheduler scheduler) {
    TaskGraph graph =
        new TaskGraph(name)
            .consumeFromDevice(weights.uploadName(), weights.resident())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.all())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, x);
    FloatTasks.append(
        graph,
        "",
        weights,
        new FloatTasks.Bounds(rows, SliceTable.maxStack(config), outputWidth),
        new FloatTasks.Arrays(routing, x, z, delta));
    return graph.transferToHost(DataTransferMode.EVERY_EXECUTION, delta);
  }
}
