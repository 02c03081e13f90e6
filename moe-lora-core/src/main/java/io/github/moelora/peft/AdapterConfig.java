package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.peft.ReadOptions.ColumnOrder;
import io.github.moelora.peft.names.NamePattern;
import io.github.moelora.peft.names.NameTable;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.regex.PatternSyntaxException;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** {@code adapter_config.json}: which modules an adapter targets, and with which rank and scale. */
final class AdapterConfig {
  private static final long MAX_BYTES = 16 << 20;

  /** Expressions in one option; each may be tried on every module of a file. */
  private static final int MAX_PATTERNS = 1 << 18;

  /** Steps that all matches of a file may take: about a second of work. */
  private static final long PATTERN_BUDGET = 1L << 29;

  private static final int MAX_RANK = 1 << 20;

  /** Options that change what an adapter computes, and that this library does not implement. */
  private static final List<String> UNSUPPORTED =
      List.of(
          "use_dora",
          "lora_bias",
          "fan_in_fan_out",
          "use_qalora",
          "use_bdlora",
          "alora_invocation_tokens",
          "layer_replication",
          "arrow_config",
          "kasa_config",
          "monteclora_config",
          "velora_config");

  /** Initialisations that leave the base weights as they are; others change them too. */
  private static final Set<Object> HARMLESS_INITIALISATIONS =
      Set.of(true, false, "gaussian", "eva", "orthogonal", "mica");

  /**
   * What {@code bias} may be; biases that are in the file are refused by the name of the tensor.
   */
  private static final Set<String> BIASES = Set.of("none", "all", "lora_only");

  /** Names of models that are not gpt-oss, whatever else their names hold. */
  private static final List<String> OTHER_FAMILIES =
      List.of(
          "qwen",
          "llama",
          "mixtral",
          "mistral",
          "deepseek",
          "glm",
          "olmoe",
          "gemma",
          "granite",
          "phi",
          "kimi",
          "lfm2",
          "minimax",
          "nemotron");

  /** Options that concern other modules, training, or how the adapter came about. */
  private static final Set<String> WITHOUT_EFFECT =
      Set.of(
          "_custom_modules",
          "auto_mapping",
          "base_model_name_or_path",
          "bias",
          "corda_config",
          "enable_lora",
          "ensure_weight_tying",
          "eva_config",
          "inference_mode",
          "init_lora_weights",
          "loftq_config",
          "lora_dropout",
          "lora_ga_config",
          "megatron_config",
          "megatron_core",
          "merge_weights",
          "qalora_group_size",
          "revision",
          "runtime_config",
          "task_type");

  /** Options that are read below. */
  private static final Set<String> READ =
      Set.of(
          "alpha_pattern",
          "exclude_modules",
          "layers_pattern",
          "layers_to_transform",
          "lora_B_layout",
          "lora_alpha",
          "modules_to_save",
          "peft_type",
          "peft_version",
          "r",
          "rank_pattern",
          "target_modules",
          "target_parameters",
          "trainable_token_indices",
          "use_rslora");

  /** Modules as an expression or as ends of their names; an absent option is null. */
  private record Modules(@Nullable NamePattern pattern, Set<String> ends) {

    boolean contain(String name) {
      return pattern == null ? hasEnd(ends, name) : pattern.matches(name);
    }
  }

  private final Path path;
  private final Map<String, @Nullable Object> json;
  private final NamePattern.Budget budget;
  private final int rank;
  private final double alpha;
  private final boolean rankStabilized;
  private final PeftVersion version;
  private final @Nullable ColumnOrder columnOrder;
  private final NameTable<Integer> ranks;
  private final NameTable<Double> alphas;
  private final Set<String> targetParameters;
  private final @Nullable Modules targetModules;
  private final @Nullable Modules excludeModules;
  private final Set<Long> layersToTransform;
  private final boolean layersPattern;
  private final List<String> notes = new ArrayList<>();

  private AdapterConfig(
      Path path,
      Map<String, @Nullable Object> json,
      ReadOptions options,
      NamePattern.Budget budget) {
    this.path = path;
    this.json = json;
    this.budget = budget;
    if (json.get("peft_type") == null && json.get("lora_parameters") != null) {
      throw fault(
          "the adapter must be PEFT's (convert one of mlx-lm to PEFT's names and layout)",
          "a config of mlx-lm");
    }
    if (!"LORA".equals(json.get("peft_type"))) {
      throw fault("peft_type must be LORA", json.get("peft_type"));
    }
    requireSupported();
    version = readVersion();
    rank = rankOf("r", json.get("r"));
    alpha = number("lora_alpha", json.get("lora_alpha"));
    rankStabilized = isTrue("use_rslora");
    columnOrder = readColumnOrder();
    ranks = values("rank_pattern", this::rankOf);
    alphas = values("alpha_pattern", this::number);
    targetParameters =
        options.targetParameters() == null
            ? strings("target_parameters")
            : Set.copyOf(options.targetParameters());
    targetModules = modules("target_modules");
    excludeModules = modules("exclude_modules");
    layersToTransform = layers();
    layersPattern = !isOff(json.get("layers_pattern"));
    takeNotes();
  }

  static AdapterConfig read(Path path) throws IOException {
    return read(path, ReadOptions.NONE);
  }

  static AdapterConfig read(Path path, ReadOptions options) throws IOException {
    return read(path, options, new NamePattern.Budget(PATTERN_BUDGET));
  }

  /**
   * Reads a config.
   *
   * @param budget pays for all matches of its expressions
   */
  static AdapterConfig read(Path path, ReadOptions options, NamePattern.Budget budget)
      throws IOException {
    Map<String, @Nullable Object> json = ConfigText.read(path, MAX_BYTES);
    return new AdapterConfig(path, json, options, budget);
  }

  private AdapterFormatException fault(String rule, @Nullable Object value) {
    return new AdapterFormatException(path, null, rule, value);
  }

  private void requireSupported() {
    for (String option : UNSUPPORTED) {
      if (!isOff(json.get(option))) {
        throw fault(option + " must be off, since it is not supported", json.get(option));
      }
    }
    Object bias = json.getOrDefault("bias", "none");
    if (!(bias instanceof String text && BIASES.contains(text))) {
      throw fault("bias must be none, all or lora_only", bias);
    }
    Object initialisation = json.get("init_lora_weights");
    if (initialisation != null && !HARMLESS_INITIALISATIONS.contains(initialisation)) {
      throw fault(
          "init_lora_weights must leave the base weights as they are (convert the adapter with"
              + " PEFT's path_initial_model_for_weight_conversion)",
          initialisation);
    }
  }

  private static boolean isOff(@Nullable Object value) {
    return switch (value) {
      case null -> true;
      case Boolean flag -> !flag;
      case List<?> list -> list.isEmpty();
      case Map<?, ?> map -> map.isEmpty();
      case String text -> text.isEmpty();
      default -> false;
    };
  }

  private boolean isTrue(String name) {
    Object value = json.get(name);
    if (value != null && !(value instanceof Boolean)) {
      throw fault(name + " must be true or false", value);
    }
    return Boolean.TRUE.equals(value);
  }

  private PeftVersion readVersion() {
    Object value = json.get("peft_version");
    if (value == null) {
      return PeftVersion.unrecorded();
    }
    PeftVersion parsed = value instanceof String text ? PeftVersion.parse(text) : null;
    if (parsed == null) {
      throw fault("peft_version must be a version", value);
    }
    return parsed;
  }

  /** Unsloth's mark for adapters whose fused B it trained with the experts slowest. */
  private @Nullable ColumnOrder readColumnOrder() {
    return switch (json.get("lora_B_layout")) {
      case null -> null;
      case String layout when layout.equals("rank_major") -> ColumnOrder.RANK_MAJOR;
      case String layout when layout.equals("grouped_by_expert") -> ColumnOrder.GROUPED_BY_EXPERT;
      case Object other ->
          throw fault("lora_B_layout must be rank_major or grouped_by_expert", other);
    };
  }

  private int rankOf(String name, @Nullable Object value) {
    if (!(value instanceof Long number) || number < 1 || number > MAX_RANK) {
      throw fault("%s must be an integer in [1, %d]".formatted(name, MAX_RANK), value);
    }
    return Math.toIntExact(number);
  }

  private double number(String name, @Nullable Object value) {
    if (!(value instanceof Number number) || !Double.isFinite(number.doubleValue())) {
      throw fault(name + " must be a finite number", value);
    }
    return number.doubleValue();
  }

  private Set<String> strings(String name) {
    Object value = json.get(name);
    Set<String> strings = new HashSet<>();
    if (value == null) {
      return strings;
    }
    if (!(value instanceof List<?> list)) {
      throw fault(name + " must be a list of strings", value);
    }
    for (Object element : list) {
      if (!(element instanceof String string)) {
        throw fault(name + " must hold strings", element);
      }
      strings.add(ModulePath.end(string));
    }
    return strings;
  }

  private @Nullable Modules modules(String name) {
    return switch (json.get(name)) {
      case null -> null;
      case String regex ->
          new Modules(
              compile(name, ModulePath.expression(regex), text -> NamePattern.whole(text, budget)),
              Set.of());
      case Object list when isOff(list) && name.startsWith("exclude") -> null;
      case Object list -> new Modules(null, strings(name));
    };
  }

  private Set<Long> layers() {
    Set<Long> layers = new HashSet<>();
    Object value = json.get("layers_to_transform");
    List<?> list =
        switch (value) {
          case null -> List.of();
          case List<?> many -> many;
          default -> List.of(value);
        };
    for (Object element : list) {
      if (!(element instanceof Long layer) || layer < 0) {
        throw fault("layers_to_transform must hold integers that are not negative", element);
      }
      layers.add(layer);
    }
    return layers;
  }

  /** Reads a value that stands under a name. */
  private interface Reader<T> {
    T read(String name, @Nullable Object value);
  }

  private <T> NameTable<T> values(String name, Reader<T> reader) {
    NameTable<T> table = new NameTable<>(budget);
    Object value = json.get(name);
    if (value == null) {
      return table;
    }
    if (!(value instanceof Map<?, ?> map) || map.size() > MAX_PATTERNS) {
      throw fault(
          "%s must be an object with at most %d entries".formatted(name, MAX_PATTERNS),
          value instanceof Map<?, ?> large ? large.size() : value);
    }
    map.forEach(
        (key, number) -> {
          try {
            table.add(
                ModulePath.expression((String) key), reader.read(name + " of " + key, number));
          } catch (PatternSyntaxException e) {
            throw badExpression(name, e.getDescription(), key);
          }
        });
    return table;
  }

  private AdapterFormatException badExpression(String name, String fault, Object regex) {
    return fault("%s must hold regular expressions (%s)".formatted(name, fault), regex);
  }

  private NamePattern compile(String name, String regex, Function<String, NamePattern> compiler) {
    try {
      return compiler.apply(regex);
    } catch (PatternSyntaxException e) {
      throw badExpression(name, e.getDescription(), regex);
    }
  }

  private void takeNotes() {
    for (String option : List.of("modules_to_save", "trainable_token_indices")) {
      if (!isOff(json.get(option))) {
        note(
            "%s is set; tensors that it saved are not applied: %s"
                .formatted(option, json.get(option)));
      }
    }
    if (columnOrder == ColumnOrder.GROUPED_BY_EXPERT) {
      note("lora_B_layout says that a fused B has the experts slowest");
    }
    json.forEach(
        (name, value) -> {
          if (!READ.contains(name)
              && !WITHOUT_EFFECT.contains(name)
              && !UNSUPPORTED.contains(name)
              && !isOff(value)) {
            note("option %s is not known and has no effect: %s".formatted(name, value));
          }
        });
  }

  private void note(String text) {
    notes.add(AdapterFormatException.printable(text));
  }

  /** Rank of a module or parameter by its full name. */
  int rank(String name) {
    Integer found = find(ranks, name);
    return found == null ? rank : found;
  }

  /**
   * {@code alpha / r}, or {@code alpha / sqrt(r)} under rsLoRA, with the rank and alpha in effect
   * for that name.
   */
  float scale(String name) {
    return scale(name, rank(name));
  }

  /** The same where the rank in effect is known. */
  float scale(String name, int effectiveRank) {
    Double found = find(alphas, name);
    double divisor = rankStabilized ? Math.sqrt(effectiveRank) : effectiveRank;
    double scale = (found == null ? alpha : found) / divisor;
    if (!Float.isFinite((float) scale)) {
      throw fault("the scale of %s must fit in float32".formatted(name), scale);
    }
    return (float) scale;
  }

  private <T> @Nullable T find(NameTable<T> table, String name) {
    if (table.isEmpty()) {
      return null;
    }
    try {
      return table.find(name);
    } catch (NamePattern.ExhaustedException e) {
      throw exhausted();
    }
  }

  private boolean affordable(BooleanSupplier match) {
    try {
      return match.getAsBoolean();
    } catch (NamePattern.ExhaustedException e) {
      throw exhausted();
    }
  }

  private AdapterFormatException exhausted() {
    return fault(
        "regular expressions must match the module names within %d steps".formatted(PATTERN_BUDGET),
        "more");
  }

  private static boolean hasEnd(Set<String> ends, String name) {
    for (int from = 0; from >= 0; ) {
      if (ends.contains(name.substring(from))) {
        return true;
      }
      int dot = name.indexOf('.', from);
      from = dot < 0 ? -1 : dot + 1;
    }
    return false;
  }

  /** Whether the fused parameter of that full name is targeted. */
  boolean targetsParameter(String name) {
    return hasEnd(targetParameters, name);
  }

  /** Full name of a parameter of that module that is targeted, or null. */
  @Nullable String targetedParameter(String module) {
    for (String target : targetParameters) {
      String parameter = module + "." + target.substring(target.lastIndexOf('.') + 1);
      if (affordable(() -> isEnd(target, parameter))) {
        return parameter;
      }
    }
    return null;
  }

  private boolean isEnd(String end, String name) {
    budget.spend(name.length());
    return name.endsWith(end)
        && (name.length() == end.length() || name.charAt(name.length() - end.length() - 1) == '.');
  }

  /** The parameters that the config or an option names, for messages. */
  String namedParameters() {
    return targetParameters.isEmpty()
        ? "none"
        : targetParameters.stream().sorted().collect(Collectors.joining(", "));
  }

  /** Whether the config names parameters at all. */
  boolean namesParameters() {
    return !targetParameters.isEmpty();
  }

  /** Whether a list of target modules names the module that holds the experts, as trainers do. */
  boolean targetsExperts(String experts) {
    return targetModules != null && hasEnd(targetModules.ends(), experts);
  }

  /** Whether the linear module of that full name is targeted; so it is where nothing is said. */
  boolean targetsModule(String name) {
    if (targetModules == null) {
      return targetParameters.isEmpty();
    }
    Modules modules = targetModules;
    boolean all =
        modules.pattern() != null && modules.pattern().toString().equalsIgnoreCase("all-linear");
    return all || affordable(() -> modules.contain(name));
  }

  /** Whether the linear module of that full name is excluded. */
  boolean excludesModule(String name) {
    Modules modules = excludeModules;
    return modules != null && affordable(() -> modules.contain(name));
  }

  /**
   * Whether linear modules of an expert of that layer may be targeted. PEFT does not ask for the
   * layer of a module that is targeted by its full name, and where no {@code layers_pattern} is
   * given it may take the expert's number for the layer's: always if no more than {@code layers}
   * stands before the layer's number, and in old versions.
   */
  boolean transformsLayer(ExpertKey key) {
    boolean mayBeExpert =
        !layersPattern && (!version.takesLayersRight() || key.module().startsWith("layers."));
    return layersToTransform.isEmpty()
        || layersToTransform.contains((long) key.layer())
        || (mayBeExpert && layersToTransform.contains((long) key.expert()))
        || (targetModules != null && targetModules.ends().contains(key.module()));
  }

  /** The version of PEFT that saved the adapter. */
  PeftVersion version() {
    return version;
  }

  /** Order of a fused B's columns as the config says it, or null. */
  @Nullable ColumnOrder columnOrder() {
    return columnOrder;
  }

  /**
   * Whether the file is Unsloth's and does not say how B's columns are ordered: rank by rank, or
   * expert by expert before September 2026.
   */
  boolean hidesColumnOrder() {
    return columnOrder == null
        && json.get("auto_mapping") instanceof Map<?, ?> mapping
        && Boolean.TRUE.equals(mapping.get("unsloth_fixed"));
  }

  /** The base model's name, or null. */
  @Nullable String baseModelName() {
    return json.get("base_model_name_or_path") instanceof String name ? name : null;
  }

  /** Whether the base model's recorded name holds {@code part}, case and punctuation aside. */
  boolean baseModelNames(String part) {
    return baseModel().contains(part);
  }

  /**
   * Whether the base model is gpt-oss by its recorded names; one that was distilled from it may be
   * called after it, too.
   */
  boolean isGptOss() {
    String names = baseModel();
    return names.contains("gptoss") && OTHER_FAMILIES.stream().noneMatch(names::contains);
  }

  private String baseModel() {
    String names = json.get("base_model_name_or_path") + " " + json.get("auto_mapping");
    return names.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]", "");
  }

  /** What a user may want to know of the options. */
  List<String> notes() {
    return List.copyOf(notes);
  }
}
