package io.github.moelora.tornado.choice;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Which kernel runs, on blocks of how many rows; nothing else decides it. docs/performance.md has
 * the measurements behind the built-in numbers. Thread-safe.
 */
public final class BlockChoice {
  /** Rows of a block where pairs share weights; neighbouring threads then read the same ones. */
  public static final int SMALL_BLOCK = 16;

  /** Most tokens for which an engine's graph gets the kernel for blocks of one pair. */
  public static final int FEW_TOKENS = 16;

  /** Most tokens for which an engine's graph gets no kernel on groups, for few ranks. */
  private static final int PAIR_TOKENS = 8;

  /** Ranks above it get the kernel on pairs up to {@link #FEW_TOKENS}, 40 us for 46 at 9 tokens. */
  private static final int PAIR_RANKS = 16;

  /** Most tokens for which an engine's graph gets the kernels for small blocks. */
  public static final int SMALL_TOKENS = 512;

  /** Ranks above it have limits of their own. */
  private static final int SMALL_RANK = 32;

  /**
   * Up to so many pairs, each is a block: what counts is to have all multiprocessors at work, or to
   * have no padding travel.
   */
  private static final int FEW_PAIRS = 64;

  /**
   * Elements of A of a slice from which on the one-shot kernel, whose work-groups all compute z of
   * their block anew, costs more than a second launch: of 64 ranks and H = 4096, 14.6 us for 16.0
   * with one token and 25.4 for 29.6 with eight; of 64 ranks and H = 2048, 36.9 for 31.6.
   */
  private static final int COSTLY_A = 3 << 16;

  private final MoeLoraConfig config;
  private final boolean packed;
  private final @Nullable Tuning tuning;
  private final BlockLimits limits;
  private final boolean oneShotOnly;
  private final int largeBlock;
  private final int maxBlockSize;

  /**
   * @param packed whether the weights are packed, so that the narrow kernels can run
   * @param tuning measured choices, null for the built-in ones
   * @param limits built-in numbers of the device
   */
  public BlockChoice(
      MoeLoraConfig config, boolean packed, @Nullable Tuning tuning, BlockLimits limits) {
    this.config = config;
    this.packed = packed;
    this.tuning = tuning;
    this.limits = limits;
    oneShotOnly = packed && !hasSplit(config);
    maxBlockSize = blockSizes(config, packed).getLast();
    if (oneShotOnly) {
      largeBlock = maxBlockSize;
    } else {
      largeBlock = packed ? SplitTiling.large(config, Projection.GATE_UP).rows() : SMALL_BLOCK;
    }
  }

  /** The built-in choice for another layer on the same device. */
  public BlockChoice ofLayer(MoeLoraConfig layer) {
    return new BlockChoice(layer, packed, null, limits);
  }

  /**
   * Block sizes among which there is a choice, ascending.
   *
   * @param packed whether the narrow kernels run
   */
  public static List<Integer> blockSizes(MoeLoraConfig config, boolean packed) {
    if (!packed) {
      return List.of(1, SMALL_BLOCK);
    }
    return kernels(config, Projection.GATE_UP, null).stream().map(Tiling::rows).toList();
  }

  /**
   * The narrow kernels, each for blocks of up to its rows, ascending: the one-shot kernel for
   * blocks of one and of two rows, and those of shrink and expand, if ranks are not too many for
   * them.
   *
   * @param tuning measured choices, null for the built-in ones
   */
  public static List<Tiling> kernels(
      MoeLoraConfig config, Projection projection, @Nullable Tuning tuning) {
    List<Tiling> kernels = new ArrayList<>();
    kernels.add(Tuning.withTargetItems(OneShotTiling.pairs(), tuning));
    kernels.add(Tuning.withTargetItems(OneShotTiling.twoRows(), tuning));
    if (hasSplit(config)) {
      kernels.addAll(SplitTiling.all(config, projection));
    }
    return kernels;
  }

  /**
   * Whether shrink and expand on tensor cores take all ranks that adapters may have. If not, the
   * one-shot kernel serves every batch: it multiplies without tensor cores, and keeps z of two rows
   * in float32.
   */
  public static boolean hasSplit(MoeLoraConfig config) {
    return config.maxRank() <= SplitTiling.RANK_LIMIT;
  }

  /** Largest block size of any batch. */
  public int maxBlockSize() {
    return maxBlockSize;
  }

  /** Most rows of a block for an engine's graphs. */
  public int largeBlock() {
    return largeBlock;
  }

  /** The kernel of an engine's graph for batches of up to {@code maxTokens} tokens. */
  public Tiling ofGraph(int maxTokens, Projection projection) {
    if (maxTokens <= FEW_TOKENS && (oneShotOnly || !isCostlyA())) {
      return Tuning.withTargetItems(OneShotTiling.pairs(), tuning);
    }
    if (oneShotOnly) {
      return Tuning.withTargetItems(OneShotTiling.twoRows(), tuning);
    }
    return maxTokens <= SMALL_TOKENS
        ? SplitTiling.small(config, projection)
        : SplitTiling.large(config, projection);
  }

  /**
   * The kernel of an engine's graph whose pairs are sorted on the device: blocks are as large as
   * suits {@code maxTokens} tokens whose pairs fall on all slots and experts alike. The same block
   * size for all projections of a layer.
   */
  public Tiling ofRoutedGraph(int maxTokens, Projection projection) {
    if (oneShotOnly || maxTokens <= SMALL_TOKENS) {
      return ofGraph(maxTokens, projection);
    }
    int pairs = config.withMaxTokens(maxTokens).maxPairs();
    int groups = expectedGroups(pairs, config.slots() * config.expertMap().localExperts());
    if (isSmall(pairs, groups)) {
      return SplitTiling.small(config, projection);
    }
    return pairs >= (long) groups * limits.largest()
        ? SplitTiling.largest(config, projection)
        : SplitTiling.large(config, projection);
  }

  /**
   * How the kernel on groups cuts a call of an engine's graph whose pairs are routed on the device,
   * in place of {@link #ofRoutedGraph}; empty where it does not suit. For few tokens the kernel on
   * pairs is faster, whose work-groups look at one pair each.
   *
   * @param units multiprocessors of the device
   */
  public Optional<GroupTiling> ofGroups(int maxTokens, Projection projection, int units) {
    int few = config.maxRank() > PAIR_RANKS ? FEW_TOKENS : PAIR_TOKENS;
    return packed && maxTokens > few
        ? GroupTiling.of(config, projection, maxTokens, units)
        : Optional.empty();
  }

  /** How many of the groups are met by so many pairs, in the mean. */
  static int expectedGroups(int pairs, int groups) {
    double missed = Math.pow(1 - 1.0 / Math.max(1, groups), pairs);
    return Math.max(1, (int) Math.round(groups * (1 - missed)));
  }

  /**
   * Rows of a block for a batch on host arrays: as measured, where a measurement covers it, else as
   * built in. Allocates nothing.
   *
   * @param activePairs pairs with work
   * @param groups (adapter, expert) combinations with at least one pair
   */
  public int ofBatch(int activePairs, int groups) {
    int measured = tuning == null ? 0 : tuning.blockSize(activePairs, groups);
    return measured > 0 ? measured : builtIn(activePairs, groups);
  }

  /** The same without measurements. */
  public int builtIn(int activePairs, int groups) {
    if (oneShotOnly) {
      // half the reads of the weights where most groups have two pairs
      return activePairs <= FEW_PAIRS || 2 * activePairs < 3 * groups ? 1 : maxBlockSize;
    }
    if (packed && isCostlyA() && isSmall(activePairs, groups)) {
      return SMALL_BLOCK;
    }
    if (activePairs == groups || activePairs <= FEW_PAIRS) {
      return 1;
    }
    if (!packed) {
      // blocks would mostly be padding, and x and y travel with it
      return activePairs < 2 * groups ? 1 : SMALL_BLOCK;
    }
    if (2 * activePairs < 3 * groups) {
      return 1;
    }
    // the one-shot kernel takes float16 apart in more steps, tensor cores take it as it is
    if (activePairs < 2 * groups && config.weightType() == DType.BF16) {
      return 2;
    }
    if (isSmall(activePairs, groups)) {
      return SMALL_BLOCK;
    }
    return activePairs >= groups * limits.largest() ? maxBlockSize : largeBlock;
  }

  /**
   * Rows of a block for a batch of an engine, whose graphs have fixed kernels, none of them for the
   * largest blocks, and whose arrays hold no measured plans. Allocates nothing.
   *
   * @param activePairs pairs with work
   * @param groups (adapter, expert) combinations with at least one pair
   */
  public int ofEngineBatch(int activePairs, int groups) {
    if (activePairs == groups) {
      return 1;
    }
    if (oneShotOnly) {
      return activePairs <= FEW_TOKENS * config.expertsPerToken() ? 1 : largeBlock;
    }
    if (packed && !isCostlyA() && activePairs <= FEW_TOKENS * config.expertsPerToken()) {
      return 1;
    }
    if (activePairs <= SMALL_TOKENS * config.expertsPerToken() || isSmall(activePairs, groups)) {
      return SMALL_BLOCK;
    }
    return largeBlock;
  }

  /** Whether it costs too much that every work-group computes z of its block. */
  private boolean isCostlyA() {
    return (long) config.maxRank() * config.model().inputWidth(Projection.GATE_UP) >= COSTLY_A;
  }

  private boolean isSmall(int activePairs, int groups) {
    boolean manyRanks = config.maxRank() > SMALL_RANK;
    int largeGroup = manyRanks ? limits.largeOfRanks() : limits.large();
    return activePairs < groups * largeGroup;
  }
}
