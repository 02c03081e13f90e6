package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Bf16;
import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.math.TornadoMath;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Stages of {@link PairKernels}: what is read and stored of y. */
final class PairY {
  /** Where gpt-oss clamps gate and up. */
  private static final float LIMIT = 7.0f;

  private PairY() {}

  /** Output columns that a thread writes, two at most: side by side in a word of 16-bit types. */
  private static boolean isNarrow(int mode) {
    return PairMode.has(mode, PairMode.NARROW_Y);
  }

  /** A thread's output column number {@code i & 1} of those at hand. */
  static int column(int i, int tid, int threads, int mode) {
    return isNarrow(mode) ? 2 * tid + (i & 1) : tid + (i & 1) * threads;
  }

  /**
   * Whether a thread's value number {@code i} is of use: two of each gate, and of each up.
   *
   * @param columns that are at hand
   */
  static boolean has(int i, int columns, int tid, int threads, int mode) {
    int most = i >> 1 < PairMode.ways(mode) ? columns : 0;
    return column(i, tid, threads, mode) < most;
  }

  /** What the sums of a pair are multiplied by. */
  static float weight(FloatArray routingWeights, int pair, int mode) {
    float weight = 1.0f;
    if (PairMode.has(mode, PairMode.ROUTED_WEIGHT)) {
      weight = routingWeights.get(pair);
    }
    return weight;
  }

  private static boolean reads(int mode) {
    return PairMode.has(mode, PairMode.ADD | PairMode.ACTIVATED);
  }

  /** Where the column of the projection lies in y that is behind an output column. */
  private static int at(int[] sizes, int pair, int column, int way, int mode) {
    int row = pair / sizes[Sizes.PAIRS_PER_ITEM];
    int source = PairItem.source(sizes, column, way, mode);
    return row * sizes[Sizes.Y_WIDTH] + sizes[Sizes.COLUMN_OFFSET] + source;
  }

  /**
   * Reads what y holds of a thread's columns, before it is needed.
   *
   * @param old out, of its values, 0 where nothing is to be added to
   * @param first output column of those at hand
   */
  static void read(
      int[] sizes,
      FloatArray y,
      float[] old,
      int pair,
      int first,
      int columns,
      int tid,
      int threads,
      int mode) {
    for (int i = 0; i < 4; i++) {
      old[i] = 0.0f;
      if (reads(mode) && has(i, columns, tid, threads, mode)) {
        int column = first + column(i, tid, threads, mode);
        old[i] = y.get(at(sizes, pair, column, i >> 1, mode));
      }
    }
  }

  /**
   * Adds a shared expert's result to what was read, once for a token.
   *
   * @param routingWeights in, float32 {@code [T, K]}, then the shared expert's {@code [T]}
   * @param shared in, float32 {@code [T, yWidth]}
   * @param old in and out, of a thread's values
   */
  static void addShared(
      int[] item,
      int[] sizes,
      FloatArray routingWeights,
      FloatArray shared,
      float[] old,
      int pair,
      int first,
      int columns,
      int tid,
      int threads,
      int mode) {
    if (PairMode.has(mode, PairMode.SHARED) && pair == item[PairItem.FIRST_PAIR]) {
      int token = pair / sizes[Sizes.PAIRS_PER_ITEM];
      float weight = routingWeights.get(sizes[Sizes.MAX_PAIRS] + token);
      for (int i = 0; i < 2; i++) {
        if (has(i, columns, tid, threads, mode)) {
          int column = first + column(i, tid, threads, mode);
          old[i] += weight * shared.get(at(sizes, pair, column, 0, mode));
        }
      }
    }
  }

  /** The same by the threads of packed weights. */
  static void addShared(
      int[] item,
      int[] sizes,
      FloatArray routingWeights,
      FloatArray shared,
      float[] old,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    addShared(
        item,
        sizes,
        routingWeights,
        shared,
        old,
        pair,
        first,
        columns,
        tid,
        PairKernels.THREADS,
        mode);
  }

  /** {@link #read} of float32 or bfloat16. */
  static void read(
      int[] sizes,
      FloatArray y,
      IntArray words,
      float[] old,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    if (isNarrow(mode)) {
      readWords(sizes, words, old, pair, first, columns, tid, mode);
    } else {
      read(sizes, y, old, pair, first, columns, tid, PairKernels.THREADS, mode);
    }
  }

  /** {@link #read} of float32 or float16. */
  static void read(
      int[] sizes,
      FloatArray y,
      HalfFloatArray halves,
      float[] old,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    if (isNarrow(mode)) {
      readHalves(sizes, halves, old, pair, first, columns, tid, mode);
    } else {
      read(sizes, y, old, pair, first, columns, tid, PairKernels.THREADS, mode);
    }
  }

  private static void readWords(
      int[] sizes, IntArray y, float[] old, int pair, int first, int columns, int tid, int mode) {
    for (int i = 0; i < 4; i++) {
      old[i] = 0.0f;
      if (reads(mode) && has(i, columns, tid, PairKernels.THREADS, mode)) {
        int at = at(sizes, pair, first + column(i, tid, PairKernels.THREADS, mode), i >> 1, mode);
        old[i] = BFloat16.bf16ToFloat((short) (y.get(at >> 1) >>> ((at & 1) << 4)));
      }
    }
  }

  private static void readHalves(
      int[] sizes,
      HalfFloatArray y,
      float[] old,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    for (int i = 0; i < 4; i++) {
      old[i] = 0.0f;
      if (reads(mode) && has(i, columns, tid, PairKernels.THREADS, mode)) {
        int at = at(sizes, pair, first + column(i, tid, PairKernels.THREADS, mode), i >> 1, mode);
        old[i] = y.get(at).getFloat32();
      }
    }
  }

  /** Whether a column is stored: if there is something to add. */
  private static boolean stores(int[] item, int column, int mode) {
    return !PairMode.has(mode, PairMode.ADD)
        || PairMode.has(mode, PairMode.SHARED)
        || PairItem.covers(item, column);
  }

  /** The slices' share of a thread's value number {@code i}: 0 without a slice. */
  static float covered(int[] item, int[] sizes, float sum, int column, int i, int mode) {
    boolean covers = PairItem.covers(item, PairItem.source(sizes, column, i >> 1, mode));
    return covers ? sum : 0.0f;
  }

  /**
   * Stores a thread's values; nothing where it would add to y and the column has no slice.
   *
   * @param first output column of those at hand
   */
  static void write(
      int[] item,
      int[] sizes,
      FloatArray y,
      FloatArray out,
      float[] values,
      int pair,
      int first,
      int columns,
      int tid,
      int threads,
      int mode) {
    for (int i = 0; i < 2; i++) {
      int column = first + column(i, tid, threads, mode);
      if (has(i, columns, tid, threads, mode)) {
        if (PairMode.has(mode, PairMode.ACTIVATED)) {
          out.set(pair * sizes[Sizes.COLUMNS] + column, values[i]);
        } else {
          if (stores(item, column, mode)) {
            y.set(at(sizes, pair, column, 0, mode), values[i]);
          }
        }
      }
    }
  }

  /** {@link #finish} and {@link #write} of float32 or bfloat16. */
  static void write(
      int[] item,
      int[] sizes,
      FloatArray y,
      IntArray words,
      FloatArray out,
      IntArray outWords,
      float[] values,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    finish(values, mode);
    if (isNarrow(mode)) {
      writeWords(item, sizes, words, outWords, values, pair, first, columns, tid, mode);
    } else {
      write(item, sizes, y, out, values, pair, first, columns, tid, PairKernels.THREADS, mode);
    }
  }

  /** {@link #finish} and {@link #write} of float32 or float16. */
  static void write(
      int[] item,
      int[] sizes,
      FloatArray y,
      HalfFloatArray halves,
      FloatArray out,
      HalfFloatArray outHalves,
      float[] values,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    finish(values, mode);
    if (isNarrow(mode)) {
      writeHalves(item, sizes, halves, outHalves, values, pair, first, columns, tid, mode);
    } else {
      write(item, sizes, y, out, values, pair, first, columns, tid, PairKernels.THREADS, mode);
    }
  }

  /** Stores a thread's two values of bfloat16, which have one slice or none. */
  private static void writeWords(
      int[] item,
      int[] sizes,
      IntArray y,
      IntArray out,
      float[] values,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    int column = first + 2 * tid;
    if (2 * tid < columns) {
      int word = Bf16.word(values[0], values[1]);
      if (PairMode.has(mode, PairMode.ACTIVATED)) {
        out.set((pair * sizes[Sizes.COLUMNS] + column) >> 1, word);
      } else {
        if (stores(item, column, mode)) {
          y.set(at(sizes, pair, column, 0, mode) >> 1, word);
        }
      }
    }
  }

  /** {@link #writeWords} of float16. */
  private static void writeHalves(
      int[] item,
      int[] sizes,
      HalfFloatArray y,
      HalfFloatArray out,
      float[] values,
      int pair,
      int first,
      int columns,
      int tid,
      int mode) {
    int column = first + 2 * tid;
    if (2 * tid < columns) {
      Half2 word = Half2.fromFloats(values[0], values[1]);
      if (PairMode.has(mode, PairMode.ACTIVATED)) {
        Halves.set(out, pair * sizes[Sizes.COLUMNS] + column, word);
      } else {
        if (stores(item, column, mode)) {
          Halves.set(y, at(sizes, pair, column, 0, mode), word);
        }
      }
    }
  }

  /** Makes of a thread's values, the gates and then the ups, what its columns become. */
  static void finish(float[] values, int mode) {
    if (PairMode.has(mode, PairMode.ACTIVATED)) {
      for (int i = 0; i < 2; i++) {
        values[i] = result(values, i, mode);
      }
    }
  }

  /** What becomes of a thread's value; without a gate the activation has the up alone. */
  private static float result(float[] values, int i, int mode) {
    float up = PairMode.has(mode, PairMode.GATED) ? values[2 + i] : values[i];
    return activation(PairMode.activation(mode), values[i], up);
  }

  /** An activation of a gate and an up value; of no gate, g is u. */
  static float activation(int activation, float g, float u) {
    float value;
    if (activation == PairKernels.RELU2) {
      float positive = Math.max(u, 0.0f);
      value = positive * positive;
    } else if (activation == PairKernels.GEGLU) {
      float inside = 0.7978846f * (g + 0.044715f * g * g * g);
      value = 0.5f * g * (1.0f + TornadoMath.tanh(inside)) * u;
    } else if (activation == PairKernels.CLAMPED_SWIGLU) {
      float gate = Math.min(g, LIMIT);
      float up = Math.max(-LIMIT, Math.min(u, LIMIT));
      value = gate / (1.0f + TornadoMath.exp(-1.702f * gate)) * (up + 1.0f);
    } else {
      value = g / (1.0f + TornadoMath.exp(-g)) * u;
    }
    return value;
  }
}
