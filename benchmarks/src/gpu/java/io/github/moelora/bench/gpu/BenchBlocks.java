package io.github.moelora.bench.gpu;

import io.github.moelora.spi.HostPlanner;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.workload.Batch;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The plan of a batch, written apart from {@link HostPlanner} so that one does not hide a mistake
 * of the other.
 */
final class BenchBlocks {
  private BenchBlocks() {}

  /**
   * Writes the plan in blocks of {@code blockSize} rows; with 1, every pair is a block, in pair
   * order.
   */
  static void write(Batch batch, int experts, DevicePlan to, int blockSize) {
    int expertsPerToken = batch.pairs() / batch.tokens();
    int blocks = 0;
    int rows = 0;
    for (int p = 0; p < batch.pairs(); p++) {
      to.routingWeights().set(p, batch.routingWeights()[p]);
    }
    if (blockSize == 1) {
      for (int p = 0; p < batch.pairs(); p++) {
        to.sortedTokenIds().set(rows++, p);
        to.blockAdapters().set(blocks, batch.adapterIds()[p / expertsPerToken]);
        to.blockExperts().set(blocks++, batch.expertIds()[p]);
      }
    } else {
      for (var group : groups(batch, experts).entrySet()) {
        for (int i = 0; i < group.getValue().size(); i++) {
          if (i % blockSize == 0) {
            to.blockAdapters().set(blocks, group.getKey() / experts);
            to.blockExperts().set(blocks++, group.getKey() % experts);
          }
          to.sortedTokenIds().set(rows++, group.getValue().get(i));
        }
        while (rows % blockSize != 0) {
          to.sortedTokenIds().set(rows++, batch.pairs());
        }
      }
    }
    IntArray counts = to.counts();
    counts.set(PlanFormat.NUM_TOKENS_POST_PADDED, rows);
    counts.set(PlanFormat.ACTIVE_BLOCKS, blocks);
    counts.set(PlanFormat.ALL_BLOCKS, blocks);
    counts.set(PlanFormat.TOKENS, batch.tokens());
    counts.set(PlanFormat.PAIRS, batch.pairs());
    counts.set(PlanFormat.BLOCK_SIZE, blockSize);
  }

  /** Pair indices of each (adapter, expert) that occurs, by {@code l * E + e}. */
  private static SortedMap<Integer, List<Integer>> groups(Batch batch, int experts) {
    int expertsPerToken = batch.pairs() / batch.tokens();
    SortedMap<Integer, List<Integer>> groups = new TreeMap<>();
    for (int p = 0; p < batch.pairs(); p++) {
      int key = batch.adapterIds()[p / expertsPerToken] * experts + batch.expertIds()[p];
      groups.computeIfAbsent(key, _ -> new ArrayList<>()).add(p);
    }
    return groups;
  }
}
