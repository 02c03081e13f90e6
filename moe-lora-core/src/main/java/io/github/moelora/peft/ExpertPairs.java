package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.peft.ExpertKey.UnreadableException;
import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.safetensors.FiniteScan;
import io.github.moelora.safetensors.SafeTensorsFile;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** Makes pairs of a file's tensors and checks them against the config; used once per file. */
final class ExpertPairs {

  /**
   * Parameters of an experts module in the order in which models register them. PEFT wraps them in
   * that order, so the first one targeted is the innermost wrapper.
   */
  private enum Parameter {
    GATE_UP_PROJ("gate_up_proj", Linear.GATE_UP),
    GATE_PROJ("gate_proj", Linear.GATE),
    UP_PROJ("up_proj", Linear.UP),
    DOWN_PROJ("down_proj", Linear.DOWN);

    private final String name;
    private final Linear linear;

    Parameter(String name, Linear linear) {
      this.name = name;
      this.linear = linear;
    }
  }

  /** Longer names than any model has are not worth the work of looking them up. */
  private static final int MAX_MODULE_LENGTH = 256;

  /** A and B of one module. */
  private static final class Pair {
    private final ExpertKey key;
    private final @Nullable Tensor[] halves = new Tensor[2];

    Pair(ExpertKey key) {
      this.key = key;
    }
  }

  /** Whom a pair belongs to. */
  private record Site(int layer, int expert) {}

  private final Path path;
  private final AdapterConfig config;
  private final Map<String, Pair> pairs = new TreeMap<>();
  private final List<String> ignored = new ArrayList<>();
  private final List<Entry> entries = new ArrayList<>();
  private @Nullable ExpertKey first;

  ExpertPairs(SafeTensorsFile file, AdapterConfig config) {
    this.path = file.path();
    this.config = config;
    file.tensors().values().forEach(this::collect);
    requireOneModulePerLayer();
    Map<String, List<Pair>> fused = new TreeMap<>();
    for (Pair pair : pairs.values()) {
      if (pair.key.expert() >= 0) {
        entries.add(perExpert(pair));
      } else if (pair.key.linear() != null) {
        entries.add(parallel(pair, pair.key.linear()));
      } else {
        fused.computeIfAbsent(pair.key.experts(), any -> new ArrayList<>()).add(pair);
      }
    }
    fused.forEach(this::addFused);
    entries.sort(
        Comparator.comparingInt(Entry::layer)
            .thenComparing(Entry::linear)
            .thenComparingInt(Entry::expert));
    requireOnePairPerSite();
    requireOneExpertCount();
  }

  /** All pairs by layer, linear layer and expert. */
  List<Entry> entries() {
    return entries;
  }

  /** Names of the tensors that are not of routed experts. */
  List<String> ignored() {
    return ignored;
  }

  /**
   * Whether some experts lie where Llama 4 has them, which stores parameters {@code [E, in, out]}.
   */
  boolean inFeedForward() {
    return first != null && first.experts().endsWith(".feed_forward.experts");
  }

  /** Whether the experts lie where Nemotron-H has them, whose experts have no gate. */
  boolean inMixer() {
    return first != null && first.experts().endsWith(".mixer.experts");
  }

  private AdapterFormatException fault(
      @Nullable String tensor, String rule, @Nullable Object value) {
    return new AdapterFormatException(path, tensor, rule, value);
  }

  private void collect(Tensor tensor) {
    ExpertKey key;
    try {
      key = ExpertKey.parse(tensor.name());
    } catch (UnreadableException e) {
      throw fault(tensor.name(), String.valueOf(e.getMessage()), tensor.name());
    }
    if (key == null) {
      requireNoExperts(tensor);
      ignored.add(tensor.name());
      return;
    }
    if (first == null) {
      first = key;
    } else if (!first.adapter().equals(key.adapter())) {
      throw fault(
          tensor.name(),
          "all tensors must be of one adapter, '%s'".formatted(first.adapter()),
          "'%s'".formatted(key.adapter()));
    }
    requireMatrix(tensor);
    requireFinite(tensor);
    Pair pair = pairs.computeIfAbsent(key.module(), any -> new Pair(key));
    Tensor other = pair.halves[key.half()];
    if (other != null) {
      throw fault(tensor.name(), "a weight must be stored once", "it is also " + other.name());
    }
    pair.halves[key.half()] = tensor;
  }

  /**
   * Only a pair of several experts has more rows in A than its rank; it must not be taken for one
   * that has nothing to do with experts.
   */
  private void requireNoExperts(Tensor tensor) {
    int end = tensor.name().indexOf(".lora_A.");
    if (end < 0 || end > MAX_MODULE_LENGTH || tensor.shape().size() != 2) {
      return;
    }
    String module =
        ExpertKey.withoutPrefix(tensor.name().substring(0, end)).replace(".base_layer", "");
    String parameter = config.targetedParameter(module);
    long rows = tensor.shape().get(0);
    if (parameter != null && rows > config.rank(parameter) && !config.targetsModule(module)) {
      throw fault(
          tensor.name(),
          "a pair of several experts must be of a module that is known to hold experts",
          module);
    }
  }

  private void requireMatrix(Tensor tensor) {
    switch (tensor.dtype()) {
      case "F16", "BF16", "F32" -> {}
      default -> throw fault(tensor.name(), "dtype must be F16, BF16 or F32", tensor.dtype());
    }
    List<Long> shape = tensor.shape();
    if (shape.size() != 2 || shape.contains(0L)) {
      throw fault(tensor.name(), "shape must have two dimensions that are not 0", shape);
    }
    if (Math.max(shape.get(0), shape.get(1)) > Integer.MAX_VALUE) {
      throw fault(tensor.name(), "dimensions must be at most 2^31 - 1", shape);
    }
  }

  private void requireFinite(Tensor tensor) {
    DType type = DType.valueOf(tensor.dtype());
    long at = FiniteScan.firstNonFinite(tensor.data(), type);
    if (at >= 0) {
      long columns = tensor.shape().get(1);
      throw fault(
          tensor.name(),
          "element [%d,%d] must be finite".formatted(at / columns, at % columns),
          type.get(tensor.data(), at));
    }
  }

  /** Two modules with the number of one layer, such as a draft model's, cannot be told apart. */
  private void requireOneModulePerLayer() {
    Map<Integer, ExpertKey> modules = new HashMap<>();
    for (Pair pair : pairs.values()) {
      ExpertKey other = modules.putIfAbsent(pair.key.layer(), pair.key);
      if (other != null && !other.experts().equals(pair.key.experts())) {
        throw fault(
            anyName(pair),
            "the experts of layer %d must be %s".formatted(other.layer(), other.experts()),
            pair.key.experts());
      }
    }
  }

  private static String anyName(Pair pair) {
    Tensor any = pair.halves[0] == null ? pair.halves[1] : pair.halves[0];
    return any == null ? pair.key.module() : any.name();
  }

  /** One of the two tensors of a pair. */
  private Tensor half(Pair pair, int half) {
    Tensor tensor = pair.halves[half];
    if (tensor == null) {
      String present = anyName(pair);
      throw fault(
          present.replace(half == 0 ? ".lora_B." : ".lora_A.", half == 0 ? ".lora_A." : ".lora_B."),
          "both halves of a pair must be there",
          "only " + present);
    }
    return tensor;
  }

  private Entry perExpert(Pair pair) {
    ExpertKey key = pair.key;
    Tensor a = half(pair, 0);
    Tensor b = half(pair, 1);
    if (!config.targetsModule(key.module())) {
      throw fault(a.name(), "the config's target_modules must name the module", key.module());
    }
    if (config.excludesModule(key.module())) {
      throw fault(a.name(), "the config's exclude_modules must not name the module", key.module());
    }
    if (!config.transformsLayer(key)) {
      throw fault(a.name(), "the config's layers_to_transform must hold the layer", key.layer());
    }
    int rank = config.rank(key.module());
    requireDimension(a, 0, rank, "the rank in the config");
    requireDimension(b, 1, rank, "the rank in the config");
    Linear linear = Objects.requireNonNull(key.linear());
    requireOneType(a, b);
    float scale = config.scale(key.module());
    return new Entry(key.layer(), linear, key.expert(), 1, rank, scale, a, b);
  }

  private void requireOneType(Tensor a, Tensor b) {
    if (!a.dtype().equals(b.dtype())) {
      throw fault(b.name(), "dtype must be %s as that of lora_A".formatted(a.dtype()), b.dtype());
    }
  }

  /**
   * The wrappers of one experts module, by their names and so from the outermost, which has no
   * {@code base_layer} in its name, to the innermost.
   */
  private void addFused(String experts, List<Pair> wrappers) {
    List<Parameter> targeted = new ArrayList<>();
    for (Parameter parameter : Parameter.values()) {
      if (config.targetsParameter(experts + "." + parameter.name)) {
        targeted.add(parameter);
      }
    }
    String outermost = anyName(wrappers.getFirst());
    if (targeted.isEmpty()) {
      throw fault(
          outermost,
          "the config's target_parameters must name the parameter of %s".formatted(experts),
          "none");
    }
    if (targeted.contains(Parameter.GATE_PROJ) && targeted.contains(Parameter.UP_PROJ)) {
      throw fault(
          outermost,
          "the config's target_parameters must not name both gate_proj and up_proj of one module,"
              + " whose order in the file is not known",
          experts);
    }
    for (int depth = 0; depth < targeted.size(); depth++) {
      if (depth >= wrappers.size() || wrappers.get(depth).key.depth() != depth) {
        throw fault(
            experts + ".base_layer".repeat(depth) + ".lora_A.weight",
            "there must be a pair for each of the %d targeted parameters"
                .formatted(targeted.size()),
            wrappers.size());
      }
    }
    if (wrappers.size() > targeted.size()) {
      throw fault(
          anyName(wrappers.getLast()),
          "the config's target_parameters must name as many parameters of %s as there are pairs"
              .formatted(experts),
          targeted.size());
    }
    for (int depth = 0; depth < wrappers.size(); depth++) {
      Parameter parameter = targeted.get(targeted.size() - 1 - depth);
      entries.add(fused(wrappers.get(depth), parameter.linear, experts + "." + parameter.name));
    }
  }

  /** The only wrapper of a module whose only parameter holds all experts. */
  private Entry parallel(Pair pair, Linear linear) {
    String name = pair.key.module() + ".weight";
    if (!config.targetsParameter(name)) {
      throw fault(
          anyName(pair), "the config's target_parameters must name the parameter " + name, "none");
    }
    return fused(pair, linear, name);
  }

  private Entry fused(Pair pair, Linear linear, String name) {
    Tensor a = half(pair, 0);
    Tensor b = half(pair, 1);
    int rank = config.rank(name);
    long rows = a.shape().get(0);
    if (rows % rank != 0) {
      throw fault(
          a.name(),
          "shape[0] must be a multiple of %d, the rank in the config".formatted(rank),
          rows);
    }
    requireDimension(b, 1, rows, "the rows of lora_A");
    int experts = Math.toIntExact(rows / rank);
    requireOneType(a, b);
    ExpertKey key = pair.key;
    return new Entry(key.layer(), linear, key.expert(), experts, rank, config.scale(name), a, b);
  }

  private void requireDimension(Tensor tensor, int dimension, long size, String why) {
    if (tensor.shape().get(dimension) != size) {
      throw fault(
          tensor.name(),
          "shape[%d] must be %d, %s".formatted(dimension, size, why),
          tensor.shape().get(dimension));
    }
  }

  /** No two pairs may change the same output columns. */
  private void requireOnePairPerSite() {
    Map<Site, Integer> taken = new HashMap<>();
    for (Entry entry : entries) {
      int columns =
          switch (entry.linear()) {
            case GATE -> 1;
            case UP -> 2;
            case GATE_UP -> 1 | 2;
            case DOWN -> 4;
          };
      int before = taken.merge(new Site(entry.layer(), entry.expert()), columns, Integer::sum);
      if ((before - columns & columns) != 0) {
        throw fault(
            entry.a().name(),
            "an expert must have one pair for each linear layer",
            "one more for %s".formatted(entry.linear()));
      }
    }
  }

  /** A pair of all experts holds as many as any other, and stands beside none of one expert. */
  private void requireOneExpertCount() {
    Entry fused = null;
    for (Entry entry : entries) {
      if (entry.expert() < 0) {
        fused = fused == null ? entry : fused;
        if (entry.experts() != fused.experts()) {
          throw fault(
              entry.a().name(),
              "it must hold %d experts as %s does".formatted(fused.experts(), fused.a().name()),
              entry.experts());
        }
      }
    }
    for (Entry entry : entries) {
      if (fused != null && entry.expert() >= 0) {
        throw fault(
            entry.a().name(),
            "a file must hold pairs of all experts or of single ones, not both",
            fused.a().name());
      }
    }
  }
}
