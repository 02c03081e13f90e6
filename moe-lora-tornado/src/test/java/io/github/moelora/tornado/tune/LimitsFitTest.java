package io.github.moelora.tornado.tune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.tornado.choice.BlockLimits;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Limits of block sizes from times, which need no device here. */
@Tag("no-device")
class LimitsFitTest {
  private static final BlockLimits PRESENT = new BlockLimits(24, 16, 128);

  private static MoeLoraConfig config(int rank) {
    MoeModel model = new MoeModel(2048, 768, 128, GateUp.HALVES, List.of(0));
    return MoeLoraConfig.of(model, 2, 8)
        .withMaxTokens(8192)
        .withMaxRank(rank)
        .withWeightType(DType.F16);
  }

  private static LimitsFit.Cell cell(int rank, int pairs, double t16, double t32, double t64) {
    return new LimitsFit.Cell(config(rank), pairs, 256, Map.of(16, t16, 32, t32, 64, t64));
  }

  @Test
  void takesWhatWasFastest() {
    List<LimitsFit.Cell> cells =
        List.of(
            cell(16, 256 * 32, 56, 60, 62),
            cell(16, 256 * 64, 84, 77, 87),
            cell(64, 256 * 32, 120, 111, 118),
            cell(64, 256 * 256, 650, 520, 530));
    assertThat(cells.getFirst().fastest()).isEqualTo(16);
    assertThat(cells.getFirst().chosen(PRESENT)).isEqualTo(32);
    assertThat(cells.getFirst().slowdown(PRESENT)).isEqualTo(60.0 / 56);
    BlockLimits fit = LimitsFit.fit(cells, PRESENT);
    assertThat(cells).allSatisfy(cell -> assertThat(cell.slowdown(fit)).isEqualTo(1));
    assertThat(fit).isEqualTo(new BlockLimits(45, 16, 362));
  }

  @Test
  void staysWhereNothingIsGained() {
    List<LimitsFit.Cell> cells = List.of(cell(16, 256 * 32, 60, 56, 62));
    assertThat(LimitsFit.fit(cells, PRESENT)).isEqualTo(PRESENT);
  }

  @Test
  void refusesACellWithoutTheChosenBlockSize() {
    List<LimitsFit.Cell> cells =
        List.of(new LimitsFit.Cell(config(16), 256 * 32, 256, Map.of(16, 1.0)));
    assertThatThrownBy(() -> LimitsFit.fit(cells, PRESENT))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("block size 32 must have a time, got ");
  }
}
