package io.github.moelora;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;

/**
 * The MoE weights of one adapter: for some (layer, projection, expert) one or two {@link
 * LoraSlice}s, none elsewhere.
 *
 * <p>Every weight is finite: {@link Builder#build} has read them all. The views are not copied; the
 * memory they point to must stay alive and unchanged until {@link MoeLora#load} has returned.
 * Immutable and safe for use by several threads.
 */
public final class LoraAdapter {
  /** Most slices that one expert can have in one projection: gate and up. */
  public static final int MAX_SLICES = 2;

  /** Where a slice list belongs. */
  private record Site(int layer, Projection projection, int expert) {}

  private final String name;
  private final Map<Site, List<LoraSlice>> slices;
  private final List<Integer> layers;
  private final int maxRank;
  private final float maxMagnitude;
  private final long bytes;

  private LoraAdapter(String name, Map<Site, List<LoraSlice>> slices, float maxMagnitude) {
    this.name = name;
    this.slices = slices;
    this.maxMagnitude = maxMagnitude;
    TreeSet<Integer> layerSet = new TreeSet<>();
    int rank = 0;
    long sum = 0;
    for (Map.Entry<Site, List<LoraSlice>> entry : slices.entrySet()) {
      layerSet.add(entry.getKey().layer());
      for (LoraSlice slice : entry.getValue()) {
        rank = Math.max(rank, slice.rank());
        sum += bytes(slice.a()) + bytes(slice.b());
      }
    }
    this.layers = List.copyOf(layerSet);
    this.maxRank = rank;
    this.bytes = sum;
  }

  private static long bytes(Matrix matrix) {
    return (long) matrix.rows() * matrix.columns() * matrix.type().bytes();
  }

  /** Starts an adapter that is put together slice by slice. */
  public static Builder builder(String name) {
    Objects.requireNonNull(name, "name must not be null");
    return new Builder(name);
  }

  /** Name for messages and tables. */
  public String name() {
    return name;
  }

  /** Layers in which at least one expert has weights, ascending. */
  public List<Integer> layers() {
    return layers;
  }

  /** Largest rank of all slices, 0 for an adapter without any. */
  public int maxRank() {
    return maxRank;
  }

  /** Largest magnitude of all elements of A and B. */
  public float maxMagnitude() {
    return maxMagnitude;
  }

  /** Bytes of all A and B in the types that they have. */
  public long bytes() {
    return bytes;
  }

  /**
   * The slices of one expert by ascending first column; empty where the adapter changes nothing.
   */
  public List<LoraSlice> slices(int layer, Projection projection, int expert) {
    Objects.requireNonNull(projection, "projection must not be null");
    return slices.getOrDefault(new Site(layer, projection, expert), List.of());
  }

  /**
   * The same adapter with its weights copied, row by row, into memory of an arena, so that what
   * they lie in now may be freed.
   *
   * @throws IllegalStateException if an arena is closed
   */
  public LoraAdapter copyTo(Arena arena) {
    Objects.requireNonNull(arena, "arena must not be null");
    requireAccessible();
    Map<Site, List<LoraSlice>> copy = new HashMap<>();
    slices.forEach(
        (site, list) ->
            copy.put(
                site,
                list.stream()
                    .map(
                        slice ->
                            new LoraSlice(
                                slice.firstColumn(),
                                copy(slice.a(), arena),
                                copy(slice.b(), arena),
                                slice.scale()))
                    .toList()));
    return new LoraAdapter(name, copy, maxMagnitude);
  }

  private static Matrix copy(Matrix from, Arena arena) {
    int size = from.type().bytes();
    MemorySegment to = arena.allocate(bytes(from), size);
    Matrix copy = Matrix.of(to, from.type(), from.rows(), from.columns());
    if (from.hasContiguousRows()) {
      for (int i = 0; i < from.rows(); i++) {
        MemorySegment.copy(
            from.data(),
            from.index(i, 0) * size,
            to,
            copy.index(i, 0) * size,
            (long) from.columns() * size);
      }
    } else {
      for (int i = 0; i < from.rows(); i++) {
        for (int j = 0; j < from.columns(); j++) {
          MemorySegment.copy(
              from.data(), from.index(i, j) * size, to, copy.index(i, j) * size, size);
        }
      }
    }
    return copy;
  }

  /**
   * Checks that the weights can be read by the calling thread.
   *
   * @throws IllegalStateException naming the first slice whose memory has been freed
   * @throws IllegalArgumentException naming the first slice in memory confined to another thread
   */
  void requireAccessible() {
    slices.forEach(
        (site, list) -> {
          for (LoraSlice slice : list) {
            requireAccessible(site, "a.data", slice.a());
            requireAccessible(site, "b.data", slice.b());
          }
        });
  }

  private void requireAccessible(Site site, String which, Matrix matrix) {
    if (!matrix.data().isAccessibleBy(Thread.currentThread()) || !matrix.data().scope().isAlive()) {
      Checks.accessible(where(name, site) + which, matrix.data());
    }
  }

  private static String where(String name, Site site) {
    return "adapter %s, layer %d, %s, expert %d: "
        .formatted(name, site.layer(), site.projection(), site.expert());
  }

  /**
   * Checks that this adapter fits a model.
   *
   * @throws IllegalArgumentException naming the layer, projection, expert, rule and value of the
   *     first slice that does not
   */
  public void requireFits(MoeModel model) {
    Objects.requireNonNull(model, "model must not be null");
    slices.forEach(
        (site, list) -> {
          if (!model.layers().contains(site.layer())) {
            throw misfit(site, "layer must be one of " + model.layers(), site.layer());
          }
          if (site.expert() >= model.experts()) {
            throw misfit(
                site, "expert must be in [0, %d)".formatted(model.experts()), site.expert());
          }
          for (LoraSlice slice : list) {
            int inputWidth = model.inputWidth(site.projection());
            int outputWidth = model.outputWidth(site.projection());
            if (slice.a().columns() != inputWidth) {
              throw misfit(site, "a.columns must be " + inputWidth, slice.a().columns());
            }
            if (slice.endColumn() > outputWidth) {
              throw misfit(
                  site,
                  "b.rows must be at most %d (width %d less firstColumn %d)"
                      .formatted(
                          outputWidth - slice.firstColumn(), outputWidth, slice.firstColumn()),
                  slice.columns());
            }
          }
        });
  }

  /**
   * Checks that this adapter fits a model and its limits, and that its memory can be read.
   *
   * @throws IllegalArgumentException if it does not fit the model, its rank exceeds {@code maxRank}
   *     or a weight exceeds the range of the weight type, or lies in memory that is confined to
   *     another thread
   * @throws IllegalStateException if its memory has been freed
   */
  public void requireFits(MoeLoraConfig config) {
    Objects.requireNonNull(config, "config must not be null");
    requireFits(config.model());
    requireAccessible();
    if (maxRank > config.maxRank()) {
      throw new IllegalArgumentException(
          "adapter %s: rank must be at most maxRank %d, got %d"
              .formatted(name, config.maxRank(), maxRank));
    }
    if (maxMagnitude > config.weightType().maxValue()) {
      throw new IllegalArgumentException(
          "adapter %s: weights must be at most %s for %s, got %s"
              .formatted(name, config.weightType().maxValue(), config.weightType(), maxMagnitude));
    }
  }

  private IllegalArgumentException misfit(Site site, String rule, int value) {
    return new IllegalArgumentException("%s%s, got %d".formatted(where(name, site), rule, value));
  }

  @Override
  public String toString() {
    return "LoraAdapter[%s, layers %s, rank <= %d]".formatted(name, layers, maxRank);
  }

  /** Collects slices; not thread-safe. */
  public static final class Builder {
    private final String name;
    private final Map<Site, List<LoraSlice>> slices = new HashMap<>();

    private Builder(String name) {
      this.name = name;
    }

    /**
     * Adds a slice.
     *
     * @param layer layer index as the model numbers it, at least 0
     * @param expert global expert id, at least 0
     * @throws IllegalArgumentException if the slice overlaps one that is there, is one too many, or
     *     has another input width
     */
    public Builder add(int layer, Projection projection, int expert, LoraSlice slice) {
      Checks.atLeast("layer", layer, 0);
      Objects.requireNonNull(projection, "projection must not be null");
      Objects.requireNonNull(slice, "slice must not be null");
      Checks.atLeast("expert", expert, 0);
      List<LoraSlice> list =
          slices.computeIfAbsent(new Site(layer, projection, expert), site -> new ArrayList<>(1));
      String where = "layer %d, %s, expert %d: ".formatted(layer, projection, expert);
      if (list.size() == MAX_SLICES) {
        throw new IllegalArgumentException(
            where + "an expert must have at most %d slices, got one more".formatted(MAX_SLICES));
      }
      for (LoraSlice other : list) {
        if (slice.firstColumn() < other.endColumn() && other.firstColumn() < slice.endColumn()) {
          throw new IllegalArgumentException(
              where
                  + "slices must not overlap, got columns [%d, %d) and [%d, %d)"
                      .formatted(
                          other.firstColumn(),
                          other.endColumn(),
                          slice.firstColumn(),
                          slice.endColumn()));
        }
        if (slice.a().columns() != other.a().columns()) {
          throw new IllegalArgumentException(
              where
                  + "a.columns must be %d as in the other slice, got %d"
                      .formatted(other.a().columns(), slice.a().columns()));
        }
      }
      list.add(slice);
      list.sort(Comparator.comparingInt(LoraSlice::firstColumn));
      return this;
    }

    /**
     * Reads every weight once and makes the adapter.
     *
     * @throws IllegalArgumentException naming the first weight that is not finite
     */
    public LoraAdapter build() {
      float maxMagnitude = 0;
      Map<Site, List<LoraSlice>> copy = new HashMap<>();
      for (Map.Entry<Site, List<LoraSlice>> entry : slices.entrySet()) {
        Site site = entry.getKey();
        for (LoraSlice slice : entry.getValue()) {
          maxMagnitude = Math.max(maxMagnitude, maxMagnitude(site, "a", slice.a()));
          maxMagnitude = Math.max(maxMagnitude, maxMagnitude(site, "b", slice.b()));
        }
        copy.put(site, List.copyOf(entry.getValue()));
      }
      return new LoraAdapter(name, copy, maxMagnitude);
    }

    private float maxMagnitude(Site site, String which, Matrix matrix) {
      if (!matrix.data().scope().isAlive()
          || !matrix.data().isAccessibleBy(Thread.currentThread())) {
        Checks.accessible(where(name, site) + which + ".data", matrix.data());
      }
      float max = 0;
      for (int i = 0; i < matrix.rows(); i++) {
        for (int j = 0; j < matrix.columns(); j++) {
          float value = matrix.get(i, j);
          if (!Float.isFinite(value)) {
            throw new IllegalArgumentException(
                "%s%s[%d,%d] must be finite, got %s"
                    .formatted(where(name, site), which, i, j, value));
          }
          max = Math.max(max, Math.abs(value));
        }
      }
      return max;
    }
  }
}
