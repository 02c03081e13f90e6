package io.github.moelora.workload;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.random.RandomGenerator;

/** Adapters on every expert, whose weights are views of the same random memory. */
public final class RandomAdapters {
  private static final int POOL_ELEMENTS = 1 << 22;

  private final RandomGenerator random;
  private final Workload.Sizes sizes;
  private final MoeModel model;
  private final Matrix pool;

  /**
   * @param arena owner of the memory
   */
  public RandomAdapters(Arena arena, RandomGenerator random, Workload.Sizes sizes) {
    this.random = random;
    this.sizes = sizes;
    model = sizes.preset().withLayers(sizes.layers());
    pool = Bits.random(arena, random, sizes.weights(), 1, POOL_ELEMENTS);
  }

  /** A further adapter. */
  public LoraAdapter next(String name) {
    return next(name, List.of(Projection.values()));
  }

  /** A further adapter, of some projections alone. */
  public LoraAdapter next(String name, List<Projection> projections) {
    LoraAdapter.Builder builder = LoraAdapter.builder(name);
    for (int layer : model.layers()) {
      for (int e = 0; e < model.experts(); e++) {
        for (Projection projection : projections) {
          int count = sizes.slices(projection);
          int width = model.outputWidth(projection) / count;
          for (int s = 0; s < count; s++) {
            Matrix a = view(sizes.rank(), model.inputWidth(projection));
            Matrix b = view(width, sizes.rank());
            builder.add(layer, projection, e, new LoraSlice(s * width, a, b, 1f / sizes.rank()));
          }
        }
      }
    }
    return builder.build();
  }

  private Matrix view(int rows, int columns) {
    int offset = random.nextInt(pool.columns() - rows * columns + 1);
    return new Matrix(pool.data(), pool.type(), rows, columns, offset, columns, 1);
  }
}
