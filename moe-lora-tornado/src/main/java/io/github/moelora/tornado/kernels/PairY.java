package io.github.moelora.tornado.kernels;

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
  static float old(IntArray sizes, FloatArray y, int pair, int column, int way, boolean stores) {
    float old = 0.0f;
    if (stores) {
      if (sizes.get(Sizes.ADD) + sizes.get(Sizes.GATE_STEP) != 0) {
        old = y.get(at(sizes, pair, PairB.source(sizes, column, way)));
      }
    }
    return old;
  }

  /**
   * Stores a column.
   *
   * @param slice of the column; without one there is nothing to add, but a zero to store
   * @param first what y held of the column, or of the gate, and the sum
   * @param second the same of the up
   */
  static void store(
      IntArray sizes,
      FloatArray routingWeights,
      FloatArray y,
      FloatArray out,
      int pair,
      int column,
      int slice,
      float old,
      float first,
      float second) {
    if (sizes.get(Sizes.GATE_STEP) != 0) {
      float up = sizes.get(Sizes.GATE_TO_UP) > 0 ? second : old + first;
      float value = activate(sizes.get(Sizes.ACTIVATION), old + first, up);
      out.set(pair * sizes.get(Sizes.COLUMNS) + column, value);
    } else {
      if (slice >= 0 || sizes.get(Sizes.ADD) == 0) {
        float delta = first;
        if (sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
          delta *= routingWeights.get(pair);
        }
        y.set(at(sizes, pair, column), old + delta);
      }
    }
  }

  /** An activation of a gate and an up value; of no gate, g is u. */
  static float activate(int activation, float g, float u) {
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
