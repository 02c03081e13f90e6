package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link Activate}: the two words of y that a word of two results needs. They hold two
 * gates and two ups, or a gate and its up each where these alternate; without gates both are the
 * same.
 */
final class ActivateWords {
  private ActivateWords() {}

  /** Where the word lies that has the first gate. */
  static int first(IntArray sizes, int word, int perRow, int mode) {
    int pair = word / perRow;
    int column = 2 * (word - pair * perRow);
    return at(sizes, pair, PairMode.source(mode, column, 2 * perRow, 0));
  }

  /** Where the word lies that has the last up. */
  static int second(IntArray sizes, int word, int perRow, int mode) {
    int pair = word / perRow;
    int column = 2 * (word - pair * perRow);
    int way = PairMode.has(mode, PairMode.GATED) ? 1 : 0;
    int last = PairMode.has(mode, PairMode.INTERLEAVED) ? 1 : 0;
    return at(sizes, pair, PairMode.source(mode, column + last, 2 * perRow, way));
  }

  private static int at(IntArray sizes, int pair, int source) {
    return (pair * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET) + source) >> 1;
  }

  /**
   * A result.
   *
   * @param low0 lower half of the first word, and so on
   * @param i 0 or 1
   */
  static float value(
      float low0, float high0, float low1, float high1, int i, int number, int mode) {
    float g = i == 0 ? low0 : high0;
    float u = i == 0 ? low1 : high1;
    if (PairMode.has(mode, PairMode.INTERLEAVED)) {
      g = i == 0 ? low0 : low1;
      u = i == 0 ? high0 : high1;
    }
    return PairY.activation(number, g, u);
  }
}
