package io.github.moelora;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The weights of one adapter: for some (layer, projection, expert) and for some dense modules one
 * or two {@link LoraSlice}s, none elsewhere.
 *
 * <p>Every weight is finite: {@link Builder#build} has read them all, or after {@link
 * Builder#buildUnread} {@link MoeLora#load} finds what is not. The views are not copied; the memory
 * they point to must stay alive and unchanged until {@link MoeLora#load} has returned. Immutable
 * and safe for use by several threads.
 */
public final class LoraAdapter {
  /** Most slices that one expert or module can have in one projection: gate and up. */
  public static final int MAX_SLICES = 2;

  /** Stands for the largest magnitude of weights that nobody has read yet. */
  private static final float UNREAD = -1;

  /** Misfits that a message names; more are counted. */
  private static final int NAMED_MODULES = 5;

  /** Where a slice list belongs; as text, a part of messages. */
  sealed interface Site {}

  record ExpertSite(int layer, Projection projection, int expert) implements Site {
    @Override
    public String toString() {
      return "layer %d, %s, expert %d".formatted(layer, projection, expert);
    }
  }

  record ModuleSite(String name) implements Site {
    @Override
    public String toString() {
      return "module " + name;
    }
  }

  private final String name;

  /** See {@link Builder#source}. */
  private final Runnable source;

  private final Map<Site, List<LoraSlice>> slices;
  private final List<Integer> layers;
  private final List<String> modules;
  private final int maxRank;

  /** Or {@link #UNREAD}. */
  private volatile float maxMagnitude;

  private final long bytes;

  private LoraAdapter(
      String name, Map<Site, List<LoraSlice>> slices, float maxMagnitude, Runnable source) {
    this.name = name;
    this.source = source;
    this.slices = slices;
    this.maxMagnitude = maxMagnitude;
    TreeSet<Integer> layerSet = new TreeSet<>();
    TreeSet<String> moduleSet = new TreeSet<>();
    int rank = 0;
    long sum = 0;
    for (Map.Entry<Site, List<LoraSlice>> entry : slices.entrySet()) {
      switch (entry.getKey()) {
        case ExpertSite site -> layerSet.add(site.layer());
        case ModuleSite site -> moduleSet.add(site.name());
      }
      for (LoraSlice slice : entry.getValue()) {
        rank = Math.max(rank, slice.rank());
        sum += bytes(slice.a()) + bytes(slice.b());
      }
    }
    this.layers = List.copyOf(layerSet);
    this.modules = List.copyOf(moduleSet);
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

  /** Names of the dense modules that have weights, in alphabetical order. */
  public List<String> modules() {
    return modules;
  }

  /** Largest rank of all slices, 0 for an adapter without any. */
  public int maxRank() {
    return maxRank;
  }

  /**
   * Largest magnitude of all elements of A and B. Reads every weight unless that has been done.
   *
   * @throws IllegalArgumentException naming the first weight that is not finite
   */
  public float maxMagnitude() {
    if (maxMagnitude == UNREAD) {
      requireAccessible();
      List<Matrix> matrices = new ArrayList<>();
      slices.values().forEach(list -> list.forEach(s -> matrices.addAll(List.of(s.a(), s.b()))));
      float max = reading(() -> WeightScan.maxMagnitude(matrices));
      if (Float.isNaN(max)) {
        throw notFinite();
      }
      maxMagnitude = max;
    }
    return maxMagnitude;
  }

  /**
   * Does what reads weights. Where the JVM finds that a mapped file has lost them, its error names
   * no file, but the source of the weights may.
   */
  <T> T reading(Supplier<T> reader) {
    try {
      return reader.get();
    } catch (InternalError e) {
      source.run();
      throw e;
    }
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
    return slices.getOrDefault(new ExpertSite(layer, projection, expert), List.of());
  }

  /**
   * The slices of a dense module by ascending first column; empty where the adapter changes
   * nothing.
   */
  public List<LoraSlice> slices(String module) {
    Objects.requireNonNull(module, "module must not be null");
    return slices.getOrDefault(new ModuleSite(module), List.of());
  }

  /**
   * The slices that a call uses.
   *
   * @param expert global expert id; of no account for a dense module
   */
  public List<LoraSlice> slices(MoeModel model, ProjectionCall call, int expert) {
    Objects.requireNonNull(model, "model must not be null");
    Objects.requireNonNull(call, "call must not be null");
    return call.isDense()
        ? slices(model.dense().get(call.module()).name())
        : slices(call.layer(), call.projection(), expert);
  }

  /**
   * What a dense module of this adapter is to a backend: an adapter on the only expert of {@link
   * MoeLoraConfig#ofDense}. Nothing is copied.
   */
  public LoraAdapter ofDense(DenseModule module) {
    Objects.requireNonNull(module, "module must not be null");
    List<LoraSlice> list = slices(module.name());
    Map<Site, List<LoraSlice>> only =
        list.isEmpty() ? Map.of() : Map.of(new ExpertSite(0, Projection.GATE_UP, 0), list);
    return new LoraAdapter(name, only, maxMagnitude, source);
  }

  /** Names of the dense modules that this adapter changes and the model does not list. */
  public List<String> unlistedModules(MoeModel model) {
    Objects.requireNonNull(model, "model must not be null");
    Set<String> listed = new HashSet<>();
    model.dense().forEach(module -> listed.add(module.name()));
    return modules.stream().filter(module -> !listed.contains(module)).toList();
  }

  /**
   * This adapter without the dense modules that the model does not list, which {@link MoeLora#load}
   * would refuse: what it computes is then not all that was trained. Nothing is copied.
   */
  public LoraAdapter withoutUnlisted(MoeModel model) {
    Map<Site, List<LoraSlice>> kept = new HashMap<>(slices);
    unlistedModules(model).forEach(module -> kept.remove(new ModuleSite(module)));
    return new LoraAdapter(name, kept, maxMagnitude, source);
  }

  /**
   * What a shard of the model takes of this adapter, as views. A slice that covers both halves of
   * gate and up becomes two that share A.
   *
   * @param model the whole model
   * @throws IllegalArgumentException if a slice does not fit the model, or a width is no multiple
   *     of the shards
   */
  public LoraAdapter shard(MoeModel model, Shard shard) {
    Objects.requireNonNull(model, "model must not be null");
    Objects.requireNonNull(shard, "shard must not be null");
    ShardCut cut = new ShardCut(model, shard);
    Map<Site, List<LoraSlice>> parts = new HashMap<>();
    slices.forEach(
        (site, list) -> {
          Builder part = builder(name);
          list.forEach(slice -> part.addParts(site, cut, slice));
          part.slices.forEach((same, cutList) -> parts.put(same, List.copyOf(cutList)));
        });
    return new LoraAdapter(name, parts, maxMagnitude, source);
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
    return reading(() -> copied(arena));
  }

  private LoraAdapter copied(Arena arena) {
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
    return new LoraAdapter(name, copy, maxMagnitude, () -> {});
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

  /**
   * The fault of an adapter of which some reader of its weights has met one that is not finite.
   * Reads every weight again to name it.
   *
   * @return naming the first weight that is not finite; if all are by now, saying that memory has
   *     changed
   */
  public IllegalArgumentException notFinite() {
    try {
      slices.forEach(
          (site, list) -> {
            for (LoraSlice slice : list) {
              requireFinite(where(name, site) + "a", slice.a());
              requireFinite(where(name, site) + "b", slice.b());
            }
          });
    } catch (IllegalArgumentException e) {
      return e;
    }
    return new IllegalArgumentException(
        "adapter %s: memory must not change while it is read, got a weight that was not finite"
            .formatted(name));
  }

  private static void requireFinite(String which, Matrix matrix) {
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        float value = matrix.get(i, j);
        if (!Float.isFinite(value)) {
          throw new IllegalArgumentException(
              "%s[%d,%d] must be finite, got %s".formatted(which, i, j, value));
        }
      }
    }
  }

  private static String where(String name, Site site) {
    return "adapter %s, %s: ".formatted(name, site);
  }

  /**
   * Checks that this adapter fits a model.
   *
   * @throws IllegalArgumentException naming the dense modules that the model does not list, or the
   *     site, rule and value of the first slice that does not fit
   */
  public void requireFits(MoeModel model) {
    Objects.requireNonNull(model, "model must not be null");
    requireListed(model);
    for (DenseModule module : model.dense()) {
      Site site = new ModuleSite(module.name());
      for (LoraSlice slice : slices(module.name())) {
        requireWidths(site, slice, module.inputWidth(), module.outputWidth());
      }
    }
    slices.forEach(
        (place, list) -> {
          if (!(place instanceof ExpertSite site)) {
            return;
          }
          if (!model.layers().contains(site.layer())) {
            throw misfit(site, "layer must be one of " + model.layers(), site.layer());
          }
          if (site.expert() >= model.experts()) {
            throw misfit(
                site, "expert must be in [0, %d)".formatted(model.experts()), site.expert());
          }
          for (LoraSlice slice : list) {
            requireWidths(
                site,
                slice,
                model.inputWidth(site.projection()),
                model.outputWidth(site.projection()));
          }
        });
  }

  private void requireListed(MoeModel model) {
    List<String> unlisted = unlistedModules(model);
    if (!unlisted.isEmpty()) {
      int more = unlisted.size() - NAMED_MODULES;
      throw new IllegalArgumentException(
          ("adapter %s: every module that it changes must be listed by the model"
                  + " (MoeModel.withDense) or left out (LoraAdapter.withoutUnlisted), got %s%s")
              .formatted(
                  name,
                  String.join(", ", unlisted.subList(0, Math.min(unlisted.size(), NAMED_MODULES))),
                  more > 0 ? " and %d more".formatted(more) : ""));
    }
  }

  private void requireWidths(Site site, LoraSlice slice, int inputWidth, int outputWidth) {
    if (slice.a().columns() != inputWidth) {
      throw misfit(site, "a.columns must be " + inputWidth, slice.a().columns());
    }
    if (slice.endColumn() > outputWidth) {
      throw misfit(
          site,
          "b.rows must be at most %d (width %d less firstColumn %d)"
              .formatted(outputWidth - slice.firstColumn(), outputWidth, slice.firstColumn()),
          slice.columns());
    }
  }

  /**
   * Checks that this adapter fits a model and its limits, and that its memory can be read. Reads
   * every weight unless that has been done.
   *
   * @throws IllegalArgumentException if it does not fit the model, its rank exceeds {@code maxRank}
   *     or a weight exceeds the range of the weight type, or lies in memory that is confined to
   *     another thread
   * @throws IllegalStateException if its memory has been freed
   */
  public void requireFits(MoeLoraConfig config) {
    requireFits(config, false);
  }

  /**
   * The same, but weights that nobody has read stay unread if whoever packs them finds what is not
   * finite, and their types have no value beyond the range of the weight type.
   */
  void requireFits(MoeLoraConfig config, boolean packingFindsNonFinite) {
    Objects.requireNonNull(config, "config must not be null");
    requireFits(config.model());
    requireAccessible();
    if (maxRank > config.maxRank()) {
      throw new IllegalArgumentException(
          "adapter %s: rank must be at most maxRank %d, got %d"
              .formatted(name, config.maxRank(), maxRank));
    }
    boolean unread = maxMagnitude == UNREAD && packingFindsNonFinite;
    if (unread && isWithin(config.weightType())) {
      return;
    }
    if (maxMagnitude() > config.weightType().maxValue()) {
      throw new IllegalArgumentException(
          "adapter %s: weights must be at most %s for %s, got %s"
              .formatted(name, config.weightType().maxValue(), config.weightType(), maxMagnitude));
    }
  }

  private boolean isWithin(DType type) {
    for (List<LoraSlice> list : slices.values()) {
      for (LoraSlice slice : list) {
        float largest = Math.max(slice.a().type().maxValue(), slice.b().type().maxValue());
        if (largest > type.maxValue()) {
          return false;
        }
      }
    }
    return true;
  }

  private IllegalArgumentException misfit(Site site, String rule, int value) {
    return new IllegalArgumentException("%s%s, got %d".formatted(where(name, site), rule, value));
  }

  @Override
  public String toString() {
    String dense = modules.isEmpty() ? "" : ", %d dense modules".formatted(modules.size());
    return "LoraAdapter[%s, layers %s%s, rank <= %d]".formatted(name, layers, dense, maxRank);
  }

  /** Collects slices; not thread-safe. */
  public static final class Builder {
    private final String name;
    private final Map<Site, List<LoraSlice>> slices = new HashMap<>();
    private @Nullable ShardCut cut;
    private @Nullable ExpertMap experts;
    private Runnable source = () -> {};

    private Builder(String name) {
      this.name = name;
    }

    /**
     * Keeps of what is added from now on only what one instance needs, as views: nothing of experts
     * that live elsewhere, and of the rest the shard's part. So {@link #build} reads no other
     * weights, and a mapped file is read no further.
     *
     * @param model the whole model, to which the added slices belong
     * @throws IllegalArgumentException if a width that is divided is no multiple of the shards
     */
    public Builder only(MoeModel model, Shard shard, ExpertMap localExperts) {
      cut = new ShardCut(model, shard);
      experts = localExperts;
      return this;
    }

    /**
     * Says where weights come from, should the JVM fail to read them: where a mapped file has
     * become shorter, its {@link InternalError} names no file.
     *
     * @param requireUnchanged throws an exception that names the file if it has changed; must not
     *     keep more than the adapter's memory alive
     */
    public Builder source(Runnable requireUnchanged) {
      source = Objects.requireNonNull(requireUnchanged, "requireUnchanged must not be null");
      return this;
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
      if (experts != null) {
        Checks.inRange("expert", expert, 0, experts.experts());
        if (experts.local(expert) < 0) {
          return this;
        }
      }
      return addParts(new ExpertSite(layer, projection, expert), cut, slice);
    }

    /**
     * Adds a slice of a linear layer outside the routed experts.
     *
     * @param module name as the model lists it; a reader of files asks {@link MoeModel#denseName}
     * @throws IllegalArgumentException if the name is blank, or the slice overlaps one that is
     *     there, is one too many, or has another input width
     */
    public Builder addDense(String module, LoraSlice slice) {
      Objects.requireNonNull(module, "module must not be null");
      Objects.requireNonNull(slice, "slice must not be null");
      if (module.isBlank()) {
        throw new IllegalArgumentException(
            "module must be the name of a module, got \"%s\"".formatted(module));
      }
      return addParts(new ModuleSite(module), cut, slice);
    }

    private Builder addParts(Site site, @Nullable ShardCut by, LoraSlice slice) {
      List<LoraSlice> parts = by == null ? List.of(slice) : by.parts(site, slice);
      List<LoraSlice> list = new ArrayList<>(slices.getOrDefault(site, List.of()));
      for (LoraSlice part : parts) {
        requireRoom(site, list, part);
        list.add(part);
      }
      if (!list.isEmpty()) {
        list.sort(Comparator.comparingInt(LoraSlice::firstColumn));
        slices.put(site, list);
      }
      return this;
    }

    private static void requireRoom(Site site, List<LoraSlice> list, LoraSlice slice) {
      if (list.size() == MAX_SLICES) {
        throw new IllegalArgumentException(
            "%s: it must have at most %d slices, got one more".formatted(site, MAX_SLICES));
      }
      for (LoraSlice other : list) {
        if (slice.firstColumn() < other.endColumn() && other.firstColumn() < slice.endColumn()) {
          throw new IllegalArgumentException(
              "%s: slices must not overlap, got columns [%d, %d) and [%d, %d)"
                  .formatted(
                      site,
                      other.firstColumn(),
                      other.endColumn(),
                      slice.firstColumn(),
                      slice.endColumn()));
        }
        if (slice.a().columns() != other.a().columns()) {
          throw new IllegalArgumentException(
              "%s: a.columns must be %d as in the other slice, got %d"
                  .formatted(site, other.a().columns(), slice.a().columns()));
        }
      }
    }

    /**
     * Reads every weight once and makes the adapter.
     *
     * @throws IllegalArgumentException naming the first weight that is not finite
     */
    public LoraAdapter build() {
      LoraAdapter adapter = buildUnread();
      adapter.maxMagnitude();
      return adapter;
    }

    /**
     * Makes the adapter without reading its weights, which whoever needs to know does later: {@link
     * LoraAdapter#maxMagnitude}, or {@link MoeLora#load} while it packs them. So a file is read
     * once.
     */
    public LoraAdapter buildUnread() {
      Map<Site, List<LoraSlice>> copy = new HashMap<>();
      slices.forEach(
          (site, list) -> {
            for (LoraSlice slice : list) {
              requireAccessible(site, "a", slice.a());
              requireAccessible(site, "b", slice.b());
            }
            copy.put(site, List.copyOf(list));
          });
      return new LoraAdapter(name, copy, UNREAD, source);
    }

    private void requireAccessible(Site site, String which, Matrix matrix) {
      if (!matrix.data().scope().isAlive()
          || !matrix.data().isAccessibleBy(Thread.currentThread())) {
        Checks.accessible(where(name, site) + which + ".data", matrix.data());
      }
    }
  }
}
