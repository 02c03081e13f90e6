package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The weights of one slot as the panels that the kernels read: of each slice, A as panels of up to
 * 16 of its {@code R} ranks, {@code H} deep, and B as panels of 16 of its {@code O} columns, {@code
 * R} deep. The last panel of A has only the ranks that are left, so that each slice costs its own
 * rank; B is padded with zeros.
 */
final class PackedAdapter implements AutoCloseable {
  /**
   * Bytes of a chunk at least, but for the last one. The C library gives pieces as large as that
   * back to the system once they are freed.
   */
  private static final long CHUNK_BYTES = 32L << 20;

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

  /**
   * Sites that share a piece of memory, which one thread allocates and fills: so the system's work
   * of giving fresh pages, half of the time that loading takes, is divided, too.
   *
   * @param elements elements of its memory
   */
  private record Chunk(int firstSite, int endSite, long elements) {}

  private final Arena arena = Arena.ofShared();
  private final DType type;
  private final Slice[][] slices;
  private final MemorySegment[] chunks;

  /** Index in {@link #chunks}. */
  private final int[] chunkOfSite;

  /**
   * Packs an adapter.
   *
   * @param threads at least 1; the calling one does all if memory of the adapter is confined to it
   * @throws IllegalArgumentException if a weight is not finite: nobody has read the adapter before,
   *     or its memory has changed since
   */
  PackedAdapter(MoeLoraConfig config, LoraAdapter adapter, int threads) {
    this(config, adapter, threads, CHUNK_BYTES);
  }

  /** Lets a test have many chunks. */
  PackedAdapter(MoeLoraConfig config, LoraAdapter adapter, int threads, long chunkBytes) {
    type = config.weightType();
    List<List<LoraSlice>> sites = sites(config, adapter);
    slices = new Slice[sites.size()][];
    chunkOfSite = new int[sites.size()];
    List<Chunk> layout = layOut(sites, chunkBytes / type.bytes());
    chunks = new MemorySegment[layout.size()];
    boolean packed = false;
    try {
      if (!packAll(sites, layout, threads)) {
        throw adapter.notFinite();
      }
      packed = true;
    } finally {
      if (!packed) {
        // no memory, or the adapter's has been freed or changed
        arena.close();
      }
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

  /** Whether every weight is finite. */
  private boolean packAll(List<List<LoraSlice>> sites, List<Chunk> layout, int threads) {
    int useful = isShared(sites) ? Math.clamp(layout.size(), 1, threads) : 1;
    PanelPacker[] packers = new PanelPacker[useful];
    Arrays.setAll(packers, worker -> new PanelPacker(type));
    AtomicBoolean finite = new AtomicBoolean(true);
    // not the threads that run steps, which go on meanwhile
    try (WorkerPool loaders = new WorkerPool(useful)) {
      loaders.run(
          layout.size(),
          (task, worker) -> {
            // the last is taken first, but files are read from their beginning
            int chunk = layout.size() - 1 - task;
            if (!packChunk(sites, layout.get(chunk), chunk, packers[worker])) {
              finite.set(false);
            }
          });
    }
    return finite.get();
  }

  private static boolean isShared(List<List<LoraSlice>> sites) {
    Thread other = new Thread(() -> {});
    for (List<LoraSlice> sources : sites) {
      for (LoraSlice source : sources) {
        if (!source.a().data().isAccessibleBy(other) || !source.b().data().isAccessibleBy(other)) {
          return false;
        }
      }
    }
    return true;
  }

  private boolean packChunk(
      List<List<LoraSlice>> sites, Chunk chunk, int index, PanelPacker packer) {
    MemorySegment memory =
        arena.allocate(Math.multiplyExact(chunk.elements(), (long) type.bytes()), 64);
    chunks[index] = memory;
    boolean finite = true;
    for (int site = chunk.firstSite(); site < chunk.endSite(); site++) {
      for (int s = 0; s < slices[site].length; s++) {
        LoraSlice source = sites.get(site).get(s);
        finite &= packer.pack(source.a(), slices[site][s].a(), memory);
        finite &= packer.pack(source.b(), slices[site][s].b(), memory);
      }
    }
    return finite;
  }

  /** Fills {@link #slices} and {@link #chunkOfSite}. */
  private List<Chunk> layOut(List<List<LoraSlice>> sites, long chunkElements) {
    List<Chunk> layout = new ArrayList<>();
    int firstSite = 0;
    long at = 0;
    for (int site = 0; site < slices.length; site++) {
      at = layOut(site, sites.get(site), at);
      chunkOfSite[site] = layout.size();
      if (at >= chunkElements || site == slices.length - 1) {
        // a row of a narrow panel is read as a whole one
        layout.add(new Chunk(firstSite, site + 1, at + Kernels.LANES));
        firstSite = site + 1;
        at = 0;
      }
    }
    return layout;
  }

  /** Lays a site's slices behind what a chunk has, and returns where they end. */
  private long layOut(int site, List<LoraSlice> sources, long begin) {
    long at = begin;
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
    return at;
  }

  private static long aligned(long index) {
    return Math.ceilDiv(index, ALIGNMENT) * ALIGNMENT;
  }

  static int padded(int columns) {
    return (columns + Kernels.LANES - 1) / Kernels.LANES * Kernels.LANES;
  }

  /** The slices of one site, {@link #firstSite} and the local expert. */
  Slice[] slices(int site) {
    return slices[site];
  }

  /** Memory to whose elements the panels of a site refer. */
  MemorySegment weights(int site) {
    return chunks[chunkOfSite[site]];
  }

  /** Bytes of all weights, padding included. */
  long bytes() {
    long sum = 0;
    for (MemorySegment chunk : chunks) {
      sum += chunk.byteSize();
    }
    return sum;
  }

  @Override
  public void close() {
    arena.close();
  }
}
