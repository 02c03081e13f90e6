package io.github.moelora.tornado;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import java.util.List;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.exceptions.TornadoExecutionPlanException;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * The execution plan of one projection of one layer: a graph that stores a slot, and one that runs
 * a chunk of blocks, for chunks of two sizes. Each is compiled once; what a chunk holds is read
 * from the device.
 *
 * <p>All graphs of a plan hold the pool: TornadoVM hands device buffers from the graph that ran
 * last to the next one, and only from that. Not thread-safe.
 */
final class ProjectionPlan implements AutoCloseable {
  /**
   * Decode batches fit the small chunk; a large one amortises the launch over 16 MiB of transfers
   * at usual widths.
   */
  private static final int[] CHUNK_ROWS = {64, 1024};

  private final MoeLoraConfig config;
  private final ProjectionWeights weights;
  private final List<ChunkArrays> chunks;
  private final TornadoExecutionPlan plan;

  ProjectionPlan(MoeLoraConfig config, ProjectionWeights weights) {
    this.config = config;
    this.weights = weights;
    Projection projection = weights.projection();
    chunks =
        List.of(
            new ChunkArrays(config, projection, CHUNK_ROWS[0]),
            new ChunkArrays(config, projection, CHUNK_ROWS[1]));
    plan =
        new TornadoExecutionPlan(
            weights.uploadGraph().snapshot(),
            runGraph(chunks.get(0)).snapshot(),
            runGraph(chunks.get(1)).snapshot());
    // puts the empty table on the device
    store();
  }

  private TaskGraph runGraph(ChunkArrays chunk) {
    SliceTable table = weights.table();
    String name = "run_%d_%s_%d".formatted(weights.layer(), weights.projection(), chunk.rows());
    return new TaskGraph(name)
        .consumeFromDevice(weights.uploadName(), weights.pool(), table.slices(), table.scales())
        .transferToDevice(
            DataTransferMode.EVERY_EXECUTION,
            chunk.sizes,
            chunk.counts,
            chunk.sortedTokenIds,
            chunk.expertIds,
            chunk.adapterIds,
            chunk.routingWeights,
            chunk.x)
        .task(
            "shrink",
            PortableKernels::shrink,
            chunk.sizes,
            chunk.counts,
            chunk.sortedTokenIds,
            chunk.expertIds,
            chunk.adapterIds,
            table.slices(),
            table.scales(),
            weights.pool(),
            chunk.x,
            chunk.z)
        .task(
            "expand",
            PortableKernels::expand,
            chunk.sizes,
            chunk.counts,
            chunk.sortedTokenIds,
            chunk.expertIds,
            chunk.adapterIds,
            table.slices(),
            weights.pool(),
            chunk.z,
            chunk.routingWeights,
            chunk.delta,
            config.model().outputWidth(weights.projection()))
        .transferToHost(DataTransferMode.EVERY_EXECUTION, chunk.delta);
  }

  ProjectionWeights weights() {
    return weights;
  }

  /** Puts what is staged into its slot on the device. */
  void store() {
    plan.withGraph(0).execute();
  }

  /** Computes all blocks of a plan, a chunk at a time. */
  void run(Routing routing, ProjectionCall call, Matrix x, Matrix y) {
    int blocks = call.add() ? routing.activeBlocks() : routing.allBlocks();
    int size = routing.blockSize();
    int at = 0;
    while (at < blocks) {
      int rest = (blocks - at) * size;
      int chunkIndex = rest <= CHUNK_ROWS[0] ? 0 : 1;
      ChunkArrays chunk = chunks.get(chunkIndex);
      int count = Math.min(blocks - at, chunk.rows() / size);
      gather(chunk, routing, call, x, at, count);
      plan.withGraph(1 + chunkIndex).execute();
      scatter(chunk, routing, call, y, at, count);
      at += count;
    }
  }

  private void gather(
      ChunkArrays chunk,
      Routing routing,
      ProjectionCall call,
      Matrix x,
      int firstBlock,
      int blocks) {
    int size = routing.blockSize();
    int rows = blocks * size;
    int active = Math.clamp(routing.activeBlocks() - firstBlock, 0, blocks);
    chunk.counts.set(Routing.NUM_TOKENS_POST_PADDED, active * size);
    chunk.counts.set(Routing.ACTIVE_BLOCKS, active);
    chunk.counts.set(Routing.ALL_BLOCKS, blocks);
    chunk.counts.set(Routing.PAIRS, rows);
    chunk.counts.set(Routing.BLOCK_SIZE, size);
    Sizes.write(
        chunk.sizes,
        config,
        call.deltaOnly().withColumnOffset(0).withPairRows(true),
        config.model().outputWidth(call.projection()));
    int width = x.columns();
    for (int b = 0; b < blocks; b++) {
      chunk.expertIds.set(b, routing.blockExpert(firstBlock + b));
      chunk.adapterIds.set(b, routing.blockAdapter(firstBlock + b));
    }
    for (int row = 0; row < rows; row++) {
      int pair = routing.sortedTokenId(firstBlock * size + row);
      if (pair == routing.pairs()) {
        chunk.sortedTokenIds.set(row, rows);
        continue;
      }
      chunk.sortedTokenIds.set(row, row);
      chunk.routingWeights.set(row, routing.routingWeight(pair));
      int from = call.pairRows() ? pair : pair / config.expertsPerToken();
      for (int h = 0; h < width; h++) {
        chunk.x.set(row * width + h, x.get(from, h));
      }
    }
  }

  /** Adds on the host, and only where there is a delta: other elements keep their bits. */
  private void scatter(
      ChunkArrays chunk,
      Routing routing,
      ProjectionCall call,
      Matrix y,
      int firstBlock,
      int blocks) {
    int width = config.model().outputWidth(call.projection());
    int size = routing.blockSize();
    FloatArray delta = chunk.delta;
    for (int row = 0; row < blocks * size; row++) {
      int pair = routing.sortedTokenId(firstBlock * size + row);
      if (pair == routing.pairs()) {
        continue;
      }
      if (!call.add()) {
        for (int c = 0; c < width; c++) {
          y.set(pair, call.columnOffset() + c, delta.get(row * width + c));
        }
        continue;
      }
      int block = firstBlock + row / size;
      for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
        SliceTable table = weights.table();
        int slot = routing.blockAdapter(block);
        int first = table.get(slot, routing.blockExpert(block), s, SliceTable.FIRST_COLUMN);
        int columns = table.get(slot, routing.blockExpert(block), s, SliceTable.COLUMNS);
        for (int c = first; c < first + columns; c++) {
          int to = call.columnOffset() + c;
          y.set(pair, to, y.get(pair, to) + delta.get(row * width + c));
        }
      }
    }
  }

  @Override
  public void close() {
    try {
      plan.freeDeviceMemory();
      plan.close();
    } catch (TornadoExecutionPlanException e) {
      throw new IllegalStateException("device memory could not be freed", e);
    }
  }
}
