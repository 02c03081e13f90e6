package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * The weights of one slot as the panels that the kernels read: of each slice, A as panels of up to
 * 16 of its {@code R} ranks, {@code H} deep, and B as panels of 16 of its {@code O} columns, {@code
 * R} deep. The last panel of A has only the ranks that are left, so that each slice costs its own
 * rank; B is padded with zeros.
 */
final class PackedAdapter implements AutoCloseable {
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;

  /** Slices begin at multiples of so many elements, a cache line or more. */
  private static final int ALIGNMENT = 32;

  /**
   * A matrix {@code [depth, columns]} as panels of {@link Kernels#LANES} columns, the last one
   * possibly narrower. Its stripes lie one behind the other; in each are its rows of the first
   * panel, of the second panel, and so on.
   *
   * @param at element at which row 0 of the first panel begins
   */
  record Panels(long at, int depth, int columns) {
    int count() {
      return Math.ceilDiv(columns, Kernels.LANES);
    }

    /** Columns of a panel. */
    int width(int panel) {
      return Math.min(Kernels.LANES, columns - panel * Kernels.LANES);
    }

    /** Elements from one stripe to the next. */
    long stripe() {
      return (long) stripeRows() * columns;
    }

    /** Element at which row {@code k} of a panel begins. */
    long row(int panel, int k) {
      long panelAt = at + (long) panel * Kernels.LANES * stripeRows();
      return panelAt + Kernels.rowOffset(k, width(panel), stripe());
    }

    /** The element behind the last one; the last stripes may end with a row that is not used. */
    long end() {
      return at + Math.min(depth, Kernels.STRIPES) * stripe();
    }

    private int stripeRows() {
      return Math.ceilDiv(depth, Kernels.STRIPES);
    }
  }

  /** One packed slice. */
  record Slice(int firstColumn, int columns, float scale, Panels a, Panels b) {
    static final Slice[] NONE = {};

    int rank() {
      return a.columns();
    }

    int endColumn() {
      return firstColumn + columns;
    }
  }

  private final Arena arena = Arena.ofShared();
  private final DType type;
  private final MemorySegment weights;
  private final Slice[][] slices;

  PackedAdapter(MoeLoraConfig config, LoraAdapter adapter) {
    type = config.weightType();
    List<List<LoraSlice>> sites = sites(config, adapter);
    slices = new Slice[sites.size()][];
    long bytes = Math.multiplyExact(layOut(sites), (long) type.bytes());
    try {
      weights = arena.allocate(bytes, 64);
      copyAll(sites);
    } catch (RuntimeException | Error e) {
      // no memory, or the adapter's has been freed
      arena.close();
      throw e;
    }
  }

  /** The sources of each site: by layer, projection and local expert, then the dense modules. */
  private static List<List<LoraSlice>> sites(MoeLoraConfig config, LoraAdapter adapter) {
    List<List<LoraSlice>> sites = new ArrayList<>();
    for (int layer : config.model().layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < config.expertMap().localExperts(); e++) {
          sites.add(adapter.slices(layer, projection, config.expertMap().global(e)));
        }
      }
    }
    for (DenseModule module : config.model().dense()) {
      sites.add(adapter.slices(module.name()));
    }
    return sites;
  }

  /** Site of a call's first local expert; the others follow. */
  static int firstSite(MoeLoraConfig config, ProjectionCall call) {
    MoeModel model = config.model();
    int projections = 2 * model.layers().size();
    int localExperts = config.expertMap().localExperts();
    if (call.isDense()) {
      return projections * localExperts + call.module();
    }
    int second = call.projection() == Projection.GATE_UP ? 0 : 1;
    return (2 * model.layerIndex(call.layer()) + second) * localExperts;
  }

  private void copyAll(List<List<LoraSlice>> sites) {
    for (int site = 0; site < slices.length; site++) {
      for (int s = 0; s < slices[site].length; s++) {
        copyTransposed(sites.get(site).get(s).a(), slices[site][s].a());
        copyTransposed(sites.get(site).get(s).b(), slices[site][s].b());
      }
    }
  }

  private long layOut(List<List<LoraSlice>> sites) {
    long at = 0;
    for (int site = 0; site < slices.length; site++) {
      List<LoraSlice> sources = sites.get(site);
      Slice[] targets = sources.isEmpty() ? Slice.NONE : new Slice[sources.size()];
      for (int s = 0; s < targets.length; s++) {
        LoraSlice source = sources.get(s);
        int rank = source.rank();
        Panels a = new Panels(at, source.a().columns(), rank);
        Panels b = new Panels(aligned(a.end()), rank, padded(source.columns()));
        targets[s] = new Slice(source.firstColumn(), source.columns(), source.scale(), a, b);
        at = aligned(b.end());
      }
      slices[site] = targets;
    }
    // a row of a narrow panel is read as a whole one
    return at + Kernels.LANES;
  }

  private static long aligned(long index) {
    return Math.ceilDiv(index, ALIGNMENT) * ALIGNMENT;
  }

  /** Row {@code k} of the panels is column {@code k} of the source. */
  private void copyTransposed(Matrix source, Panels target) {
    boolean sameBits = source.type() == type && type.bytes() == Short.BYTES;
    for (int panel = 0; panel < target.count(); panel++) {
      int firstRow = panel * Kernels.LANES;
      int count = Math.min(target.width(panel), source.rows() - firstRow);
      for (int k = 0; k < target.depth(); k++) {
        long rowAt = target.row(panel, k);
        if (sameBits) {
          copyBits(source, firstRow, k, rowAt, count);
        } else {
          copyRounded(source, firstRow, k, rowAt, count);
        }
      }
    }
  }

  /** Takes 0.75 of the time of {@link #copyRounded}, which gives the same. */
  private void copyBits(Matrix source, int row, int column, long to, int count) {
    MemorySegment data = source.data();
    long from = source.index(row, column);
    for (int i = 0; i < count; i++) {
      short bits = data.get(SHORT, (from + i * source.rowStride()) * Short.BYTES);
      weights.set(SHORT, (to + i) * Short.BYTES, bits);
    }
  }

  private void copyRounded(Matrix source, int row, int column, long to, int count) {
    for (int i = 0; i < count; i++) {
      type.set(weights, to + i, source.get(row + i, column));
    }
  }

  static int padded(int columns) {
    return (columns + Kernels.LANES - 1) / Kernels.LANES * Kernels.LANES;
  }

  /** The slices of one site, {@link #firstSite} and the local expert. */
  Slice[] slices(int site) {
    return slices[site];
  }

  MemorySegment weights() {
    return weights;
  }

  @Override
  public void close() {
    arena.close();
  }
}
