package io.github.moelora;

/**
 * Memory for adapters on a device, which the slots share: an adapter takes what its own ranks need,
 * and one that no longer fits beside the others is refused. Eight slots of rank 8 need {@code new
 * AdapterPool(64, 2)}, whatever the largest rank.
 *
 * <p>While a slot is replaced, old and new weights are both there if the pool has the room; so with
 * the ranks of one more adapter, a replacement that fails leaves the slot as it was even when all
 * slots are full.
 *
 * @param ranks sum of the adapters' ranks over all slots, at least 1. On 16-bit weights with tensor
 *     cores a rank counts as the next multiple of 8, above 8 of 16
 * @param slices pairs of A and B that an adapter has on gate and up: 2 where gate and up have each
 *     their own, 1 for a single pair on both. Everywhere else a pair is reckoned, so an adapter
 *     with two pairs there takes more
 */
public record AdapterPool(int ranks, int slices) {

  /**
   * @throws IllegalArgumentException if a number is outside its range
   */
  public AdapterPool {
    Checks.inRange("ranks", ranks, 1, 1 << 24);
    Checks.inRange("slices", slices, 1, LoraAdapter.MAX_SLICES + 1L);
  }

  /**
   * Stacked ranks of A that all slots have in a projection.
   *
   * @param gated whether it is gate and up
   */
  public int stackedRanks(boolean gated) {
    return gated ? ranks * slices : ranks;
  }
}
