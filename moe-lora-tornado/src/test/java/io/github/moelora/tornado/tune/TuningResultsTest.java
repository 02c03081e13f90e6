package io.github.moelora.tornado.tune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.tornado.choice.BlockLimits;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.Tuning;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** From times to rules, and from rules to block sizes. */
@Tag("no-device")
class TuningResultsTest {
  private static final Tuning.Shape SHAPE =
      new Tuning.Shape(64, 32, 8, 2, GateUp.HALVES, 16, DType.BF16);
  private static final double ANY = Double.POSITIVE_INFINITY;

  private final TuningResults results = new TuningResults();

  /** A batch of kernels that have no items to choose; {@code times} by block size 1, 2, 16. */
  private void add(int pairs, int groups, int builtIn, double... times) {
    int[] sizes = {1, 2, 16};
    List<TuningResults.Timed> list = new ArrayList<>();
    for (int i = 0; i < times.length; i++) {
      list.add(new TuningResults.Timed(sizes[i], null, times[i]));
    }
    results.add(new TuningResults.Batch(pairs, groups, builtIn, list));
  }

  private Tuning tuning() {
    return results.tuning("device", SHAPE);
  }

  @Test
  void boundsLieBetweenTheBatches() {
    add(10, 10, 16, 5, 6, 9);
    add(40, 20, 16, 9, 5, 8);
    add(90, 20, 1, 9, 8, 5);
    Tuning tuning = tuning();
    assertThat(tuning.rules())
        .containsExactly(
            new Tuning.Rule(20, ANY, 1), new Tuning.Rule(60, ANY, 2), new Tuning.Rule(90, ANY, 16));
    assertThat(tuning.blockSize(1, 1)).isEqualTo(1);
    assertThat(tuning.blockSize(20, 3)).isEqualTo(1);
    assertThat(tuning.blockSize(21, 3)).isEqualTo(2);
    assertThat(tuning.blockSize(90, 9)).isEqualTo(16);
    // beyond what was measured
    assertThat(tuning.blockSize(91, 9)).isZero();
  }

  @Test
  void speakForBuiltInLimits() {
    BlockLimits present = new BlockLimits(24, 16, 128);
    MoeModel model = new MoeModel(2048, 768, 128, GateUp.HALVES, List.of(0));
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 2, 8)
            .withMaxTokens(8192)
            .withMaxRank(16)
            .withWeightType(DType.BF16);
    int[] sizes = {1, 2, 16, 32, 64};
    double[][] times = {{9, 9, 5, 7, 8}, {9, 9, 6, 5, 7}};
    for (int i = 0; i < times.length; i++) {
      List<TuningResults.Timed> list = new ArrayList<>();
      for (int j = 0; j < sizes.length; j++) {
        list.add(new TuningResults.Timed(sizes[j], null, times[i][j]));
      }
      results.add(new TuningResults.Batch(256 << (5 + i), 256, 32, list));
    }
    BlockLimits fit = results.limits(config, present);
    assertThat(fit).isEqualTo(new BlockLimits(45, 16, 128));
    assertThat(fit.row("NVIDIA H200", DType.BF16))
        .isEqualTo("new Row(\"NVIDIA H200\", DType.BF16, new BlockLimits(45, 16, 128))");
  }

  @Test
  void pairsPerGroupTellBatchesOfOneSizeApart() {
    add(40, 40, 1, 1, 9, 9);
    add(40, 10, 1, 9, 9, 1);
    Tuning tuning = tuning();
    assertThat(tuning.rules())
        .containsExactly(new Tuning.Rule(40, 2, 1), new Tuning.Rule(40, ANY, 16));
    assertThat(tuning.blockSize(40, 20)).isEqualTo(1);
    assertThat(tuning.blockSize(40, 19)).isEqualTo(16);
    assertThat(tuning.blockSize(0, 0)).isEqualTo(1);
  }

  @Test
  void equalRulesAreOne() {
    add(10, 10, 1, 1, 9, 9);
    add(10, 5, 1, 1, 9, 9);
    add(20, 10, 1, 1, 9, 9);
    add(40, 40, 1, 1, 9, 9);
    add(40, 10, 1, 9, 9, 1);
    add(80, 10, 1, 9, 9, 1);
    assertThat(tuning().rules())
        .containsExactly(
            new Tuning.Rule(28, ANY, 1),
            new Tuning.Rule(56, 2, 1),
            new Tuning.Rule(56, ANY, 16),
            new Tuning.Rule(80, ANY, 16));
  }

  @Test
  void theBuiltInChoiceStaysUnlessItPays() {
    add(10, 10, 16, 9.6, 10, 10);
    add(40, 20, 16, 9.4, 10, 10);
    assertThat(tuning().rules())
        .containsExactly(new Tuning.Rule(20, ANY, 16), new Tuning.Rule(40, ANY, 1));
  }

  @Test
  void ofEqualBatchesTheShorterTimesCount() {
    add(10, 5, 1, 5, 9, 4);
    add(10, 5, 1, 2, 9, 8);
    assertThat(tuning().rules()).containsExactly(new Tuning.Rule(10, ANY, 1));
  }

  @Test
  void aSplitIsChosenOverAllBatchesAndThenTheBlockSize() {
    OneShotTiling builtIn = OneShotTiling.pairs();
    OneShotTiling other = builtIn.withTargetItems(2 * builtIn.targetItems());
    for (int pairs : new int[] {2, 4}) {
      results.add(
          new TuningResults.Batch(
              pairs,
              pairs,
              16,
              List.of(
                  new TuningResults.Timed(1, builtIn, 10),
                  new TuningResults.Timed(1, other, pairs == 2 ? 6 : 10.5),
                  new TuningResults.Timed(16, null, 8))));
    }
    Tuning tuning = tuning();
    assertThat(tuning.targetItems()).containsExactly(other.targetItems(), 0);
    assertThat(tuning.rules())
        .containsExactly(new Tuning.Rule(2, ANY, 1), new Tuning.Rule(4, ANY, 16));
    assertThat(Tuning.withTargetItems(builtIn, tuning)).isEqualTo(other);
    assertThat(Tuning.withTargetItems(OneShotTiling.twoRows(), tuning))
        .isEqualTo(OneShotTiling.twoRows());
    assertThat(Tuning.withTargetItems(builtIn, null)).isEqualTo(builtIn);
  }

  @Test
  void withoutMeasurementsThereIsNothingToWrite() {
    assertThatThrownBy(this::tuning)
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("measure must be called before write");
  }
}
