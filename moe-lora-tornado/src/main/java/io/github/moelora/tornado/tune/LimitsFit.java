package io.github.moelora.tornado.tune;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.BlockLimits;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;

/** Finds the built-in choices for a device from times of every block size. */
public final class LimitsFit {
  /** Between what is measured, in the geometric mean. */
  private static final List<Integer> CANDIDATES =
      List.of(8, 11, 16, 24, 32, 45, 64, 90, 128, 181, 256, 362, 512);

  private LimitsFit() {}

  /**
   * A measured batch.
   *
   * @param config of the shape, all of one type of weights
   * @param activePairs pairs with work
   * @param groups (adapter, expert) combinations with at least one pair
   * @param times of each block size, in any unit
   */
  public record Cell(
      MoeLoraConfig config, int activePairs, int groups, Map<Integer, Double> times) {
    public Cell {
      times = Map.copyOf(times);
    }

    /** The fastest block size. */
    public int fastest() {
      return Collections.min(times.entrySet(), Map.Entry.comparingByValue()).getKey();
    }

    /** The block size that the backend would choose. */
    public int chosen(BlockLimits limits) {
      return new BlockChoice(config, true, null, limits).builtIn(activePairs, groups);
    }

    /**
     * Time of the chosen block size over that of the fastest.
     *
     * @throws IllegalArgumentException if the chosen one was not measured
     */
    public double slowdown(BlockLimits limits) {
      Double time = times.get(chosen(limits));
      if (time == null) {
        throw new IllegalArgumentException(
            "block size %d must have a time, got %s".formatted(chosen(limits), times));
      }
      return time / Collections.min(times.values());
    }
  }

  /**
   * The limits of the least geometric mean of {@link Cell#slowdown}; of several, those next to the
   * present ones.
   *
   * @param present limits until now
   */
  public static BlockLimits fit(List<Cell> cells, BlockLimits present) {
    BlockLimits best = present;
    double least = loss(cells, present);
    for (BlockLimits limits : candidates(present)) {
      double loss = loss(cells, limits);
      if (loss < least - 1e-9) {
        best = limits;
        least = loss;
      }
    }
    return best;
  }

  private static double loss(List<Cell> cells, BlockLimits limits) {
    return cells.stream().mapToDouble(cell -> Math.log(cell.slowdown(limits))).sum();
  }

  private static List<BlockLimits> candidates(BlockLimits present) {
    return CANDIDATES.stream()
        .flatMap(
            large ->
                CANDIDATES.stream()
                    .flatMap(
                        ofRanks ->
                            CANDIDATES.stream()
                                .filter(largest -> largest > Math.max(large, ofRanks))
                                .map(largest -> new BlockLimits(large, ofRanks, largest))))
        .sorted(Comparator.comparingDouble(limits -> distance(limits, present)))
        .toList();
  }

  private static double distance(BlockLimits a, BlockLimits b) {
    return Math.abs(Math.log((double) a.large() / b.large()))
        + Math.abs(Math.log((double) a.largeOfRanks() / b.largeOfRanks()))
        + Math.abs(Math.log((double) a.largest() / b.largest()));
  }
}
