package io.github.moelora.testkit;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;

/**
 * {@code x} and {@code y} of one call, and what the call must make of {@code y}.
 *
 * <p>Whatever must not be read is NaN: rows of {@code x} that no pair with work uses, the gaps
 * between rows, and in delta-only mode all of {@code y}. Whatever must not be written is compared
 * bit for bit, and some of it holds what arithmetic would change: signalling NaN, -0, infinity.
 */
public final class Operands {
  private static final int GUARD_ROWS = 2;
  private static final int GUARD_COLUMNS = 3;

  /** Quiet and signalling NaN with a payload, -0, infinity, the smallest number. */
  private static final int[] FRAGILE_F32 = {0x7fc12345, 0x7f812345, 0x80000000, 0x7f800000, 1};

  private static final int[] FRAGILE_F16 = {0x7e31, 0x7d01, 0x8000, 0x7c00, 1};
  private static final int[] FRAGILE_BF16 = {0x7fd1, 0x7f81, 0x8000, 0x7f80, 1};

  private final String description;
  private final ProjectionCall call;
  private final int pairs;
  private final int outputWidth;
  private final boolean strided;
  private final Matrix x;
  private final Matrix y;
  private final Reference.Result expected;

  Operands(Problem problem, ProjectionCall call, Random random) {
    this.description = problem.toString();
    this.call = call;
    this.pairs = problem.pairs(call);
    this.outputWidth = problem.model().outputWidth(call);
    this.strided = problem.strided();
    this.x = input(problem, random);
    this.y =
        random(
            problem.yType(),
            pairs + GUARD_ROWS,
            call.columnOffset() + outputWidth + GUARD_COLUMNS,
            random);
    this.expected = Reference.compute(problem.inputs(call, x, y.rows(0, pairs)));
    if (call.add()) {
      makeFragile(random);
    } else {
      forget();
    }
  }

  private Matrix input(Problem problem, Random random) {
    int rows = call.pairRows() ? pairs : problem.tokens();
    Matrix matrix = random(problem.xType(), rows, problem.model().inputWidth(call), random);
    boolean[] used = new boolean[rows];
    for (int p = 0; p < pairs; p++) {
      used[problem.xRow(call, p)] |= problem.hasWork(call, p);
    }
    for (long i = 0; i < elements(matrix); i++) {
      long row = row(matrix, i);
      if (row < 0 || row >= rows || column(matrix, i) >= matrix.columns() || !used[(int) row]) {
        matrix.type().set(matrix.data(), i, Float.NaN);
      } else if (problem.xMagnitude() != 0) {
        float number = matrix.type().get(matrix.data(), i);
        matrix.type().set(matrix.data(), i, Math.copySign(problem.xMagnitude(), number));
      }
    }
    return matrix;
  }

  private Matrix random(DType type, int rows, int columns, Random random) {
    long offset = strided ? 3 : 0;
    long stride = strided ? columns + 5 : columns;
    MemorySegment data = allocate((offset + rows * stride) * type.bytes());
    Matrix matrix = new Matrix(data, type, rows, columns, offset, stride, 1);
    for (long i = 0; i < elements(matrix); i++) {
      type.set(data, i, (float) random.nextGaussian());
    }
    return matrix;
  }

  /** Heap memory, or native memory at an odd address. */
  private MemorySegment allocate(long bytes) {
    return strided
        ? Arena.ofAuto().allocate(bytes + 1).asSlice(1)
        : MemorySegment.ofArray(new byte[Math.toIntExact(bytes)]);
  }

  /** Elements that the call must leave alone get bits that no arithmetic keeps. */
  private void makeFragile(Random random) {
    int[] fragile =
        switch (y.type()) {
          case F32 -> FRAGILE_F32;
          case F16 -> FRAGILE_F16;
          case BF16 -> FRAGILE_BF16;
        };
    for (long i = 0; i < elements(y); i++) {
      if (bound(i) == 0 && random.nextInt(3) == 0) {
        setBits(y, i, fragile[random.nextInt(fragile.length)]);
      }
    }
  }

  private void forget() {
    for (long i = 0; i < elements(y); i++) {
      if (isOutput(i)) {
        y.type().set(y.data(), i, Float.NaN);
      }
    }
  }

  public ProjectionCall call() {
    return call;
  }

  public Matrix x() {
    return x;
  }

  /** A fresh copy of {@code y} as it is before the call. */
  public Matrix y() {
    MemorySegment copy = allocate(y.data().byteSize());
    MemorySegment.copy(y.data(), 0, copy, 0, copy.byteSize());
    return new Matrix(
        copy, y.type(), y.rows(), y.columns(), y.offset(), y.rowStride(), y.columnStride());
  }

  /**
   * Runs a planned step on a copy of {@code y}, checks every element of it and returns all its
   * bytes.
   */
  public byte[] check(Step step) {
    Matrix actual = y();
    step.run(call, x, actual);
    check(actual);
    return actual.data().toArray(ValueLayout.JAVA_BYTE);
  }

  /** Throws for the first element that is not what the call must have made of {@code y}. */
  public void check(Matrix actual) {
    for (long i = 0; i < elements(y); i++) {
      double bound = bound(i);
      if (bound > 0) {
        double value = expected.values()[(int) row(y, i)][(int) column(y, i)];
        float got = actual.type().get(actual.data(), i);
        // written so that a NaN fails
        if (!(Math.abs(got - value) <= bound)) {
          throw failure(i, "%s within %s".formatted(value, bound), String.valueOf(got));
        }
      } else {
        int bits = !call.add() && isOutput(i) ? 0 : bits(y, i);
        if (bits(actual, i) != bits) {
          throw failure(i, "of bits %x".formatted(bits), "bits %x".formatted(bits(actual, i)));
        }
      }
    }
  }

  /** Error divided by bound of the worst element; infinite for an element that must not change. */
  public double worst(Matrix actual) {
    double worst = 0;
    for (long i = 0; i < elements(y); i++) {
      double bound = bound(i);
      if (bound > 0) {
        double value = expected.values()[(int) row(y, i)][(int) column(y, i)];
        double error = Math.abs(actual.type().get(actual.data(), i) - value);
        worst = Math.max(worst, Double.isNaN(error) ? Double.POSITIVE_INFINITY : error / bound);
      } else if (bits(actual, i) != (!call.add() && isOutput(i) ? 0 : bits(y, i))) {
        return Double.POSITIVE_INFINITY;
      }
    }
    return worst;
  }

  private AssertionError failure(long index, String must, String got) {
    return new AssertionError(
        "y[%d,%d] must be %s, got %s; %s; %s"
            .formatted(row(y, index), column(y, index), must, got, call, description));
  }

  /** Permitted error of an element of {@code y}'s memory, 0 outside of what the call computes. */
  private double bound(long index) {
    long row = row(y, index);
    long column = column(y, index);
    return row >= 0 && row < pairs && column < y.columns()
        ? expected.bounds()[(int) row][(int) column]
        : 0;
  }

  private boolean isOutput(long index) {
    long row = row(y, index);
    long column = column(y, index) - call.columnOffset();
    return row >= 0 && row < pairs && column >= 0 && column < outputWidth;
  }

  private static long elements(Matrix matrix) {
    return matrix.data().byteSize() / matrix.type().bytes();
  }

  private static long row(Matrix matrix, long index) {
    return Math.floorDiv(index - matrix.offset(), matrix.rowStride());
  }

  private static long column(Matrix matrix, long index) {
    return Math.floorMod(index - matrix.offset(), matrix.rowStride());
  }

  private static int bits(Matrix matrix, long index) {
    return matrix.type() == DType.F32
        ? matrix.data().get(ValueLayout.JAVA_INT_UNALIGNED, index * Integer.BYTES)
        : matrix.data().get(ValueLayout.JAVA_SHORT_UNALIGNED, index * Short.BYTES) & 0xffff;
  }

  private static void setBits(Matrix matrix, long index, int bits) {
    if (matrix.type() == DType.F32) {
      matrix.data().set(ValueLayout.JAVA_INT_UNALIGNED, index * Integer.BYTES, bits);
    } else {
      matrix.data().set(ValueLayout.JAVA_SHORT_UNALIGNED, index * Short.BYTES, (short) bits);
    }
  }
}
