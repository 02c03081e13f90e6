package io.github.moelora.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What adapters add to weights, as dense matrices {@code [out][in]} with the scale in, by {@code
 * layer|projection|expert}; sums of float64 products.
 */
public final class Deltas {
  private Deltas() {}

  /** Matrices as JSON has them. */
  public static Map<String, double[][]> ofJson(@Nullable Map<?, ?> json) {
    Map<String, double[][]> deltas = new LinkedHashMap<>();
    if (json != null) {
      json.forEach(
          (key, rows) ->
              deltas.put(
                  (String) key,
                  ((List<?>) rows)
                      .stream()
                          .map(
                              row ->
                                  ((List<?>) row)
                                      .stream()
                                          .mapToDouble(value -> ((Number) value).doubleValue())
                                          .toArray())
                          .toArray(double[][]::new)));
    }
    return deltas;
  }

  /** The matrix of some slices. */
  public static double[][] of(List<LoraSlice> slices, int out, int in) {
    double[][] delta = new double[out][in];
    for (LoraSlice slice : slices) {
      for (int o = 0; o < slice.columns(); o++) {
        for (int h = 0; h < in; h++) {
          double sum = 0;
          for (int r = 0; r < slice.rank(); r++) {
            sum += (double) slice.b().get(o, r) * slice.a().get(r, h);
          }
          delta[slice.firstColumn() + o][h] += slice.scale() * sum;
        }
      }
    }
    return delta;
  }

  /** Every delta of an adapter, no more and no less than expected. */
  public static void require(
      LoraAdapter adapter, MoeModel model, Map<String, double[][]> expected) {
    int found = 0;
    for (int layer : model.layers()) {
      for (Projection projection : Projection.values()) {
        for (int expert = 0; expert < model.experts(); expert++) {
          String key = "%d|%s|%d".formatted(layer, projection, expert);
          List<LoraSlice> slices = adapter.slices(layer, projection, expert);
          double[][] delta =
              of(slices, model.outputWidth(projection), model.inputWidth(projection));
          double[][] wanted = expected.get(key);
          if (wanted == null) {
            assertThat(slices).as(key).isEmpty();
            continue;
          }
          found++;
          requireEqual(key, delta, wanted);
        }
      }
    }
    assertThat(found).isEqualTo(expected.size());
  }

  /** Two matrices; the scale is a float32, and JSON may have fewer digits. */
  public static void requireEqual(String what, double[][] found, double[][] expected) {
    assertThat(found).as(what).hasDimensions(expected.length, expected[0].length);
    for (int o = 0; o < expected.length; o++) {
      for (int h = 0; h < expected[o].length; h++) {
        double bound = 1e-5 * Math.max(1, Math.abs(expected[o][h]));
        assertThat(found[o][h])
            .as("%s [%d,%d]", what, o, h)
            .isCloseTo(expected[o][h], within(bound));
      }
    }
  }
}
