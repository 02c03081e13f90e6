package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.math.TornadoMath;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Stages of {@link PairKernels}: what is read and stored of y. */
final class PairY {
  /** Where gpt-oss clamps gate and up. */
  private static final float LIMIT = 7.0f;

  private PairY() {}

  /**
   * How many threads store a column, for all that share its ranks: the first ones.
   *
   * <p>One comparison decides, since TornadoVM negates a comparison in a conjunction wrongly once
   * it has been used elsewhere.
   */
  static int storing(int[] item, int first) {
    return Math.min(1 << item[PairItem.COLUMN_SHIFT], item[PairItem.END] - first);
  }

  /** Where a column of the projection lies in y. */
  private static int at(IntArray sizes, int pair, int column) {
    int row = pair / sizes.get(Sizes.PAIRS_PER_ITEM);
    return row * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET) + column;
  }

  /**
   * What y holds of the column of the projection that is behind an output column, if it matters to
   * the thread, else 0.
   */
  static float old(
      IntArray sizes, FloatArray y, int pair, int column, int way, boolean stores, int mode) {
    float old = 0.0f;
    if (PairMode.has(mode, PairMode.ADD | PairMode.ACTIVATED) && stores) {
      old = y.get(at(sizes, pair, PairItem.source(sizes, column, way, mode)));
    }
    return old;
  }

  /**
   * Stores a column, or adds to it.
   *
   * @param slice of the column; without one there is nothing to add, but a zero to store
   */
  static void store(
      IntArray sizes,
      FloatArray routingWeights,
      FloatArray y,
      int pair,
      int column,
      int slice,
      float old,
      float delta,
      int mode) {
    if (!PairMode.has(mode, PairMode.ADD) || slice >= 0) {
      float weighted = delta;
      if (PairMode.has(mode, PairMode.ROUTED_WEIGHT)) {
        weighted *= routingWeights.get(pair);
      }
      y.set(at(sizes, pair, column), old + weighted);
    }
  }

  /** Stores what the activation makes of a gate and its up; of the up alone if there is no gate. */
  static void activate(
      IntArray sizes, FloatArray out, int pair, int column, float first, float second, int mode) {
    float up = PairMode.has(mode, PairMode.GATED) ? second : first;
    float value = activation(PairMode.activation(mode), first, up);
    out.set(pair * sizes.get(Sizes.COLUMNS) + column, value);
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
