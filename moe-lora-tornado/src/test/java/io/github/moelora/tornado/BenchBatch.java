package io.github.moelora.tornado;

import io.github.moelora.Routing;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.DeviceRouting;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.SplittableRandom;
import java.util.TreeMap;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Tokens with random experts; their adapters alternate over at most 8 sequences.
 *
 * @param shape of the model
 * @param rank of every adapter
 * @param tokens {@code T}
 * @param expertIds {@code [T, K]}
 * @param routingWeights {@code [T, K]}
 * @param adapterIds {@code [T]}
 */
record BenchBatch(
    BenchShape shape,
    int rank,
    int tokens,
    int[] expertIds,
    float[] routingWeights,
    int[] adapterIds) {
  private static final int SEQUENCES = 8;
  private static final int BYTES = Short.BYTES;

  static BenchBatch random(BenchShape shape, int rank, int tokens, SplittableRandom random) {
    int perToken = shape.expertsPerToken();
    int[] expertIds = new int[tokens * perToken];
    float[] routingWeights = new float[tokens * perToken];
    for (int t = 0; t < tokens; t++) {
      int[] experts = random.ints(0, shape.experts()).distinct().limit(perToken).toArray();
      double[] weights = random.doubles(perToken, 0.1, 1).toArray();
      double sum = Arrays.stream(weights).sum();
      for (int k = 0; k < perToken; k++) {
        expertIds[t * perToken + k] = experts[k];
        routingWeights[t * perToken + k] = (float) (weights[k] / sum);
      }
    }
    int[] adapterIds = new int[tokens];
    int sequences = Math.min(tokens, SEQUENCES);
    int start = 0;
    for (int i = 0; i < sequences; i++) {
      int end = start + tokens / sequences + (i < tokens % sequences ? 1 : 0);
      Arrays.fill(adapterIds, start, end, i % shape.adapters());
      start = end;
    }
    return new BenchBatch(shape, rank, tokens, expertIds, routingWeights, adapterIds);
  }

  int pairs() {
    return expertIds.length;
  }

  /** Pair indices of each (adapter, expert) that occurs, by {@code l * E + e}. */
  SortedMap<Integer, List<Integer>> groups() {
    SortedMap<Integer, List<Integer>> groups = new TreeMap<>();
    for (int p = 0; p < pairs(); p++) {
      int key = adapterIds[p / shape.expertsPerToken()] * shape.experts() + expertIds[p];
      groups.computeIfAbsent(key, _ -> new ArrayList<>()).add(p);
    }
    return groups;
  }

  /** Weights of the groups that occur, once, x once, y read and written; all of 16 bits. */
  double bytes() {
    double weights =
        (double) groups().size()
            * shape.slices()
            * rank
            * (shape.inputWidth() + shape.sliceWidth());
    double x = (double) shape.inputRows(tokens) * shape.inputWidth();
    double y = (double) pairs() * shape.outputWidth();
    return BYTES * (weights + x + 2 * y);
  }

  /** Multiplications and additions of both products. */
  double flop() {
    return 2.0
        * pairs()
        * shape.slices()
        * rank
        * ((double) shape.inputWidth() + shape.sliceWidth());
  }

  /**
   * Writes the plan in blocks of {@code blockSize} rows; with 1, every pair is a block, in pair
   * order. Written apart from {@link Routing} so that one does not hide a mistake of the other.
   */
  void write(DeviceRouting to, int blockSize) {
    int blocks = 0;
    int rows = 0;
    for (int p = 0; p < pairs(); p++) {
      to.routingWeights().set(p, routingWeights[p]);
    }
    if (blockSize == 1) {
      for (int p = 0; p < pairs(); p++) {
        to.sortedTokenIds().set(rows++, p);
        to.adapterIds().set(blocks, adapterIds[p / shape.expertsPerToken()]);
        to.expertIds().set(blocks++, expertIds[p]);
      }
    } else {
      for (var group : groups().entrySet()) {
        for (int i = 0; i < group.getValue().size(); i++) {
          if (i % blockSize == 0) {
            to.adapterIds().set(blocks, group.getKey() / shape.experts());
            to.expertIds().set(blocks++, group.getKey() % shape.experts());
          }
          to.sortedTokenIds().set(rows++, group.getValue().get(i));
        }
        while (rows % blockSize != 0) {
          to.sortedTokenIds().set(rows++, pairs());
        }
      }
    }
    IntArray counts = to.counts();
    counts.set(PlanFormat.NUM_TOKENS_POST_PADDED, rows);
    counts.set(PlanFormat.ACTIVE_BLOCKS, blocks);
    counts.set(PlanFormat.ALL_BLOCKS, blocks);
    counts.set(PlanFormat.TOKENS, tokens);
    counts.set(PlanFormat.PAIRS, pairs());
    counts.set(PlanFormat.BLOCK_SIZE, blockSize);
  }
}
