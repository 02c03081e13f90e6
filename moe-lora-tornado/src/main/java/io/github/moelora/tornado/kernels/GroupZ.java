package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Bf16;
import io.github.moelora.tornado.layout.GroupNumbers;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Stages of {@link GroupKernels}: rows of z as pairs of 16-bit numbers, where {@link MmaTiles}
 * looks for them. A thread has as many words of a row as z has steps of 16 ranks.
 */
final class GroupZ {
  /** Most numbers of z of a thread. */
  static final int MOST = ZRows.MOST;

  private GroupZ() {}

  /** Numbers of a thread. */
  static int count(int tiles) {
    return 2 * GroupNumbers.rankSteps(tiles);
  }

  /**
   * Rank of number {@code i} of a thread, among those of the slice; the last one's if it has none.
   */
  static int rank(int[] item, int tid, int i) {
    int rank = 2 * ZRows.q(tid, i >> 1, GroupShrink.ROWS) + (i & 1);
    return Math.min(rank, item[ExpandItem.RANK] - 1);
  }

  /** Largest magnitude of a thread's numbers. */
  static float largest(float[] numbers, int tiles) {
    float largest = 0.0f;
    for (int i = 0; i < count(tiles); i++) {
      largest = Math.max(largest, Math.abs(numbers[i]));
    }
    return largest;
  }

  /**
   * Splits the rows into high and low numbers of bfloat16.
   *
   * @param factor of the thread's row
   * @return the tiles, of the high numbers and behind them of the low ones
   */
  static int[] bfloat16(
      KernelContext ctx, int[] item, float[] numbers, float factor, int tid, int tiles) {
    int rankSteps = GroupNumbers.rankSteps(tiles);
    int[] words = ctx.allocateIntLocalArray(2 * ZRows.ints(GroupShrink.ROWS, rankSteps));
    int row = ZRows.row(item, tid, GroupShrink.ROWS);
    int used = 8 * ZRows.steps(item, GroupNumbers.chunk(tiles), rankSteps);
    for (int i = 0; i < rankSteps; i++) {
      int q = ZRows.q(tid, i, GroupShrink.ROWS);
      float v0 = ZRows.scaled(item, numbers[2 * i], factor, 2 * q);
      float v1 = ZRows.scaled(item, numbers[2 * i + 1], factor, 2 * q + 1);
      if (q < used) {
        int to = ZRows.at(row, q, rankSteps);
        int high = Bf16.word(v0, v1);
        words[to] = high;
        words[to + ZRows.ints(GroupShrink.ROWS, rankSteps)] = Bf16.rest(v0, v1, high);
      }
    }
    return words;
  }

  /**
   * Splits the rows into high and low numbers of float16, each row scaled.
   *
   * @param up scale of the thread's row
   * @return the tiles, of the high numbers and behind them of the low ones
   */
  static int[] float16(
      KernelContext ctx, int[] item, float[] numbers, float up, int tid, int tiles) {
    int rankSteps = GroupNumbers.rankSteps(tiles);
    int[] words = ctx.allocateIntLocalArray(2 * ZRows.ints(GroupShrink.ROWS, rankSteps));
    int row = ZRows.row(item, tid, GroupShrink.ROWS);
    int used = 8 * ZRows.steps(item, GroupNumbers.chunk(tiles), rankSteps);
    for (int i = 0; i < rankSteps; i++) {
      int q = ZRows.q(tid, i, GroupShrink.ROWS);
      float v0 = ZRows.scaled(item, numbers[2 * i], up, 2 * q);
      float v1 = ZRows.scaled(item, numbers[2 * i + 1], up, 2 * q + 1);
      if (q < used) {
        int to = ZRows.at(row, q, rankSteps);
        Half2 high = Half2.fromFloats(v0, v1);
        words[to] = ZRows.fp16Word(v0, v1);
        words[to + ZRows.ints(GroupShrink.ROWS, rankSteps)] =
            ZRows.fp16Word(v0 - Half2.lowFloat(high), v1 - Half2.highFloat(high));
      }
    }
    return words;
  }
}
