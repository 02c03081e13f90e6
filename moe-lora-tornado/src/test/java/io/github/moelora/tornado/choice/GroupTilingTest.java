package io.github.moelora.tornado.choice;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.tornado.kernels.GroupKernels;
import io.github.moelora.tornado.layout.GroupNumbers;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which graphs of an engine get the kernel on groups, as docs/performance.md measured. */
@Tag("no-device")
class GroupTilingTest {
  private static final int UNITS = 132;

  private static MoeLoraConfig config(int hidden, int inner, int experts, int slots, int perToken) {
    MoeModel model = new MoeModel(hidden, inner, experts, GateUp.HALVES, List.of(0));
    return MoeLoraConfig.of(model, slots, perToken)
        .withMaxTokens(1024)
        .withWeightType(DType.BF16)
        .withMaxRank(16);
  }

  private static BlockChoice choice(MoeLoraConfig config) {
    return new BlockChoice(config, true, null, BlockLimits.of("any", DType.BF16));
  }

  @ParameterizedTest
  @CsvSource({
    "2048, 768, 128, 2, 8, 8, false",
    "2048, 768, 128, 2, 8, 9, true",
    "2048, 768, 128, 2, 8, 128, true",
    "2048, 768, 128, 2, 8, 129, false",
    "2048, 1408, 64, 2, 8, 80, true",
    "4096, 7168, 8, 4, 2, 80, false"
  })
  void takesFewTokensOfManyExperts(
      int hidden, int inner, int experts, int slots, int perToken, int tokens, boolean takes) {
    BlockChoice choice = choice(config(hidden, inner, experts, slots, perToken));
    for (Projection projection : Projection.values()) {
      assertThat(choice.ofGroups(tokens, projection, UNITS).isPresent()).isEqualTo(takes);
    }
  }

  @Test
  void takesFewRanksOf16Bits() {
    MoeLoraConfig config = config(2048, 768, 128, 2, 8);
    assertThat(choice(config.withMaxRank(33)).ofGroups(80, Projection.DOWN, UNITS)).isEmpty();
    assertThat(choice(config.withMaxRank(17)).ofGroups(17, Projection.DOWN, UNITS)).isPresent();
    assertThat(choice(config.withMaxRank(17)).ofGroups(16, Projection.DOWN, UNITS)).isEmpty();
    MoeLoraConfig floats = config.withWeightType(DType.F32);
    assertThat(GroupTiling.of(floats, Projection.DOWN, 80, UNITS)).isEmpty();
    BlockChoice loops = new BlockChoice(config, false, null, BlockLimits.of("any", DType.BF16));
    assertThat(loops.ofGroups(80, Projection.DOWN, UNITS)).isEmpty();
  }

  /** About four work-groups a multiprocessor, of which each has pairs. */
  @Test
  void sharesWhatThereIs() {
    MoeLoraConfig config = config(2048, 768, 128, 2, 8);
    GroupTiling up = GroupTiling.of(config, Projection.GATE_UP, 80, UNITS).orElseThrow();
    assertThat(up).isEqualTo(new GroupTiling(2, 2, 1, 2, 16, 1, 128, 2));
    assertThat(up.groups(128)).isEqualTo(512);
    GroupTiling down = GroupTiling.of(config, Projection.DOWN, 80, UNITS).orElseThrow();
    assertThat(down).isEqualTo(new GroupTiling(2, 1, 2, 2, 16, 1, 128, 2));
    GroupTiling few = GroupTiling.of(config, Projection.DOWN, 9, UNITS).orElseThrow();
    assertThat(few.shares()).isEqualTo(4);
    MoeLoraConfig many = config(2048, 768, 128, 32, 8);
    assertThat(GroupTiling.of(many, Projection.GATE_UP, 80, UNITS).orElseThrow().classes())
        .isEqualTo(3);
  }

  /** What the kernel takes apart again, and the local memory of a multiprocessor of four. */
  @Test
  void numbersComeBack() {
    for (int rank = 1; rank <= 32; rank++) {
      MoeLoraConfig config = config(2048, 768, 128, 2, 8).withMaxRank(rank);
      GroupTiling tiling = GroupTiling.of(config, Projection.GATE_UP, 128, UNITS).orElseThrow();
      int tiles = tiling.tiles();
      assertThat(GroupNumbers.rankTiles(tiles)).isEqualTo(rank <= 8 ? 1 : rank <= 16 ? 2 : 4);
      assertThat(GroupNumbers.steps(tiles)).isEqualTo(rank <= 16 ? 16 : 8);
      assertThat(GroupNumbers.rankSteps(tiles)).isEqualTo(rank <= 16 ? 1 : 2);
      assertThat(GroupNumbers.chunk(tiles)).isEqualTo(rank <= 16 ? 128 : 64);
      assertThat(GroupNumbers.together(tiles)).isEqualTo(2);
      assertThat(GroupKernels.localBytes(1024, tiles)).isLessThanOrEqualTo(47 << 10);
    }
    int cut = new GroupTiling(3, 2, 4, 1, 4, 1, 32, 1).cut(true, false);
    assertThat(GroupNumbers.classes(cut)).isEqualTo(3);
    assertThat(GroupNumbers.slices(cut)).isEqualTo(2);
    assertThat(GroupNumbers.shares(cut)).isEqualTo(4);
    assertThat(GroupNumbers.pairRows(cut)).isTrue();
    assertThat(GroupNumbers.countErrors(cut)).isZero();
    int sites = GroupNumbers.sites(255, GroupNumbers.MOST_SITES);
    assertThat(GroupNumbers.slots(sites)).isEqualTo(255);
    assertThat(GroupNumbers.localExperts(sites)).isEqualTo(GroupNumbers.MOST_SITES);
  }
}
