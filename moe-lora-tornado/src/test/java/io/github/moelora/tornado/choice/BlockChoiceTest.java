package io.github.moelora.tornado.choice;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.tornado.layout.Sizes;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The built-in choices are those that docs/performance.md measured as the fastest. */
@Tag("no-device")
class BlockChoiceTest {

  private static BlockChoice choice(int hidden, int inner, int experts, int perToken, int rank) {
    MoeModel model = new MoeModel(hidden, inner, experts, GateUp.HALVES, List.of(0));
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 2, perToken)
            .withMaxTokens(64)
            .withMaxRank(rank)
            .withWeightType(DType.BF16);
    return new BlockChoice(config, true, null, BlockLimits.of("any", DType.BF16));
  }

  @ParameterizedTest
  @CsvSource({
    // Mixtral: A of 64 ranks is too much for every work-group, that of 16 is not
    "4096, 7168, 8, 2, 64, 2, 2, 16",
    "4096, 7168, 8, 2, 64, 16, 13, 16",
    "4096, 7168, 8, 2, 64, 2048, 32, 32",
    "4096, 7168, 8, 2, 64, 16384, 32, 64",
    "4096, 7168, 8, 2, 16, 2, 2, 1",
    "4096, 7168, 8, 2, 16, 16, 13, 1",
    // qwen3moe64
    "2048, 1408, 64, 8, 64, 8, 8, 1",
    "2048, 1408, 64, 8, 64, 64, 60, 1"
  })
  void takesTheFastest(
      int hidden, int inner, int experts, int perToken, int rank, int pairs, int groups, int rows) {
    assertThat(choice(hidden, inner, experts, perToken, rank).builtIn(pairs, groups))
        .isEqualTo(rows);
  }

  @Test
  void graphsForFewTokensHaveTheKernelOfTheirBatches() {
    BlockChoice costly = choice(4096, 7168, 8, 2, 64);
    assertThat(costly.ofGraph(8, Projection.GATE_UP).rows()).isEqualTo(16);
    assertThat(costly.ofEngineBatch(16, 13)).isEqualTo(16);
    BlockChoice cheap = choice(4096, 7168, 8, 2, 16);
    assertThat(cheap.ofGraph(8, Projection.GATE_UP).rows()).isEqualTo(1);
    assertThat(cheap.ofEngineBatch(16, 13)).isEqualTo(1);
  }

  /** As for batches on host arrays, where a routed graph meets all groups. */
  @ParameterizedTest
  @CsvSource({
    "2048, 768, 128, 8, 64, 8192, 64",
    "2048, 768, 128, 8, 64, 1024, 32",
    "2048, 768, 128, 8, 16, 1024, 32",
    "2048, 768, 128, 8, 64, 512, 16",
    "2048, 768, 128, 8, 64, 16, 1",
    "4096, 7168, 8, 2, 64, 1024, 64",
    "4096, 7168, 8, 2, 64, 8192, 64",
    "4096, 7168, 8, 2, 512, 8192, 2"
  })
  void routedGraphsTakeTheFastest(
      int hidden, int inner, int experts, int perToken, int rank, int tokens, int rows) {
    BlockChoice choice = choice(hidden, inner, experts, perToken, rank);
    for (Projection projection : Projection.values()) {
      assertThat(choice.ofRoutedGraph(tokens, projection).rows()).isEqualTo(rows);
    }
    int pairs = tokens * perToken;
    if (tokens > BlockChoice.SMALL_TOKENS) {
      assertThat(choice.builtIn(pairs, 2 * experts)).isEqualTo(rows);
    }
  }

  @Test
  void limitsAreThoseOfTheDevice() {
    BlockLimits h200 = BlockLimits.of("NVIDIA H200, CUDA", DType.F16);
    assertThat(h200).isNotEqualTo(BlockLimits.of("NVIDIA H200, CUDA", DType.BF16));
    assertThat(BlockLimits.of("another GPU", DType.F16))
        .isEqualTo(BlockLimits.of("NVIDIA H100 80GB HBM3, CUDA", DType.F16))
        .isNotEqualTo(h200);
    MoeModel model = new MoeModel(2048, 768, 128, GateUp.HALVES, List.of(0));
    MoeLoraConfig config = MoeLoraConfig.of(model, 2, 8).withMaxRank(16).withWeightType(DType.F16);
    // 1024 tokens of Qwen3-30B-A3B, 56.7 us for 60.2
    assertThat(new BlockChoice(config, true, null, h200).builtIn(8192, 256)).isEqualTo(16);
    assertThat(new BlockChoice(config, true, null, h200).ofLayer(config).builtIn(65536, 256))
        .isEqualTo(64);
  }

  /** Two rows read the weights half as often, where most groups have two pairs and more. */
  @ParameterizedTest
  @CsvSource({"2, 2, 1", "64, 8, 1", "90, 64, 1", "96, 64, 2", "65536, 32, 2"})
  void moreRanksThanTensorCoresTakeGoToTheOneShotKernel(int pairs, int groups, int rows) {
    for (int rank : new int[] {257, 512}) {
      BlockChoice many = choice(4096, 7168, 8, 2, rank);
      assertThat(many.builtIn(pairs, groups)).isEqualTo(rows);
      assertThat(many.maxBlockSize()).isEqualTo(2);
      assertThat(many.largeBlock()).isEqualTo(2);
    }
    assertThat(choice(4096, 7168, 8, 2, 256).maxBlockSize()).isEqualTo(64);
  }

  @Test
  void graphsForManyRanksTakeEveryBatchOfTheirs() {
    BlockChoice many = choice(4096, 7168, 8, 2, 512);
    for (int tokens : new int[] {1, 16, 17, 512, 8192}) {
      Tiling tiling = many.ofGraph(tokens, Projection.DOWN);
      assertThat(tiling).isInstanceOf(OneShotTiling.class);
      for (int pairs = 1; pairs <= 2 * tokens; pairs++) {
        assertThat(many.ofEngineBatch(pairs, Math.min(pairs, 8)))
            .isBetween(1, Math.min(tiling.rows(), many.largeBlock()));
      }
    }
  }

  @Test
  void theOneShotKernelHasRoomForEveryRank() {
    // or opening must refuse the larger ones
    assertThat(Sizes.RANK_LIMIT).isEqualTo(MoeLoraConfig.RANK_LIMIT);
    MoeModel model = new MoeModel(64, 32, 2, GateUp.HALVES, List.of(0));
    for (int rank = 1; rank <= Sizes.RANK_LIMIT; rank++) {
      MoeLoraConfig config = MoeLoraConfig.of(model, 1, 2).withMaxRank(rank);
      assertThat(OneShotTiling.zWidth(config)).isGreaterThanOrEqualTo(rank);
      assertThat(OneShotTiling.zWidth(config) % 16).isZero();
      assertThat(BlockChoice.hasSplit(config)).isEqualTo(rank <= 256);
    }
  }
}
