package io.github.moelora.tornado;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.Routing;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Arrays of a run with x from and the delta to the host: a fixed number of blocks, whose rows of x
 * the host has gathered, so that row {@code i} of {@code x} and {@code delta} belongs to position
 * {@code i} of the chunk. TornadoVM transfers whole arrays, hence chunks of two sizes.
 */
final class ChunkArrays {
  private final int rows;
  final IntArray sizes = new IntArray(Sizes.COUNT);
  final IntArray counts = new IntArray(Routing.COUNTS);
  final IntArray sortedTokenIds;
  final IntArray expertIds;
  final IntArray adapterIds;
  final FloatArray routingWeights;
  final FloatArray x;
  final FloatArray z;
  final FloatArray delta;

  ChunkArrays(MoeLoraConfig config, Projection projection, int rows) {
    this.rows = rows;
    sortedTokenIds = new IntArray(rows);
    expertIds = new IntArray(rows);
    adapterIds = new IntArray(rows);
    routingWeights = new FloatArray(rows);
    x = new FloatArray(rows * config.model().inputWidth(projection));
    z = new FloatArray(rows * SliceTable.zStride(config));
    delta = new FloatArray(rows * config.model().outputWidth(projection));
  }

  int rows() {
    return rows;
  }
}
