package io.github.moelora;

import java.util.Objects;

/**
 * One LoRA pair of one expert: it adds {@code scale * sum_r b[o, r] * sum_h a[r, h] * x[h]} to
 * output column {@code firstColumn + o}.
 *
 * <p>An expert with separate gate and up has two slices in {@link Projection#GATE_UP}; one with a
 * fused pair has a single slice that covers both. The scale is kept apart from {@code b}, so that a
 * 16-bit {@code b} is not rounded a second time.
 *
 * @param firstColumn first output column of the projection that this slice covers
 * @param a {@code [R, H]}
 * @param b {@code [O, R]}
 * @param scale {@code alpha / R} or {@code alpha / sqrt(R)}, finite
 */
public record LoraSlice(int firstColumn, Matrix a, Matrix b, float scale) {

  /**
   * @throws IllegalArgumentException if ranks differ, a size is 0, the last column exceeds int32 or
   *     the scale is not finite
   */
  public LoraSlice {
    Objects.requireNonNull(a, "a must not be null");
    Objects.requireNonNull(b, "b must not be null");
    Checks.atLeast("firstColumn", firstColumn, 0);
    Checks.atLeast("a.rows (rank)", a.rows(), 1);
    Checks.atLeast("a.columns", a.columns(), 1);
    Checks.atLeast("b.rows", b.rows(), 1);
    if (b.columns() != a.rows()) {
      throw new IllegalArgumentException(
          "b.columns must equal a.rows (rank) %d, got %d".formatted(a.rows(), b.columns()));
    }
    if (firstColumn > Integer.MAX_VALUE - b.rows()) {
      throw new IllegalArgumentException(
          "firstColumn + b.rows must be at most %d, got %d"
              .formatted(Integer.MAX_VALUE, (long) firstColumn + b.rows()));
    }
    if (!Float.isFinite(scale)) {
      throw new IllegalArgumentException("scale must be finite, got " + scale);
    }
  }

  /** Rank {@code R}. */
  public int rank() {
    return a.rows();
  }

  /** Number of output columns {@code O}. */
  public int columns() {
    return b.rows();
  }

  /** First output column after this slice. */
  public int endColumn() {
    return firstColumn + b.rows();
  }
}
