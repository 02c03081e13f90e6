package io.github.moelora.workload;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.Projection;
import java.lang.foreign.MemorySegment;

/** Copies of adapters in another type. */
public final class AdapterRounding {
  /** No model has more experts than this; an adapter does not tell how many it has. */
  private static final int MOST_EXPERTS = 4096;

  private AdapterRounding() {}

  /** A copy whose weights are rounded to a type. */
  public static LoraAdapter toType(LoraAdapter adapter, DType type) {
    LoraAdapter.Builder builder = LoraAdapter.builder(adapter.name());
    for (int layer : adapter.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < MOST_EXPERTS; e++) {
          for (LoraSlice slice : adapter.slices(layer, projection, e)) {
            builder.add(layer, projection, e, copy(slice, type));
          }
        }
      }
    }
    for (String module : adapter.modules()) {
      for (LoraSlice slice : adapter.slices(module)) {
        builder.addDense(module, copy(slice, type));
      }
    }
    return builder.build();
  }

  private static LoraSlice copy(LoraSlice slice, DType type) {
    return new LoraSlice(
        slice.firstColumn(), copy(slice.a(), type), copy(slice.b(), type), slice.scale());
  }

  private static Matrix copy(Matrix source, DType type) {
    MemorySegment data =
        MemorySegment.ofArray(new byte[source.rows() * source.columns() * type.bytes()]);
    Matrix copy = Matrix.of(data, type, source.rows(), source.columns());
    for (int i = 0; i < source.rows(); i++) {
      for (int j = 0; j < source.columns(); j++) {
        copy.set(i, j, source.get(i, j));
      }
    }
    return copy;
  }
}
