package io.github.moelora.tornado.choice;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.tornado.kernels.GroupKernels;
import io.github.moelora.tornado.layout.GroupNumbers;
import io.github.moelora.tornado.layout.PackedLayout;
import java.util.Optional;

/**
 * How GroupKernels cuts a projection's work in an engine's graph.
 *
 * @param classes into which the slots fall, for each of which a work-group looks for pairs
 * @param slices most of a site, 1 or 2
 * @param shares of the columns of a slice
 * @param rankTiles tiles of 8 ranks of a pass: 1, 2, 4 or 8
 * @param steps tiles of 16 elements of H in a stage: 4, 8 or 16
 * @param rankSteps most steps of 16 ranks of a slice
 * @param chunk columns of a chunk of expand
 * @param together chunks of B that are on chip together
 */
public record GroupTiling(
    int classes,
    int slices,
    int shares,
    int rankTiles,
    int steps,
    int rankSteps,
    int chunk,
    int together) {

  /** Work-groups that the registers of a multiprocessor hold. */
  private static final int RESIDENT = 4;

  /**
   * Most ranks of an adapter. At 80 tokens of Qwen3-30B-A3B in bfloat16, 16 ranks take 34 us in
   * place of 57 to 65 with a plan and two launches for each projection, and 32 ranks 72 in place of
   * 81, but 64 ranks 134 to 176 in place of 105: a launch for each phase keeps more of so many
   * weights under way.
   */
  private static final int MOST_RANKS = 32;

  /** Most shares of a slice: each computes z anew, with A from the L2 cache. */
  private static final int MOST_SHARES = 4;

  /** Local memory that TornadoVM gives to a work-group, less what TornadoVM itself may need. */
  private static final int LOCAL_BYTES = 47 << 10;

  /** Most columns of a chunk. */
  private static final int MOST_COLUMNS = 128;

  /** Columns times ranks of the B that is on chip together, of which a thread copies 8 longs. */
  private static final int ELEMENTS = 4096;

  /**
   * The tiling for a graph of up to {@code maxTokens} tokens, if the kernel suits it: weights of 16
   * bits and few ranks, few pairs, which all work-groups look at, and enough groups of a slot and
   * an expert. Of fewer groups than multiprocessors each would have to be shared by many
   * work-groups, and all of these would compute the same z.
   *
   * @param units multiprocessors
   */
  public static Optional<GroupTiling> of(
      MoeLoraConfig config, Projection projection, int maxTokens, int units) {
    int pairs = config.withMaxTokens(maxTokens).maxPairs();
    long groups = (long) config.slots() * config.expertMap().localExperts();
    if (config.weightType() == DType.F32
        || config.maxRank() > MOST_RANKS
        || pairs > GroupKernels.MOST_PAIRS
        || config.slots() > GroupNumbers.MOST_CUTS
        || config.expertMap().localExperts() > GroupNumbers.MOST_SITES
        || groups * slices(config, Projection.GATE_UP) < units) {
      return Optional.empty();
    }
    GroupTiling tiling = cut(config, projection, (int) groups, pairs, units);
    return GroupKernels.localBytes(pairs, tiling.tiles()) <= LOCAL_BYTES
        ? Optional.of(tiling)
        : Optional.empty();
  }

  private static GroupTiling cut(
      MoeLoraConfig config, Projection projection, int groups, int pairs, int units) {
    int slices = slices(config, projection);
    int experts = config.expertMap().localExperts();
    int classes = Math.clamp(Math.ceilDiv(RESIDENT * units, experts * slices), 1, config.slots());
    int busy = Math.min(experts * classes, BlockChoice.expectedGroups(pairs, groups));
    int shares = Math.clamp(RESIDENT * units / (busy * slices), 1, MOST_SHARES);
    int rankTiles = Integer.highestOneBit(2 * PackedLayout.rankTiles(config.maxRank()) - 1);
    int rankSteps = (config.maxRank() + 15) / 16;
    int steps = rankTiles <= 2 ? 16 : 8;
    // more tiles of a warp, or groups of float16 that wait beside them, take too many registers
    boolean two = rankSteps > 1 || config.weightType() == DType.BF16;
    int columns = Integer.highestOneBit(ELEMENTS / (16 * rankSteps));
    int together = two ? 2 : 1;
    int chunk = Math.min(MOST_COLUMNS, columns / together);
    return new GroupTiling(
        classes,
        slices,
        shares,
        rankTiles,
        steps,
        rankSteps,
        Integer.highestOneBit(chunk),
        together);
  }

  private static int slices(MoeLoraConfig config, Projection projection) {
    return projection == Projection.GATE_UP && config.model().gateUp().gated() ? 2 : 1;
  }

  /** The tiles as the kernel takes them. */
  public int tiles() {
    return GroupNumbers.tiles(rankTiles, steps, rankSteps, chunk, together);
  }

  /** The cut as the kernel takes it. */
  public int cut(boolean pairRows, boolean countErrors) {
    return GroupNumbers.cut(classes, slices, shares, pairRows, countErrors);
  }

  /** Work-groups. */
  public int groups(int localExperts) {
    return localExperts * classes * slices * shares;
  }
}
