package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Bf16;
import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Stages of {@link OneShot}: the words of y that a thread adds to, of up to as many as rows. */
final class OneShotY {
  private OneShotY() {}

  private static int rowWords(int[] item) {
    return OneShotB.columns(item) >> 1;
  }

  /** The pair of a thread's word number {@code i}; {@code P} if there is none. */
  private static int pair(
      int[] item, IntArray sortedTokenIds, int i, int column, int tid, int rows) {
    int word = tid + i * OneShot.THREADS;
    int row = Math.min(word / rowWords(item), rows - 1);
    int pair = item[OneShotItem.PAIRS];
    if (word < rows * rowWords(item)
        && row < item[OneShotItem.BLOCK_SIZE]
        && column + 2 * inRow(item, i, tid) < item[OneShotItem.END]) {
      pair = sortedTokenIds.get(item[OneShotItem.POSITION] + row);
    }
    return pair;
  }

  private static int inRow(int[] item, int i, int tid) {
    return (tid + i * OneShot.THREADS) & (rowWords(item) - 1);
  }

  /** Where a thread's word number {@code i} lies in y. */
  private static int target(
      int[] item, IntArray sizes, IntArray slices, int pair, int i, int column, int tid) {
    int to =
        sizes.get(Sizes.COLUMN_OFFSET)
            + slices.get(item[OneShotItem.SLICE] + SliceTable.FIRST_COLUMN)
            + column;
    return ((pair * sizes.get(Sizes.Y_WIDTH) + to) >> 1) + inRow(item, i, tid);
  }

  /**
   * Finds a thread's words and reads them before they are needed.
   *
   * @param targets out; -1 where there is none
   * @param old out; 0 where nothing is to be added to
   */
  static void find(
      int[] item,
      IntArray sizes,
      IntArray sortedTokenIds,
      IntArray slices,
      IntArray y,
      int[] targets,
      int[] old,
      int column,
      int tid,
      int rows) {
    for (int i = 0; i < rows; i++) {
      int pair = pair(item, sortedTokenIds, i, column, tid, rows);
      targets[i] = -1;
      old[i] = 0;
      if (pair < item[OneShotItem.PAIRS]) {
        targets[i] = target(item, sizes, slices, pair, i, column, tid);
        if (sizes.get(Sizes.ADD) != 0) {
          old[i] = y.get(targets[i]);
        }
      }
    }
  }

  /** The same of float16, whose words wait as two floats each. */
  static void findHalves(
      int[] item,
      IntArray sizes,
      IntArray sortedTokenIds,
      IntArray slices,
      HalfFloatArray y,
      int[] targets,
      float[] old,
      int column,
      int tid,
      int rows) {
    for (int i = 0; i < rows; i++) {
      int pair = pair(item, sortedTokenIds, i, column, tid, rows);
      targets[i] = -1;
      old[2 * i] = 0.0f;
      old[2 * i + 1] = 0.0f;
      if (pair < item[OneShotItem.PAIRS]) {
        targets[i] = target(item, sizes, slices, pair, i, column, tid);
        if (sizes.get(Sizes.ADD) != 0) {
          Half2 v = Halves.get(y, 2 * targets[i]);
          old[2 * i] = Half2.lowFloat(v);
          old[2 * i + 1] = Half2.highFloat(v);
        }
      }
    }
  }

  /**
   * Adds up the sums of the groups that share the ranks, in local memory.
   *
   * @param sums in, a thread's four columns of each row
   * @param words out, two neighbouring columns for each of the thread's words
   */
  static void meet(
      KernelContext ctx,
      float[] sums,
      float[] words,
      int[] item,
      int[] targets,
      int tid,
      int rows) {
    float[] ofGroups = ctx.allocateFloatLocalArray(4 * OneShot.THREADS * rows);
    int quads = OneShotB.columns(item) >> 2;
    for (int i = 0; i < 4 * rows; i++) {
      int to = (OneShotB.group(item, tid) * 4 * rows + i) * quads + OneShotB.quad(item, tid);
      ofGroups[to] = sums[i];
    }
    ctx.localBarrier();
    for (int i = 0; i < rows; i++) {
      if (targets[i] >= 0) {
        int word = tid + i * OneShot.THREADS;
        int row = word / rowWords(item);
        int position = PackedLayout.position(2 * (word & (rowWords(item) - 1)));
        int from = (4 * row + (position & 3)) * quads + (position >> 2);
        float low = 0.0f;
        float high = 0.0f;
        for (int g = 0; g < OneShotB.groups(item); g++) {
          low += ofGroups[from + g * 4 * rows * quads];
          // the next column lies 8 positions on
          high += ofGroups[from + g * 4 * rows * quads + 2];
        }
        words[2 * i] = low;
        words[2 * i + 1] = high;
      }
    }
  }

  /** Multiplies the words by what their pairs' sums are multiplied by. */
  static void scale(
      float[] words,
      int[] item,
      IntArray sizes,
      IntArray sortedTokenIds,
      FloatArray scales,
      FloatArray routingWeights,
      int[] targets,
      int tid,
      int rows) {
    for (int i = 0; i < rows; i++) {
      if (targets[i] >= 0) {
        float factor = scales.get(item[OneShotItem.SCALE]);
        if (sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
          int row = (tid + i * OneShot.THREADS) / rowWords(item);
          factor *= routingWeights.get(sortedTokenIds.get(item[OneShotItem.POSITION] + row));
        }
        words[2 * i] *= factor;
        words[2 * i + 1] *= factor;
      }
    }
  }

  /** Stores the words, added to what was there. */
  static void write(IntArray y, float[] words, int[] old, int[] targets, int rows) {
    for (int i = 0; i < rows; i++) {
      if (targets[i] >= 0) {
        float low = words[2 * i] + BFloat16.bf16ToFloat((short) old[i]);
        float high = words[2 * i + 1] + BFloat16.bf16ToFloat((short) (old[i] >>> 16));
        y.set(targets[i], Bf16.word(low, high));
      }
    }
  }

  /** Stores the words of float16, added to what was there. */
  static void writeHalves(HalfFloatArray y, float[] words, float[] old, int[] targets, int rows) {
    for (int i = 0; i < rows; i++) {
      if (targets[i] >= 0) {
        float low = words[2 * i] + old[2 * i];
        float high = words[2 * i + 1] + old[2 * i + 1];
        Halves.set(y, 2 * targets[i], Half2.fromFloats(low, high));
      }
    }
  }
}
