package io.github.moelora.tornado.step;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.AdapterPool;
import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.TestDevice;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Slots that share the memory of a pool, whatever is loaded, replaced and unloaded. */
class AdapterPoolTest {
  private static final MoeModel MODEL =
      new MoeModel(
          32, 20, 3, GateUp.HALVES, List.of(0), List.of(new DenseModule("attention.q", 32, 24)));
  private static final ProjectionCall[] CALLS = {
    ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly(), ProjectionCall.dense(0)
  };

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  private static Problem problem(long seed, DType type, List<@Nullable LoraAdapter> slots) {
    Problem problem = new Problem(seed, MODEL, 7, 2).types(type, type, type);
    for (LoraAdapter adapter : slots) {
      if (adapter == null) {
        problem.addEmptySlot();
      } else {
        problem.addAdapter(adapter);
      }
    }
    return problem;
  }

  /** The naive model is the list of adapters; the sum of their ranks decides what is refused. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void anyHistoryGivesWhatEachSlotHolds(DType type) {
    long seed = Seeds.of("anyHistoryGivesWhatEachSlotHolds " + type);
    Random random = new Random(seed);
    int slots = 4;
    int poolRanks = 32;
    @Nullable LoraAdapter[] held = new @Nullable LoraAdapter[slots];
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, slots, 2)
            .withMaxTokens(7)
            .withMaxRank(24)
            .withWeightType(type)
            .withPool(new AdapterPool(poolRanks, 2));
    int refused = 0;
    try (MoeLora lora = MoeLora.open(config, "tornado");
        Step step = lora.newStep()) {
      for (int i = 0; i < 40; i++) {
        int slot = random.nextInt(slots);
        if (random.nextInt(5) == 0) {
          lora.unload(slot);
          held[slot] = null;
        } else {
          int rank = 8 * (1 + random.nextInt(3));
          // of rank 24, B takes 32 in packed weights
          int takes = rank == 24 && TestDevice.hasTensorCores() && type != DType.F32 ? 32 : rank;
          LoraAdapter adapter =
              new Problem(random.nextLong(), MODEL, 1, 1)
                  .types(type, type, type)
                  .randomAdapter(rank, false, 1);
          boolean fits = takes <= poolRanks - others(held, slot, type);
          assertThat(load(lora, slot, adapter)).as("step %d", i).isEqualTo(fits);
          refused += fits ? 0 : 1;
          held[slot] = fits ? adapter : held[slot];
        }
        assertThat(lora.adapterName(slot)).isEqualTo(held[slot] == null ? null : held[slot].name());
        if (i % 4 == 3) {
          Problem problem = problem(random.nextLong(), type, Arrays.asList(held)).route();
          problem.plan(step);
          for (ProjectionCall call : CALLS) {
            problem.check(step, call);
          }
        }
      }
    }
    assertThat(refused).as("refused loads").isPositive();
  }

  private static int others(@Nullable LoraAdapter[] held, int slot, DType type) {
    int ranks = 0;
    for (int i = 0; i < held.length; i++) {
      LoraAdapter adapter = held[i];
      if (i != slot && adapter != null) {
        boolean padded = TestDevice.hasTensorCores() && type != DType.F32;
        ranks += padded && adapter.maxRank() == 24 ? 32 : adapter.maxRank();
      }
    }
    return ranks;
  }

  private static boolean load(MoeLora lora, int slot, LoraAdapter adapter) {
    try {
      lora.load(slot, adapter);
      return true;
    } catch (IllegalStateException e) {
      assertThat(e)
          .hasMessageStartingWith(
              "adapter rank " + adapter.maxRank() + " must fit into the pool of")
          .hasMessageContaining("MoeLoraConfig.withPool");
      return false;
    }
  }

  @Test
  void aLoadThatDoesNotFitNamesBothNumbers() {
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 3, 2)
            .withMaxTokens(7)
            .withMaxRank(16)
            .withPool(new AdapterPool(20, 2));
    Problem problem =
        new Problem(Seeds.of("two numbers"), MODEL, 7, 2)
            .addAdapter(16, false)
            .addAdapter(4, true)
            .addEmptySlot()
            .route();
    LoraAdapter more = problem.randomAdapter(3, false, 1);
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      problem.check(lora, CALLS);
      // of float32 gate/up: 3 experts, rank 3, two A of 32 columns, and 40 columns of B
      int needed = 4 * 3 * 3 * (2 * 32 + 40);
      int left = 4 * 3 * ((2 * 20 * 32 + 20 * 40) - (16 * 104 + 4 * 72));
      assertThatIllegalStateException()
          .isThrownBy(() -> lora.load(2, more))
          .withMessageStartingWith(
              "adapter rank 3 must fit into the pool of layer 0 gate/up beside those in other"
                  + " slots: it needs %d bytes, and %d of %d are left for slot 2"
                      .formatted(needed, left, 4 * 3 * (2 * 20 * 32 + 20 * 40)));
      assertThat(lora.adapterName(2)).isNull();
      problem.check(lora, CALLS);
    }
  }
}
