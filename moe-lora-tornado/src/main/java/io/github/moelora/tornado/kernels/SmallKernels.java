package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Small kernels that tasks in an engine's plan need beside shrink and expand. */
public final class SmallKernels {
  private SmallKernels() {}

  /**
   * Gives a graph that only transfers the plan the task that TornadoVM wants in every graph.
   *
   * @param counts in
   * @param pairs out: {@code [P]} of the plan
   */
  public static void readPairs(IntArray counts, IntArray pairs) {
    for (@Parallel int i = 0; i < pairs.getSize(); i++) {
      pairs.set(i, counts.get(PlanFormat.PAIRS));
    }
  }

  /**
   * The same for a graph that only transfers a step. It writes back the counts of errors, because
   * TornadoVM brings to the host only what a task of the graph may have changed.
   *
   * @param step in
   * @param errors in and out, not negative
   * @param out out: words of the step, of no use
   */
  public static void readStep(IntArray step, IntArray errors, IntArray out) {
    for (@Parallel int i = 0; i < errors.getSize(); i++) {
      errors.set(i, Math.max(errors.get(i), 0));
      out.set(i, step.get(0));
    }
  }

  /** Makes the scratch array live on the device. */
  public static void clear(FloatArray scratch) {
    for (@Parallel int i = 0; i < scratch.getSize(); i++) {
      scratch.set(i, 0.0f);
    }
  }

  /**
   * Zeroes the projection's columns of the rows of all pairs of bfloat16 y.
   *
   * @param y out, words of two elements {@code [P, yWidth / 2]}
   * @param maxPairs most pairs of a batch
   * @param words words of the projection's columns
   */
  public static void zeroWords(
      IntArray sizes, IntArray counts, IntArray y, int maxPairs, int words) {
    for (@Parallel int p = 0; p < maxPairs; p++) {
      for (@Parallel int w = 0; w < words; w++) {
        if (p < counts.get(PlanFormat.PAIRS)) {
          int row = p * (sizes.get(Sizes.Y_WIDTH) / 2);
          y.set(row + sizes.get(Sizes.COLUMN_OFFSET) / 2 + w, 0);
        }
      }
    }
  }

  /**
   * Zeroes the projection's columns of the rows of all pairs of float16 y.
   *
   * @param y out, {@code [P, yWidth]}
   * @param maxPairs most pairs of a batch
   * @param columns columns of the projection
   */
  public static void zeroHalves(
      IntArray sizes, IntArray counts, HalfFloatArray y, int maxPairs, int columns) {
    for (@Parallel int p = 0; p < maxPairs; p++) {
      for (@Parallel int c = 0; c < columns; c++) {
        if (p < counts.get(PlanFormat.PAIRS)) {
          int row = p * sizes.get(Sizes.Y_WIDTH);
          y.set(row + sizes.get(Sizes.COLUMN_OFFSET) + c, new HalfFloat(0.0f));
        }
      }
    }
  }
}
