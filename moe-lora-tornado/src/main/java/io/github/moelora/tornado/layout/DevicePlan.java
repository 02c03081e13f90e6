package io.github.moelora.tornado.layout;

import io.github.moelora.spi.PlanArrays;
import io.github.moelora.spi.PlanFormat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * A plan as the kernels read it.
 *
 * @param sizes {@link Sizes}
 * @param counts {@link PlanFormat#COUNTS} numbers
 * @param sortedTokenIds {@code [EM]}
 * @param blockExperts of each block
 * @param blockAdapters of each block
 * @param routingWeights {@code [P]}
 */
public record DevicePlan(
    IntArray sizes,
    IntArray counts,
    IntArray sortedTokenIds,
    IntArray blockExperts,
    IntArray blockAdapters,
    FloatArray routingWeights) {

  /** Arrays for plans of up to so many rows, blocks and pairs. */
  public static DevicePlan of(int rows, int blocks, int pairs) {
    return new DevicePlan(
        new IntArray(Sizes.COUNT),
        new IntArray(PlanFormat.COUNTS),
        new IntArray(rows),
        new IntArray(blocks),
        new IntArray(blocks),
        new FloatArray(pairs));
  }

  /**
   * Stand-ins of one element, to be mapped to the plan's arrays on the device, and the sizes of a
   * projection.
   */
  public static DevicePlan handles() {
    return of(1, 1, 1);
  }

  /** The same plan with the sizes of another projection. */
  public DevicePlan withSizes(IntArray other) {
    return new DevicePlan(
        other, counts, sortedTokenIds, blockExperts, blockAdapters, routingWeights);
  }

  /** The memory of what changes with every plan, for the host's planner. */
  public PlanArrays hostArrays() {
    return new PlanArrays(
        counts.getSegment(),
        sortedTokenIds.getSegment(),
        blockExperts.getSegment(),
        blockAdapters.getSegment(),
        routingWeights.getSegment());
  }

  /** What changes with every plan, for a transfer. */
  public Object[] plan() {
    return new Object[] {counts, sortedTokenIds, blockExperts, blockAdapters, routingWeights};
  }

  /** All arrays, for a transfer. */
  public Object[] all() {
    return new Object[] {
      sizes, counts, sortedTokenIds, blockExperts, blockAdapters, routingWeights
    };
  }
}
