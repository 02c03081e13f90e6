package io.github.moelora.spi;

import java.lang.foreign.MemorySegment;

/**
 * Memory that holds a plan, as {@link PlanFormat} says.
 *
 * @param counts int32 {@code [COUNTS]}
 * @param sortedTokenIds int32 {@code [EM]}
 * @param blockExperts int32, an element per block
 * @param blockAdapters int32, an element per block
 * @param routingWeights float32 {@code [P]}
 */
public record PlanArrays(
    MemorySegment counts,
    MemorySegment sortedTokenIds,
    MemorySegment blockExperts,
    MemorySegment blockAdapters,
    MemorySegment routingWeights) {

  /** Requires room for a plan of these sizes; {@code rows} are those of all blocks. */
  void requireRoom(int rows, int blocks, int pairs) {
    requireElements("counts", counts, PlanFormat.COUNTS);
    requireElements("sortedTokenIds", sortedTokenIds, rows);
    requireElements("blockExperts", blockExperts, blocks);
    requireElements("blockAdapters", blockAdapters, blocks);
    requireElements("routingWeights", routingWeights, pairs);
  }

  /** Requires so many elements of four bytes. */
  static void requireElements(String name, MemorySegment segment, int count) {
    long needed = (long) count * Integer.BYTES;
    if (segment.byteSize() < needed) {
      throw new IllegalArgumentException(
          "%s must hold %d elements (%d bytes), got %d bytes"
              .formatted(name, count, needed, segment.byteSize()));
    }
  }
}
