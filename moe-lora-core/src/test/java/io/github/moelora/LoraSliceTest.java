package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LoraSliceTest {

  private static Matrix zeros(int rows, int columns) {
    return Matrix.of(MemorySegment.ofArray(new float[rows * columns]), DType.F32, rows, columns);
  }

  @Test
  void sizesComeFromTheMatrices() {
    LoraSlice slice = new LoraSlice(10, zeros(3, 7), zeros(5, 3), -2);
    assertThat(slice.rank()).isEqualTo(3);
    assertThat(slice.columns()).isEqualTo(5);
    assertThat(slice.firstColumn()).isEqualTo(10);
    assertThat(slice.endColumn()).isEqualTo(15);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "-1 | 2 | 3 | 4 | 2 | 1 | firstColumn must be at least 0, got -1",
        "0 | 0 | 3 | 4 | 0 | 1 | a.rows (rank) must be at least 1, got 0",
        "0 | 2 | 0 | 4 | 2 | 1 | a.columns must be at least 1, got 0",
        "0 | 2 | 3 | 0 | 2 | 1 | b.rows must be at least 1, got 0",
        "0 | 2 | 3 | 4 | 3 | 1 | b.columns must equal a.rows (rank) 2, got 3",
        "0 | 2 | 3 | 4 | 2 | NaN | scale must be finite, got NaN",
        "0 | 2 | 3 | 4 | 2 | -Infinity | scale must be finite, got -Infinity",
      })
  void whatDoesNotFitIsRefused(
      int first, int aRows, int aColumns, int bRows, int bColumns, float scale, String message) {
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> new LoraSlice(first, zeros(aRows, aColumns), zeros(bRows, bColumns), scale))
        .withMessage(message);
  }

  @Test
  void anEndBeyondInt32IsRefused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new LoraSlice(Integer.MAX_VALUE - 1, zeros(1, 1), zeros(2, 1), 1))
        .withMessage("firstColumn + b.rows must be at most 2147483647, got 2147483648");
  }
}
