package io.github.moelora;

import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * A strided view of a two-dimensional array: element {@code (i, j)} is element {@code offset + i *
 * rowStride + j * columnStride} of {@code data}. Nothing is copied; the caller keeps the memory
 * alive while a view of it is in use.
 *
 * @param data native or heap memory in the machine's byte order; need not be aligned
 * @param type element type
 * @param rows number of rows, at least 0
 * @param columns number of columns, at least 0
 * @param offset element index of {@code (0, 0)}
 * @param rowStride distance of two rows in elements, at least 0
 * @param columnStride distance of two columns in elements, at least 0
 */
public record Matrix(
    MemorySegment data,
    DType type,
    int rows,
    int columns,
    long offset,
    long rowStride,
    long columnStride) {

  /**
   * @throws IllegalArgumentException if a size is negative or the last element lies outside {@code
   *     data}
   */
  public Matrix {
    Objects.requireNonNull(data, "data must not be null");
    Objects.requireNonNull(type, "type must not be null");
    Checks.atLeast("rows", rows, 0);
    Checks.atLeast("columns", columns, 0);
    Checks.atLeast("offset", offset, 0);
    Checks.atLeast("rowStride", rowStride, 0);
    Checks.atLeast("columnStride", columnStride, 0);
    if (rows > 0 && columns > 0) {
      long last =
          saturatedSum(
              offset,
              saturatedSum(
                  saturatedProduct(rows - 1L, rowStride),
                  saturatedProduct(columns - 1L, columnStride)));
      long neededBytes = saturatedProduct(saturatedSum(last, 1), type.bytes());
      if (neededBytes > data.byteSize()) {
        throw new IllegalArgumentException(
            "data must hold a %d x %d %s matrix (%d bytes), got %d bytes"
                .formatted(rows, columns, type, neededBytes, data.byteSize()));
      }
    }
  }

  private static long saturatedSum(long a, long b) {
    return a > Long.MAX_VALUE - b ? Long.MAX_VALUE : a + b;
  }

  private static long saturatedProduct(long a, long b) {
    return Math.multiplyHigh(a, b) != 0 || a * b < 0 ? Long.MAX_VALUE : a * b;
  }

  /** A contiguous row-major matrix at the start of {@code data}. */
  public static Matrix of(MemorySegment data, DType type, int rows, int columns) {
    return new Matrix(data, type, rows, columns, 0, columns, 1);
  }

  /** Copies {@code values} into a new heap matrix of float32; for small inputs and tests. */
  public static Matrix ofFloats(int rows, int columns, float... values) {
    Objects.requireNonNull(values, "values must not be null");
    Checks.atLeast("rows", rows, 0);
    Checks.atLeast("columns", columns, 0);
    if (values.length != (long) rows * columns) {
      throw new IllegalArgumentException(
          "values must have rows * columns = %d elements, got %d"
              .formatted((long) rows * columns, values.length));
    }
    return of(MemorySegment.ofArray(values.clone()), DType.F32, rows, columns);
  }

  /** Columns {@code [first, first + count)} of all rows, as a view. */
  public Matrix columns(int first, int count) {
    if (first < 0 || count < 0 || first > columns - count) {
      throw new IllegalArgumentException(
          "columns [%d, %d + %d) must lie in [0, %d)".formatted(first, first, count, columns));
    }
    return new Matrix(
        data, type, rows, count, offset + first * columnStride, rowStride, columnStride);
  }

  /** Rows {@code [first, first + count)}, as a view. */
  public Matrix rows(int first, int count) {
    if (first < 0 || count < 0 || first > rows - count) {
      throw new IllegalArgumentException(
          "rows [%d, %d + %d) must lie in [0, %d)".formatted(first, first, count, rows));
    }
    return new Matrix(
        data, type, count, columns, offset + first * rowStride, rowStride, columnStride);
  }

  /** Whether the columns of a row are adjacent. */
  public boolean hasContiguousRows() {
    return columnStride == 1 || columns <= 1;
  }

  /** Element index of {@code (row, column)} in {@code data}; not bounds-checked. */
  public long index(int row, int column) {
    return offset + row * rowStride + column * columnStride;
  }

  /**
   * Element {@code (row, column)}, widened exactly.
   *
   * @param row in {@code [0, rows)}
   * @param column in {@code [0, columns)}
   */
  public float get(int row, int column) {
    requireInside(row, column);
    return type.get(data, index(row, column));
  }

  /**
   * Rounds {@code value} to the element type and stores it at {@code (row, column)}.
   *
   * @param row in {@code [0, rows)}
   * @param column in {@code [0, columns)}
   */
  public void set(int row, int column, float value) {
    requireInside(row, column);
    type.set(data, index(row, column), value);
  }

  private void requireInside(int row, int column) {
    if (row < 0 || row >= rows || column < 0 || column >= columns) {
      Checks.inRange("row", row, 0, rows);
      Checks.inRange("column", column, 0, columns);
    }
  }
}
