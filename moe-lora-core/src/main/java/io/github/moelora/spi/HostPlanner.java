package io.github.moelora.spi;

import io.github.moelora.ExpertMap;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Routing;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Groups the pairs of a batch on the host: a stable counting sort by (adapter, expert), {@code O(P
 * + L * E)}, single-threaded. The plan is written where {@link #routing} reads it; nothing is
 * allocated after construction.
 *
 * <p>Source: vLLM's {@code moe_lora_align_block_size} (PR #32770), taken from a list per adapter to
 * one list. Used by one thread at a time.
 */
public final class HostPlanner {
  private final MoeLoraConfig config;
  private final BlockRule rule;
  private final int maxBlockSize;
  private final HostRouting routing;

  // Arguments are copied before they are checked, so that nobody changes them in between, and
  // the routing is written only once nothing can fail any more.
  private final int[] adapterOfToken;
  private final int[] keys;
  private final int[] groupSizes;
  private float[] nextWeights;

  /**
   * @param rule asked for the block size of every batch
   * @throws IllegalArgumentException if the largest plan exceeds int32
   */
  public HostPlanner(MoeLoraConfig config, BlockRule rule) {
    this.config = config;
    this.rule = rule;
    maxBlockSize = rule.maxBlockSize();
    routing = new HostRouting(config, maxBlockSize);
    adapterOfToken = new int[config.maxTokens()];
    keys = new int[config.maxPairs()];
    groupSizes = new int[config.slots() * config.expertMap().localExperts()];
    nextWeights = new float[config.maxPairs()];
  }

  /** The last plan; the same object after every {@link #plan}. */
  public Routing routing() {
    return routing;
  }

  /**
   * Groups the pairs of a step. On failure the last plan stands.
   *
   * @param tokens in {@code [0, maxTokens]}
   * @param expertIds in, int32 {@code [T, K]}, global expert ids in {@code [-1, E)}; -1 skips the
   *     pair
   * @param routingWeights in, float32 {@code [T, K]}, finite
   * @param adapterIds in, int32 {@code [T]}, in {@code [-1, L)}; -1 is no adapter
   * @param activeSlots in, {@code [L]}: which slots hold an adapter that is enabled
   * @throws IllegalArgumentException naming the first element outside its range
   * @throws IllegalStateException if the rule gives a block size outside its range
   */
  public void plan(
      int tokens,
      MemorySegment expertIds,
      MemorySegment routingWeights,
      MemorySegment adapterIds,
      boolean[] activeSlots) {
    requireInRange("tokens", tokens, 0, config.maxTokens() + 1);
    int pairs = tokens * config.expertsPerToken();
    PlanArrays.requireElements("expertIds", expertIds, pairs);
    PlanArrays.requireElements("routingWeights", routingWeights, pairs);
    PlanArrays.requireElements("adapterIds", adapterIds, tokens);
    MemorySegment.copy(adapterIds, ValueLayout.JAVA_INT_UNALIGNED, 0, adapterOfToken, 0, tokens);
    MemorySegment.copy(expertIds, ValueLayout.JAVA_INT_UNALIGNED, 0, keys, 0, pairs);
    MemorySegment.copy(routingWeights, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, nextWeights, 0, pairs);

    requireValid(tokens, pairs);
    int activePairs = replaceExpertsByKeys(tokens, activeSlots);
    int blockSize = rule.blockSize(activePairs, countGroups());
    if (blockSize < 1 || blockSize > maxBlockSize) {
      throw new IllegalStateException(
          "blockSize must be in [1, %d], got %d".formatted(maxBlockSize, blockSize));
    }
    // nothing fails from here on, so this plan takes the place of the last one
    float[] lastWeights = routing.routingWeights;
    routing.routingWeights = nextWeights;
    nextWeights = lastWeights;
    noteSlots(tokens);
    if (blockSize == 1) {
      listPairs(pairs, activePairs);
    } else {
      sortPairs(pairs, blockSize);
    }
    routing.counts[PlanFormat.TOKENS] = tokens;
    routing.counts[PlanFormat.PAIRS] = pairs;
    routing.counts[PlanFormat.BLOCK_SIZE] = blockSize;
  }

  private void requireValid(int tokens, int pairs) {
    int slots = config.slots();
    int experts = config.model().experts();
    for (int t = 0; t < tokens; t++) {
      if (adapterOfToken[t] < -1 || adapterOfToken[t] >= slots) {
        requireInRange("adapterIds[" + t + "]", adapterOfToken[t], -1, slots);
      }
    }
    for (int p = 0; p < pairs; p++) {
      if (keys[p] < -1 || keys[p] >= experts) {
        requireInRange("expertIds[" + p + "]", keys[p], -1, experts);
      }
      if (!Float.isFinite(nextWeights[p])) {
        throw new IllegalArgumentException(
            "routingWeights[%d] must be finite, got %s".formatted(p, nextWeights[p]));
      }
    }
  }

  /**
   * Turns {@code keys} from expert ids into {@code l * localExperts + e}, or {@link
   * PlanFormat#NO_WORK}, and counts the groups.
   */
  private int replaceExpertsByKeys(int tokens, boolean[] activeSlots) {
    ExpertMap map = config.expertMap();
    int localExperts = map.localExperts();
    int expertsPerToken = config.expertsPerToken();
    Arrays.fill(groupSizes, 0);
    int activePairs = 0;
    for (int t = 0, p = 0; t < tokens; t++) {
      int slot = adapterOfToken[t];
      boolean active = slot >= 0 && activeSlots[slot];
      for (int k = 0; k < expertsPerToken; k++, p++) {
        int expert = active && keys[p] >= 0 ? map.local(keys[p]) : -1;
        if (expert < 0) {
          keys[p] = PlanFormat.NO_WORK;
        } else {
          int key = slot * localExperts + expert;
          keys[p] = key;
          groupSizes[key]++;
          activePairs++;
        }
      }
    }
    return activePairs;
  }

  private void noteSlots(int tokens) {
    Arrays.fill(routing.namedSlots, false);
    for (int t = 0; t < tokens; t++) {
      if (adapterOfToken[t] >= 0) {
        routing.namedSlots[adapterOfToken[t]] = true;
      }
    }
  }

  private int countGroups() {
    int used = 0;
    for (int size : groupSizes) {
      used += size > 0 ? 1 : 0;
    }
    return used;
  }

  private void listPairs(int pairs, int activePairs) {
    int[] sorted = routing.sortedTokenIds;
    int[] blockExperts = routing.blockExperts;
    int[] blockAdapters = routing.blockAdapters;
    int localExperts = config.expertMap().localExperts();
    int active = 0;
    int inactive = activePairs;
    for (int p = 0; p < pairs; p++) {
      int key = keys[p];
      if (key == PlanFormat.NO_WORK) {
        blockAdapters[inactive] = PlanFormat.NO_WORK;
        blockExperts[inactive] = PlanFormat.NO_WORK;
        sorted[inactive++] = p;
      } else {
        int slot = key / localExperts;
        blockAdapters[active] = slot;
        blockExperts[active] = key - slot * localExperts;
        sorted[active++] = p;
      }
    }
    routing.counts[PlanFormat.NUM_TOKENS_POST_PADDED] = activePairs;
    routing.counts[PlanFormat.ACTIVE_BLOCKS] = activePairs;
    routing.counts[PlanFormat.ALL_BLOCKS] = pairs;
  }

  private void sortPairs(int pairs, int blockSize) {
    int[] sorted = routing.sortedTokenIds;
    int[] blockExperts = routing.blockExperts;
    int[] blockAdapters = routing.blockAdapters;
    int localExperts = config.expertMap().localExperts();
    int block = 0;
    // groupSizes becomes the position of the group's next pair
    for (int slot = 0, key = 0; slot < config.slots(); slot++) {
      for (int expert = 0; expert < localExperts; expert++, key++) {
        int size = groupSizes[key];
        groupSizes[key] = block * blockSize;
        for (int rest = size; rest > 0; rest -= blockSize) {
          blockAdapters[block] = slot;
          blockExperts[block] = expert;
          block++;
        }
      }
    }
    int activeEnd = block * blockSize;
    int inactive = activeEnd;
    Arrays.fill(sorted, 0, activeEnd, pairs);
    for (int p = 0; p < pairs; p++) {
      int key = keys[p];
      sorted[key == PlanFormat.NO_WORK ? inactive++ : groupSizes[key]++] = p;
    }
    routing.counts[PlanFormat.NUM_TOKENS_POST_PADDED] = activeEnd;
    routing.counts[PlanFormat.ACTIVE_BLOCKS] = block;
    for (; block * blockSize < inactive; block++) {
      blockAdapters[block] = PlanFormat.NO_WORK;
      blockExperts[block] = PlanFormat.NO_WORK;
    }
    Arrays.fill(sorted, inactive, block * blockSize, pairs);
    routing.counts[PlanFormat.ALL_BLOCKS] = block;
  }

  private static void requireInRange(String name, int value, int from, int to) {
    if (value < from || value >= to) {
      throw new IllegalArgumentException(
          "%s must be in [%d, %d), got %d".formatted(name, from, to, value));
    }
  }
}
