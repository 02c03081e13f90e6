package io.github.moelora.workload;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.random.RandomGenerator;

/** Off-heap matrices for commands and benchmarks. */
public final class Bits {
  /** Random elements after which they repeat, a prime, so that rows of large matrices differ. */
  private static final int PERIOD = 4_194_301;

  private Bits() {}

  /** A contiguous matrix of zeros. */
  public static Matrix zeros(Arena arena, DType type, int rows, int columns) {
    return Matrix.of(
        arena.allocate(Math.max(1L, (long) rows * columns * type.bytes()), 64),
        type,
        rows,
        columns);
  }

  /** Normally distributed, rounded to the type; repeats after some million elements. */
  public static Matrix random(
      Arena arena, RandomGenerator random, DType type, int rows, int columns) {
    Matrix matrix = zeros(arena, type, rows, columns);
    long elements = (long) rows * columns;
    for (long i = 0; i < Math.min(elements, PERIOD); i++) {
      type.set(matrix.data(), i, (float) random.nextGaussian());
    }
    long bytes = elements * type.bytes();
    for (long at = (long) PERIOD * type.bytes(); at < bytes; at *= 2) {
      MemorySegment.copy(matrix.data(), 0, matrix.data(), at, Math.min(at, bytes - at));
    }
    return matrix;
  }

  /** A contiguous copy. */
  public static Matrix copy(Arena arena, Matrix source) {
    Matrix copy = zeros(arena, source.type(), source.rows(), source.columns());
    copyInto(source, copy);
    return copy;
  }

  /** Copies the content of a contiguous matrix into another of its shape and type. */
  public static void copyInto(Matrix source, Matrix target) {
    long bytes = (long) source.rows() * source.columns() * source.type().bytes();
    MemorySegment.copy(
        source.data(), source.offset() * source.type().bytes(), target.data(), 0, bytes);
  }
}
