package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Bf16;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Stages of {@link MmaExpand}: rows of z, summed over their parts, as pairs of 16-bit numbers.
 *
 * <p>{@code 128 / rows} threads have a row; a word is two ranks of it.
 */
final class ZRows {
  /** Ints of a 16 x 16 tile. */
  static final int TILE = 128;

  /** Ints of 8 columns of a tile. */
  static final int HALF = 64;

  /** Most numbers that a thread reads before the first is needed. */
  static final int MOST = 8;

  /** Float16 rows are scaled by powers of this until their largest magnitude is below the next. */
  private static final float SCALE_STEP = 0x1p8f;

  private static final float LARGEST = 0x1p15f;

  private ZRows() {}

  /** Ints of the high numbers on chip, and of the low ones behind them. */
  static int ints(int rows, int maxSteps) {
    return rows / 16 * maxSteps * TILE;
  }

  /** Most words of a row that a thread has. */
  private static int mostWords(int rows, int maxSteps) {
    return 8 * maxSteps * rows / MmaExpand.THREADS;
  }

  /** Row that a thread has words of; the last one, too, in place of one that is not there. */
  static int row(int[] item, int tid, int rows) {
    return Math.min(tid / (MmaExpand.THREADS / rows), item[ExpandItem.ROWS] - 1);
  }

  /** Whether a thread is the first of a row that is there. */
  static boolean isFirst(int[] item, int tid, int rows) {
    int threads = MmaExpand.THREADS / rows;
    return tid % threads == 0 && tid / threads < item[ExpandItem.ROWS];
  }

  /** Words that a thread reads before the first is needed. */
  private static int batch(int rows, int maxSteps) {
    return Math.min(mostWords(rows, maxSteps), MOST / 2);
  }

  /**
   * The same of float16, which keeps a single batch while it finds the scale: two words would cost
   * a work-group with many tiles its registers.
   */
  private static int float16Batch(int rows, int chunk, int maxSteps) {
    int batch = batch(rows, maxSteps);
    return batch > 2 || MmaTiles.few(rows, chunk) ? batch : 1;
  }

  /**
   * Reads a thread's first words of bfloat16 ahead of {@link #bfloat16}. With one or two steps of
   * the rank that would cost a work-group its registers, and nothing is read yet.
   *
   * @param numbers out
   */
  static void readFirst(
      int[] item, FloatArray z, float[] numbers, int tid, int zStride, int maxSteps, int rows) {
    int batch = batch(rows, maxSteps);
    if (maxSteps > 2) {
      sum(item, z, numbers, 0, batch, 2 * batch, row(item, tid, rows), tid, zStride, rows);
    }
  }

  /**
   * Splits the rows into high and low numbers of bfloat16.
   *
   * @param numbers in, what {@link #readFirst} has left there
   * @param factor of the thread's row
   * @return the tiles, of the high numbers and behind them of the low ones
   */
  static int[] bfloat16(
      KernelContext ctx,
      int[] item,
      FloatArray z,
      float[] numbers,
      float factor,
      int tid,
      int zStride,
      int maxSteps,
      int rows,
      int chunk) {
    int[] tiles = ctx.allocateIntLocalArray(2 * ints(rows, maxSteps));
    int row = row(item, tid, rows);
    int batch = batch(rows, maxSteps);
    for (int word = 0; word < words(item, rows); word += batch) {
      if (maxSteps <= 2 || (batch < mostWords(rows, maxSteps) && word > 0)) {
        sum(item, z, numbers, word, batch, 2 * batch, row, tid, zStride, rows);
      }
      for (int i = 0; i < batch; i++) {
        int q = q(tid, word + i, rows);
        float v0 = scaled(item, numbers[2 * i], factor, 2 * q);
        float v1 = scaled(item, numbers[2 * i + 1], factor, 2 * q + 1);
        if (q < 8 * steps(item, chunk, maxSteps)) {
          int to = at(row, q, maxSteps);
          int high = Bf16.word(v0, v1);
          tiles[to] = high;
          tiles[to + ints(rows, maxSteps)] = Bf16.rest(v0, v1, high);
        }
      }
    }
    return tiles;
  }

  /**
   * Finds what brings a row into the range of float16; 1 if nothing can.
   *
   * @param numbers out, the last ones that the thread has read
   */
  static float scale(
      KernelContext ctx,
      int[] item,
      FloatArray z,
      float[] numbers,
      int tid,
      int zStride,
      int maxSteps,
      int rows,
      int chunk) {
    int row = row(item, tid, rows);
    int batch = float16Batch(rows, chunk, maxSteps);
    int atOnce = batch > 1 || MmaTiles.few(rows, chunk) ? 2 * batch : 1;
    float largest = 0.0f;
    for (int word = 0; word < words(item, rows); word += batch) {
      sum(item, z, numbers, word, batch, atOnce, row, tid, zStride, rows);
      for (int i = 0; i < 2 * batch; i++) {
        largest = Math.max(largest, Math.abs(numbers[i]));
      }
    }
    return up(ctx, largest, tid, rows);
  }

  /**
   * What brings a row into the range of float16; 1 if nothing can. All threads meet here.
   *
   * @param own largest magnitude of the thread's numbers of the row
   */
  static float up(KernelContext ctx, float own, int tid, int rows) {
    float[] ofRow = ctx.allocateFloatLocalArray(rows);
    int threads = MmaExpand.THREADS / rows;
    float largest = own;
    // the row's threads are neighbours in a warp; the first of them gets the maximum
    for (int d = threads / 2; d > 0; d /= 2) {
      largest = Math.max(largest, ctx.simdShuffleDown(largest, d));
    }
    if (tid % threads == 0) {
      ofRow[tid / threads] = largest;
    }
    ctx.localBarrier();
    largest = ofRow[tid / threads];
    float up = 1.0f;
    if (largest > 0.0f && largest < LARGEST * LARGEST * LARGEST) {
      while (largest >= LARGEST) {
        largest *= 1.0f / SCALE_STEP;
        up *= 1.0f / SCALE_STEP;
      }
      while (largest * SCALE_STEP < LARGEST) {
        largest *= SCALE_STEP;
        up *= SCALE_STEP;
      }
    }
    return up;
  }

  /**
   * Splits the rows into high and low numbers of float16, each row scaled.
   *
   * @param numbers in, what {@link #scale} has left there
   * @param up scale of the thread's row
   * @return the tiles, of the high numbers and behind them of the low ones
   */
  static int[] float16(
      KernelContext ctx,
      int[] item,
      FloatArray z,
      float[] numbers,
      float up,
      int tid,
      int zStride,
      int maxSteps,
      int rows,
      int chunk) {
    int[] tiles = ctx.allocateIntLocalArray(2 * ints(rows, maxSteps));
    int row = row(item, tid, rows);
    int batch = float16Batch(rows, chunk, maxSteps);
    int atOnce = batch > 1 || MmaTiles.few(rows, chunk) ? 2 * batch : 1;
    for (int word = 0; word < words(item, rows); word += batch) {
      // a single batch is still there
      if (batch < mostWords(rows, maxSteps)) {
        sum(item, z, numbers, word, batch, atOnce, row, tid, zStride, rows);
      }
      for (int i = 0; i < batch; i++) {
        int q = q(tid, word + i, rows);
        float v0 = scaled(item, numbers[2 * i], up, 2 * q);
        float v1 = scaled(item, numbers[2 * i + 1], up, 2 * q + 1);
        if (q < 8 * steps(item, chunk, maxSteps)) {
          int to = at(row, q, maxSteps);
          Half2 high = Half2.fromFloats(v0, v1);
          tiles[to] = fp16Word(v0, v1);
          tiles[to + ints(rows, maxSteps)] =
              fp16Word(v0 - Half2.lowFloat(high), v1 - Half2.highFloat(high));
        }
      }
    }
    return tiles;
  }

  /** Steps of 16 ranks of an item; known when the kernel is compiled if its code is straight. */
  static int steps(int[] item, int chunk, int maxSteps) {
    return BTiles.straight(chunk, maxSteps) ? 1 : (item[ExpandItem.UNITS] + 1) >> 1;
  }

  /** Words of a row that a thread has. */
  private static int words(int[] item, int rows) {
    return 8 * ((item[ExpandItem.UNITS] + 1) >> 1) / (MmaExpand.THREADS / rows);
  }

  /** Word of the row that is a thread's word number {@code word}. */
  static int q(int tid, int word, int rows) {
    int threads = MmaExpand.THREADS / rows;
    return tid % threads + word * threads;
  }

  /**
   * Sums the parts of a batch of a thread's words, in order.
   *
   * @param sums out; number {@code i} is of rank {@code 2 * q + i % 2} of word {@code i / 2}, or of
   *     the last rank where there is none
   * @param word first of the batch
   * @param atOnce numbers that are read before the first is needed, 1 or the whole batch
   */
  private static void sum(
      int[] item,
      FloatArray z,
      float[] sums,
      int word,
      int batch,
      int atOnce,
      int row,
      int tid,
      int zStride,
      int rows) {
    int from = item[ExpandItem.Z] + row * zStride;
    int threads = MmaExpand.THREADS / rows;
    int q = tid % threads + word * threads;
    for (int i = 0; i < 2 * batch; i += atOnce) {
      sumParts(
          z,
          sums,
          i,
          atOnce,
          from,
          q,
          threads,
          item[ExpandItem.RANK],
          item[ExpandItem.PARTS],
          item[ExpandItem.PART_STRIDE]);
    }
  }

  private static void sumParts(
      FloatArray z,
      float[] sums,
      int first,
      int count,
      int from,
      int q,
      int step,
      int rank,
      int parts,
      int partStride) {
    for (int i = 0; i < count; i++) {
      sums[first + i] = z.get(from + rankOf(first + i, q, step, rank));
    }
    // of few numbers, several parts are read before the first is needed
    int together = Math.min(MOST / count, MOST / 2);
    for (int part = 1; part < parts; part += together) {
      float[] next = new float[MOST];
      for (int i = 0; i < together * count; i++) {
        int at = from + Math.min(part + i / count, parts - 1) * partStride;
        next[i] = z.get(at + rankOf(first + i % count, q, step, rank));
      }
      for (int i = 0; i < together * count; i++) {
        sums[first + i % count] += part + i / count < parts ? next[i] : 0.0f;
      }
    }
  }

  private static int rankOf(int number, int q, int step, int rank) {
    return Math.min(2 * (q + (number >> 1) * step) + (number & 1), rank - 1);
  }

  /** A number as the products take it: beyond the rank it is 0. */
  static float scaled(int[] item, float number, float up, int r) {
    return r < item[ExpandItem.RANK] ? up * number : 0.0f;
  }

  /** Where a word belongs on chip. */
  static int at(int row, int q, int maxSteps) {
    return (row >> 4) * maxSteps * TILE + (row & 15) * 4 + (q >> 2) * HALF + (q & 3);
  }

  /** Two float16 in a word. */
  static int fp16Word(float first, float second) {
    int low = new HalfFloat(first).getHalfFloatValue() & 0xffff;
    int high = new HalfFloat(second).getHalfFloatValue() & 0xffff;
    return low | (high << 16);
  }
}
