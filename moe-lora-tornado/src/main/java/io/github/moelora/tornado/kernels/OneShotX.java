package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Stages of {@link OneShot}: a segment of H of the rows of x on its way to local memory. */
final class OneShotX {
  /** Floats on chip: a segment for each row. */
  static final int FLOATS = 4096;

  /** Words that a thread copies. */
  static final int WORDS = FLOATS / 2 / OneShot.THREADS;

  private OneShotX() {}

  /** Elements of a segment. */
  static int width(int rows) {
    return FLOATS / rows;
  }

  /**
   * Finds where the rows begin. Rows without a pair take the first row of x.
   *
   * @param from out, in words
   */
  static void find(int[] item, IntArray sizes, IntArray sortedTokenIds, int[] from, int rows) {
    for (int i = 0; i < rows; i++) {
      int position = item[OneShotItem.POSITION] + Math.min(i, item[OneShotItem.BLOCK_SIZE] - 1);
      int pair = sortedTokenIds.get(position);
      int row = pair < item[OneShotItem.PAIRS] ? pair / sizes.get(Sizes.PAIRS_PER_ROW) : 0;
      from[i] = (row * item[OneShotItem.WIDTH]) >> 1;
    }
  }

  /** Reads a thread's words of a segment. */
  static void read(
      IntArray x, int[] words, int[] item, int[] from, int segment, int tid, int rows) {
    for (int i = 0; i < WORDS; i++) {
      words[i] = x.get(word(item, from, segment, i, tid, rows));
    }
  }

  /** Reads a thread's words of a segment, each as two floats. */
  static void readHalves(
      HalfFloatArray x, float[] pairs, int[] item, int[] from, int segment, int tid, int rows) {
    for (int i = 0; i < WORDS; i++) {
      Half2 v = Halves.get(x, 2 * word(item, from, segment, i, tid, rows));
      pairs[2 * i] = Half2.lowFloat(v);
      pairs[2 * i + 1] = Half2.highFloat(v);
    }
  }

  /** Word of x that is a thread's word number {@code i}; the last of the row beyond H. */
  private static int word(int[] item, int[] from, int segment, int i, int tid, int rows) {
    int rowWords = width(rows) / 2;
    int word = segment * rowWords + (tid + i * OneShot.THREADS) % rowWords;
    return from[i * rows / WORDS] + Math.min(word, (item[OneShotItem.WIDTH] >> 1) - 1);
  }

  /** First element of a thread's word of bfloat16, see {@link #within}. */
  static float first(int[] item, int word, int segment, int i, int tid, int rows) {
    return within(item, BFloat16.bf16ToFloat((short) word), segment, i, tid, rows);
  }

  /** Second element of a thread's word of bfloat16, see {@link #within}. */
  static float second(int[] item, int word, int segment, int i, int tid, int rows) {
    return within(item, BFloat16.bf16ToFloat((short) (word >>> 16)), segment, i, tid, rows);
  }

  /** An element of a thread's word; beyond H, where A is padded with zeros, it is 0. */
  static float within(int[] item, float element, int segment, int i, int tid, int rows) {
    int inRow = (tid + i * OneShot.THREADS) % (width(rows) / 2);
    return segment * width(rows) + 2 * inRow < item[OneShotItem.WIDTH] ? element : 0.0f;
  }
}
