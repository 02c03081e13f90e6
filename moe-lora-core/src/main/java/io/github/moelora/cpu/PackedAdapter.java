package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * The weights of one slot in the order in which the kernels read them: of each slice, A as {@code
 * [R, H']} and B as panels {@code [O / 16, R, 16]}, both padded with zeros to multiples of 16
 * columns. Each slice has its own rank.
 */
final class PackedAdapter implements AutoCloseable {

  /** One packed slice; offsets are element indices. */
  record Slice(int firstColumn, int columns, int rank, float scale, long a, long b) {
    static final Slice[] NONE = {};

    int endColumn() {
      return firstColumn + columns;
    }
  }

  private final Arena arena = Arena.ofShared();
  private final DType type;
  private final MemorySegment weights;
  private final Slice[][] slices;
  private final int localExperts;

  PackedAdapter(MoeLoraConfig config, LoraAdapter adapter) {
    type = config.weightType();
    localExperts = config.expertMap().localExperts();
    MoeModel model = config.model();
    slices = new Slice[2 * model.layers().size() * localExperts][];
    weights =
        arena.allocate(
            Math.max(1, Math.multiplyExact(layOut(config, adapter), (long) type.bytes())), 64);
    for (int layer : adapter.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < localExperts; e++) {
          List<LoraSlice> sources = adapter.slices(layer, projection, config.expertMap().global(e));
          Slice[] targets = slices[index(model.layerIndex(layer), projection, e)];
          for (int s = 0; s < targets.length; s++) {
            copy(sources.get(s), targets[s]);
          }
        }
      }
    }
  }

  private long layOut(MoeLoraConfig config, LoraAdapter adapter) {
    MoeModel model = config.model();
    long at = 0;
    for (int layerIndex = 0; layerIndex < model.layers().size(); layerIndex++) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < localExperts; e++) {
          List<LoraSlice> sources =
              adapter.slices(
                  model.layers().get(layerIndex), projection, config.expertMap().global(e));
          Slice[] targets = sources.isEmpty() ? Slice.NONE : new Slice[sources.size()];
          for (int s = 0; s < targets.length; s++) {
            LoraSlice source = sources.get(s);
            long b = at + (long) source.rank() * padded(source.a().columns());
            targets[s] =
                new Slice(
                    source.firstColumn(), source.columns(), source.rank(), source.scale(), at, b);
            at = b + (long) source.rank() * padded(source.columns());
          }
          slices[index(layerIndex, projection, e)] = targets;
        }
      }
    }
    return at;
  }

  private void copy(LoraSlice source, Slice target) {
    Matrix a = source.a();
    int width = padded(a.columns());
    for (int r = 0; r < a.rows(); r++) {
      for (int h = 0; h < a.columns(); h++) {
        type.set(weights, target.a() + (long) r * width + h, a.get(r, h));
      }
    }
    Matrix b = source.b();
    for (int o = 0; o < b.rows(); o++) {
      long panel = target.b() + (long) (o / Kernels.LANES) * b.columns() * Kernels.LANES;
      for (int r = 0; r < b.columns(); r++) {
        type.set(weights, panel + (long) r * Kernels.LANES + o % Kernels.LANES, b.get(o, r));
      }
    }
  }

  static int padded(int columns) {
    return (columns + Kernels.LANES - 1) / Kernels.LANES * Kernels.LANES;
  }

  private int index(int layerIndex, Projection projection, int localExpert) {
    return (2 * layerIndex + (projection == Projection.GATE_UP ? 0 : 1)) * localExperts
        + localExpert;
  }

  Slice[] slices(int layerIndex, Projection projection, int localExpert) {
    return slices[index(layerIndex, projection, localExpert)];
  }

  MemorySegment weights() {
    return weights;
  }

  @Override
  public void close() {
    arena.close();
  }
}
