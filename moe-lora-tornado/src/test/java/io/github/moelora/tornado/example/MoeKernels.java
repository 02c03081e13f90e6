package io.github.moelora.tornado.example;

import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.math.TornadoMath;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** The engine's own kernels: base experts without adapters, as simple as can be. */
public final class MoeKernels {
  private MoeKernels() {}

  /** {@code x = input}. */
  public static void copy(FloatArray input, FloatArray x) {
    for (@Parallel int i = 0; i < x.getSize(); i++) {
      x.set(i, input.get(i));
    }
  }

  /**
   * {@code y[p, c] = sum_h weights[expert of p, c, h] * x[p / pairsPerRow, h]}.
   *
   * @param weights {@code [E, columns, width]}
   */
  public static void project(
      IntArray expertIds,
      FloatArray weights,
      FloatArray x,
      FloatArray y,
      int width,
      int columns,
      int pairsPerRow) {
    for (@Parallel int p = 0; p < expertIds.getSize(); p++) {
      for (@Parallel int c = 0; c < columns; c++) {
        int row = (expertIds.get(p) * columns + c) * width;
        int from = p / pairsPerRow * width;
        float sum = 0.0f;
        for (int h = 0; h < width; h++) {
          sum += weights.get(row + h) * x.get(from + h);
        }
        y.set(p * columns + c, sum);
      }
    }
  }

  /** {@code activated[p, i] = silu(gate[p, i]) * up[p, i]}, gate in the first half of a row. */
  public static void activate(FloatArray gateUp, FloatArray activated, int inner) {
    for (@Parallel int i = 0; i < activated.getSize(); i++) {
      int at = i / inner * 2 * inner + i % inner;
      float gate = gateUp.get(at);
      activated.set(i, gate / (1.0f + TornadoMath.exp(-gate)) * gateUp.get(at + inner));
    }
  }

  /** {@code x[t] += sum_k routingWeights[t, k] * y[t * K + k]}. */
  public static void combine(
      FloatArray routingWeights, FloatArray y, FloatArray x, int width, int perToken) {
    for (@Parallel int i = 0; i < x.getSize(); i++) {
      int token = i / width;
      float sum = x.get(i);
      for (int k = 0; k < perToken; k++) {
        int pair = token * perToken + k;
        sum += routingWeights.get(pair) * y.get(pair * width + i % width);
      }
      x.set(i, sum);
    }
  }
}
