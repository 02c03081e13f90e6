package io.github.moelora.tornado;

import io.github.moelora.Routing;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * A plan as the kernels read it.
 *
 * @param sizes {@link Sizes}
 * @param counts {@link Routing#COUNTS} numbers
 * @param sortedTokenIds {@code [EM]}
 * @param expertIds of each block
 * @param adapterIds of each block
 * @param routingWeights {@code [P]}
 */
record DeviceRouting(
    IntArray sizes,
    IntArray counts,
    IntArray sortedTokenIds,
    IntArray expertIds,
    IntArray adapterIds,
    FloatArray routingWeights) {

  /** Arrays for plans of up to so many rows, blocks and pairs. */
  static DeviceRouting of(int rows, int blocks, int pairs) {
    return new DeviceRouting(
        new IntArray(Sizes.COUNT),
        new IntArray(Routing.COUNTS),
        new IntArray(rows),
        new IntArray(blocks),
        new IntArray(blocks),
        new FloatArray(pairs));
  }

  /** All arrays, for a transfer. */
  Object[] all() {
    return new Object[] {sizes, counts, sortedTokenIds, expertIds, adapterIds, routingWeights};
  }
}
