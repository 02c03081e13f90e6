package io.github.moelora.tornado.step;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.launch.LoopLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.lang.foreign.MemorySegment;
import java.util.List;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Activations as float32, whatever their type on the host. The device computes the delta alone, and
 * the host adds it, only where there is one: other elements keep their bits.
 */
final class FloatChunk implements Chunk {
  private final MoeLoraConfig config;
  private final ProjectionWeights weights;
  private final int rows;
  private final int outputWidth;
  private final DevicePlan routing;
  private final FloatArray x;
  private final FloatArray z;
  private final FloatArray delta;

  FloatChunk(MoeLoraConfig config, ProjectionWeights weights, int rows) {
    this.config = config;
    this.weights = weights;
    this.rows = rows;
    outputWidth = config.model().outputWidth(weights.projection());
    routing = DevicePlan.of(rows, rows, rows);
    x = HostPins.floats(rows * config.model().inputWidth(weights.projection()));
    z = new FloatArray(rows * SliceTable.maxStack(config));
    delta = HostPins.floats(rows * outputWidth);
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
    return DeviceBytes.of(x, z, delta).plus(DeviceBytes.of(routing.all()));
  }

  @Override
  public List<TornadoNativeArray> carriers() {
    return List.of(x, delta);
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
    long from = xs.index(xRow, 0);
    if (xs.type() == DType.F32) {
      MemorySegment.copy(
          xs.data(),
          from * Float.BYTES,
          x.getSegment(),
          (long) position * width * Float.BYTES,
          (long) width * Float.BYTES);
    } else {
      for (int h = 0; h < width; h++) {
        x.set(position * width + h, xs.type().get(xs.data(), from + h));
      }
    }
  }

  @Override
  public void scatter(int position, ProjectionCall call, Matrix ys, int yRow, int site) {
    if (!call.add()) {
      store(position, ys, ys.index(yRow, call.columnOffset()));
    } else if (site >= 0) {
      IntArray slices = weights.table().slices();
      for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
        int slice = site * SliceTable.INTS + s * SliceTable.FIELDS;
        int first = slices.get(slice + SliceTable.FIRST_COLUMN);
        add(
            position * outputWidth + first,
            ys,
            ys.index(yRow, call.columnOffset() + first),
            slices.get(slice + SliceTable.COLUMNS));
      }
    }
  }

  private void store(int position, Matrix ys, long to) {
    if (ys.type() == DType.F32) {
      MemorySegment.copy(
          delta.getSegment(),
          (long) position * outputWidth * Float.BYTES,
          ys.data(),
          to * Float.BYTES,
          (long) outputWidth * Float.BYTES);
    } else {
      for (int c = 0; c < outputWidth; c++) {
        ys.type().set(ys.data(), to + c, delta.get(position * outputWidth + c));
      }
    }
  }

  private void add(int from, Matrix ys, long to, int columns) {
    DType type = ys.type();
    MemorySegment data = ys.data();
    for (int c = 0; c < columns; c++) {
      type.set(data, to + c, type.get(data, to + c) + delta.get(from + c));
    }
  }

  @Override
  public TaskGraph graph(String name, GridScheduler scheduler) {
    TaskGraph graph =
        new TaskGraph(name)
            .consumeFromDevice(weights.uploadName(), weights.resident())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.all())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, x);
    LoopLaunch.append(
        new Target(graph, name, scheduler),
        "",
        weights,
        new LoopLaunch.Bounds(rows, SliceTable.maxStack(config), outputWidth),
        new LoopLaunch.Arrays(routing, x, z, delta));
    // named, so that closing the plan frees its device memory and its pinned host memory
    return graph.persistOnDevice(z).transferToHost(DataTransferMode.EVERY_EXECUTION, delta);
  }
}
