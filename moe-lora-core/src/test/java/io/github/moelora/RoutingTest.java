package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.testkit.Allocation;
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
class RoutingTest {
  private static final int UNTOUCHED = 0x5a5a5a5a;

  /** A host with buffers of its own and a block size that a test sets. */
  private static final class FixedHost implements Routing.Host {
    final Routing.Buffers buffers;
    final int maxBlockSize;
    int blockSize;
    int activePairs = -1;
    int groups = -1;

    FixedHost(MoeLoraConfig config, int maxBlockSize) {
      this.maxBlockSize = maxBlockSize;
      this.blockSize = maxBlockSize;
      this.buffers = Routing.Buffers.allocate(Arena.ofAuto(), config, maxBlockSize);
      for (MemorySegment segment : segments()) {
        for (long i = 0; i < segment.byteSize(); i += Integer.BYTES) {
          segment.set(ValueLayout.JAVA_INT, i, UNTOUCHED);
        }
      }
    }

    private List<MemorySegment> segments() {
      return List.of(
          buffers.sortedTokenIds(),
          buffers.expertIds(),
          buffers.adapterIds(),
          buffers.counts(),
          buffers.routingWeights());
    }

    /** All buffers as one list of ints. */
    int[] contents() {
      return segments().stream()
          .flatMapToInt(segment -> Arrays.stream(segment.toArray(ValueLayout.JAVA_INT)))
          .toArray();
    }

    @Override
    public Routing.Buffers buffers() {
      return buffers;
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

    void plan(Routing routing, boolean[] active) {
      routing.plan(
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
    FixedHost host = new FixedHost(config, 8);
    host.blockSize = blockSize;
    Routing routing = new Routing(config, host);
    // the second plan also shows that nothing of the first remains
    for (int plan = 0; plan < 2; plan++) {
      Batch batch = Batch.random(random, config, random.nextInt(maxTokens + 1));
      boolean[] active = randomActive(random, slots);
      batch.plan(routing, active);
      assertPlan(routing, host, config, batch, active);
    }
  }

  private static void assertPlan(
      Routing routing, FixedHost host, MoeLoraConfig config, Batch batch, boolean[] active) {
    NaiveRouting naive =
        NaiveRouting.of(config, batch.expertIds(), batch.adapterIds(), active, host.blockSize);
    int pairs = batch.expertIds().length;
    assertThat(host.activePairs).isEqualTo(naive.activePairs());
    assertThat(host.groups).isEqualTo(naive.groups());
    assertThat(routing.tokens()).isEqualTo(batch.tokens());
    assertThat(routing.pairs()).isEqualTo(pairs);
    assertThat(routing.blockSize()).isEqualTo(host.blockSize);
    assertThat(routing.activeBlocks()).isEqualTo(naive.activeBlocks());
    assertThat(routing.allBlocks()).isEqualTo(naive.blocks().size());
    assertThat(routing.numTokensPostPadded()).isEqualTo(naive.activeBlocks() * host.blockSize);

    int[] sorted = host.buffers.sortedTokenIds().toArray(ValueLayout.JAVA_INT);
    int[] experts = host.buffers.expertIds().toArray(ValueLayout.JAVA_INT);
    int[] adapters = host.buffers.adapterIds().toArray(ValueLayout.JAVA_INT);
    float[] weights = host.buffers.routingWeights().toArray(ValueLayout.JAVA_FLOAT);
    for (int b = 0; b < naive.blocks().size(); b++) {
      NaiveRouting.Block block = naive.blocks().get(b);
      assertThat(adapters[b]).isEqualTo(block.slot());
      assertThat(experts[b]).isEqualTo(block.localExpert());
      assertThat(routing.blockAdapter(b)).isEqualTo(block.slot());
      assertThat(routing.blockExpert(b)).isEqualTo(block.localExpert());
      for (int row = 0; row < host.blockSize; row++) {
        int position = b * host.blockSize + row;
        int pair = row < block.pairs().size() ? block.pairs().get(row) : pairs;
        assertThat(sorted[position]).isEqualTo(pair);
        assertThat(routing.sortedTokenId(position)).isEqualTo(pair);
      }
    }
    for (int p = 0; p < pairs; p++) {
      assertThat(weights[p]).isEqualTo(batch.weights()[p]);
      assertThat(routing.routingWeight(p)).isEqualTo(batch.weights()[p]);
    }
    for (int l = 0; l < config.slots(); l++) {
      int slot = l;
      assertThat(routing.namesSlot(l))
          .isEqualTo(Arrays.stream(batch.adapterIds()).anyMatch(id -> id == slot));
    }
    int[] counts = host.buffers.counts().toArray(ValueLayout.JAVA_INT);
    assertThat(counts)
        .containsExactly(
            naive.activeBlocks() * host.blockSize,
            naive.activeBlocks(),
            naive.blocks().size(),
            batch.tokens(),
            pairs,
            host.blockSize,
            0,
            0);
  }

  /** The figure of the documentation: two adapters, a token without, an expert elsewhere. */
  @Test
  void anExampleWorkedOutByHand() {
    MoeLoraConfig config = config(3, 2, 2, 8).withExpertMap(ExpertMap.of(1, 0, -1));
    FixedHost host = new FixedHost(config, 2);
    Routing routing = new Routing(config, host);
    new Batch(
            4,
            new int[] {0, 1, /**/ 1, 2, /**/ 0, 1, /**/ 1, 0},
            new float[8],
            new int[] {1, 1, -1, 0})
        .plan(routing, new boolean[] {true, true});
    // slot 0: expert 1 (local 0) pair 6, expert 0 (local 1) pair 7; slot 1: local 0 pairs 1 and 2,
    // local 1 pair 0; without work: 3 (elsewhere), 4 and 5 (no adapter)
    assertThat(ints(host.buffers.sortedTokenIds(), 12))
        .containsExactly(6, 8, 7, 8, 1, 2, 0, 8, 3, 4, 5, 8);
    assertThat(ints(host.buffers.adapterIds(), 6)).containsExactly(0, 0, 1, 1, -1, -1);
    assertThat(ints(host.buffers.expertIds(), 6)).containsExactly(0, 1, 0, 1, -1, -1);
    assertThat(ints(host.buffers.counts(), Routing.COUNTS)).containsExactly(8, 4, 6, 4, 8, 2, 0, 0);

    host.blockSize = 1;
    new Batch(2, new int[] {2, 1, 0, -1}, new float[4], new int[] {0, 1})
        .plan(routing, new boolean[] {true, true});
    assertThat(ints(host.buffers.sortedTokenIds(), 4)).containsExactly(1, 2, 0, 3);
    assertThat(ints(host.buffers.adapterIds(), 4)).containsExactly(0, 1, -1, -1);
    assertThat(ints(host.buffers.expertIds(), 4)).containsExactly(0, 1, -1, -1);
    assertThat(ints(host.buffers.counts(), Routing.COUNTS)).containsExactly(2, 2, 4, 2, 4, 1, 0, 0);
  }

  private static int[] ints(MemorySegment segment, int count) {
    return Arrays.copyOf(segment.toArray(ValueLayout.JAVA_INT), count);
  }

  /** Every group and the pairs without work end in a block of which one row is used. */
  @Test
  void theCapacityIsReachedAndNotExceeded() {
    // 3 slots * 2 experts = 6 groups of one pair each, and 2 pairs without work
    MoeLoraConfig config = config(2, 3, 2, 4);
    int capacity = Routing.sortedCapacity(config, 5);
    assertThat(capacity).isEqualTo(8 + 7 * 4);
    FixedHost host = new FixedHost(config, 5);
    Routing routing = new Routing(config, host);
    Batch batch =
        new Batch(4, new int[] {0, 1, 0, 1, 0, 1, 0, 1}, new float[8], new int[] {0, 1, 2, -1});
    boolean[] active = {true, true, true};
    batch.plan(routing, active);
    assertThat(routing.allBlocks() * 5).isEqualTo(7 * 5).isLessThanOrEqualTo(capacity);
    assertPlan(routing, host, config, batch, active);
    // fewer pairs than groups
    assertThat(Routing.sortedCapacity(config(8, 4, 2, 3), 4)).isEqualTo(6 + 7 * 3);
    assertThat(Routing.sortedCapacity(config(8, 4, 2, 3), 1)).isEqualTo(6);
  }

  @Test
  void aCapacityBeyondInt32IsRefused() {
    MoeLoraConfig config = config(1 << 12, 1 << 15, 1, 1 << 28);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Routing.sortedCapacity(config, 32))
        .withMessage(
            "padded maxTokens * expertsPerToken must be in [0, 2147483647), got %d",
            (1L << 28) + ((1L << 27) + 1) * 31);
  }

  @ParameterizedTest
  @CsvSource({
    "sortedTokenIds, 0, 18",
    "expertIds, 1, 6",
    "adapterIds, 2, 6",
    "counts, 3, 8",
    "routingWeights, 4, 6"
  })
  void buffersThatAreTooSmallAreRefused(String name, int index, int elements) {
    MoeLoraConfig config = config(2, 1, 2, 3);
    MemorySegment[] segments = new MemorySegment[5];
    int[] sizes = {Routing.sortedCapacity(config, 5), 6, 6, Routing.COUNTS, 6};
    for (int i = 0; i < 5; i++) {
      segments[i] = MemorySegment.ofArray(new int[sizes[i] - (i == index ? 1 : 0)]);
    }
    FixedHost host = new FixedHost(config, 5);
    Routing.Host tooSmall =
        new Routing.Host() {
          @Override
          public Routing.Buffers buffers() {
            return new Routing.Buffers(
                segments[0], segments[1], segments[2], segments[3], segments[4]);
          }

          @Override
          public int maxBlockSize() {
            return host.maxBlockSize();
          }

          @Override
          public int blockSize(int activePairs, int groups) {
            return host.blockSize(activePairs, groups);
          }
        };
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Routing(config, tooSmall))
        .withMessage(
            "%s must hold %d elements (%d bytes), got %d bytes",
            name, elements, 4 * elements, 4 * elements - 4);
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
    FixedHost host = new FixedHost(config, 4);
    Routing routing = new Routing(config, host);
    boolean[] active = {true, true};
    Batch good =
        new Batch(
            2, new int[] {0, 1, 2, 0}, new float[] {0.1f, 0.2f, 0.3f, 0.4f}, new int[] {0, 0});
    good.plan(routing, active);
    int[] before = host.contents();

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
      case "blockSize" -> host.blockSize = Integer.parseInt(value);
      default -> {}
    }
    ThrowingCallable plan =
        () -> routing.plan(tokens, segments[0], segments[1], segments[2], active);
    if (what.equals("blockSize")) {
      assertThatIllegalStateException().isThrownBy(plan).withMessage(message);
    } else {
      assertThatIllegalArgumentException().isThrownBy(plan).withMessage(message);
    }

    assertThat(host.contents()).isEqualTo(before);
    host.blockSize = 4;
    assertPlanStands(routing, good);
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
    FixedHost host = new FixedHost(config, 4);
    Routing routing = new Routing(config, host);
    new Batch(2, new int[] {2, -1}, new float[] {-Float.MAX_VALUE, 0}, new int[] {1, -1})
        .plan(routing, new boolean[] {true, true});
    assertThat(routing.activeBlocks()).isEqualTo(1);
    assertThat(routing.blockExpert(0)).isEqualTo(2);
  }

  @Test
  void argumentsMayBeLargerThanNeededAndUnaligned() {
    MoeLoraConfig config = config(3, 2, 1, 2);
    FixedHost host = new FixedHost(config, 1);
    Routing routing = new Routing(config, host);
    MemorySegment ids = Arena.ofAuto().allocate(21).asSlice(1);
    ids.set(ValueLayout.JAVA_INT_UNALIGNED, 0, 2);
    // beyond the batch, so not looked at
    ids.set(ValueLayout.JAVA_INT_UNALIGNED, 4, 77);
    routing.plan(
        1,
        ids,
        MemorySegment.ofArray(new float[9]),
        MemorySegment.ofArray(new int[9]),
        new boolean[] {true, false});
    assertThat(routing.pairs()).isEqualTo(1);
    assertThat(routing.blockExpert(0)).isEqualTo(2);
  }

  // ---- costs ----

  @ParameterizedTest
  @CsvSource({"1", "16"})
  void aPlanAllocatesNothing(int blockSize) {
    MoeLoraConfig config = config(16, 4, 4, 256);
    FixedHost host = new FixedHost(config, 16);
    host.blockSize = blockSize;
    Routing routing = new Routing(config, host);
    Batch batch = Batch.random(new SplittableRandom(3), config, 200);
    MemorySegment experts = MemorySegment.ofArray(batch.expertIds());
    MemorySegment weights = MemorySegment.ofArray(batch.weights());
    MemorySegment adapters = MemorySegment.ofArray(batch.adapterIds());
    boolean[] active = {true, true, false, true};
    assertThat(Allocation.bytesPerCall(() -> routing.plan(200, experts, weights, adapters, active)))
        .isZero();
  }
}
