package io.github.moelora.cli;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.random.RandomGenerator;

/** Off-heap matrices for the commands. */
final class Bits {
  private Bits() {}

  static Matrix zeros(Arena arena, DType type, int rows, int columns) {
    return Matrix.of(
        arena.allocate(Math.max(1L, (long) rows * columns * type.bytes()), 64),
        type,
        rows,
        columns);
  }

  /** Normally distributed, rounded to the type. */
  static Matrix random(Arena arena, RandomGenerator random, DType type, int rows, int columns) {
    Matrix matrix = zeros(arena, type, rows, columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        matrix.set(i, j, (float) random.nextGaussian());
      }
    }
    return matrix;
  }

  /** A contiguous copy. */
  static Matrix copy(Arena arena, Matrix source) {
    Matrix copy = zeros(arena, source.type(), source.rows(), source.columns());
    copyInto(source, copy);
    return copy;
  }

  /** Copies the content of a contiguous matrix into another of its shape and type. */
  static void copyInto(Matrix source, Matrix target) {
    long bytes = (long) source.rows() * source.columns() * source.type().bytes();
    MemorySegment.copy(
        source.data(), source.offset() * source.type().bytes(), target.data(), 0, bytes);
  }
}
