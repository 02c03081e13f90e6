package io.github.moelora.tornado.step;

import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.layout.DevicePlan;
import java.util.List;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Some blocks of a plan on their way to the device and back: position {@code i} of the chunk has
 * row {@code i} of {@code x} and {@code y}. TornadoVM transfers whole arrays, hence chunks of few
 * fixed sizes.
 */
sealed interface Chunk permits FloatChunk, NarrowChunk {

  /** Positions that the chunk holds. */
  int rows();

  DevicePlan routing();

  /** What the chunk takes on the device. */
  DeviceBytes bytes();

  /** Arrays of {@link HostPins} that carry rows to the device and back. */
  List<TornadoNativeArray> carriers();

  /** Whether this chunk can take such a call. */
  boolean accepts(ProjectionCall call, Matrix x, Matrix y, int blockSize);

  /** Writes what the kernels must know of the call. */
  void writeSizes(ProjectionCall call);

  /** Copies a row of x, and of y where the device adds to it, into the chunk. */
  void gather(int position, ProjectionCall call, Matrix x, int xRow, Matrix y, int yRow);

  /**
   * Copies a computed row back.
   *
   * @param site index of the row's (slot, expert) in the table, -1 without work
   */
  void scatter(int position, ProjectionCall call, Matrix y, int yRow, int site);

  /** The graph that moves the chunk and computes it. */
  TaskGraph graph(String name, GridScheduler scheduler);

  /** Writes the plan of {@code count} blocks, the rows gathered in their order. */
  default void writeRouting(Routing plan, int firstBlock, int count) {
    int size = plan.blockSize();
    int rows = count * size;
    int active = Math.clamp(plan.activeBlocks() - firstBlock, 0, count);
    IntArray counts = routing().counts();
    counts.set(PlanFormat.NUM_TOKENS_POST_PADDED, active * size);
    counts.set(PlanFormat.ACTIVE_BLOCKS, active);
    counts.set(PlanFormat.ALL_BLOCKS, count);
    counts.set(PlanFormat.PAIRS, rows);
    counts.set(PlanFormat.BLOCK_SIZE, size);
    for (int b = 0; b < count; b++) {
      routing().blockExperts().set(b, plan.blockExpert(firstBlock + b));
      routing().blockAdapters().set(b, plan.blockAdapter(firstBlock + b));
    }
    for (int row = 0; row < rows; row++) {
      int pair = plan.sortedTokenId(firstBlock * size + row);
      boolean used = pair < plan.pairs();
      routing().sortedTokenIds().set(row, used ? row : rows);
      if (used) {
        routing().routingWeights().set(row, plan.routingWeight(pair));
      }
    }
  }
}
