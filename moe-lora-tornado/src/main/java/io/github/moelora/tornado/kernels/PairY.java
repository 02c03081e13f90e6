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

  /** Output columns that a thread writes, side by side: two in a word of 16-bit types. */
  private static int each(int mode) {
    return PairMode.has(mode, PairMode.NARROW_Y) ? 2 : 1;
  }

  /**
   * How many threads write, for all that share the ranks of a column: the first ones.
   *
   * <p>One comparison decides, since TornadoVM negates a comparison in a conjunction wrongly once
   * it has been used elsewhere.
   */
  static int writers(int[] item, int first, int mode) {
    return Math.min(1 << item[PairItem.COLUMN_SHIFT], item[PairItem.END] - first) / each(mode);
  }

  /** Whether a thread's value number {@code i} is of use: two of each gate, and of each up. */
  private static boolean has(int i, int mode) {
    return (i & 1) < each(mode) && i >> 1 < PairMode.ways(mode);
  }

  /** Where the first of the sums lies that make a thread's value number {@code i}. */
  static int from(int i, int tid, int threads, int mode) {
    return (i >> 1) * threads + each(mode) * tid + (i & 1);
  }

  /** The end of the sums that make value number {@code i}; 0 if there is none. */
  static int end(int i, int threads, int mode) {
    return has(i, mode) ? ((i >> 1) + 1) * threads : 0;
  }

  /** A sum as it is added to y. */
  static float delta(FloatArray routingWeights, float sum, int pair, int mode) {
    float delta = sum;
    if (PairMode.has(mode, PairMode.ROUTED_WEIGHT)) {
      delta *= routingWeights.get(pair);
    }
    return delta;
  }

  private static boolean reads(int mode) {
    return PairMode.has(mode, PairMode.ADD | PairMode.ACTIVATED);
  }

  /** Where the column of the projection lies in y that is behind an output column. */
  private static int at(IntArray sizes, int pair, int column, int way, int mode) {
    int row = pair / sizes.get(Sizes.PAIRS_PER_ITEM);
    int source = PairItem.source(sizes, column, way, mode);
    return row * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET) + source;
  }

  /**
   * Reads what y holds of a thread's columns, before it is needed.
   *
   * @param old out, of its values, 0 where nothing is to be added to
   */
  static void read(
      IntArray sizes,
      FloatArray y,
      float[] old,
      int pair,
      int first,
      int tid,
      int writers,
      int mode) {
    for (int i = 0; i < 4; i++) {
      old[i] = 0.0f;
    }
    if (reads(mode) && tid < writers) {
      old[0] = y.get(at(sizes, pair, first + tid, 0, mode));
      if (PairMode.has(mode, PairMode.GATED)) {
        old[2] = y.get(at(sizes, pair, first + tid, 1, mode));
      }
    }
  }

  /**
   * Adds a shared expert's result, once for a token.
   *
   * @param routingWeights in, float32 {@code [T, K]}, then the shared expert's {@code [T]}
   * @param shared in, float32 {@code [T, yWidth]}
   * @param old in and out, of a thread's values
   */
  static void addShared(
      int[] item,
      IntArray sizes,
      FloatArray routingWeights,
      FloatArray shared,
      float[] old,
      int pair,
      int column,
      int mode) {
    if (PairMode.has(mode, PairMode.SHARED) && pair == item[PairItem.FIRST_PAIR]) {
      int at = at(sizes, pair, Math.min(column, item[PairItem.END] - 1), 0, mode);
      int token = pair / sizes.get(Sizes.PAIRS_PER_ITEM);
      old[0] += routingWeights.get(sizes.get(Sizes.MAX_PAIRS) + token) * shared.get(at);
    }
  }

  /** {@link #read} of bfloat16. */
  static void readWords(
      IntArray sizes,
      IntArray y,
      float[] old,
      int pair,
      int first,
      int tid,
      int writers,
      int mode) {
    for (int i = 0; i < 4; i++) {
      old[i] = 0.0f;
      if (reads(mode) && has(i, mode) && tid < writers) {
        int at = at(sizes, pair, first + 2 * tid + (i & 1), i >> 1, mode);
        old[i] = BFloat16.bf16ToFloat((short) (y.get(at >> 1) >>> ((at & 1) << 4)));
      }
    }
  }

  /** {@link #read} of float16. */
  static void readWords(
      IntArray sizes,
      HalfFloatArray y,
      float[] old,
      int pair,
      int first,
      int tid,
      int writers,
      int mode) {
    for (int i = 0; i < 4; i++) {
      old[i] = 0.0f;
      if (reads(mode) && has(i, mode) && tid < writers) {
        old[i] = y.get(at(sizes, pair, first + 2 * tid + (i & 1), i >> 1, mode)).getFloat32();
      }
    }
  }

  /** Whether a column, and its neighbour in a word, is stored: if there is something to add. */
  private static boolean stores(int[] item, IntArray slices, int column, int mode) {
    return !PairMode.has(mode, PairMode.ADD)
        || PairMode.has(mode, PairMode.SHARED)
        || PairB.slice(item, slices, column) >= 0;
  }

  /** Stores a thread's value; nothing where it would add to y and the column has no slice. */
  static void write(
      int[] item,
      IntArray sizes,
      IntArray slices,
      FloatArray y,
      FloatArray out,
      float[] values,
      int pair,
      int column,
      int mode) {
    if (PairMode.has(mode, PairMode.ACTIVATED)) {
      out.set(pair * sizes.get(Sizes.COLUMNS) + column, result(values, 0, mode));
    } else {
      if (stores(item, slices, column, mode)) {
        y.set(at(sizes, pair, column, 0, mode), values[0]);
      }
    }
  }

  /** Stores a thread's two values of bfloat16. */
  static void writeWords(
      int[] item,
      IntArray sizes,
      IntArray slices,
      IntArray y,
      IntArray out,
      float[] values,
      int pair,
      int column,
      int mode) {
    int word = Bf16.word(result(values, 0, mode), result(values, 1, mode));
    if (PairMode.has(mode, PairMode.ACTIVATED)) {
      out.set((pair * sizes.get(Sizes.COLUMNS) + column) >> 1, word);
    } else {
      if (stores(item, slices, column, mode)) {
        y.set(at(sizes, pair, column, 0, mode) >> 1, word);
      }
    }
  }

  /** Stores a thread's two values of float16. */
  static void writeWords(
      int[] item,
      IntArray sizes,
      IntArray slices,
      HalfFloatArray y,
      HalfFloatArray out,
      float[] values,
      int pair,
      int column,
      int mode) {
    Half2 word = Half2.fromFloats(result(values, 0, mode), result(values, 1, mode));
    if (PairMode.has(mode, PairMode.ACTIVATED)) {
      Halves.set(out, pair * sizes.get(Sizes.COLUMNS) + column, word);
    } else {
      if (stores(item, slices, column, mode)) {
        Halves.set(y, at(sizes, pair, column, 0, mode), word);
      }
    }
  }

  /** What becomes of a thread's value; without a gate the activation has the up alone. */
  private static float result(float[] values, int i, int mode) {
    float result = values[i];
    if (PairMode.has(mode, PairMode.ACTIVATED)) {
      float up = PairMode.has(mode, PairMode.GATED) ? values[2 + i] : values[i];
      result = activation(PairMode.activation(mode), values[i], up);
    }
    return result;
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
