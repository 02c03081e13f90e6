package io.github.moelora.tornado.step;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.Routing;
import io.github.moelora.spi.HostPlanner;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.testkit.FixedBlocks;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.WeightSite;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The part of a plan that a chunk carries, from its first block to those without work. */
@Tag("no-device")
class ChunkTest {
  private static final int ROWS = 8;
  private static final MoeModel MODEL = new MoeModel(8, 4, 3, GateUp.HALVES, List.of(0));

  private static Routing plan(MoeLoraConfig config, Problem problem, int blockSize) {
    HostPlanner planner = new HostPlanner(config, new FixedBlocks(blockSize));
    planner.plan(
        problem.tokens(),
        MemorySegment.ofArray(problem.expertIds()),
        MemorySegment.ofArray(problem.routingWeights()),
        MemorySegment.ofArray(problem.adapterIds()),
        new boolean[] {true, false});
    return planner.routing();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 4})
  void everyChunkCountsItsOwnBlocks(int blockSize) {
    Problem problem =
        new Problem(Seeds.of("chunk " + blockSize), MODEL, 19, 2)
            .addAdapter(2, true)
            .addEmptySlot()
            .route();
    MoeLoraConfig config = problem.config();
    Routing plan = plan(config, problem, blockSize);
    FloatChunk chunk =
        new FloatChunk(
            config, new FloatWeights(WeightSite.of(config, 0, Projection.GATE_UP)), ROWS);
    int perChunk = ROWS / blockSize;
    int withWork = 0;
    int mixed = 0;
    for (int first = 0; first < plan.allBlocks(); first += perChunk) {
      int count = Math.min(perChunk, plan.allBlocks() - first);
      chunk.writeRouting(plan, first, count);
      int active = 0;
      for (int b = first; b < first + count; b++) {
        active += plan.blockAdapter(b) >= 0 ? 1 : 0;
      }
      var counts = chunk.routing().counts();
      assertThat(counts.get(PlanFormat.ACTIVE_BLOCKS)).isEqualTo(active);
      assertThat(counts.get(PlanFormat.NUM_TOKENS_POST_PADDED)).isEqualTo(active * blockSize);
      assertThat(counts.get(PlanFormat.ALL_BLOCKS)).isEqualTo(count);
      assertThat(counts.get(PlanFormat.PAIRS)).isEqualTo(count * blockSize);
      withWork += active;
      mixed += first > 0 && active < count ? 1 : 0;
    }
    assertThat(withWork).isEqualTo(plan.activeBlocks());
    assertThat(mixed).as("later chunks with blocks without work").isPositive();
  }
}
