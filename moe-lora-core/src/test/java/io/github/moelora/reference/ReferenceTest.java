package io.github.moelora.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The oracle against numbers worked out by hand. */
class ReferenceTest {
  private static final MoeModel MODEL = new MoeModel(2, 1, 2, GateUp.HALVES, List.of(4));

  /** Expert 1: gate = 3 * 2 (x0 - x1) and nothing for up; down = (1, -1) * (5 h + 7 h) / 2. */
  private static final LoraAdapter ADAPTER =
      LoraAdapter.builder("a")
          .add(
              4,
              Projection.GATE_UP,
              1,
              new LoraSlice(0, Matrix.ofFloats(1, 2, 1, -1), Matrix.ofFloats(1, 1, 2), 3))
          .add(
              4,
              Projection.DOWN,
              1,
              new LoraSlice(
                  0, Matrix.ofFloats(2, 1, 5, 7), Matrix.ofFloats(2, 2, 1, 1, -1, -1), 0.5f))
          .build();

  private static Reference.Result compute(
      ProjectionCall call, List<@Nullable LoraAdapter> adapters, int[] adapterIds, Matrix y) {
    int[] experts = {1, 0, -1, 1};
    float[] weights = {0.25f, 0.5f, 0.5f, -2};
    Matrix x =
        call.pairRows()
            ? Matrix.ofFloats(4, 1, 10, 20, 30, 40)
            : Matrix.ofFloats(2, 2, 10, 4, -3, 5);
    return Reference.compute(
        new Reference.Inputs(MODEL, call, adapters, experts, weights, adapterIds, x, y));
  }

  private static Matrix counting(DType type, int rows, int columns) {
    Matrix matrix =
        Matrix.of(
            MemorySegment.ofArray(new byte[rows * columns * type.bytes()]), type, rows, columns);
    for (int i = 0; i < rows * columns; i++) {
      matrix.set(i / columns, i % columns, i);
    }
    return matrix;
  }

  @Test
  void gateUpAddsToTheColumnsOfItsSlices() {
    Reference.Result result =
        compute(
            ProjectionCall.gateUp(4).withColumnOffset(1),
            List.of(ADAPTER),
            new int[] {0, 0},
            counting(DType.F32, 4, 4));
    // 6 * (10 - 4) = 36 on pair 0, 6 * (-3 - 5) = -48 on pair 3; experts 0 and -1 add nothing
    assertThat(result.values())
        .isDeepEqualTo(
            new double[][] {
              {0, 1 + 36, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13 - 48, 14, 15}
            });
  }

  @Test
  void downTakesARowPerPairAndTheRoutedWeight() {
    Reference.Result result =
        compute(
            ProjectionCall.down(4), List.of(ADAPTER), new int[] {0, 0}, counting(DType.F32, 4, 2));
    // 6 * 10 * 0.25 = 15, 6 * 40 * -2 = -480
    assertThat(result.values())
        .isDeepEqualTo(new double[][] {{0 + 15, 1 - 15}, {2, 3}, {4, 5}, {6 - 480, 7 + 480}});
    Reference.Result unweighted =
        compute(
            ProjectionCall.down(4).withRoutedWeight(false),
            List.of(ADAPTER),
            new int[] {0, 0},
            counting(DType.F32, 4, 2));
    assertThat(unweighted.values()[0]).containsExactly(60, 1 - 60);
  }

  @Test
  void deltaOnlyZeroesTheProjectionAndNothingElse() {
    Matrix y = counting(DType.F32, 4, 5);
    y.set(0, 1, Float.NaN);
    y.set(0, 4, Float.NaN);
    Reference.Result result =
        compute(
            ProjectionCall.gateUp(4).deltaOnly().withColumnOffset(1),
            List.of(ADAPTER),
            new int[] {0, -1},
            y);
    // as text, in which a NaN equals a NaN
    assertThat(Arrays.deepToString(result.values()))
        .isEqualTo(
            Arrays.deepToString(
                new double[][] {
                  {0, 36, 0, 3, Double.NaN}, {5, 0, 0, 8, 9}, {10, 0, 0, 13, 14}, {15, 0, 0, 18, 19}
                }));
  }

  @Test
  void onlyWhatIsComputedMayErr() {
    Reference.Result result =
        compute(
            ProjectionCall.gateUp(4),
            Arrays.asList(null, ADAPTER),
            new int[] {1, 0},
            counting(DType.F32, 4, 2));
    for (int p = 0; p < 4; p++) {
      for (int c = 0; c < 2; c++) {
        if (p == 0 && c == 0) {
          assertThat(result.bounds()[p][c]).isPositive();
        } else {
          assertThat(result.bounds()[p][c]).isZero();
        }
      }
    }
    assertThat(result.values()[3]).containsExactly(6, 7);
  }

  /**
   * Pair 0: 2 + 1 products, 4 more roundings (scale, weight, sum, store), of terms that add up to 3
   * * 2 * (10 + 4) in magnitude; then one rounding to float32 and one to the type of y.
   */
  @ParameterizedTest
  @CsvSource({"F32, 24, -149", "BF16, 8, -149", "F16, 11, -24"})
  void theBoundIsTheDerivedOne(DType type, int digits, int smallest) {
    Reference.Result result =
        compute(ProjectionCall.gateUp(4), List.of(ADAPTER), new int[] {0, 0}, counting(type, 4, 2));
    double accumulation = (2 + 1 + 4) * Math.scalb(1.0, -24) * 3 * 2 * (10 + 4);
    double value = 0 + 36;
    double expected =
        accumulation
            + (Math.scalb(1.0, -24) + Math.scalb(1.0, -digits)) * (value + accumulation)
            + Math.scalb(1.0, smallest);
    assertThat(result.bounds()[0][0]).isCloseTo(expected, within(1e-12 * expected));
  }

  @Test
  void theBoundGrowsWithRankScaleAndWeight() {
    double[] down =
        compute(
                ProjectionCall.down(4),
                List.of(ADAPTER),
                new int[] {0, 0},
                counting(DType.F32, 4, 2))
            .bounds()[3];
    // terms |1 * 5 * 40| + |1 * 7 * 40|, times |0.5 * -2|; 1 + 2 products and 4 more
    double accumulation = 7 * 0x1p-24 * 480;
    assertThat(down[0])
        .isCloseTo(accumulation + 0x1p-23 * (474 + accumulation), within(1e-12 * down[0]));
  }

  @Test
  void anEmptyBatchHasNoRows() {
    Reference.Result result =
        Reference.compute(
            new Reference.Inputs(
                MODEL,
                ProjectionCall.gateUp(4),
                List.of(ADAPTER),
                new int[0],
                new float[0],
                new int[0],
                Matrix.ofFloats(0, 2),
                Matrix.ofFloats(0, 2)));
    assertThat(result.values()).isEmpty();
    assertThat(result.bounds()).isEmpty();
  }
}
