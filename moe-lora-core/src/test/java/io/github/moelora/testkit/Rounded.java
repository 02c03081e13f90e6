package io.github.moelora.testkit;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;

/**
 * Rounding to 16 bits from its definition, in float64 arithmetic: nothing in common with the bit
 * operations that it helps to test.
 */
public final class Rounded {
  private Rounded() {}

  /** The nearest value of a type, ties to even; infinity beyond its range. */
  public static double nearest(double value, DType type) {
    if (value == 0 || !Double.isFinite(value)) {
      return value;
    }
    int digits = -Math.getExponent(type.unitRoundoff());
    int smallestNormal = type == DType.F16 ? -14 : -126;
    int exponent = Math.max(Math.getExponent(value), smallestNormal);
    double unit = Math.scalb(1.0, exponent - digits + 1);
    double rounded = Math.rint(value / unit) * unit;
    return Math.abs(rounded) > type.maxValue()
        ? Math.copySign(Double.POSITIVE_INFINITY, value)
        : rounded;
  }

  /** The same adapter with every weight rounded to a type, as a slot of that type holds it. */
  static LoraAdapter adapter(LoraAdapter adapter, MoeModel model, DType type) {
    LoraAdapter.Builder builder = LoraAdapter.builder(adapter.name() + " as " + type);
    for (int layer : adapter.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < model.experts(); e++) {
          for (LoraSlice slice : adapter.slices(layer, projection, e)) {
            builder.add(layer, projection, e, slice(slice, type));
          }
        }
      }
    }
    for (String module : adapter.modules()) {
      adapter.slices(module).forEach(slice -> builder.addDense(module, slice(slice, type)));
    }
    return builder.build();
  }

  private static LoraSlice slice(LoraSlice slice, DType type) {
    return new LoraSlice(
        slice.firstColumn(), matrix(slice.a(), type), matrix(slice.b(), type), slice.scale());
  }

  private static Matrix matrix(Matrix source, DType type) {
    float[] values = new float[source.rows() * source.columns()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) nearest(source.get(i / source.columns(), i % source.columns()), type);
    }
    return Matrix.ofFloats(source.rows(), source.columns(), values);
  }
}
