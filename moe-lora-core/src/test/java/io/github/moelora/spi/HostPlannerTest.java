package io.github.moelora.spi;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Routing;
import io.github.moelora.testkit.Allocation;
import io.github.moelora.testkit.NaiveRouting;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import net.jqwik.api.EdgeCasesMode;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Plans against {@link NaiveRouting}, refusals that leave everything as it was, and no garbage. */
class HostPlannerTest {
  private static final int UNTOUCHED = 0x5a5a5a5a;

  /** A rule with a block size that a test sets. */
  private static final class FixedRule implements BlockRule {
    final int maxBlockSize;
    int blockSize;
    int activePairs = -1;
    int groups = -1;

    FixedRule(int maxBlockSize) {
      this.maxBlockSize = maxBlockSize;
      this.blockSize = maxBlockSize;
    }

    @Override
    public int maxBlockSize() {
      return maxBlockSize;
    }

    @Override
    public int blockSize(int pairs, int usedGroups) {
      activePairs = pairs;
      groups = usedGroups;
      return blockSize;
    }
  }

  /** A plan as it lies in arrays of the largest size, behind it what stood there before. */
  private record Copied(
      int[] counts, int[] sortedTokenIds, int[] experts, int[] adapters, float[] weights) {

    static Copied of(HostPlanner planner, MoeLoraConfig config, int maxBlockSize) {
      int pairs = config.maxPairs();
      Copied copied =
          new Copied(
              untouched(PlanFormat.COUNTS),
              untouched(PlanFormat.sortedCapacity(config, maxBlockSize)),
              untouched(pairs),
              untouched(pairs),
              new float[pairs]);
      Arrays.fill(copied.weights, Float.NaN);
      planner.routing().copyTo(copied.arrays());
      return copied;
    }

    private static int[] untouched(int elements) {
      int[] array = new int[elements];
      Arrays.fill(array, UNTOUCHED);
      return array;
    }

    PlanArrays arrays() {
      return new PlanArrays(
          MemorySegment.ofArray(counts),
          MemorySegment.ofArray(sortedTokenIds),
          MemorySegment.ofArray(experts),
          MemorySegment.ofArray(adapters),
          MemorySegment.ofArray(weights));
    }

    void assertEqualTo(Copied other) {
      assertThat(counts).isEqualTo(other.counts);
      assertThat(sortedTokenIds).isEqualTo(other.sortedTokenIds);
      assertThat(experts).isEqualTo(other.experts);
      assertThat(adapters).isEqualTo(other.adapters);
      assertThat(weights).isEqualTo(other.weights);
    }
  }

  /** A random batch. */
  private record Batch(int tokens, int[] expertIds, float[] weights, int[] adapterIds) {

    static Batch random(SplittableRandom random, MoeLoraConfig config, int tokens) {
      int k = config.expertsPerToken();
      int[] experts = random.ints((long) tokens * k, -1, config.model().experts()).toArray();
      float[] weights = new float[tokens * k];
      for (int p = 0; p < weights.length; p++) {
        weights[p] = random.nextFloat() - 0.5f;
      }
      return new Batch(tokens, experts, weights, random.ints(tokens, -1, config.slots()).toArray());
    }

    void plan(HostPlanner planner, boolean[] active) {
      planner.plan(
          tokens,
          MemorySegment.ofArray(expertIds),
          MemorySegment.ofArray(weights),
          MemorySegment.ofArray(adapterIds),
          active);
    }
  }

  private static MoeLoraConfig config(int experts, int slots, int k, int maxTokens) {
    MoeModel model = new MoeModel(4, 4, experts, GateUp.HALVES, List.of(0));
    return MoeLoraConfig.of(model, slots, k).withMaxTokens(maxTokens);
  }

  private static ExpertMap randomMap(SplittableRandom random, int experts) {
    int[] local = new int[experts];
    Arrays.fill(local, -1);
    int here = random.nextInt(experts + 1);
    List<Integer> order = new ArrayList<>();
    for (int e = 0; e < experts; e++) {
      order.add(e);
    }
    Collections.shuffle(order, new Random(random.nextLong()));
    for (int i = 0; i < here; i++) {
      local[order.get(i)] = i;
    }
    return ExpertMap.of(local);
  }

  private static boolean[] randomActive(SplittableRandom random, int slots) {
    boolean[] active = new boolean[slots];
    for (int l = 0; l < slots; l++) {
      active[l] = random.nextInt(4) > 0;
    }
    return active;
  }

  @Property(tries = 500, edgeCases = EdgeCasesMode.NONE)
  void everyPlanIsThatOfTheDefinition(
      @ForAll long seed,
      @ForAll @IntRange(min = 1, max = 9) int experts,
      @ForAll @IntRange(min = 1, max = 5) int slots,
      @ForAll @IntRange(min = 1, max = 8) int blockSize) {
    SplittableRandom random = new SplittableRandom(seed);
    int k = 1 + random.nextInt(experts);
    int maxTokens = 1 + random.nextInt(40);
    MoeLoraConfig config = config(experts, slots, k, maxTokens);
    if (random.nextBoolean()) {
      config = config.withExpertMap(randomMap(random, experts));
    }
    FixedRule rule = new FixedRule(8);
    rule.blockSize = blockSize;
    HostPlanner planner = new HostPlanner(config, rule);
    // the second plan also shows that nothing of the first remains
    for (int plan = 0; plan < 2; plan++) {
      Batch batch = Batch.random(random, config, random.nextInt(maxTokens + 1));
      boolean[] active = randomActive(random, slots);
      batch.plan(planner, active);
      assertPlan(planner, rule, config, batch, active);
    }
  }

  private static void assertPlan(
      HostPlanner planner, FixedRule rule, MoeLoraConfig config, Batch batch, boolean[] active) {
    Routing routing = planner.routing();
    NaiveRouting naive =
        NaiveRouting.of(config, batch.expertIds(), batch.adapterIds(), active, rule.blockSize);
    int pairs = batch.expertIds().length;
    assertThat(rule.activePairs).isEqualTo(naive.activePairs());
    assertThat(rule.groups).isEqualTo(naive.groups());
    assertThat(routing.tokens()).isEqualTo(batch.tokens());
    assertThat(routing.pairs()).isEqualTo(pairs);
    assertThat(routing.blockSize()).isEqualTo(rule.blockSize);
    assertThat(routing.activeBlocks()).isEqualTo(naive.activeBlocks());
    assertThat(routing.allBlocks()).isEqualTo(naive.blocks().size());
    assertThat(routing.numTokensPostPadded()).isEqualTo(naive.activeBlocks() * rule.blockSize);

    Copied copied = Copied.of(planner, config, rule.maxBlockSize);
    int[] sorted = copied.sortedTokenIds();
    int[] experts = copied.experts();
    int[] adapters = copied.adapters();
    float[] weights = copied.weights();
    for (int b = 0; b < naive.blocks().size(); b++) {
      NaiveRouting.Block block = naive.blocks().get(b);
      assertThat(adapters[b]).isEqualTo(block.slot());
      assertThat(experts[b]).isEqualTo(block.localExpert());
      assertThat(routing.blockAdapter(b)).isEqualTo(block.slot());
      assertThat(routing.blockExpert(b)).isEqualTo(block.localExpert());
      for (int row = 0; row < rule.blockSize; row++) {
        int position = b * rule.blockSize + row;
        int pair = row < block.pairs().size() ? block.pairs().get(row) : pairs;
        assertThat(sorted[position]).isEqualTo(pair);
        assertThat(routing.sortedTokenId(position)).isEqualTo(pair);
      }
    }
    for (int p = 0; p < pairs; p++) {
      assertThat(weights[p]).isEqualTo(batch.weights()[p]);
      assertThat(routing.routingWeight(p)).isEqualTo(batch.weights()[p]);
    }
    for (int i = naive.blocks().size() * rule.blockSize; i < sorted.length; i++) {
      assertThat(sorted[i]).isEqualTo(UNTOUCHED);
    }
    for (int l = 0; l < config.slots(); l++) {
      int slot = l;
      assertThat(routing.namesSlot(l))
          .isEqualTo(Arrays.stream(batch.adapterIds()).anyMatch(id -> id == slot));
    }
    assertThat(copied.counts())
        .containsExactly(
            naive.activeBlocks() * rule.blockSize,
            naive.activeBlocks(),
            naive.blocks().size(),
            batch.tokens(),
            pairs,
            rule.blockSize,
            0,
            0);
  }

  /** The figure of the documentation: two adapters, a token without, an expert elsewhere. */
  @Test
  void anExampleWorkedOutByHand() {
    MoeLoraConfig config = config(3, 2, 2, 8).withExpertMap(ExpertMap.of(1, 0, -1));
    FixedRule rule = new FixedRule(2);
    HostPlanner planner = new HostPlanner(config, rule);
    new Batch(
            4,
            new int[] {0, 1, /**/ 1, 2, /**/ 0, 1, /**/ 1, 0},
            new float[8],
            new int[] {1, 1, -1, 0})
        .plan(planner, new boolean[] {true, true});
    // slot 0: expert 1 (local 0) pair 6, expert 0 (local 1) pair 7; slot 1: local 0 pairs 1 and 2,
    // local 1 pair 0; without work: 3 (elsewhere), 4 and 5 (no adapter)
    Copied copied = Copied.of(planner, config, 2);
    assertThat(Arrays.copyOf(copied.sortedTokenIds(), 12))
        .containsExactly(6, 8, 7, 8, 1, 2, 0, 8, 3, 4, 5, 8);
    assertThat(Arrays.copyOf(copied.adapters(), 6)).containsExactly(0, 0, 1, 1, -1, -1);
    assertThat(Arrays.copyOf(copied.experts(), 6)).containsExactly(0, 1, 0, 1, -1, -1);
    assertThat(copied.counts()).containsExactly(8, 4, 6, 4, 8, 2, 0, 0);

    rule.blockSize = 1;
    new Batch(2, new int[] {2, 1, 0, -1}, new float[4], new int[] {0, 1})
        .plan(planner, new boolean[] {true, true});
    copied = Copied.of(planner, config, 2);
    assertThat(Arrays.copyOf(copied.sortedTokenIds(), 4)).containsExactly(1, 2, 0, 3);
    assertThat(Arrays.copyOf(copied.adapters(), 4)).containsExactly(0, 1, -1, -1);
    assertThat(Arrays.copyOf(copied.experts(), 4)).containsExactly(0, 1, -1, -1);
    assertThat(copied.counts()).containsExactly(2, 2, 4, 2, 4, 1, 0, 0);
  }

  /** Every group and the pairs without work end in a block of which one row is used. */
  @Test
  void theCapacityIsReachedAndNotExceeded() {
    // 3 slots * 2 experts = 6 groups of one pair each, and 2 pairs without work
    MoeLoraConfig config = config(2, 3, 2, 4);
    int capacity = PlanFormat.sortedCapacity(config, 5);
    assertThat(capacity).isEqualTo(8 + 7 * 4);
    FixedRule rule = new FixedRule(5);
    HostPlanner planner = new HostPlanner(config, rule);
    Batch batch =
        new Batch(4, new int[] {0, 1, 0, 1, 0, 1, 0, 1}, new float[8], new int[] {0, 1, 2, -1});
    boolean[] active = {true, true, true};
    batch.plan(planner, active);
    assertThat(planner.routing().allBlocks() * 5).isEqualTo(7 * 5).isLessThanOrEqualTo(capacity);
    assertPlan(planner, rule, config, batch, active);
    // fewer pairs than groups
    assertThat(PlanFormat.sortedCapacity(config(8, 4, 2, 3), 4)).isEqualTo(6 + 7 * 3);
    assertThat(PlanFormat.sortedCapacity(config(8, 4, 2, 3), 1)).isEqualTo(6);
  }

  @Test
  void aCapacityBeyondInt32IsRefused() {
    MoeLoraConfig config = config(1 << 12, 1 << 15, 1, 1 << 28);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> PlanFormat.sortedCapacity(config, 32))
        .withMessage(
            "padded maxTokens * expertsPerToken must be in [0, 2147483647), got %d",
            (1L << 28) + ((1L << 27) + 1) * 31);
  }

  @ParameterizedTest
  @CsvSource({
    "counts, 0, 8",
    "sortedTokenIds, 1, 12",
    "blockExperts, 2, 3",
    "blockAdapters, 3, 3",
    "routingWeights, 4, 4"
  })
  void arraysThatAreTooSmallAreRefusedAndLeftAsTheyWere(String name, int index, int elements) {
    MoeLoraConfig config = config(2, 2, 2, 3);
    HostPlanner planner = new HostPlanner(config, new FixedRule(4));
    // experts 0 and 1 of slot 0, and two pairs without work: three blocks of four
    new Batch(2, new int[] {0, 1, 0, 1}, new float[4], new int[] {0, -1})
        .plan(planner, new boolean[] {true, true});
    int[] sizes = {PlanFormat.COUNTS, 12, 3, 3, 4};
    int[][] arrays = new int[5][];
    for (int i = 0; i < 5; i++) {
      arrays[i] = Copied.untouched(sizes[i] - (i == index ? 1 : 0));
    }
    PlanArrays tooSmall =
        new PlanArrays(
            MemorySegment.ofArray(arrays[0]),
            MemorySegment.ofArray(arrays[1]),
            MemorySegment.ofArray(arrays[2]),
            MemorySegment.ofArray(arrays[3]),
            MemorySegment.ofArray(arrays[4]));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> planner.routing().copyTo(tooSmall))
        .withMessage(
            "%s must hold %d elements (%d bytes), got %d bytes",
            name, elements, 4 * elements, 4 * elements - 4);
    for (int[] array : arrays) {
      assertThat(array).containsOnly(UNTOUCHED);
    }
  }

  // ---- refusals ----

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "tokens | -1 | tokens must be in [0, 5), got -1",
        "tokens | 5 | tokens must be in [0, 5), got 5",
        "expertIds | -2 | expertIds[5] must be in [-1, 3), got -2",
        "expertIds | 3 | expertIds[5] must be in [-1, 3), got 3",
        "adapterIds | -2 | adapterIds[2] must be in [-1, 2), got -2",
        "adapterIds | 2 | adapterIds[2] must be in [-1, 2), got 2",
        "weights | NaN | routingWeights[5] must be finite, got NaN",
        "weights | Infinity | routingWeights[5] must be finite, got Infinity",
        "short | 0 | expertIds must hold 6 elements (24 bytes), got 20 bytes",
        "short | 1 | routingWeights must hold 6 elements (24 bytes), got 20 bytes",
        "short | 2 | adapterIds must hold 3 elements (12 bytes), got 8 bytes",
        "blockSize | 0 | blockSize must be in [1, 4], got 0",
        "blockSize | 5 | blockSize must be in [1, 4], got 5",
      })
  void aRefusedBatchLeavesTheLastPlanAsItWas(String what, String value, String message) {
    MoeLoraConfig config = config(3, 2, 2, 4);
    FixedRule rule = new FixedRule(4);
    HostPlanner planner = new HostPlanner(config, rule);
    boolean[] active = {true, true};
    Batch good =
        new Batch(
            2, new int[] {0, 1, 2, 0}, new float[] {0.1f, 0.2f, 0.3f, 0.4f}, new int[] {0, 0});
    good.plan(planner, active);
    Copied before = Copied.of(planner, config, 4);

    int tokens = what.equals("tokens") ? Integer.parseInt(value) : 3;
    int[] experts = {1, 2, 1, 2, 1, 2};
    float[] weights = {9, 9, 9, 9, 9, 9};
    int[] adapters = {1, 1, 1};
    MemorySegment[] segments = {
      MemorySegment.ofArray(experts),
      MemorySegment.ofArray(weights),
      MemorySegment.ofArray(adapters)
    };
    switch (what) {
      case "expertIds" -> experts[5] = Integer.parseInt(value);
      case "adapterIds" -> adapters[2] = Integer.parseInt(value);
      case "weights" -> weights[5] = Float.parseFloat(value);
      case "short" -> {
        int i = Integer.parseInt(value);
        segments[i] = segments[i].asSlice(0, segments[i].byteSize() - 4);
      }
      case "blockSize" -> rule.blockSize = Integer.parseInt(value);
      default -> {}
    }
    ThrowingCallable plan =
        () -> planner.plan(tokens, segments[0], segments[1], segments[2], active);
    if (what.equals("blockSize")) {
      assertThatIllegalStateException().isThrownBy(plan).withMessage(message);
    } else {
      assertThatIllegalArgumentException().isThrownBy(plan).withMessage(message);
    }

    Copied.of(planner, config, 4).assertEqualTo(before);
    rule.blockSize = 4;
    assertPlanStands(planner.routing(), good);
  }

  private static void assertPlanStands(Routing routing, Batch good) {
    assertThat(routing.tokens()).isEqualTo(2);
    assertThat(routing.pairs()).isEqualTo(4);
    for (int p = 0; p < 4; p++) {
      assertThat(routing.routingWeight(p)).isEqualTo(good.weights()[p]);
    }
    assertThat(routing.namesSlot(0)).isTrue();
    assertThat(routing.namesSlot(1)).isFalse();
    assertThat(routing.sortedTokenId(0)).isEqualTo(0);
    assertThat(routing.sortedTokenId(1)).isEqualTo(3);
    assertThat(routing.blockAdapter(0)).isZero();
    assertThat(routing.blockExpert(2)).isEqualTo(2);
  }

  @Test
  void idsAtTheirLimitsAreTaken() {
    MoeLoraConfig config = config(3, 2, 1, 2);
    FixedRule rule = new FixedRule(4);
    HostPlanner planner = new HostPlanner(config, rule);
    new Batch(2, new int[] {2, -1}, new float[] {-Float.MAX_VALUE, 0}, new int[] {1, -1})
        .plan(planner, new boolean[] {true, true});
    assertThat(planner.routing().activeBlocks()).isEqualTo(1);
    assertThat(planner.routing().blockExpert(0)).isEqualTo(2);
  }

  @Test
  void argumentsMayBeLargerThanNeededAndUnaligned() {
    MoeLoraConfig config = config(3, 2, 1, 2);
    FixedRule rule = new FixedRule(1);
    HostPlanner planner = new HostPlanner(config, rule);
    MemorySegment ids = Arena.ofAuto().allocate(21).asSlice(1);
    ids.set(ValueLayout.JAVA_INT_UNALIGNED, 0, 2);
    // beyond the batch, so not looked at
    ids.set(ValueLayout.JAVA_INT_UNALIGNED, 4, 77);
    planner.plan(
        1,
        ids,
        MemorySegment.ofArray(new float[9]),
        MemorySegment.ofArray(new int[9]),
        new boolean[] {true, false});
    assertThat(planner.routing().pairs()).isEqualTo(1);
    assertThat(planner.routing().blockExpert(0)).isEqualTo(2);
  }

  // ---- costs ----

  @ParameterizedTest
  @CsvSource({"1", "16"})
  void aPlanAllocatesNothing(int blockSize) {
    MoeLoraConfig config = config(16, 4, 4, 256);
    FixedRule rule = new FixedRule(16);
    rule.blockSize = blockSize;
    HostPlanner planner = new HostPlanner(config, rule);
    Batch batch = Batch.random(new SplittableRandom(3), config, 200);
    MemorySegment experts = MemorySegment.ofArray(batch.expertIds());
    MemorySegment weights = MemorySegment.ofArray(batch.weights());
    MemorySegment adapters = MemorySegment.ofArray(batch.adapterIds());
    boolean[] active = {true, true, false, true};
    assertThat(Allocation.bytesPerCall(() -> planner.plan(200, experts, weights, adapters, active)))
        .isZero();
  }
}
