package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.testkit.NaiveRouting;
import io.github.moelora.testkit.Seeds;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * Any planner, host or device, against {@link NaiveRouting}: the same arrays, element by element.
 */
abstract class PlanContract {
  private static final int PER_TOKEN = 3;
  private static final int EXPERTS = 7;
  private static final int SLOTS = 4;
  private static final boolean[] ACTIVE = {true, false, true, true};

  private final long seed = Seeds.of("plan contract");
  private final Random random = new Random(seed);

  /**
   * What a planner is given.
   *
   * @param expertIds {@code [T, K]}
   * @param adapterIds {@code [T]}
   */
  record Batch(
      MoeLoraConfig config, int[] expertIds, int[] adapterIds, boolean[] active, int blockSize) {}

  /** What it made. Elements that were not written are {@link #UNWRITTEN}. */
  record Plan(
      int[] counts, int[] sortedTokenIds, int[] blockExperts, int[] blockAdapters, int errors) {}

  static final int UNWRITTEN = 0x5a5a5a5a;

  /** Makes the plan of a batch. */
  abstract Plan plan(Batch batch);

  /** Sizes of batches, in tokens; those of a planner's corners are among them. */
  List<Integer> tokens() {
    return List.of(0, 1, 2, 3, 7, 16, 37);
  }

  /** Rows of a block. */
  List<Integer> blockSizes() {
    return List.of(1, 2, 16);
  }

  /** Whether ids out of range are counted rather than refused. */
  boolean counts() {
    return true;
  }

  /** Most tokens of the configuration for a batch. */
  int maxTokens(int tokens) {
    return Math.max(1, tokens);
  }

  private MoeLoraConfig config(int tokens, ExpertMap map) {
    return configOf(maxTokens(tokens), PER_TOKEN, map);
  }

  /** A configuration of 7 experts and 4 slots. */
  static MoeLoraConfig configOf(int maxTokens, int perToken, ExpertMap map) {
    MoeModel model = new MoeModel(4, 4, EXPERTS, GateUp.HALVES, List.of(0));
    return MoeLoraConfig.of(model, SLOTS, perToken).withMaxTokens(maxTokens).withExpertMap(map);
  }

  private static ExpertMap identity() {
    return ExpertMap.identity(EXPERTS);
  }

  @Test
  void freshRandomRoutings() {
    for (int tokens : tokens()) {
      check(identity(), ids(tokens * PER_TOKEN, EXPERTS), ids(tokens, SLOTS), ACTIVE);
    }
  }

  @Test
  void expertsElsewhere() {
    ExpertMap map = ExpertMap.of(2, -1, 0, -1, -1, 1, -1);
    for (int tokens : tokens()) {
      check(map, ids(tokens * PER_TOKEN, EXPERTS), ids(tokens, SLOTS), ACTIVE);
    }
  }

  @Test
  void skewedToFewExperts() {
    for (int tokens : tokens()) {
      int[] experts = new int[tokens * PER_TOKEN];
      Arrays.setAll(experts, p -> (int) (EXPERTS * Math.pow(random.nextDouble(), 6)) % EXPERTS);
      check(identity(), experts, ids(tokens, SLOTS), ACTIVE);
    }
  }

  @Test
  void allPairsOnOneExpert() {
    for (int tokens : tokens()) {
      check(identity(), filled(tokens * PER_TOKEN, 5), filled(tokens, 3), ACTIVE);
    }
  }

  @Test
  void nothingToDo() {
    for (int tokens : tokens()) {
      int[] experts = ids(tokens * PER_TOKEN, EXPERTS);
      check(identity(), experts, filled(tokens, -1), ACTIVE);
      check(identity(), experts, filled(tokens, 1), ACTIVE);
      check(identity(), filled(tokens * PER_TOKEN, -1), ids(tokens, SLOTS), ACTIVE);
      check(identity(), experts, ids(tokens, SLOTS), new boolean[SLOTS]);
    }
  }

  @Test
  void idsOutOfRangeAreSkippedAndCounted() {
    if (!counts()) {
      return;
    }
    int[] wrong = {-2, EXPERTS, Integer.MIN_VALUE, Integer.MAX_VALUE};
    for (int tokens : tokens()) {
      int[] experts = ids(tokens * PER_TOKEN, EXPERTS);
      int[] adapters = ids(tokens, SLOTS);
      for (int p = 0; p < experts.length; p += 2) {
        experts[p] = wrong[random.nextInt(wrong.length)];
      }
      for (int t = 1; t < adapters.length; t += 3) {
        adapters[t] = random.nextBoolean() ? SLOTS : -2;
      }
      check(identity(), experts, adapters, ACTIVE);
    }
  }

  private int[] ids(int count, int bound) {
    return random.ints(count, -1, bound).toArray();
  }

  private static int[] filled(int count, int value) {
    int[] array = new int[count];
    Arrays.fill(array, value);
    return array;
  }

  private void check(ExpertMap map, int[] experts, int[] adapters, boolean[] active) {
    MoeLoraConfig config = config(adapters.length, map);
    for (int blockSize : blockSizes()) {
      Batch batch = new Batch(config, experts, adapters, active, blockSize);
      String what = "seed %d, %d tokens, blocks of %d".formatted(seed, adapters.length, blockSize);
      check(batch, plan(batch), what);
    }
  }

  /** Compares a plan with the one that a batch must have. */
  static void check(Batch batch, Plan plan, String what) {
    int[] validExperts = batch.expertIds().clone();
    int[] validAdapters = batch.adapterIds().clone();
    int perToken = batch.config().expertsPerToken();
    int wrong = makeValid(validExperts, validAdapters, perToken);
    int blockSize = batch.blockSize();
    NaiveRouting naive =
        NaiveRouting.of(batch.config(), validExperts, validAdapters, batch.active(), blockSize);
    compare(plan, naive, validAdapters.length, perToken, blockSize, what);
    assertThat(plan.errors()).as("errors, " + what).isEqualTo(wrong);
  }

  /** Replaces ids out of range by -1, and says of how many pairs. */
  private static int makeValid(int[] experts, int[] adapters, int perToken) {
    int wrong = 0;
    for (int p = 0; p < experts.length; p++) {
      int adapter = adapters[p / perToken];
      boolean valid = experts[p] >= -1 && experts[p] < EXPERTS;
      wrong += valid && adapter >= -1 && adapter < SLOTS ? 0 : 1;
      experts[p] = valid ? experts[p] : -1;
    }
    for (int t = 0; t < adapters.length; t++) {
      adapters[t] = adapters[t] >= -1 && adapters[t] < SLOTS ? adapters[t] : -1;
    }
    return wrong;
  }

  private static void compare(
      Plan plan, NaiveRouting naive, int tokens, int perToken, int blockSize, String what) {
    int pairs = tokens * perToken;
    int blocks = naive.blocks().size();
    int[] counts = new int[PlanFormat.BLOCK_SIZE + 1];
    counts[PlanFormat.NUM_TOKENS_POST_PADDED] = naive.activeBlocks() * blockSize;
    counts[PlanFormat.ACTIVE_BLOCKS] = naive.activeBlocks();
    counts[PlanFormat.ALL_BLOCKS] = blocks;
    counts[PlanFormat.TOKENS] = tokens;
    counts[PlanFormat.PAIRS] = pairs;
    counts[PlanFormat.BLOCK_SIZE] = blockSize;
    assertThat(Arrays.copyOf(plan.counts(), counts.length)).as("counts, " + what).isEqualTo(counts);
    int[] sorted = filled(plan.sortedTokenIds().length, UNWRITTEN);
    int[] experts = filled(plan.blockExperts().length, UNWRITTEN);
    int[] adapters = filled(plan.blockAdapters().length, UNWRITTEN);
    for (int b = 0; b < blocks; b++) {
      NaiveRouting.Block block = naive.blocks().get(b);
      experts[b] = block.localExpert();
      adapters[b] = block.slot();
      for (int i = 0; i < blockSize; i++) {
        sorted[b * blockSize + i] = i < block.pairs().size() ? block.pairs().get(i) : pairs;
      }
    }
    assertThat(plan.sortedTokenIds()).as("sortedTokenIds, " + what).isEqualTo(sorted);
    assertThat(plan.blockExperts()).as("blockExperts, " + what).isEqualTo(experts);
    assertThat(plan.blockAdapters()).as("blockAdapters, " + what).isEqualTo(adapters);
  }
}
