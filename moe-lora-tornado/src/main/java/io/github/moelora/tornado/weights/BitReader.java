package io.github.moelora.tornado.weights;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.tornado.device.Rounding;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Reads matrices as bits of a 16-bit type, row by row. Rows whose elements are adjacent are copied
 * at once: element by element, the packing of an adapter takes several times as long. Not
 * thread-safe.
 */
final class BitReader {
  private final DType type;
  private short[] bits = {};
  private float[] floats = {};

  /**
   * @param type of 16 bits
   */
  BitReader(DType type) {
    this.type = type;
  }

  /**
   * Elements of a matrix.
   *
   * @return valid until the next call; the first {@code rows * columns} are the matrix, row-major
   */
  short[] read(Matrix matrix) {
    int count = Math.multiplyExact(matrix.rows(), matrix.columns());
    if (bits.length < count) {
      bits = new short[count];
    }
    for (int row = 0; row < matrix.rows(); row++) {
      int to = row * matrix.columns();
      if (!matrix.hasContiguousRows()) {
        readElements(matrix, row, to);
      } else if (matrix.type() == type) {
        copyRow(matrix, row, bits, to);
      } else if (matrix.type() == DType.F32) {
        roundRow(matrix, row, to);
      } else {
        readElements(matrix, row, to);
      }
    }
    return bits;
  }

  private void readElements(Matrix matrix, int row, int to) {
    for (int column = 0; column < matrix.columns(); column++) {
      bits[to + column] = Rounding.toBits(type, matrix.get(row, column));
    }
  }

  private void roundRow(Matrix matrix, int row, int to) {
    int columns = matrix.columns();
    if (floats.length < columns) {
      floats = new float[columns];
    }
    copyRow(matrix, row, floats, 0);
    for (int column = 0; column < columns; column++) {
      bits[to + column] = Rounding.toBits(type, floats[column]);
    }
  }

  private static void copyRow(Matrix matrix, int row, Object to, int at) {
    ValueLayout layout =
        to instanceof float[] ? ValueLayout.JAVA_FLOAT_UNALIGNED : ValueLayout.JAVA_SHORT_UNALIGNED;
    MemorySegment.copy(
        matrix.data(), layout, matrix.index(row, 0) * layout.byteSize(), to, at, matrix.columns());
  }
}
