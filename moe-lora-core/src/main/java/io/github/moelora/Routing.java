package io.github.moelora;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Token-expert pairs of one step, grouped so that each block needs one adapter's weights of one
 * expert.
 *
 * <p>A <em>pair</em> {@code p = t * K + k} is one expert choice of one token. Pairs are grouped by
 * (adapter, expert) with a stable counting sort and each group is padded to whole blocks: one flat
 * list of blocks over all adapters, so only blocks with work exist. Pairs that add nothing (no
 * adapter, slot empty or disabled, expert elsewhere) come last, in blocks of their own whose
 * adapter and expert are -1; a computation that adds in place ignores them, one that writes the
 * delta alone writes zeros there. With a block size of 1 nothing is sorted: every pair is a block,
 * in pair order.
 *
 * <p>{@code O(P + L * E)}, single-threaded, no allocation after construction. Source: vLLM's {@code
 * moe_lora_align_block_size} (PR #32770), taken from a list per adapter to one list. Used by one
 * thread at a time.
 */
public final class Routing {
  /**
   * Index in {@code counts}: length of the part of {@code sortedTokenIds} that belongs to blocks
   * with work.
   */
  public static final int NUM_TOKENS_POST_PADDED = 0;

  /** Index in {@code counts}: number of blocks with work. */
  public static final int ACTIVE_BLOCKS = 1;

  /** Index in {@code counts}: number of all blocks, those without work included. */
  public static final int ALL_BLOCKS = 2;

  /** Index in {@code counts}: {@code T}. */
  public static final int TOKENS = 3;

  /** Index in {@code counts}: {@code P}. */
  public static final int PAIRS = 4;

  /** Index in {@code counts}: rows of a block. */
  public static final int BLOCK_SIZE = 5;

  /** Elements of {@code counts}. */
  public static final int COUNTS = 8;

  private static final int INACTIVE = -1;

  private final MoeLoraConfig config;
  private final Host host;
  private final Buffers buffers;
  private final int groups;
  private final int maxBlockSize;

  // Everything is computed here and copied out in one go, so that a refused batch leaves the
  // buffers as they were.
  private final int[] adapterOfToken;
  private final int[] keys;
  private float[] weights;
  private float[] nextWeights;
  private final int[] groupSizes;
  private final int[] sorted;
  private final int[] blockAdapters;
  private final int[] blockExperts;
  private final int[] counts = new int[COUNTS];
  private final boolean[] namedSlots;

  /**
   * @param host owner of the buffers, asked for the block size of every batch
   */
  Routing(MoeLoraConfig config, Host host) {
    this.config = config;
    this.host = host;
    this.buffers = host.buffers();
    this.maxBlockSize = host.maxBlockSize();
    this.groups = config.slots() * config.expertMap().localExperts();
    int maxPairs = config.maxPairs();
    int sortedCapacity = sortedCapacity(config, maxBlockSize);
    buffers.requireCapacity(sortedCapacity, maxPairs);
    adapterOfToken = new int[config.maxTokens()];
    keys = new int[maxPairs];
    weights = new float[maxPairs];
    nextWeights = new float[maxPairs];
    groupSizes = new int[groups];
    sorted = new int[sortedCapacity];
    blockAdapters = new int[maxPairs];
    blockExperts = new int[maxPairs];
    namedSlots = new boolean[config.slots()];
  }

  /**
   * Elements that {@code sortedTokenIds} can need: every group and the pairs without work end in
   * one partly filled block.
   *
   * @throws IllegalArgumentException if they exceed int32
   */
  public static int sortedCapacity(MoeLoraConfig config, int maxBlockSize) {
    long pairs = config.maxPairs();
    long groups = Math.min(pairs, (long) config.slots() * config.expertMap().localExperts());
    long capacity = pairs + (groups + 1) * (maxBlockSize - 1);
    Checks.inRange("padded maxTokens * expertsPerToken", capacity, 0, Integer.MAX_VALUE);
    return (int) capacity;
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
   */
  void plan(
      int tokens,
      MemorySegment expertIds,
      MemorySegment routingWeights,
      MemorySegment adapterIds,
      boolean[] activeSlots) {
    Checks.inRange("tokens", tokens, 0, config.maxTokens() + 1L);
    int pairs = tokens * config.expertsPerToken();
    requireElements("expertIds", expertIds, pairs);
    requireElements("routingWeights", routingWeights, pairs);
    requireElements("adapterIds", adapterIds, tokens);
    MemorySegment.copy(adapterIds, ValueLayout.JAVA_INT_UNALIGNED, 0, adapterOfToken, 0, tokens);
    MemorySegment.copy(expertIds, ValueLayout.JAVA_INT_UNALIGNED, 0, keys, 0, pairs);
    MemorySegment.copy(routingWeights, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, nextWeights, 0, pairs);

    requireValid(tokens, pairs);
    int activePairs = replaceExpertsByKeys(tokens, activeSlots);
    int blockSize = host.blockSize(activePairs, countGroups());
    if (blockSize < 1 || blockSize > maxBlockSize) {
      throw new IllegalStateException(
          "blockSize must be in [1, %d], got %d".formatted(maxBlockSize, blockSize));
    }
    // nothing fails from here on, so this plan takes the place of the last one
    float[] lastWeights = weights;
    weights = nextWeights;
    nextWeights = lastWeights;
    noteSlots(tokens);
    if (blockSize == 1) {
      listPairs(pairs, activePairs);
    } else {
      sortPairs(pairs, blockSize);
    }
    counts[TOKENS] = tokens;
    counts[PAIRS] = pairs;
    counts[BLOCK_SIZE] = blockSize;
    publish();
  }

  private void requireValid(int tokens, int pairs) {
    int slots = config.slots();
    int experts = config.model().experts();
    for (int t = 0; t < tokens; t++) {
      if (adapterOfToken[t] < -1 || adapterOfToken[t] >= slots) {
        Checks.inRange("adapterIds[" + t + "]", adapterOfToken[t], -1, slots);
      }
    }
    for (int p = 0; p < pairs; p++) {
      if (keys[p] < -1 || keys[p] >= experts) {
        Checks.inRange("expertIds[" + p + "]", keys[p], -1, experts);
      }
      if (!Float.isFinite(nextWeights[p])) {
        throw new IllegalArgumentException(
            "routingWeights[%d] must be finite, got %s".formatted(p, nextWeights[p]));
      }
    }
  }

  /**
   * Turns {@code keys} from expert ids into {@code l * localExperts + e}, or {@link #INACTIVE}, and
   * counts the groups.
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
          keys[p] = INACTIVE;
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
    Arrays.fill(namedSlots, false);
    for (int t = 0; t < tokens; t++) {
      if (adapterOfToken[t] >= 0) {
        namedSlots[adapterOfToken[t]] = true;
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
    int localExperts = config.expertMap().localExperts();
    int active = 0;
    int inactive = activePairs;
    for (int p = 0; p < pairs; p++) {
      int key = keys[p];
      if (key == INACTIVE) {
        blockAdapters[inactive] = -1;
        blockExperts[inactive] = -1;
        sorted[inactive++] = p;
      } else {
        int slot = key / localExperts;
        blockAdapters[active] = slot;
        blockExperts[active] = key - slot * localExperts;
        sorted[active++] = p;
      }
    }
    counts[NUM_TOKENS_POST_PADDED] = activePairs;
    counts[ACTIVE_BLOCKS] = activePairs;
    counts[ALL_BLOCKS] = pairs;
  }

  private void sortPairs(int pairs, int blockSize) {
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
      sorted[key == INACTIVE ? inactive++ : groupSizes[key]++] = p;
    }
    counts[NUM_TOKENS_POST_PADDED] = activeEnd;
    counts[ACTIVE_BLOCKS] = block;
    for (; block * blockSize < inactive; block++) {
      blockAdapters[block] = -1;
      blockExperts[block] = -1;
    }
    Arrays.fill(sorted, inactive, block * blockSize, pairs);
    counts[ALL_BLOCKS] = block;
  }

  private void publish() {
    int blocks = counts[ALL_BLOCKS];
    copyOut(sorted, buffers.sortedTokenIds(), blocks * counts[BLOCK_SIZE]);
    copyOut(blockAdapters, buffers.adapterIds(), blocks);
    copyOut(blockExperts, buffers.expertIds(), blocks);
    MemorySegment.copy(
        weights, 0, buffers.routingWeights(), ValueLayout.JAVA_FLOAT_UNALIGNED, 0, counts[PAIRS]);
    copyOut(counts, buffers.counts(), COUNTS);
  }

  private static void copyOut(int[] from, MemorySegment to, int count) {
    MemorySegment.copy(from, 0, to, ValueLayout.JAVA_INT_UNALIGNED, 0, count);
  }

  private static void requireElements(String name, MemorySegment segment, int count) {
    long needed = (long) count * Integer.BYTES;
    if (segment.byteSize() < needed) {
      throw new IllegalArgumentException(
          "%s must hold %d elements (%d bytes), got %d bytes"
              .formatted(name, count, needed, segment.byteSize()));
    }
  }

  /** Number {@code T} of tokens of the last plan. */
  public int tokens() {
    return counts[TOKENS];
  }

  /** Number {@code P} of pairs of the last plan. */
  public int pairs() {
    return counts[PAIRS];
  }

  /** Rows of a block; 1 means that nothing was sorted. */
  public int blockSize() {
    return counts[BLOCK_SIZE];
  }

  /** Number of blocks with work. */
  public int activeBlocks() {
    return counts[ACTIVE_BLOCKS];
  }

  /** Number of all blocks, those without work included. */
  public int allBlocks() {
    return counts[ALL_BLOCKS];
  }

  /** Length of the part of {@code sortedTokenIds} that belongs to blocks with work. */
  public int numTokensPostPadded() {
    return counts[NUM_TOKENS_POST_PADDED];
  }

  /**
   * Adapter slot of a block, -1 for one without work.
   *
   * @param block in {@code [0, allBlocks)}
   */
  public int blockAdapter(int block) {
    requireIndex("block", block, counts[ALL_BLOCKS]);
    return blockAdapters[block];
  }

  /**
   * Local expert of a block, -1 for one without work.
   *
   * @param block in {@code [0, allBlocks)}
   */
  public int blockExpert(int block) {
    requireIndex("block", block, counts[ALL_BLOCKS]);
    return blockExperts[block];
  }

  /**
   * Pair at a position of {@code sortedTokenIds}, {@code P} for padding.
   *
   * @param position in {@code [0, allBlocks * blockSize)}
   */
  public int sortedTokenId(int position) {
    requireIndex("position", position, counts[ALL_BLOCKS] * counts[BLOCK_SIZE]);
    return sorted[position];
  }

  /**
   * Routing weight of a pair.
   *
   * @param pair in {@code [0, P)}
   */
  public float routingWeight(int pair) {
    requireIndex("pair", pair, counts[PAIRS]);
    return weights[pair];
  }

  private static void requireIndex(String name, int index, int end) {
    if (index < 0 || index >= end) {
      Checks.inRange(name, index, 0, end);
    }
  }

  /** Whether a token of the last plan names this slot, active or not. */
  boolean namesSlot(int slot) {
    return namedSlots[slot];
  }

  /** What a routing is computed for: it owns the buffers and knows which block size suits it. */
  public interface Host {

    /** Buffers that every plan is written to; the same ones at every call. */
    Buffers buffers();

    /** Largest block size that {@link #blockSize} returns. */
    int maxBlockSize();

    /**
     * Rows of a block for a batch.
     *
     * @param activePairs pairs with work
     * @param groups (adapter, expert) combinations with at least one pair
     * @return in {@code [1, maxBlockSize]}; 1 skips the sort
     */
    int blockSize(int activePairs, int groups);
  }

  /**
   * Memory that a plan is written to.
   *
   * @param sortedTokenIds out, int32 {@code [EM]}: pairs block by block, padding {@code P}
   * @param expertIds out, int32, at least {@code P}: local expert of each block, -1 without work
   * @param adapterIds out, int32, at least {@code P}: slot of each block, -1 without work
   * @param counts out, int32 {@code [COUNTS]}: the sizes named by this class's index constants
   * @param routingWeights out, float32, at least {@code P}: by pair
   */
  public record Buffers(
      MemorySegment sortedTokenIds,
      MemorySegment expertIds,
      MemorySegment adapterIds,
      MemorySegment counts,
      MemorySegment routingWeights) {

    /** Allocates buffers for the batches of a configuration. */
    public static Buffers allocate(Arena arena, MoeLoraConfig config, int maxBlockSize) {
      int maxPairs = config.maxPairs();
      return new Buffers(
          arena.allocate(ValueLayout.JAVA_INT, sortedCapacity(config, maxBlockSize)),
          arena.allocate(ValueLayout.JAVA_INT, maxPairs),
          arena.allocate(ValueLayout.JAVA_INT, maxPairs),
          arena.allocate(ValueLayout.JAVA_INT, COUNTS),
          arena.allocate(ValueLayout.JAVA_FLOAT, maxPairs));
    }

    void requireCapacity(int sortedCapacity, int maxPairs) {
      requireElements("sortedTokenIds", sortedTokenIds, sortedCapacity);
      requireElements("expertIds", expertIds, maxPairs);
      requireElements("adapterIds", adapterIds, maxPairs);
      requireElements("counts", counts, COUNTS);
      requireElements("routingWeights", routingWeights, maxPairs);
    }
  }
}
