package io.github.moelora.peft;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.SafeTensorsFile.Tensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
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
 * projections' wrappers are nested, so that the outer one's key does not name its projection. Up to
 * PEFT 0.18 {@code in} and {@code out} are the parameter's second and third dimension, whatever
 * they mean; from 0.19 on those of the projection.
 *
 * <p>Opening reads and checks everything. Immutable; safe for use by several threads. The views
 * handed out live until {@link #close}.
 */
public final class PeftAdapter implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(PeftAdapter.class);

  /**
   * From this version on (major * 1000 + minor) PEFT saves fused pairs in the orientation of the
   * projection.
   */
  private static final int ORIENTED_VERSION = 19;

  private static final Pattern LAYER =
      Pattern.compile("(?:.*\\.)?layers\\.(\\d{1,6})\\..*", Pattern.DOTALL);
  private static final Pattern PER_EXPERT =
      Pattern.compile(
          "(?<module>.*\\.experts\\.(?<expert>\\d{1,6})\\.(?<linear>gate_proj|up_proj|down_proj|w1|w2|w3))"
              + "\\.lora_(?<half>[AB])\\.weight",
          Pattern.DOTALL);
  private static final Pattern FUSED =
      Pattern.compile(
          "(?<module>.*\\.experts)(?<nested>\\.base_layer)?\\.lora_(?<half>[AB])\\.weight",
          Pattern.DOTALL);

  /** How expert weights are laid out in a file. */
  public enum Layout {
    /** A pair for each linear layer of each expert. */
    PER_EXPERT,
    /** A pair for each three-dimensional parameter of all experts. */
    FUSED
  }

  /** Which linear layer of an expert a pair changes. */
  public enum Linear {
    GATE(Projection.GATE_UP),
    UP(Projection.GATE_UP),
    GATE_UP(Projection.GATE_UP),
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
      return PeftAdapter.type(a.dtype());
    }

    /** Bytes of A and B. */
    public long bytes() {
      return a.data().byteSize() + b.data().byteSize();
    }
  }

  /** Meaning of the dimensions of fused pairs. */
  private enum Orientation {
    /** A {@code [E*R, H]}, B {@code [O, R*E]}. */
    PROJECTION,
    /** A {@code [E*R, O]}, B {@code [H, R*E]}. */
    SWAPPED
  }

  private final String name;
  private final SafeTensorsFile file;
  private final AdapterConfig config;
  private final List<Entry> entries;
  private final List<String> ignoredTensors;
  private final Set<Orientation> orientations;

  private PeftAdapter(String name, SafeTensorsFile file, AdapterConfig config) {
    this.name = name;
    this.file = file;
    this.config = config;
    Map<String, Tensor[]> pairs = new TreeMap<>();
    List<String> ignored = new ArrayList<>();
    for (Tensor tensor : file.tensors().values()) {
      collect(tensor, pairs, ignored);
    }
    List<Entry> found = new ArrayList<>();
    pairs.forEach((module, halves) -> found.add(entry(module, halves)));
    found.sort(
        Comparator.comparingInt(Entry::layer)
            .thenComparing(Entry::linear)
            .thenComparingInt(Entry::expert));
    this.entries = List.copyOf(found);
    this.ignoredTensors = List.copyOf(ignored);
    requireConsistentLayers();
    this.orientations = orientations();
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
    try {
      String name = String.valueOf(directory.toAbsolutePath().normalize().getFileName());
      PeftAdapter adapter = new PeftAdapter(name, file, config);
      if (!adapter.ignoredTensors.isEmpty()) {
        LOG.info(
            "{}: {} tensors are not of routed experts and are not used, the first is {}",
            file.path(),
            adapter.ignoredTensors.size(),
            adapter.ignoredTensors.getFirst());
      }
      file = null;
      return adapter;
    } finally {
      if (file != null) {
        file.close();
      }
    }
  }

  private AdapterFormatException fault(@Nullable String tensor, String rule, Object value) {
    return new AdapterFormatException(file.path(), tensor, rule, value);
  }

  /** Sorts a tensor into its pair; one that is not of routed experts is set aside. */
  private void collect(Tensor tensor, Map<String, Tensor[]> pairs, List<String> ignored) {
    String key =
        tensor
            .name()
            .replace(".lora_A.default.", ".lora_A.")
            .replace(".lora_B.default.", ".lora_B.");
    if (!("." + key).contains(".experts.")) {
      ignored.add(tensor.name());
      return;
    }
    Matcher perExpert = PER_EXPERT.matcher(key);
    Matcher fused = FUSED.matcher(key);
    Matcher match = perExpert.matches() ? perExpert : fused;
    if (match == fused && !fused.matches()) {
      throw fault(
          tensor.name(),
          "a tensor of experts must be lora_A or lora_B of a linear layer or of a fused parameter",
          key);
    }
    String module = key.substring(0, key.length() - ".lora_A.weight".length());
    Tensor[] halves = pairs.computeIfAbsent(module, any -> new Tensor[2]);
    int half = match.group("half").equals("A") ? 0 : 1;
    if (halves[half] != null) {
      throw fault(
          tensor.name(), "a weight must be stored once", "it is also " + halves[half].name());
    }
    requireFiniteMatrix(tensor);
    halves[half] = tensor;
  }

  private void requireFiniteMatrix(Tensor tensor) {
    List<Long> shape = tensor.shape();
    if (shape.size() != 2 || shape.get(0) < 1 || shape.get(1) < 1) {
      throw fault(tensor.name(), "shape must have two dimensions that are not 0", shape);
    }
    if (shape.get(0) > Integer.MAX_VALUE || shape.get(1) > Integer.MAX_VALUE) {
      throw fault(tensor.name(), "dimensions must be at most 2^31 - 1", shape);
    }
    DType type =
        switch (tensor.dtype()) {
          case "F16", "BF16", "F32" -> type(tensor.dtype());
          default -> throw fault(tensor.name(), "dtype must be F16, BF16 or F32", tensor.dtype());
        };
    long elements = tensor.data().byteSize() / type.bytes();
    for (long i = 0; i < elements; i++) {
      float value = type.get(tensor.data(), i);
      if (!Float.isFinite(value)) {
        throw fault(
            tensor.name(),
            "element [%d,%d] must be finite".formatted(i / shape.get(1), i % shape.get(1)),
            value);
      }
    }
  }

  private static DType type(String dtype) {
    return DType.valueOf(dtype);
  }

  private Entry entry(String module, Tensor[] halves) {
    Tensor a = halves[0];
    Tensor b = halves[1];
    if (a == null || b == null) {
      Tensor present = a == null ? b : a;
      throw fault(
          module + (a == null ? ".lora_A.weight" : ".lora_B.weight"),
          "both halves of a pair must be there",
          "only " + present.name());
    }
    if (!a.dtype().equals(b.dtype())) {
      throw fault(b.name(), "dtype must be %s as of lora_A".formatted(a.dtype()), b.dtype());
    }
    Matcher layerMatch = LAYER.matcher(module);
    if (!layerMatch.matches()) {
      throw fault(a.name(), "the name must hold layers.N", module);
    }
    int layer = Integer.parseInt(layerMatch.group(1));
    if (!config.transformsLayer(layer)) {
      throw fault(a.name(), "the layer must be one of the config's layers_to_transform", layer);
    }
    Matcher perExpert = PER_EXPERT.matcher(module + ".lora_A.weight");
    return perExpert.matches()
        ? perExpertEntry(layer, module, perExpert, a, b)
        : fusedEntry(layer, module, a, b);
  }

  private static String withoutPrefix(String module) {
    String prefix = "base_model.model.";
    return module.startsWith(prefix) ? module.substring(prefix.length()) : module;
  }

  private Entry perExpertEntry(int layer, String module, Matcher match, Tensor a, Tensor b) {
    Linear linear =
        switch (match.group("linear")) {
          case "gate_proj", "w1" -> Linear.GATE;
          case "up_proj", "w3" -> Linear.UP;
          default -> Linear.DOWN;
        };
    String target = withoutPrefix(module);
    if (!config.targetsModule(target)) {
      throw fault(a.name(), "its module must be one of the config's target_modules", target);
    }
    int rank = config.rank(target);
    requireDimension(a, 0, rank, "the rank in the config");
    requireDimension(b, 1, rank, "the rank in the config");
    return new Entry(
        layer,
        linear,
        Integer.parseInt(match.group("expert")),
        1,
        rank,
        config.scale(target),
        a,
        b);
  }

  /**
   * With both parameters targeted, gate_up's wrapper is the inner one, since the model registers it
   * first.
   */
  private Entry fusedEntry(int layer, String module, Tensor a, Tensor b) {
    boolean nested = module.endsWith(".base_layer");
    String experts =
        withoutPrefix(
            nested ? module.substring(0, module.length() - ".base_layer".length()) : module);
    boolean gateUp = config.targetsParameter(experts + ".gate_up_proj");
    boolean up = config.targetsParameter(experts + ".up_proj");
    boolean down = config.targetsParameter(experts + ".down_proj");
    if (gateUp && up) {
      throw fault(
          a.name(), "target_parameters must name gate_up_proj or up_proj, not both", experts);
    }
    if (!gateUp && !up && !down) {
      throw fault(
          a.name(),
          "target_parameters must name gate_up_proj, up_proj or down_proj of these experts",
          experts);
    }
    boolean first = gateUp || up;
    if (nested && !(first && down)) {
      throw fault(
          a.name(),
          "base_layer must stand in a key only where two parameters are targeted",
          module);
    }
    Linear linear = nested || !down ? (gateUp ? Linear.GATE_UP : Linear.UP) : Linear.DOWN;
    String parameter =
        switch (linear) {
          case GATE_UP -> experts + ".gate_up_proj";
          case UP -> experts + ".up_proj";
          default -> experts + ".down_proj";
        };
    if (first && down) {
      String other =
          nested
              ? module.substring(0, module.length() - ".base_layer".length())
              : module + ".base_layer";
      requirePresent(other + ".lora_A.weight");
      requirePresent(other + ".lora_B.weight");
    }
    int rank = config.rank(parameter);
    long rows = a.shape().get(0);
    if (rows % rank != 0) {
      throw fault(
          a.name(), "rows must be a multiple of the rank %d in the config".formatted(rank), rows);
    }
    requireDimension(b, 1, rows, "the rows of lora_A");
    return new Entry(layer, linear, -1, (int) (rows / rank), rank, config.scale(parameter), a, b);
  }

  private void requirePresent(String key) {
    String withDefault = key.replace(".weight", ".default.weight");
    if (!file.tensors().containsKey(key) && !file.tensors().containsKey(withDefault)) {
      throw fault(key, "the tensor must be there, since its parameter is targeted", "nothing");
    }
  }

  private void requireDimension(Tensor tensor, int dimension, long size, String why) {
    if (tensor.shape().get(dimension) != size) {
      throw fault(
          tensor.name(),
          "shape[%d] must be %d, %s".formatted(dimension, size, why),
          tensor.shape().get(dimension));
    }
  }

  private void requireConsistentLayers() {
    Entry firstFused = null;
    Set<String> seen = new HashSet<>();
    for (Entry entry : entries) {
      String site = entry.layer() + "/" + entry.linear() + "/" + entry.expert();
      if (!seen.add(site)) {
        throw fault(
            entry.a().name(),
            "a layer must hold one pair for each projection and expert",
            "two for " + site);
      }
      if (entry.expert() >= 0) {
        continue;
      }
      if (firstFused == null) {
        firstFused = entry;
      } else if (entry.experts() != firstFused.experts()) {
        throw fault(
            entry.a().name(),
            "it must hold %d experts as %s does"
                .formatted(firstFused.experts(), firstFused.a().name()),
            entry.experts());
      }
    }
    if (firstFused != null && entries.stream().anyMatch(entry -> entry.expert() >= 0)) {
      throw fault(
          firstFused.a().name(), "a file must hold fused or per-expert weights, not both", "both");
    }
  }

  /** Orientations that version and shapes of this file alone leave open. */
  private Set<Orientation> orientations() {
    if (layout() != Layout.FUSED) {
      return EnumSet.of(Orientation.PROJECTION);
    }
    Integer version = config.version();
    Set<Orientation> possible =
        version != null && version >= ORIENTED_VERSION
            ? EnumSet.of(Orientation.PROJECTION)
            : EnumSet.allOf(Orientation.class);
    possible.removeIf(orientation -> !agrees(orientation));
    if (possible.isEmpty()) {
      throw fault(
          entries.getFirst().a().name(),
          "gate_up_proj and down_proj must have matching widths in the orientation of PEFT "
              + config.versionText(),
          shapes());
    }
    return possible;
  }

  private String shapes() {
    List<String> shapes = new ArrayList<>();
    for (Entry entry : entries) {
      if (entry.layer() == entries.getFirst().layer()) {
        shapes.add("%s A %s B %s".formatted(entry.linear(), entry.a().shape(), entry.b().shape()));
      }
    }
    return String.join(", ", shapes);
  }

  private boolean agrees(Orientation orientation) {
    long hidden = -1;
    long intermediate = -1;
    for (Entry entry : entries) {
      long in = inputWidth(entry, orientation);
      long out = outputWidth(entry, orientation);
      if (entry.linear() == Linear.GATE_UP && out % 2 != 0) {
        return false;
      }
      long entryHidden = entry.linear() == Linear.DOWN ? out : in;
      long entryIntermediate =
          switch (entry.linear()) {
            case DOWN -> in;
            case GATE_UP -> out / 2;
            default -> out;
          };
      if (hidden >= 0 && (hidden != entryHidden || intermediate != entryIntermediate)) {
        return false;
      }
      hidden = entryHidden;
      intermediate = entryIntermediate;
    }
    return true;
  }

  private static int inputWidth(Entry entry, Orientation orientation) {
    return Math.toIntExact(
        orientation == Orientation.PROJECTION
            ? entry.a().shape().get(1)
            : entry.b().shape().get(0));
  }

  private static int outputWidth(Entry entry, Orientation orientation) {
    return Math.toIntExact(
        orientation == Orientation.PROJECTION
            ? entry.b().shape().get(0)
            : entry.a().shape().get(1));
  }

  /** Name of the directory. */
  public String name() {
    return name;
  }

  /** The file that holds the weights. */
  public Path file() {
    return file.path();
  }

  /** Version of PEFT that the config records, or {@code null} in letters where it records none. */
  public String peftVersion() {
    return config.versionText();
  }

  /** Layout of the expert weights; {@link Layout#PER_EXPERT} for a file without any. */
  public Layout layout() {
    return !entries.isEmpty() && entries.getFirst().expert() < 0 ? Layout.FUSED : Layout.PER_EXPERT;
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

  /**
   * The adapter for a model, as views of the mapped file.
   *
   * @throws AdapterFormatException if a tensor does not fit the model, or the file can be read in
   *     two ways
   */
  public LoraAdapter toLoraAdapter(MoeModel model) {
    Orientation orientation = orientation(model);
    LoraAdapter.Builder builder = LoraAdapter.builder(name);
    for (Entry entry : entries) {
      requireFits(entry, orientation, model);
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

  private Orientation orientation(MoeModel model) {
    if (orientations.size() == 1) {
      return orientations.iterator().next();
    }
    Set<Orientation> fitting = EnumSet.copyOf(orientations);
    fitting.removeIf(
        orientation ->
            entries.stream()
                .anyMatch(
                    entry ->
                        inputWidth(entry, orientation)
                                != model.inputWidth(entry.linear().projection())
                            || outputWidth(entry, orientation)
                                != sliceWidth(entry.linear(), model)));
    if (fitting.size() != 1) {
      throw fault(
          entries.getFirst().a().name(),
          fitting.isEmpty()
              ? "its shapes must fit the model in one orientation"
              : "its shapes must fit the model in one orientation only, since PEFT %s wrote either"
                  .formatted(config.versionText()),
          shapes());
    }
    return fitting.iterator().next();
  }

  private static int sliceWidth(Linear linear, MoeModel model) {
    return switch (linear) {
      case GATE, UP -> model.intermediateSize();
      case GATE_UP -> 2 * model.intermediateSize();
      case DOWN -> model.hiddenSize();
    };
  }

  private void requireFits(Entry entry, Orientation orientation, MoeModel model) {
    String tensor = entry.a().name();
    if (!model.layers().contains(entry.layer())) {
      throw fault(tensor, "the layer must be one of " + model.layers(), entry.layer());
    }
    if (entry.expert() >= model.experts()) {
      throw fault(
          tensor, "the expert must be in [0, %d)".formatted(model.experts()), entry.expert());
    }
    if (entry.expert() < 0 && entry.experts() != model.experts()) {
      throw fault(
          tensor,
          "it must hold %d experts of rank %d".formatted(model.experts(), entry.rank()),
          entry.experts());
    }
    if (entry.linear() == Linear.GATE_UP && !model.gateUp().gated()) {
      throw fault(tensor, "the model's experts must have a gate", model.gateUp());
    }
    if (entry.linear() == Linear.GATE && !model.gateUp().gated()) {
      throw fault(tensor, "the model's experts must have a gate", model.gateUp());
    }
    boolean half = entry.linear() == Linear.GATE || entry.linear() == Linear.UP;
    if (half && model.gateUp() == GateUp.INTERLEAVED) {
      throw fault(
          tensor,
          "gate and up must be one fused pair where the model interleaves them",
          entry.linear());
    }
    int in = model.inputWidth(entry.linear().projection());
    if (inputWidth(entry, orientation) != in) {
      throw fault(
          tensor, "its input width must be %d".formatted(in), inputWidth(entry, orientation));
    }
    int out = sliceWidth(entry.linear(), model);
    if (outputWidth(entry, orientation) != out) {
      throw fault(
          entry.b().name(),
          "its output width must be %d".formatted(out),
          outputWidth(entry, orientation));
    }
  }

  private static LoraSlice slice(Entry entry, int index, Orientation orientation, MoeModel model) {
    int rank = entry.rank();
    int in = inputWidth(entry, orientation);
    int out = outputWidth(entry, orientation);
    DType type = entry.type();
    long aRow = entry.a().shape().get(1);
    long bRow = entry.b().shape().get(1);
    long aFrom = (long) index * rank * aRow;
    int bStep = entry.expert() < 0 ? entry.experts() : 1;
    Matrix a;
    Matrix b;
    if (orientation == Orientation.PROJECTION) {
      a = new Matrix(entry.a().data(), type, rank, in, aFrom, aRow, 1);
      b = new Matrix(entry.b().data(), type, out, rank, index, bRow, bStep);
    } else {
      a = new Matrix(entry.b().data(), type, rank, in, index, bStep, bRow);
      b = new Matrix(entry.a().data(), type, out, rank, aFrom, 1, aRow);
    }
    int firstColumn =
        entry.linear() == Linear.UP && model.gateUp().gated() ? model.intermediateSize() : 0;
    return new LoraSlice(firstColumn, a, b, entry.scale());
  }

  /**
   * The model's sizes as far as adapters tell them: widths and layers from the shapes, the number
   * of experts from fused pairs, or else one more than the largest expert id.
   *
   * @param adapters adapters of one model, at least one
   * @throws AdapterFormatException if they contradict each other or do not tell a width
   */
  public static MoeModel inferModel(List<PeftAdapter> adapters) {
    ModelSizes sizes = new ModelSizes();
    for (PeftAdapter adapter : adapters) {
      if (adapter.orientations.size() != 1) {
        throw adapter.fault(
            adapter.entries.getFirst().a().name(),
            "the model's sizes must be given, since PEFT %s wrote two orientations"
                .formatted(adapter.peftVersion()),
            adapter.shapes());
      }
      Orientation orientation = adapter.orientations.iterator().next();
      for (Entry entry : adapter.entries) {
        sizes.add(adapter, entry, inputWidth(entry, orientation), outputWidth(entry, orientation));
      }
    }
    return sizes.model(adapters.getFirst());
  }

  private static final class ModelSizes {
    private int hidden = -1;
    private int intermediate = -1;
    private int fusedExperts = -1;
    private int largestExpert = -1;
    private boolean gate;
    private boolean up;
    private final Set<Integer> layers = new java.util.TreeSet<>();

    void add(PeftAdapter adapter, Entry entry, int in, int out) {
      layers.add(entry.layer());
      boolean down = entry.linear() == Linear.DOWN;
      hidden = agree(adapter, entry, "hidden size", hidden, down ? out : in);
      int width = down ? in : entry.linear() == Linear.GATE_UP ? out / 2 : out;
      intermediate = agree(adapter, entry, "intermediate size", intermediate, width);
      gate |= entry.linear() == Linear.GATE || entry.linear() == Linear.GATE_UP;
      up |= entry.linear() == Linear.UP;
      if (entry.expert() < 0) {
        fusedExperts = agree(adapter, entry, "number of experts", fusedExperts, entry.experts());
      } else {
        largestExpert = Math.max(largestExpert, entry.expert());
      }
    }

    private static int agree(PeftAdapter adapter, Entry entry, String what, int known, int value) {
      if (known >= 0 && known != value) {
        throw adapter.fault(
            entry.a().name(),
            "the %s must be %d as in the tensors before".formatted(what, known),
            value);
      }
      return value;
    }

    MoeModel model(PeftAdapter first) {
      if (layers.isEmpty()) {
        throw first.fault(null, "an adapter must hold tensors of routed experts", "none");
      }
      // up without gate anywhere is a model without gate; with down alone it makes no difference
      GateUp gateUp = up && !gate ? GateUp.UP_ONLY : GateUp.HALVES;
      int experts = fusedExperts >= 0 ? fusedExperts : largestExpert + 1;
      return new MoeModel(hidden, intermediate, experts, gateUp, List.copyOf(layers));
    }
  }

  /** Unmaps the file; closing twice does nothing. */
  @Override
  public void close() {
    file.close();
  }
}
