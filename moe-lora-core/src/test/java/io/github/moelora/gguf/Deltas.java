package io.github.moelora.gguf;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;

/** What adapters add to a projection's weights, by plain loops in float64. */
final class Deltas {
  private Deltas() {}

  /** {@code [out][in]} of one expert; zero where the adapter changes nothing. */
  static double[][] of(
      LoraAdapter adapter, MoeModel model, int layer, Projection projection, int expert) {
    double[][] delta = new double[model.outputWidth(projection)][model.inputWidth(projection)];
    for (LoraSlice slice : adapter.slices(layer, projection, expert)) {
      double[][] a = values(slice.a());
      double[][] b = values(slice.b());
      for (int o = 0; o < slice.columns(); o++) {
        for (int h = 0; h < slice.a().columns(); h++) {
          double sum = 0;
          for (int r = 0; r < slice.rank(); r++) {
            sum += b[o][r] * a[r][h];
          }
          delta[slice.firstColumn() + o][h] += slice.scale() * sum;
        }
      }
    }
    return delta;
  }

  private static double[][] values(Matrix matrix) {
    double[][] values = new double[matrix.rows()][matrix.columns()];
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        values[i][j] = matrix.get(i, j);
      }
    }
    return values;
  }

  /** Requires two deltas to be equal, bit for bit but for the sign of zeros. */
  static void assertEqual(double[][] actual, double[][] expected, String what) {
    assertSame(actual, expected, 0, 0, what);
  }

  /**
   * Requires two deltas to be the same, but for some roundings of float32, each of them at most
   * 2^-24 of every product of the sum.
   *
   * @param magnitude largest sum of the magnitudes of an element's products
   */
  static void assertSame(
      double[][] actual, double[][] expected, double magnitude, int roundings, String what) {
    assertThat(actual.length).as(what).isEqualTo(expected.length);
    double bound = roundings * 0x1p-24 * magnitude;
    for (int o = 0; o < expected.length; o++) {
      assertThat(actual[o].length).as(what).isEqualTo(expected[o].length);
      for (int h = 0; h < expected[o].length; h++) {
        if (!(Math.abs(actual[o][h] - expected[o][h]) <= bound)) {
          throw new AssertionError(
              "%s [%d][%d]: expected %s, got %s, bound %s"
                  .formatted(what, o, h, expected[o][h], actual[o][h], bound));
        }
      }
    }
  }

  /** Largest sum of the magnitudes of an element's products, over all experts of a projection. */
  static double magnitude(LoraAdapter adapter, MoeModel model, int layer, Projection projection) {
    double largest = 0;
    for (int expert = 0; expert < model.experts(); expert++) {
      for (LoraSlice slice : adapter.slices(layer, projection, expert)) {
        double[][] a = values(slice.a());
        for (double[] row : values(slice.b())) {
          for (int h = 0; h < slice.a().columns(); h++) {
            double sum = 0;
            for (int r = 0; r < slice.rank(); r++) {
              sum += Math.abs(row[r] * a[r][h]);
            }
            largest = Math.max(largest, Math.abs(slice.scale()) * sum);
          }
        }
      }
    }
    return largest;
  }
}
