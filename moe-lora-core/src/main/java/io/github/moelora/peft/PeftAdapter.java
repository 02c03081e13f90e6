package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.PeftVersion.Era;
import io.github.moelora.safetensors.SafeTensorsFile;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A PEFT directory: {@code adapter_config.json} and {@code adapter_model.safetensors},
 * memory-mapped.
 *
 * <p>Two layouts of expert weights are in use. <em>Per expert</em>: an ordinary pair for every
 * linear layer of every expert. <em>Fused</em> (PEFT's {@code target_parameters}): A is {@code
 * [E*R, in]} with the experts slowest, B is {@code [out, R*E]} with the experts fastest, and both
 * projections' wrappers are nested, so that the outer one's key does not name its projection. Which
 * of the parameter's dimensions is {@code in} depends on PEFT's version: the recorded version says
 * what may be, and the shapes decide; a file that can be read in two ways is refused.
 *
 * <p>Opening reads and checks everything. Immutable; safe for use by several threads. The views
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
    FUSED_UNDECIDED
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
   * One pair of the file.
   *
   * @param expert expert, or -1 for a pair that holds all of them
   * @param experts number of experts that the pair holds, 1 or {@code E}
   * @param scale {@code alpha / R} or {@code alpha / sqrt(R)}
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

  private final String name;
  private final SafeTensorsFile file;
  private final AdapterConfig config;
  private final List<Entry> entries;
  private final List<String> ignoredTensors;
  private final boolean inFeedForward;
  private final boolean inMixer;
  private final Set<Orientation> consistent;

  private PeftAdapter(String name, SafeTensorsFile file, AdapterConfig config) {
    this.name = name;
    this.file = file;
    this.config = config;
    ExpertPairs pairs = new ExpertPairs(file, config);
    this.entries = List.copyOf(pairs.entries());
    this.ignoredTensors = List.copyOf(pairs.ignored());
    this.inFeedForward = pairs.inFeedForward();
    this.inMixer = pairs.inMixer();
    this.consistent = consistentOrientations();
  }

  /**
   * Opens the adapter in a directory.
   *
   * @throws AdapterFormatException if one of the two files breaks a rule
   * @throws IOException if one of them cannot be read
   */
  public static PeftAdapter open(Path directory) throws IOException {
    AdapterConfig config = AdapterConfig.read(directory.resolve("adapter_config.json"));
    SafeTensorsFile file = SafeTensorsFile.open(directory.resolve("adapter_model.safetensors"));
    boolean opened = false;
    try {
      String name = String.valueOf(directory.toAbsolutePath().normalize().getFileName());
      PeftAdapter adapter = new PeftAdapter(name, file, config);
      if (!adapter.ignoredTensors.isEmpty()) {
        LOG.info(
            "{}: {} tensors are not of routed experts and are not used, the first is {}",
            file.path(),
            adapter.ignoredTensors.size(),
            AdapterFormatException.printable(adapter.ignoredTensors.getFirst()));
      }
      opened = true;
      return adapter;
    } finally {
      if (!opened) {
        file.close();
      }
    }
  }

  AdapterFormatException fault(@Nullable String tensor, String rule, Object value) {
    return new AdapterFormatException(file.path(), tensor, rule, value);
  }

  /** The pairs' widths must agree, in one orientation at least. */
  private Set<Orientation> consistentOrientations() {
    if (entries.isEmpty()) {
      return EnumSet.of(Orientation.PROJECTION);
    }
    Set<Orientation> consistent = Orientation.consistent(entries);
    if (!isFused()) {
      consistent.remove(Orientation.SWAPPED);
    }
    if (consistent.isEmpty()) {
      throw fault(
          entries.getFirst().a().name(),
          "all pairs must have the widths of one model",
          differentShapes());
    }
    return consistent;
  }

  private boolean isFused() {
    return !entries.isEmpty() && entries.getFirst().expert() < 0;
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

  /** The file that holds the weights. */
  public Path file() {
    return file.path();
  }

  /** Version of PEFT that the config records, or {@code unrecorded}. */
  public String peftVersion() {
    return config.version().text();
  }

  /** Layout of the expert weights; {@link Layout#PER_EXPERT} for a file without any. */
  public Layout layout() {
    Set<Orientation> possible = orientations();
    if (!isFused()) {
      return Layout.PER_EXPERT;
    }
    if (possible.size() > 1) {
      return Layout.FUSED_UNDECIDED;
    }
    return possible.contains(Orientation.SWAPPED) ? Layout.FUSED_SWAPPED : Layout.FUSED;
  }

  /** All pairs of routed experts, by layer, linear layer and expert. */
  public List<Entry> entries() {
    return entries;
  }

  /**
   * Names of the tensors that are not of routed experts, such as attention's; they are not used.
   */
  public List<String> ignoredTensors() {
    return ignoredTensors;
  }

  /** What a user may want to know: options that concern other modules, or that are not known. */
  public List<String> notes() {
    return config.notes();
  }

  /** Orientations that this file leaves open without a model. */
  Set<Orientation> orientations() {
    Set<Orientation> likely = EnumSet.copyOf(consistent);
    likely.retainAll(
        config.version().era() == Era.ORIENTED
            ? EnumSet.of(Orientation.PROJECTION)
            : Orientation.written(
                config.version().era(), inFeedForward || namesInterleavedModel()));
    return likely.isEmpty() ? consistent : likely;
  }

  boolean namesInterleavedModel() {
    return config.baseModelNames("gptoss");
  }

  boolean namesGatelessModel() {
    return inMixer || config.baseModelNames("nemotronh");
  }

  /**
   * The adapter for a model, as views of the mapped file.
   *
   * @throws AdapterFormatException if a tensor does not fit the model, or the file can be read in
   *     two ways
   * @throws IllegalStateException if this is closed
   */
  public LoraAdapter toLoraAdapter(MoeModel model) {
    for (Entry entry : entries) {
      requireBelongs(entry, model);
    }
    Orientation orientation = orientation(model);
    LoraAdapter.Builder builder = LoraAdapter.builder(name);
    for (Entry entry : entries) {
      for (int i = 0; i < entry.experts(); i++) {
        builder.add(
            entry.layer(),
            entry.linear().projection(),
            entry.expert() < 0 ? i : entry.expert(),
            slice(entry, i, orientation, model));
      }
    }
    return builder.build();
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
    if (entry.expert() < 0 && entry.experts() != model.experts()) {
      throw fault(
          tensor,
          "shape[0] must be %d experts * rank %d = %d"
              .formatted(model.experts(), entry.rank(), (long) model.experts() * entry.rank()),
          entry.a().shape().getFirst());
    }
    boolean gate = entry.linear() == Linear.GATE || entry.linear() == Linear.GATE_UP;
    if (gate && !model.gateUp().gated()) {
      throw fault(tensor, "the model's experts must have a gate", model.gateUp());
    }
    boolean half = entry.linear() == Linear.GATE || entry.linear() == Linear.UP;
    if (half && model.gateUp() == GateUp.INTERLEAVED) {
      throw fault(
          tensor,
          "gate and up must be one pair where the model interleaves their columns",
          entry.linear());
    }
  }

  /** What the version may have written and the shapes allow. */
  private Orientation orientation(MoeModel model) {
    Era era = config.version().era();
    boolean stored = model.gateUp() == GateUp.INTERLEAVED || inFeedForward;
    Set<Orientation> written = Orientation.written(isFused() ? era : Era.ORIENTED, stored);
    if (era == Era.ORIENTED && config.baseModelNames("qwen3vl")) {
      // stored [E, in, out] by transformers 4 without saying so, and [E, out, in] by transformers 5
      written = EnumSet.allOf(Orientation.class);
    }
    Set<Orientation> fitting = EnumSet.copyOf(consistent);
    fitting.removeIf(orientation -> !entries.stream().allMatch(e -> orientation.fits(e, model)));
    if (fitting.isEmpty()) {
      throw misfit(written, model);
    }
    Set<Orientation> allowed = EnumSet.copyOf(fitting);
    allowed.retainAll(written);
    if (allowed.isEmpty()) {
      throw fault(
          entries.getFirst().a().name(),
          "in and out must be oriented as PEFT %s writes them".formatted(config.version()),
          "the other way round: " + differentShapes());
    }
    // where the shapes cannot tell, the last versions are taken at their word
    if (allowed.size() > 1 && era != Era.ORIENTED) {
      throw fault(
          entries.getFirst().a().name(),
          ("shapes must tell which dimension is in and which is out, since PEFT %s wrote either"
                  + " (load the adapter with PEFT 0.19.1 or later and save it again)")
              .formatted(config.version()),
          differentShapes());
    }
    return allowed.iterator().next();
  }

  /** Names the first tensor whose width is not the model's. */
  private AdapterFormatException misfit(Set<Orientation> written, MoeModel model) {
    Set<Orientation> likely = EnumSet.copyOf(consistent);
    likely.retainAll(written);
    Orientation orientation = (likely.isEmpty() ? consistent : likely).iterator().next();
    boolean swapped = orientation == Orientation.SWAPPED;
    // all pairs have the same widths, so if one does not fit the first does not
    Entry entry = entries.getFirst();
    int in = model.inputWidth(entry.linear().projection());
    if (orientation.in(entry) != in) {
      return fault(
          (swapped ? entry.b() : entry.a()).name(),
          "shape[%d] must be the model's input width %d".formatted(swapped ? 0 : 1, in),
          orientation.in(entry));
    }
    return fault(
        (swapped ? entry.a() : entry.b()).name(),
        "shape[%d] must be the model's output width %d"
            .formatted(swapped ? 1 : 0, Orientation.width(entry.linear(), model)),
        orientation.out(entry));
  }

  private LoraSlice slice(Entry entry, int index, Orientation orientation, MoeModel model) {
    int rank = entry.rank();
    int in = orientation.in(entry);
    int out = orientation.out(entry);
    DType type = entry.type();
    long aRow = entry.a().shape().get(1);
    long bRow = entry.b().shape().get(1);
    long aFrom = (long) index * rank * aRow;
    // rank i of expert e is column i*E + e of B, or e*R + i where the file says so
    boolean grouped = config.groupedByExpert() || entry.expert() >= 0;
    long bFrom = grouped ? (long) index * rank : index;
    long bStep = grouped ? 1 : entry.experts();
    Matrix a;
    Matrix b;
    if (orientation == Orientation.PROJECTION) {
      a = new Matrix(entry.a().data(), type, rank, in, aFrom, aRow, 1);
      b = new Matrix(entry.b().data(), type, out, rank, bFrom, bRow, bStep);
    } else {
      a = new Matrix(entry.b().data(), type, rank, in, bFrom, bStep, bRow);
      b = new Matrix(entry.a().data(), type, out, rank, aFrom, 1, aRow);
    }
    boolean second = entry.linear() == Linear.UP && model.gateUp().gated();
    return new LoraSlice(second ? model.intermediateSize() : 0, a, b, entry.scale());
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

  /** Unmaps the file; closing twice does nothing. */
  @Override
  public void close() {
    file.close();
  }
}
