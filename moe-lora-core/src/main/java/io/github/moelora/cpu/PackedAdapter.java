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
 * The weights of one slot as the panels that the kernels read: of each slice, A as {@code [R / 16,
 * H, 16]} and B as {@code [O / 16, R, 16]}. The last panel of A has only the columns that the rank
 * leaves, so that each slice costs its own rank; B is padded with zeros.
 */
final class PackedAdapter implements AutoCloseable {

  /** Slices begin at multiples of so many elements, a cache line or more. */
  private static final int ALIGNMENT = 32;

  /** One packed slice; {@code a} and {@code b} are the element indices of the first panels. */
  record Slice(
      int firstColumn, int columns, int inputWidth, int rank, float scale, long a, long b) {
    static final Slice[] NONE = {};

    /** Number of panels of A. */
    int rankPanels() {
      return Math.ceilDiv(rank, Kernels.LANES);
    }

    /** Columns of a panel of A. */
    int rankPanelWidth(int panel) {
      return Math.min(Kernels.LANES, rank - panel * Kernels.LANES);
    }

    /** Element index of row {@code h} of a panel of A. */
    long rankPanel(int panel, int h) {
      return a + (long) panel * Kernels.LANES * inputWidth + (long) h * rankPanelWidth(panel);
    }

    /** Element index of a panel of B. */
    long columnPanel(int panel) {
      return b + (long) panel * Kernels.LANES * rank;
    }

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
    long bytes = Math.multiplyExact(layOut(config, adapter), (long) type.bytes());
    try {
      weights = arena.allocate(bytes, 64);
      copyAll(config, adapter);
    } catch (RuntimeException | Error e) {
      // no memory, or the adapter's has been freed
      arena.close();
      throw e;
    }
  }

  private void copyAll(MoeLoraConfig config, LoraAdapter adapter) {
    MoeModel model = config.model();
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
            int inputWidth = source.a().columns();
            long b = aligned(at + (long) source.rank() * inputWidth);
            targets[s] =
                new Slice(
                    source.firstColumn(),
                    source.columns(),
                    inputWidth,
                    source.rank(),
                    source.scale(),
                    at,
                    b);
            at = aligned(b + (long) source.rank() * padded(source.columns()));
          }
          slices[index(layerIndex, projection, e)] = targets;
        }
      }
    }
    // a row of a narrow panel is read as a whole one
    return at + Kernels.LANES;
  }

  private static long aligned(long index) {
    return Math.ceilDiv(index, ALIGNMENT) * ALIGNMENT;
  }

  private void copy(LoraSlice source, Slice target) {
    Matrix a = source.a();
    for (int panel = 0; panel < target.rankPanels(); panel++) {
      int width = target.rankPanelWidth(panel);
      for (int j = 0; j < width; j++) {
        for (int h = 0; h < a.columns(); h++) {
          float value = a.get(panel * Kernels.LANES + j, h);
          type.set(weights, target.rankPanel(panel, h) + j, value);
        }
      }
    }
    Matrix b = source.b();
    for (int o = 0; o < b.rows(); o++) {
      long panel = target.columnPanel(o / Kernels.LANES);
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
