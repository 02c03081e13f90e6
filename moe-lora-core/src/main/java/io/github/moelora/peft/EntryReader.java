package io.github.moelora.peft;

import io.github.moelora.peft.ExpertKey.Form;
import io.github.moelora.peft.FilePairs.Pair;
import io.github.moelora.peft.PeftAdapter.DenseEntry;
import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.peft.PeftAdapter.Packing;
import io.github.moelora.peft.ReadOptions.Nesting;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** Reads pairs as the config tells: linear layers, ranks and scales; used once per file. */
final class EntryReader {
  /**
   * Parameters of an experts module in the order in which models register them. PEFT wraps them in
   * that order, so the first one targeted is the innermost wrapper.
   */
  private enum Parameter {
    GATE_UP_PROJ("gate_up_proj", Form.NESTED, Linear.GATE_UP),
    GATE_PROJ("gate_proj", Form.NESTED, Linear.GATE),
    UP_PROJ("up_proj", Form.NESTED, Linear.UP),
    DOWN_PROJ("down_proj", Form.NESTED, Linear.DOWN),
    W1("w1", Form.NESTED_STACK, Linear.GATE),
    V1("v1", Form.NESTED_STACK, Linear.UP),
    W2("w2", Form.NESTED_STACK, Linear.DOWN);

    private final String name;
    private final Form form;
    private final Linear linear;

    Parameter(String name, Form form, Linear linear) {
      this.name = name;
      this.form = form;
      this.linear = linear;
    }
  }

  /** Longer names than any model has are not worth the work of looking them up. */
  private static final int MAX_MODULE_LENGTH = 256;

  private final AdapterTensors tensors;
  private final FilePairs pairs;
  private final AdapterConfig config;
  private final ReadOptions options;
  private final List<Entry> entries = new ArrayList<>();

  /** A module whose parameters are not named by the config, or null. */
  private @Nullable String unnamed;

  private final List<String> untargeted = new ArrayList<>();

  EntryReader(AdapterTensors tensors, FilePairs pairs, AdapterConfig config, ReadOptions options) {
    this.tensors = tensors;
    this.pairs = pairs;
    this.config = config;
    this.options = options;
  }

  /** Entries of routed experts by layer, linear layer and expert, with wrappers in this order. */
  List<Entry> entries(Nesting nesting) {
    entries.clear();
    Map<String, List<Pair>> nested = new TreeMap<>();
    for (Pair pair : pairs.experts().values()) {
      switch (pair.key().form()) {
        case SINGLE -> entries.add(single(pair));
        case OWN, AUTOMODEL -> entries.add(own(pair));
        case NESTED, NESTED_STACK ->
            nested.computeIfAbsent(pair.key().experts(), any -> new ArrayList<>()).add(pair);
      }
    }
    nested.forEach((experts, wrappers) -> addNested(experts, wrappers, nesting));
    entries.sort(
        Comparator.comparingInt(Entry::layer)
            .thenComparing(Entry::linear)
            .thenComparingInt(Entry::expert));
    return List.copyOf(entries);
  }

  /** A module whose parameters the config does not name, so that their number told; or null. */
  @Nullable String unnamed() {
    return unnamed;
  }

  /** Modules outside the routed experts that the config does not target, though they have pairs. */
  List<String> untargeted() {
    return untargeted;
  }

  /** Entries of all other linear layers by module. */
  List<DenseEntry> dense() {
    return pairs.dense().values().stream().map(this::dense).toList();
  }

  private DenseEntry dense(FilePairs.DensePair pair) {
    Tensor a = pairs.half(pair, 0);
    Tensor b = pairs.half(pair, 1);
    String module = pair.module();
    requireNoExperts(a, module);
    String parameter = module + ".weight";
    boolean asParameter = config.targetsParameter(parameter) && !config.targetsModule(module);
    String name = asParameter ? parameter : module;
    int rank = config.rank(name);
    if (!asParameter && (!config.targetsModule(module) || config.excludesModule(module))) {
      untargeted.add(module);
    }
    requireDimension(a, 0, rank, "the rank in the config");
    requireDimension(b, 1, rank, "the rank in the config");
    requireOneType(a, b);
    return new DenseEntry(module, rank, config.scale(name, rank), a, b);
  }

  /**
   * Only a pair of several experts has more rows in A than its rank; it must not be taken for one
   * that has nothing to do with experts.
   */
  private void requireNoExperts(Tensor a, String path) {
    if (!config.namesParameters() || path.length() > MAX_MODULE_LENGTH) {
      return;
    }
    String module = path.replace(".base_layer", "");
    String parameter = config.targetedParameter(module);
    boolean several = parameter != null && a.shape().get(0) > config.rank(parameter);
    if (several && !config.targetsModule(module)) {
      throw tensors.fault(
          a.name(),
          "a pair of several experts must be of a module that is known to hold experts",
          module);
    }
  }

  private void requireTargeted(Tensor a, String module, boolean otherwise) {
    if (!otherwise && !config.targetsModule(module)) {
      throw tensors.fault(a.name(), "the config's target_modules must name the module", module);
    }
    if (config.excludesModule(module)) {
      throw tensors.fault(
          a.name(), "the config's exclude_modules must not name the module", module);
    }
  }

  private Entry single(Pair pair) {
    ExpertKey key = pair.key();
    Tensor a = pairs.half(pair, 0);
    Tensor b = pairs.half(pair, 1);
    requireTargeted(a, key.module(), config.targetsExperts(key.experts()));
    if (!config.transformsLayer(key)) {
      throw tensors.fault(
          a.name(), "the config's layers_to_transform must hold the layer", key.layer());
    }
    int rank = config.rank(key.module());
    requireDimension(a, 0, rank, "the rank in the config");
    requireDimension(b, 1, rank, "the rank in the config");
    requireOneType(a, b);
    return new Entry(
        key.layer(),
        Objects.requireNonNull(key.linear()),
        key.expert(),
        1,
        rank,
        config.scale(key.module(), rank),
        Packing.SINGLE,
        a,
        b);
  }

  private void requireOneType(Tensor a, Tensor b) {
    if (!a.dtype().equals(b.dtype())) {
      throw tensors.fault(
          b.name(), "dtype must be %s as that of lora_A".formatted(a.dtype()), b.dtype());
    }
  }

  /**
   * The wrappers of one experts module, by their names and so from the outermost, which has no
   * {@code base_layer} in its name, to the innermost.
   */
  private void addNested(String experts, List<Pair> wrappers, Nesting nesting) {
    List<Parameter> targeted = targeted(experts, wrappers);
    for (int depth = 0; depth < targeted.size(); depth++) {
      if (depth >= wrappers.size() || wrappers.get(depth).key().depth() != depth) {
        throw tensors.fault(
            experts + ".base_layer".repeat(depth) + ".lora_A.weight",
            "there must be a pair for each of the %d targeted parameters"
                .formatted(targeted.size()),
            wrappers.size());
      }
    }
    if (wrappers.size() > targeted.size()) {
      throw tensors.fault(
          wrappers.getLast().anyName(),
          "the config's target_parameters must name as many parameters of %s as there are pairs"
              .formatted(experts),
          targeted.size());
    }
    if (nesting == Nesting.REGISTERED) {
      Collections.reverse(targeted);
    }
    for (int depth = 0; depth < wrappers.size(); depth++) {
      Parameter parameter = targeted.get(depth);
      Pair pair = wrappers.get(depth);
      String name = experts + "." + parameter.name;
      entries.add(
          parameter.form == Form.NESTED_STACK
              ? rows(pair, parameter.linear, name)
              : ofAll(pair, parameter.linear, name));
    }
  }

  /** The parameters of that module that are targeted, in the order in which it registers them. */
  private List<Parameter> targeted(String experts, List<Pair> wrappers) {
    Form form = wrappers.getFirst().key().form();
    String outermost = wrappers.getFirst().anyName();
    List<Parameter> targeted = new ArrayList<>();
    for (Parameter parameter : Parameter.values()) {
      if (parameter.form == form && config.targetsParameter(experts + "." + parameter.name)) {
        targeted.add(parameter);
      }
    }
    if (targeted.isEmpty() && !config.namesParameters()) {
      unnamed = experts;
      targeted.addAll(byNumber(experts, form, wrappers.size()));
    }
    if (targeted.isEmpty()) {
      throw tensors.fault(
          outermost,
          "the config's target_parameters must name the parameter of %s (or an option does)"
              .formatted(experts),
          config.namedParameters());
    }
    if (options.nesting() == null
        && targeted.contains(Parameter.GATE_PROJ)
        && targeted.contains(Parameter.UP_PROJ)) {
      throw tensors.fault(
          outermost,
          "the config's target_parameters must not name both gate_proj and up_proj of one module,"
              + " whose order in the file is not known (an option tells the nesting)",
          experts);
    }
    return targeted;
  }

  /** Trainers write configs that do not name parameters; one alone may be any. */
  private List<Parameter> byNumber(String experts, Form form, int wrappers) {
    if (form == Form.NESTED_STACK) {
      return wrappers == 3 ? List.of(Parameter.W1, Parameter.V1, Parameter.W2) : List.of();
    }
    if (wrappers != 2) {
      return List.of();
    }
    boolean gateless = experts.endsWith(".mixer.experts") || config.baseModelNames("nemotronh");
    return List.of(gateless ? Parameter.UP_PROJ : Parameter.GATE_UP_PROJ, Parameter.DOWN_PROJ);
  }

  /** The only wrapper of a module whose only parameter holds all experts. */
  private Entry own(Pair pair) {
    ExpertKey key = pair.key();
    String weight = key.module() + ".weight";
    boolean targeted =
        key.form() == Form.AUTOMODEL
            || config.targetsParameter(weight)
            || config.targetsParameter(key.module())
            || (!config.namesParameters()
                && (config.targetsModule(key.module()) || config.targetsExperts(key.experts())));
    if (!targeted) {
      throw tensors.fault(
          pair.anyName(),
          "the config's target_parameters must name the parameter " + weight,
          "none");
    }
    String name = config.targetsParameter(weight) ? weight : key.module();
    return ofAll(pair, Objects.requireNonNull(key.linear()), name);
  }

  /** A pair of a parameter that holds all experts. */
  private Entry ofAll(Pair pair, Linear linear, String name) {
    Tensor a = pairs.half(pair, 0);
    Tensor b = pairs.half(pair, 1);
    if (a.shape().size() != b.shape().size()) {
      throw tensors.fault(
          b.name(), "shape must have as many dimensions as that of lora_A", b.shape());
    }
    requireOneType(a, b);
    return a.shape().size() == 3 ? packed(pair, linear, name) : stacked(pair, linear, name);
  }

  private Entry stacked(Pair pair, Linear linear, String name) {
    Tensor a = pairs.half(pair, 0);
    Tensor b = pairs.half(pair, 1);
    int rank = config.rank(name);
    long rows = a.shape().get(0);
    if (rows % rank != 0) {
      throw tensors.fault(
          a.name(),
          "shape[0] must be a multiple of %d, the rank in the config".formatted(rank),
          rows);
    }
    requireDimension(b, 1, rows, "the rows of lora_A");
    int experts = Math.toIntExact(rows / rank);
    return entry(pair, linear, experts, rank, Packing.STACKED, name);
  }

  private Entry entry(
      Pair pair, Linear linear, int experts, int rank, Packing packing, String name) {
    return new Entry(
        pair.key().layer(),
        linear,
        -1,
        experts,
        rank,
        config.scale(name, rank),
        packing,
        pairs.half(pair, 0),
        pairs.half(pair, 1));
  }

  /** A {@code [E, R, in]} and B {@code [E, out, R]}, where one of them may be for all experts. */
  private Entry packed(Pair pair, Linear linear, String name) {
    Tensor a = pairs.half(pair, 0);
    Tensor b = pairs.half(pair, 1);
    int rank = config.rank(name);
    boolean turned =
        pair.key().form() == Form.AUTOMODEL
            || (a.shape().get(1) != rank && a.shape().get(2) == rank && b.shape().get(1) == rank);
    requireDimension(a, turned ? 2 : 1, rank, "the rank in the config");
    requireDimension(b, turned ? 1 : 2, rank, "the rank in the config");
    long experts = Math.max(a.shape().get(0), b.shape().get(0));
    for (Tensor tensor : List.of(a, b)) {
      if (tensor.shape().get(0) != 1 && tensor.shape().get(0) != experts) {
        throw tensors.fault(
            tensor.name(),
            "shape[0] must be 1 or %d, the experts of the other half".formatted(experts),
            tensor.shape().get(0));
      }
    }
    int known = experts == 1 ? 0 : Math.toIntExact(experts);
    Packing packing = turned ? Packing.PACKED_TURNED : Packing.PACKED;
    return entry(pair, linear, known, rank, packing, name);
  }

  /** A pair on the matrix of all experts' rows: an expert has its rows of B, and all of A. */
  private Entry rows(Pair pair, Linear linear, String name) {
    Tensor a = pairs.half(pair, 0);
    Tensor b = pairs.half(pair, 1);
    requireTwoDimensions(a);
    requireTwoDimensions(b);
    int rank = config.rank(name);
    requireDimension(a, 0, rank, "the rank in the config");
    requireDimension(b, 1, rank, "the rank in the config");
    requireOneType(a, b);
    return entry(pair, linear, 0, rank, Packing.ROWS, name);
  }

  private void requireTwoDimensions(Tensor tensor) {
    if (tensor.shape().size() != 2) {
      throw tensors.fault(
          tensor.name(), "shape must have two dimensions that are not 0", tensor.shape());
    }
  }

  private void requireDimension(Tensor tensor, int dimension, long size, String why) {
    if (tensor.shape().get(dimension) != size) {
      throw tensors.fault(
          tensor.name(),
          "shape[%d] must be %d, %s".formatted(dimension, size, why),
          tensor.shape().get(dimension));
    }
  }
}
