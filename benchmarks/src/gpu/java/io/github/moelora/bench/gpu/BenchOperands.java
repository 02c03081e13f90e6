package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.reference.Reference;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.Check;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/** What x and y hold before a run, and what some rows of y must hold after it. */
final class BenchOperands {
  /** Random numbers that x is windows of. */
  private static final int POOL = 1 << 23;

  private static final int SAMPLES = 6;

  /** Content of y before a run repeats after this many elements. */
  private static final int Y_PERIOD = 13;

  private final BenchShape shape;
  private final DType type;
  private final Matrix pool;
  private final List<LoraAdapter> adapters;
  private final MemorySegment x;
  private final MemorySegment y;

  /**
   * @param pool of {@link #pool}, in the type of x and y
   * @param adapters of all slots
   * @param x memory of x, rows without a gap
   * @param y memory of y, rows without a gap
   */
  BenchOperands(
      BenchShape shape, Matrix pool, List<LoraAdapter> adapters, MemorySegment x, MemorySegment y) {
    this.shape = shape;
    this.type = pool.type();
    this.pool = pool;
    this.adapters = adapters;
    this.x = x;
    this.y = y;
  }

  /** Random numbers of a type. */
  static Matrix pool(Arena arena, SplittableRandom random, DType type) {
    return Bits.random(arena, random, type, 1, POOL);
  }

  void fillX(Batch batch) {
    long bytes = (long) shape.inputRows(batch.tokens()) * shape.inputWidth() * type.bytes();
    long at = 0;
    while (at < bytes) {
      long count = Math.min(bytes - at, pool.data().byteSize());
      MemorySegment.copy(pool.data(), 0, x, at, count);
      at += count;
    }
  }

  void fillY(Batch batch) {
    long bytes = (long) batch.pairs() * shape.outputWidth() * type.bytes();
    for (int i = 0; i < Y_PERIOD; i++) {
      type.set(y, i, before(i));
    }
    long filled = (long) Y_PERIOD * type.bytes();
    while (filled < bytes) {
      long count = Math.min(filled, bytes - filled);
      MemorySegment.copy(y, 0, y, filled, count);
      filled += count;
    }
  }

  /** Element of y before a run; exact in every type. */
  private static float before(long index) {
    return index % Y_PERIOD * 0.25f;
  }

  /** What some rows of y, spread over the batch, must hold. */
  List<Sample> samples(Batch batch) {
    int count = Math.min(batch.tokens(), SAMPLES);
    return IntStream.range(0, count)
        .map(i -> count == 1 ? 0 : (int) ((long) i * (batch.tokens() - 1) / (count - 1)))
        .parallel()
        .mapToObj(token -> sample(batch, token))
        .toList();
  }

  private Sample sample(Batch batch, int token) {
    int perToken = shape.preset().expertsPerToken();
    int width = shape.outputWidth();
    int first = token * perToken;
    int xRows = shape.inputRows(1);
    Matrix inputs =
        new Matrix(
            x,
            type,
            xRows,
            shape.inputWidth(),
            (long) token * xRows * shape.inputWidth(),
            shape.inputWidth(),
            1);
    Matrix outputs =
        Matrix.of(
            MemorySegment.ofArray(new byte[perToken * width * type.bytes()]),
            type,
            perToken,
            width);
    for (int p = 0; p < perToken; p++) {
      for (int c = 0; c < width; c++) {
        outputs.set(p, c, before((long) (first + p) * width + c));
      }
    }
    return new Sample(
        first,
        Reference.compute(
            new Reference.Inputs(
                shape.preset().model(),
                shape.call(),
                new ArrayList<>(adapters),
                Arrays.copyOfRange(batch.expertIds(), first, first + perToken),
                Arrays.copyOfRange(batch.routingWeights(), first, first + perToken),
                new int[] {batch.adapterIds()[token]},
                inputs,
                outputs)));
  }

  /** Expected rows of y from {@code firstPair} on. */
  final class Sample {
    private final int firstPair;
    private final Reference.Result expected;

    Sample(int firstPair, Reference.Result expected) {
      this.firstPair = firstPair;
      this.expected = expected;
    }

    /** Compares the rows of y with them. */
    void check(Check check) {
      int width = shape.outputWidth();
      Matrix rows =
          new Matrix(y, type, expected.values().length, width, (long) firstPair * width, width, 1);
      check.compare(expected, rows);
    }
  }
}
