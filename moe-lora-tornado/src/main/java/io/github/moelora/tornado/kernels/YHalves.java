package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Stages of {@link MmaExpand}: groups of four columns of y that a thread adds to, of float16.
 *
 * <p>Float16 cannot wait in an array but as floats, which take twice the registers: each group
 * waits in two variables of the root.
 */
final class YHalves {
  private YHalves() {}

  /**
   * Reads two columns of a target. A delta alone reads one place of y, and does not use it.
   *
   * @param half 0 or 1
   * @param column of groups
   * @param targets of the thread; there is nothing to read of others
   */
  static Half2 get(
      HalfFloatArray y, int[] item, int[] yAt, int target, int half, int column, int targets) {
    int mask = item[ExpandItem.ADD] != 0 ? -1 : 0;
    return target < targets
        ? Halves.get(y, 4 * ((yAt[target] + column) & mask) + 2 * half)
        : Half2.fromFloats(0.0f, 0.0f);
  }

  /** A target's values: its sums, multiplied. */
  static void set(float[] values, int target, float scale, float s0, float s1, float s2, float s3) {
    values[4 * target] = scale * s0;
    values[4 * target + 1] = scale * s1;
    values[4 * target + 2] = scale * s2;
    values[4 * target + 3] = scale * s3;
  }

  /** Adds what was there to the values of a target. */
  static void add(float[] values, int[] item, int target, Half2 first, Half2 last, int targets) {
    if (item[ExpandItem.ADD] != 0 && target < targets) {
      values[4 * target] += Half2.lowFloat(first);
      values[4 * target + 1] += Half2.highFloat(first);
      values[4 * target + 2] += Half2.lowFloat(last);
      values[4 * target + 3] += Half2.highFloat(last);
    }
  }

  /** Stores a column of groups in the rows before {@code lastRow}. */
  static void write(
      HalfFloatArray y,
      float[] values,
      int targets,
      int[] yAt,
      int column,
      int tid,
      int lastRow,
      int chunk) {
    for (int i = 0; i < targets; i++) {
      if (YTargets.row(tid, i, chunk) < lastRow) {
        int to = 4 * (yAt[i] + column);
        int v = 4 * i;
        Halves.set(y, to, Half2.fromFloats(values[v], values[v + 1]));
        Halves.set(y, to + 2, Half2.fromFloats(values[v + 2], values[v + 3]));
      }
    }
  }
}
