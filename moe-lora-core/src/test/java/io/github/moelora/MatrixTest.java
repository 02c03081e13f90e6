package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MatrixTest {

  /** 0, 1, 2, ... in a heap segment. */
  private static MemorySegment counting(int elements) {
    float[] array = new float[elements];
    for (int i = 0; i < elements; i++) {
      array[i] = i;
    }
    return MemorySegment.ofArray(array);
  }

  @Test
  void elementsLieWhereTheStridesSay() {
    Matrix matrix = new Matrix(counting(30), DType.F32, 3, 4, 2, 9, 3);
    for (int i = 0; i < 3; i++) {
      for (int j = 0; j < 4; j++) {
        assertThat(matrix.index(i, j)).isEqualTo(2 + 9L * i + 3L * j);
        assertThat(matrix.get(i, j)).isEqualTo(2 + 9f * i + 3f * j);
      }
    }
    matrix.set(1, 2, -5);
    assertThat(matrix.get(1, 2)).isEqualTo(-5);
    assertThat(matrix.data().get(DType.FLOAT, 17 * 4)).isEqualTo(-5);
  }

  @Test
  void indicesBeyondInt32DoNotWrap() {
    Matrix row = new Matrix(counting(1), DType.F32, 1, 1, 0, 1L << 40, 1L << 35);
    assertThat(row.index(3, 5)).isEqualTo(3 * (1L << 40) + 5 * (1L << 35));
  }

  @Test
  void viewsShareTheMemory() {
    Matrix matrix = Matrix.of(counting(20), DType.F32, 4, 5);
    Matrix view = matrix.rows(1, 2).columns(2, 3);
    assertThat(view.rows()).isEqualTo(2);
    assertThat(view.columns()).isEqualTo(3);
    assertThat(view.get(0, 0)).isEqualTo(7);
    assertThat(view.get(1, 2)).isEqualTo(14);
    view.set(1, 2, 100);
    assertThat(matrix.get(2, 4)).isEqualTo(100);
  }

  @Test
  void viewsOfNothingAndOfEverything() {
    Matrix matrix = Matrix.of(counting(20), DType.F32, 4, 5);
    assertThat(matrix.rows(0, 4)).isEqualTo(matrix);
    assertThat(matrix.columns(0, 5)).isEqualTo(matrix);
    assertThat(matrix.rows(4, 0).rows()).isZero();
    assertThat(matrix.columns(5, 0).columns()).isZero();
  }

  @ParameterizedTest
  @CsvSource({"-1, 1", "0, -1", "0, 5", "4, 1", "2147483647, 2147483647"})
  void viewsBeyondTheMatrixAreRefused(int first, int count) {
    Matrix matrix = Matrix.of(counting(16), DType.F32, 4, 4);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> matrix.rows(first, count))
        .withMessage("rows [%d, %d + %d) must lie in [0, 4)", first, first, count);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> matrix.columns(first, count))
        .withMessage("columns [%d, %d + %d) must lie in [0, 4)", first, first, count);
  }

  @Test
  void theLastElementMustLieInTheMemory() {
    MemorySegment data = MemorySegment.ofArray(new byte[2 * 24]);
    // 1 + 2 * 8 + 3 * 2 = 23 is the last of 24
    assertThatNoException().isThrownBy(() -> new Matrix(data, DType.F16, 3, 4, 1, 8, 2));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Matrix(data, DType.F16, 3, 4, 2, 8, 2))
        .withMessage("data must hold a 3 x 4 F16 matrix (50 bytes), got 48 bytes");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Matrix.of(data, DType.F32, 3, 5))
        .withMessage("data must hold a 3 x 5 F32 matrix (60 bytes), got 48 bytes");
  }

  @Test
  void nothingNeedsNoMemory() {
    MemorySegment none = MemorySegment.ofArray(new byte[0]);
    assertThatNoException().isThrownBy(() -> new Matrix(none, DType.F32, 0, 5, 3, 5, 1));
    assertThatNoException().isThrownBy(() -> new Matrix(none, DType.F32, 5, 0, 3, 5, 1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Matrix(none, DType.F32, 1, 1, 0, 1, 1));
  }

  @ParameterizedTest
  @CsvSource({
    "9223372036854775807, 1, 1",
    "0, 9223372036854775807, 1",
    "0, 4611686018427387904, 1",
    "0, 1, 9223372036854775807",
    "1, 4611686018427387903, 1",
    "0, 1, 2305843009213693952",
  })
  void sizesBeyondInt64AreRefusedToo(long offset, long rowStride, long columnStride) {
    MemorySegment data = counting(4);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Matrix(data, DType.F32, 3, 2, offset, rowStride, columnStride))
        .withMessageStartingWith("data must hold a 3 x 2 F32 matrix (")
        .withMessageEndingWith(" bytes), got 16 bytes");
  }

  @ParameterizedTest
  @CsvSource({
    "-1, 1, 0, 1, 1, rows",
    "1, -1, 0, 1, 1, columns",
    "1, 1, -1, 1, 1, offset",
    "1, 1, 0, -1, 1, rowStride",
    "1, 1, 0, 1, -1, columnStride",
  })
  void negativeSizesAreRefused(
      int rows, int columns, long offset, long rowStride, long columnStride, String name) {
    MemorySegment data = counting(4);
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> new Matrix(data, DType.F32, rows, columns, offset, rowStride, columnStride))
        .withMessage("%s must be at least 0, got -1", name);
  }

  @Test
  void floatsAreCopied() {
    float[] values = {1, 2, 3, 4, 5, 6};
    Matrix matrix = Matrix.ofFloats(2, 3, values);
    values[4] = 50;
    assertThat(matrix.get(1, 1)).isEqualTo(5);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Matrix.ofFloats(2, 2, 1, 2, 3))
        .withMessage("values must have rows * columns = 4 elements, got 3");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Matrix.ofFloats(1 << 20, 1 << 20))
        .withMessage("values must have rows * columns = 1099511627776 elements, got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Matrix.ofFloats(-1, -1, 5))
        .withMessage("rows must be at least 0, got -1");
  }

  @Test
  void rowsAreContiguousWhenColumnsAreAdjacent() {
    MemorySegment data = counting(16);
    assertThat(new Matrix(data, DType.F32, 2, 3, 0, 7, 1).hasContiguousRows()).isTrue();
    assertThat(new Matrix(data, DType.F32, 2, 3, 0, 7, 2).hasContiguousRows()).isFalse();
    assertThat(new Matrix(data, DType.F32, 2, 2, 0, 7, 2).hasContiguousRows()).isFalse();
    assertThat(new Matrix(data, DType.F32, 2, 1, 0, 7, 2).hasContiguousRows()).isTrue();
    assertThat(new Matrix(data, DType.F32, 2, 2, 0, 7, 0).hasContiguousRows()).isFalse();
  }
}
