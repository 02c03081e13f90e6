package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.Shard;
import io.github.moelora.peft.Orientation.Storage;
import io.github.moelora.peft.PeftVersion.Era;
import io.github.moelora.peft.ReadOptions.ColumnOrder;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A PEFT directory: {@code adapter_config.json} and {@code adapter_model.safetensors} or the shards
 * that its index names, memory-mapped.
 *
 * <p>Several layouts of expert weights are in use. <em>Per expert</em>: an ordinary pair for every
 * linear layer of every expert. <em>Fused</em> (PEFT's {@code target_parameters}): A is {@code
 * [E*R, in]} with the experts slowest, B is {@code [out, R*E]} with the experts fastest, and both
 * projections' wrappers are nested, so that the outer one's key does not name its projection. Which
 * of the parameter's dimensions is {@code in} depends on PEFT's version: the recorded version says
 * what may be, and the shapes decide; a file that can be read in two ways is refused unless {@link
 * ReadOptions} tell. <em>Packed</em>: A is {@code [E, R, in]} and B {@code [E, out, R]}, one of
 * which may be shared by all experts.
 *
 * <p>Opening reads the names and shapes and checks them; the weights are read by {@link
 * #toLoraAdapter} and {@link #checkWeights}. Immutable; safe for use by several threads. The views
 * handed out live until {@link #close}, and the files must not be changed meanwhile.
 */
public final class PeftAdapter implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(PeftAdapter.class);

  /** How expert weights are laid out in a file. */
  public enum Layout {
    /** A pair for each linear layer of each expert. */
    PER_EXPERT,
    /** A pair for each three-dimensional parameter of all experts. */
    FUSED,
    /** Fused, with {@code in} and {@code out} of the projection exchanged. */
    FUSED_SWAPPED,
    /** One of the two above: version and shapes decide only together with a model. */
    FUSED_UNDECIDED,
    /** Three-dimensional A and B, with the experts slowest. */
    PACKED,
    /** A pair for each matrix of all experts' rows, as DBRX has them. */
    ROWS
  }

  /** How one pair holds its experts. */
  public enum Packing {
    /** A {@code [R, in]} and B {@code [out, R]} of one expert. */
    SINGLE,
    /** A {@code [E*R, in]} and B {@code [out, R*E]}, or with in and out exchanged. */
    STACKED,
    /** A {@code [E, R, in]} and B {@code [E, out, R]}; the first dimension may be 1: shared. */
    PACKED,
    /** A {@code [E, in, R]} and B {@code [E, R, out]}; the first dimension may be 1: shared. */
    PACKED_TURNED,
    /** A {@code [R, H]} of all experts and B {@code [E*I, R]}. */
    ROWS
  }

  /** Which linear layer of an expert a pair changes. */
  public enum Linear {
    /** The gate, {@code I} columns. */
    GATE(Projection.GATE_UP),
    /** Up beside a gate or alone, {@code I} columns. */
    UP(Projection.GATE_UP),
    /** Gate and up as one, {@code 2*I} columns in the base weight's order. */
    GATE_UP(Projection.GATE_UP),
    /** Down. */
    DOWN(Projection.DOWN);

    private final Projection projection;

    Linear(Projection projection) {
      this.projection = projection;
    }

    /** The projection it belongs to. */
    public Projection projection() {
      return projection;
    }
  }

  /**
   * One pair of routed experts.
   *
   * @param expert expert, or -1 for a pair that holds all of them
   * @param experts number of experts that the pair holds, 1 or {@code E}; 0 where only the model
   *     tells, since all share the pair or B's rows are divided among them
   * @param scale {@code alpha / R} or {@code alpha / sqrt(R)}
   * @param packing how A and B hold the experts
   * @param a tensor of A
   * @param b tensor of B
   */
  public record Entry(
      int layer,
      Linear linear,
      int expert,
      int experts,
      int rank,
      float scale,
      Packing packing,
      Tensor a,
      Tensor b) {

    /** Type of the weights. */
    public DType type() {
      return DType.valueOf(a.dtype());
    }

    /** Bytes of A and B. */
    public long bytes() {
      return a.data().byteSize() + b.data().byteSize();
    }
  }

  /**
   * One pair of a linear layer outside the routed experts.
   *
   * @param module full name of the module as the model has it, such as {@code
   *     model.layers.3.self_attn.q_proj}
   * @param scale {@code alpha / R} or {@code alpha / sqrt(R)}
   * @param a {@code [R, in]}
   * @param b {@code [out, R]}
   */
  public record DenseEntry(String module, int rank, float scale, Tensor a, Tensor b) {

    /** Type of the weights. */
    public DType type() {
      return DType.valueOf(a.dtype());
    }

    /** Bytes of A and B. */
    public long bytes() {
      return a.data().byteSize() + b.data().byteSize();
    }

    /** Input width. */
    public int inputWidth() {
      return Math.toIntExact(a.shape().get(1));
    }

    /** Output width. */
    public int outputWidth() {
      return Math.toIntExact(b.shape().get(0));
    }

    LoraSlice slice() {
      return new LoraSlice(
          0,
          Matrix.of(a.data(), type(), rank, inputWidth()),
          Matrix.of(b.data(), type(), outputWidth(), rank),
          scale);
    }
  }

  private final String name;
  private final AdapterTensors tensors;
  private final AdapterConfig config;
  private final ReadOptions options;
  private final List<Entry> entries;
  private final List<DenseEntry> dense;
  private final List<String> leftOut;
  private final @Nullable ExpertKey first;
  private final Set<Orientation> consistent;
  private final int zeroExperts;
  private final List<String> structureWarnings;
  private final WeightFindings findings;

  private PeftAdapter(
      String name, AdapterTensors tensors, AdapterConfig config, ReadOptions options) {
    this.name = name;
    this.tensors = tensors;
    this.config = config;
    this.options = options;
    FilePairs pairs = new FilePairs(tensors, options);
    first = pairs.first();
    leftOut = new ArrayList<>(pairs.leftOut());
    leftOut.addAll(pairs.unsupported());
    EntryReader reader = new EntryReader(tensors, pairs, config, options);
    Reading reading = Reading.choose(reader, this::mayBeRead, options);
    entries = reading.entries();
    consistent = reading.consistent();
    zeroExperts = zeroExpertsOf(entries);
    new EntryRules(tensors).require(entries, zeroExperts);
    dense = reader.dense();
    requireConsistent();
    structureWarnings =
        new StructureWarnings(entries, dense, pairs).all(reader, reading.reversed());
    findings = new WeightFindings(this);
  }

  /**
   * Opens the adapter in a directory; see {@link #open(Path, ReadOptions)}.
   *
   * @throws AdapterFormatException if one of the files breaks a rule
   * @throws IOException if one of them cannot be read
   */
  public static PeftAdapter open(Path directory) throws IOException {
    return open(directory, ReadOptions.NONE);
  }

  /**
   * Opens the adapter in a directory: reads names, shapes and config, but no weights.
   *
   * @param options what is known of the file beyond what it says
   * @throws AdapterFormatException if one of the files breaks a rule
   * @throws IOException if one of them cannot be read
   */
  public static PeftAdapter open(Path directory, ReadOptions options) throws IOException {
    Path configFile = directory.resolve("adapter_config.json");
    OtherFiles.requireNoSubfolder(directory, configFile);
    AdapterConfig config = AdapterConfig.read(configFile, options);
    AdapterTensors tensors = AdapterTensors.open(directory);
    boolean opened = false;
    try {
      String name = String.valueOf(directory.toAbsolutePath().normalize().getFileName());
      PeftAdapter adapter = new PeftAdapter(name, tensors, config, options);
      for (String warning : adapter.structureWarnings()) {
        LOG.warn("{}: {}", tensors.path(), warning);
      }
      opened = true;
      return adapter;
    } catch (InternalError e) {
      // what the JVM throws where a mapped file has become shorter
      throw shortened(tensors, e);
    } finally {
      if (!opened) {
        tensors.close();
      }
    }
  }

  private static RuntimeException shortened(AdapterTensors tensors, InternalError e) {
    tensors.requireUnchanged();
    throw e;
  }

  AdapterFormatException fault(@Nullable String tensor, String rule, Object value) {
    return tensors.fault(tensor, rule, value);
  }

  /** Orientations in which all pairs agree, as far as they are not excluded by option. */
  private Set<Orientation> mayBeRead(List<Entry> read, boolean strictly) {
    if (read.isEmpty()) {
      return EnumSet.of(Orientation.PROJECTION);
    }
    Set<Orientation> possible = Orientation.consistent(read);
    if (options.orientation() != null && isStacked(read)) {
      possible.retainAll(EnumSet.of(options.orientation()));
    } else if (strictly && isStacked(read)) {
      possible.retainAll(Orientation.written(config.version().era(), storage()));
    }
    return possible;
  }

  /** The pairs' widths must agree, in one orientation at least. */
  private void requireConsistent() {
    if (consistent.isEmpty()) {
      throw fault(
          entries.getFirst().a().name(),
          "all pairs must have the widths of one model",
          differentShapes());
    }
  }

  private int zeroExpertsOf(List<Entry> read) {
    if (options.zeroExperts() != null) {
      return options.zeroExperts();
    }
    return isLongCat() ? EntryRules.surplus(read) : 0;
  }

  private boolean isLongCat() {
    return config.baseModelNames("longcat");
  }

  /** Experts that a pair holds, zero experts not counted. */
  int realExperts(Entry entry) {
    return entry.linear() == Linear.DOWN ? entry.experts() : entry.experts() - zeroExperts;
  }

  private static boolean isStacked(List<Entry> read) {
    return !read.isEmpty() && read.getFirst().packing() == Packing.STACKED;
  }

  /** How the base model stores its experts' parameters. */
  private Storage storage() {
    if (config.isGptOss() || config.baseModelNames("privacyfilter")) {
      return Storage.IN_OUT_TOLD;
    }
    boolean aria =
        first != null && (first.module().endsWith(".fc1") || first.module().endsWith(".fc2"));
    if (aria || config.baseModelNames("llama4")) {
      return Storage.IN_OUT_UNTOLD;
    }
    boolean outIn = config.baseModelNames("lfm2") || config.baseModelNames("jamba");
    boolean feedForward = first != null && first.experts().endsWith("feed_forward.experts");
    // transformers 4 stored Qwen3-VL [E, in, out] without saying so, and transformers 5 does not
    return (feedForward && !outIn) || config.baseModelNames("qwen3vl")
        ? Storage.UNKNOWN
        : Storage.OUT_IN;
  }

  /** The shapes of pairs, each once for each linear layer. */
  String differentShapes() {
    return entries.stream()
        .map(e -> "%s A %s B %s".formatted(e.linear(), e.a().shape(), e.b().shape()))
        .distinct()
        .collect(Collectors.joining(", "));
  }

  /** Name of the directory. */
  public String name() {
    return name;
  }

  /** The file that holds the weights, or the index of the files that do. */
  public Path file() {
    return tensors.path();
  }

  /** Version of PEFT that the config records, or {@code unrecorded}. */
  public String peftVersion() {
    return config.version().text();
  }

  /** The base model's name as the config records it, or null. */
  public @Nullable String baseModel() {
    return config.baseModelName();
  }

  /**
   * Path of the experts module with {@code %d} for the layer's number, such as {@code
   * model.layers.%d.mlp.experts}, in the form that canonical layouts have; the most usual one for a
   * file without experts.
   */
  public String expertsPath() {
    if (first == null) {
      return "model.layers.%d.mlp.experts";
    }
    String path = first.experts().replaceFirst("(^|\\.)" + first.layer() + "\\.", "$1%d.");
    if (path.endsWith(".experts.mlp")) {
      return path.substring(0, path.length() - ".mlp".length());
    }
    if (path.endsWith(".moe")) {
      return path.substring(0, path.length() - "moe".length()) + "experts";
    }
    return path.endsWith(".experts") ? path : path + ".experts";
  }

  boolean recordsVersion() {
    return config.version().isRecorded();
  }

  /** Layout of the expert weights; {@link Layout#PER_EXPERT} for a file without any. */
  public Layout layout() {
    if (entries.isEmpty()) {
      return Layout.PER_EXPERT;
    }
    return switch (entries.getFirst().packing()) {
      case SINGLE -> Layout.PER_EXPERT;
      case PACKED, PACKED_TURNED -> Layout.PACKED;
      case ROWS -> Layout.ROWS;
      case STACKED -> {
        Set<Orientation> possible = orientations();
        if (possible.size() > 1) {
          yield Layout.FUSED_UNDECIDED;
        }
        yield possible.contains(Orientation.SWAPPED) ? Layout.FUSED_SWAPPED : Layout.FUSED;
      }
    };
  }

  /** All pairs of routed experts, by layer, linear layer and expert. */
  public List<Entry> entries() {
    return entries;
  }

  /** All pairs of other linear layers, by module. */
  public List<DenseEntry> denseEntries() {
    return dense;
  }

  /** Names of tensors that are left out, as {@link ReadOptions} say. */
  public List<String> ignoredTensors() {
    return List.copyOf(leftOut);
  }

  /** What a user may want to know: options that concern other modules, or that are not known. */
  public List<String> notes() {
    return config.notes();
  }

  /**
   * What may be wrong with this adapter, or with how it is read: ambiguous layouts with both
   * readings, experts without any tensor, zero rows of B that look like a lost shard. Reads a few
   * weights of each B.
   */
  public List<String> warnings() {
    List<String> all = new ArrayList<>(structureWarnings());
    try {
      all.addAll(findings.warnings());
    } catch (InternalError e) {
      throw shortened(tensors, e);
    }
    return List.copyOf(all);
  }

  private List<String> structureWarnings() {
    List<String> all = new ArrayList<>(structureWarnings);
    if (isStacked(entries) && options.columnOrder() == null && config.hidesColumnOrder()) {
      all.addFirst(
          "Unsloth wrote this file and did not say how B's columns are ordered; they are read rank"
              + " by rank, as PEFT and Unsloth since September 2026 write them; before, Unsloth"
              + " trained them expert by expert: if this adapter is as old as that, give"
              + " ReadOptions.columnOrder GROUPED_BY_EXPERT (--layout columns=grouped)");
    }
    return all;
  }

  /**
   * Reads every weight.
   *
   * @throws AdapterFormatException naming the tensor and the element that is not finite, or the
   *     file that has become shorter
   */
  public void checkWeights() {
    try {
      findings.requireFinite();
    } catch (InternalError e) {
      throw shortened(tensors, e);
    }
  }

  /** Orientations that this file leaves open without a model. */
  Set<Orientation> orientations() {
    if (!isStacked(entries)) {
      return EnumSet.of(Orientation.PROJECTION);
    }
    Set<Orientation> likely = EnumSet.copyOf(consistent);
    likely.retainAll(likely(storage()));
    return likely.isEmpty() ? consistent : likely;
  }

  /** What a version most likely wrote. */
  private Set<Orientation> likely(Storage storage) {
    if (config.version().era() != Era.ORIENTED) {
      return Orientation.written(config.version().era(), storage);
    }
    return switch (storage) {
      case OUT_IN, IN_OUT_TOLD -> EnumSet.of(Orientation.PROJECTION);
      case IN_OUT_UNTOLD -> EnumSet.of(Orientation.SWAPPED);
      case UNKNOWN -> EnumSet.allOf(Orientation.class);
    };
  }

  boolean namesInterleavedModel() {
    return config.isGptOss();
  }

  boolean namesGatelessModel() {
    boolean inMixer = first != null && first.experts().endsWith(".mixer.experts");
    return inMixer || config.baseModelNames("nemotronh");
  }

  /**
   * The adapter for a model, as views of the mapped files; every weight is read once.
   *
   * <p>Where a model interleaves the columns of gate and up and the file has a pair for each of
   * them, the two are copied into one pair on the heap.
   *
   * <p>The files must not become shorter before {@link MoeLora#load} has returned, which else names
   * the file; the slot keeps what it had.
   *
   * @throws AdapterFormatException if a tensor does not fit the model, a weight is not finite, or
   *     the file can be read in two ways
   * @throws IllegalStateException if this is closed
   */
  public LoraAdapter toLoraAdapter(MoeModel model) {
    return toLoraAdapter(model, builder());
  }

  /**
   * What one instance of a model that is spread over devices needs of the adapter; no other weights
   * are read, but for gate and up that must be copied into one pair.
   *
   * @param whole the whole model
   * @param shard the part of its widths
   * @param localExperts the experts that the instance has
   * @throws AdapterFormatException if a tensor does not fit the model, a weight of the part is not
   *     finite, or the file can be read in two ways
   * @throws IllegalArgumentException if a width cannot be divided
   * @throws IllegalStateException if this is closed
   */
  public LoraAdapter toLoraAdapter(MoeModel whole, Shard shard, ExpertMap localExperts) {
    return toLoraAdapter(whole, builder().only(whole, shard, localExperts));
  }

  /**
   * Loads the adapter into a slot, in place of what is there. Does the same as {@link MoeLora#load}
   * of {@link #toLoraAdapter(MoeModel)}, but where the backend finds what is not finite while it
   * packs, the file is read once instead of twice, and only what belongs to the experts that live
   * there. On failure the slot keeps what it had.
   *
   * @param lora for the whole model, not a shard of it
   * @param slot in {@code [0, L)}
   * @throws AdapterFormatException if a tensor does not fit the model, a weight is not finite, or
   *     the file can be read in two ways or has become shorter
   * @throws IllegalArgumentException if the model does not list a module that the adapter changes,
   *     the adapter's rank exceeds {@code maxRank} or a weight exceeds the range of the weight type
   * @throws IllegalStateException if this or {@code lora} is closed
   */
  public void loadInto(MoeLora lora, int slot) {
    MoeModel model = lora.config().model();
    LoraAdapter.Builder builder = builder().only(model, Shard.WHOLE, lora.config().expertMap());
    addAll(model, builder);
    named(
        () -> {
          lora.load(slot, builder.buildUnread());
          return slot;
        });
  }

  private LoraAdapter.Builder builder() {
    return LoraAdapter.builder(name).source(tensors::requireUnchanged);
  }

  private LoraAdapter toLoraAdapter(MoeModel model, LoraAdapter.Builder builder) {
    addAll(model, builder);
    return named(builder::build);
  }

  private void addAll(MoeModel model, LoraAdapter.Builder builder) {
    for (Entry entry : entries) {
      requireBelongs(entry, model);
    }
    Slices slices = new Slices(model, orientation(model), columnOrder());
    slices.add(entries, builder);
    for (DenseEntry entry : dense) {
      builder.addDense(model.denseName(entry.module()), entry.slice());
    }
  }

  /** Does what reads weights; faults get the name of their tensor or file. */
  private <T> T named(Supplier<T> reader) {
    try {
      return reader.get();
    } catch (IllegalArgumentException e) {
      // who read it does not know the tensor's name
      findings.requireFinite();
      throw e;
    } catch (InternalError e) {
      throw shortened(tensors, e);
    }
  }

  private ColumnOrder columnOrder() {
    if (options.columnOrder() != null) {
      return options.columnOrder();
    }
    ColumnOrder said = config.columnOrder();
    return said == null ? ColumnOrder.RANK_MAJOR : said;
  }

  private void requireBelongs(Entry entry, MoeModel model) {
    String tensor = entry.a().name();
    if (!model.layers().contains(entry.layer())) {
      throw fault(tensor, "its layer must be one of the model's, " + model.layers(), entry.layer());
    }
    if (entry.expert() >= model.experts()) {
      throw fault(
          tensor, "its expert must be in [0, %d)".formatted(model.experts()), entry.expert());
    }
    if (entry.expert() < 0 && entry.experts() > 0) {
      requireExperts(entry, model);
    }
    boolean gate = entry.linear() == Linear.GATE || entry.linear() == Linear.GATE_UP;
    if (gate && !model.gateUp().gated()) {
      throw fault(tensor, "the model's experts must have a gate", model.gateUp());
    }
  }

  private void requireExperts(Entry entry, MoeModel model) {
    int spare = entry.experts() - model.experts();
    boolean zero =
        entry.linear() != Linear.DOWN && (spare == zeroExperts || (spare > 0 && isLongCat()));
    if (spare == 0 || zero) {
      return;
    }
    String tensor = entry.a().name();
    long found = entry.a().shape().getFirst();
    if (entry.packing() != Packing.STACKED) {
      throw fault(
          tensor, "shape[0] must be the model's %d experts".formatted(model.experts()), found);
    }
    String rule =
        "shape[0] must be %d experts * rank %d = %d"
            .formatted(model.experts(), entry.rank(), (long) model.experts() * entry.rank());
    boolean divided = found % model.experts() == 0 && !recordsVersion();
    throw fault(
        tensor,
        divided
            ? rule
                + " (a trainer that gives each expert rank %d must say so in the config's"
                    .formatted(found / model.experts())
                + " rank_pattern, and the alpha that goes with it in alpha_pattern)"
            : rule,
        found);
  }

  /** What the version may have written and the shapes allow. */
  private Orientation orientation(MoeModel model) {
    Set<Orientation> fitting = EnumSet.copyOf(consistent);
    fitting.removeIf(orientation -> !entries.stream().allMatch(e -> orientation.fits(e, model)));
    Era era = config.version().era();
    Storage storage = model.gateUp() == GateUp.INTERLEAVED ? Storage.IN_OUT_TOLD : storage();
    Set<Orientation> written = EnumSet.of(Orientation.PROJECTION);
    if (isStacked(entries)) {
      written = writtenInterleaved(era, storage);
    }
    if (fitting.isEmpty()) {
      throw misfit(written, model);
    }
    Set<Orientation> allowed = EnumSet.copyOf(fitting);
    allowed.retainAll(written);
    if (allowed.isEmpty()) {
      throw fault(
          entries.getFirst().a().name(),
          ("in and out must be oriented as PEFT %s writes them (ReadOptions.orientation, --layout"
                  + " orientation=..., says it otherwise)")
              .formatted(config.version()),
          "the other way round: " + differentShapes());
    }
    // where the shapes cannot tell, the last versions are taken at their word
    if (allowed.size() > 1 && era == Era.ORIENTED) {
      allowed.retainAll(likely(storage));
    }
    if (allowed.size() > 1) {
      throw fault(
          entries.getFirst().a().name(),
          ("shapes must tell which dimension is in and which is out, since PEFT %s wrote either"
                  + " (load the adapter with PEFT 0.19.1 or later and save it again, or say it:"
                  + " ReadOptions.orientation, --layout orientation=projection or swapped)")
              .formatted(config.version()),
          differentShapes());
    }
    return allowed.iterator().next();
  }

  private Set<Orientation> writtenInterleaved(Era era, Storage storage) {
    if (options.orientation() != null) {
      return EnumSet.of(options.orientation());
    }
    // transformers 4 did not tell PEFT of gpt-oss either
    boolean untold = era == Era.ORIENTED && storage == Storage.IN_OUT_TOLD;
    return untold ? EnumSet.allOf(Orientation.class) : Orientation.written(era, storage);
  }

  /** Names the first tensor whose width is not the model's. */
  private AdapterFormatException misfit(Set<Orientation> written, MoeModel model) {
    Set<Orientation> likely = EnumSet.copyOf(consistent);
    likely.retainAll(written);
    Orientation orientation = (likely.isEmpty() ? consistent : likely).iterator().next();
    boolean swapped = orientation == Orientation.SWAPPED;
    // all pairs have the same widths, so if one does not fit the first does not
    Entry entry = entries.getFirst();
    boolean rows = entry.packing() == Packing.ROWS;
    boolean down = entry.linear() == Linear.DOWN;
    int each = rows ? model.experts() : 1;
    long in = (long) model.inputWidth(entry.linear().projection()) * (down ? each : 1);
    if (orientation.in(entry) != in) {
      Tensor holder = swapped || (rows && down) ? entry.b() : entry.a();
      return fault(
          holder.name(),
          "shape[%d] must be the model's input width %d"
              .formatted(holder.shape().indexOf((long) orientation.in(entry)), in),
          orientation.in(entry));
    }
    long out = (long) Orientation.width(entry.linear(), model) * (down ? 1 : each);
    Tensor holder = swapped || (rows && down) ? entry.a() : entry.b();
    return fault(
        holder.name(),
        "shape[%d] must be the model's output width %d"
            .formatted(holder.shape().indexOf((long) orientation.out(entry)), out),
        orientation.out(entry));
  }

  /**
   * The model's sizes as far as adapters tell them; see {@link #inferModel(List, ModelHints)}.
   *
   * @param adapters adapters of one model, one with expert weights at least
   */
  public static MoeModel inferModel(List<PeftAdapter> adapters) {
    return inferModel(adapters, ModelHints.NONE);
  }

  /**
   * The model's sizes as far as hints and adapters tell them: widths from the shapes, the layers
   * that the adapters change, the number of experts from fused pairs or from expert numbers without
   * a gap. Halves of gate and up are assumed for fused pairs unless the recorded base model is
   * known to interleave them, which makes no difference to what the adapters add.
   *
   * @param adapters adapters of one model, one with expert weights at least
   * @param hints what is known from elsewhere; adapters must not contradict the widths and experts
   * @throws AdapterFormatException if an adapter contradicts the hints or the others
   * @throws IllegalArgumentException naming the hint that must be given
   */
  public static MoeModel inferModel(List<PeftAdapter> adapters, ModelHints hints) {
    return new ModelInference(List.copyOf(adapters), hints).model();
  }

  /** Unmaps the files; closing twice does nothing. */
  @Override
  public void close() {
    tensors.close();
  }
}
