package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The scan against a plain loop over all elements. */
final class WeightScanTest {
  private static Matrix random(DType type, int rows, int columns, Random random) {
    MemorySegment data = MemorySegment.ofArray(new byte[rows * columns * type.bytes()]);
    Matrix matrix = Matrix.of(data, type, rows, columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        matrix.set(i, j, (float) random.nextGaussian());
      }
    }
    return matrix;
  }

  private static Matrix transposed(Matrix m) {
    return new Matrix(
        m.data(), m.type(), m.columns(), m.rows(), m.offset(), m.columnStride(), m.rowStride());
  }

  private static float plain(List<Matrix> matrices) {
    float max = 0;
    for (Matrix matrix : matrices) {
      for (int i = 0; i < matrix.rows(); i++) {
        for (int j = 0; j < matrix.columns(); j++) {
          max = Math.max(max, Math.abs(matrix.get(i, j)));
        }
      }
    }
    return max;
  }

  /** Whole, transposed, of columns that leave none out, and of columns that do. */
  private static List<List<Matrix>> arrangements(Matrix matrix) {
    List<Matrix> columns = new ArrayList<>();
    for (int j = 0; j < matrix.columns(); j++) {
      columns.add(matrix.columns(j, 1));
    }
    return List.of(
        List.of(matrix),
        List.of(transposed(matrix)),
        columns,
        columns.subList(0, Math.max(1, columns.size() / 2)),
        List.of(matrix, matrix));
  }

  @ParameterizedTest
  @EnumSource
  void theLargestMagnitudeIsFound(DType type) {
    long seed = 31;
    Random random = new Random(seed);
    for (int[] size : new int[][] {{1, 1}, {1, 7}, {3, 5}, {17, 33}, {101, 97}}) {
      Matrix matrix = random(type, size[0], size[1], random);
      for (List<Matrix> views : arrangements(matrix)) {
        assertThat(WeightScan.maxMagnitude(views))
            .as("seed %d, %d x %d", seed, size[0], size[1])
            .isEqualTo(plain(views));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void whatIsNotFiniteIsFound(float value) {
    Random random = new Random(5);
    for (DType type : DType.values()) {
      for (int at = 0; at < 15; at++) {
        Matrix matrix = random(type, 3, 5, random);
        matrix.set(at / 5, at % 5, value);
        assertThat(WeightScan.maxMagnitude(List.of(matrix))).isNaN();
        assertThat(WeightScan.maxMagnitude(List.of(transposed(matrix)))).isNaN();
        List<Matrix> others = new ArrayList<>();
        for (int j = 0; j < 5; j++) {
          if (j != at % 5) {
            others.add(matrix.columns(j, 1));
          }
        }
        // what belongs to nobody is not judged
        assertThat(WeightScan.maxMagnitude(others)).isEqualTo(plain(others));
      }
    }
  }

  /** Memory of one thread is scanned by that thread. */
  @ParameterizedTest
  @EnumSource
  void confinedMemoryIsScanned(DType type) {
    try (Arena arena = Arena.ofConfined()) {
      Matrix matrix = Matrix.of(arena.allocate(4L * 5 * type.bytes()), type, 4, 5);
      matrix.set(3, 4, -2);
      assertThat(WeightScan.maxMagnitude(List.of(matrix))).isEqualTo(2);
    }
  }
}
