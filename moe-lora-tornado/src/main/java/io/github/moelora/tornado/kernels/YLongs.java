package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Bf16;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Stages of {@link MmaExpand}: longs of four columns of y that a thread adds to, of bfloat16. */
final class YLongs {
  /** Most longs that are added to, read and stored together. */
  static final int BATCH = 4;

  private YLongs() {}

  /** Longs that are added to, read and stored together. */
  static int batch(int rows, int chunk) {
    return Math.min(YTargets.count(rows, chunk), BATCH);
  }

  /** Sets the longs to 0, for rows that are not read. */
  static void clear(long[] old, int rows, int chunk) {
    for (int i = 0; i < YTargets.count(rows, chunk); i++) {
      old[i] = 0L;
    }
  }

  /** Rows that are read; where a warp has much to do, all of them, without asking. */
  static int readRows(int[] item, int usedRows, int rows, int chunk) {
    return item[ExpandItem.ADD] == 0 ? 0 : MmaTiles.few(rows, chunk) ? usedRows : rows;
  }

  /**
   * Reads a column of longs, as far as there are rows.
   *
   * @param old out, {@code from} to {@code from + count}
   * @param yAt where the targets' rows begin
   */
  static void read(
      LongArray y,
      long[] old,
      int from,
      int count,
      int[] yAt,
      int column,
      int readRows,
      int chunk) {
    for (int j = 0; j < count; j++) {
      int i = from + j;
      if (i * YTargets.step(chunk) < readRows) {
        old[i] = y.get(yAt[i] + column);
      }
    }
  }

  /**
   * A long of four sums and what was there.
   *
   * @param zero 0, which the compiler must not know: it would do all of this in 64 bits
   */
  static long add(long old, float s0, float s1, float s2, float s3, int zero) {
    float t0 = s0 + BFloat16.bf16ToFloat((short) old);
    float t1 = s1 + BFloat16.bf16ToFloat((short) (old >>> 16));
    float t2 = s2 + BFloat16.bf16ToFloat((short) (old >>> 32));
    float t3 = s3 + BFloat16.bf16ToFloat((short) (old >>> 48));
    long low = (Bf16.word(t0, t1) ^ zero) & 0xffffffffL;
    long high = Bf16.word(t2, t3) ^ zero;
    return low | (high << 32);
  }

  /** Stores a column of longs in the rows before {@code lastRow}. */
  static void write(
      LongArray y,
      long[] words,
      int from,
      int count,
      int[] yAt,
      int column,
      int tid,
      int lastRow,
      int chunk) {
    for (int j = 0; j < count; j++) {
      if (YTargets.row(tid, from + j, chunk) < lastRow) {
        y.set(yAt[from + j] + column, words[j]);
      }
    }
  }
}
