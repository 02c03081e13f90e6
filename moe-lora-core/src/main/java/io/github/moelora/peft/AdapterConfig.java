package io.github.moelora.peft;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;

/** {@code adapter_config.json}: which modules an adapter targets, and with which rank and scale. */
final class AdapterConfig {
  private static final long MAX_BYTES = 16 << 20;

  /** Options that change what an adapter computes, and that this library does not implement. */
  private static final List<String> UNSUPPORTED =
      List.of(
          "use_dora",
          "lora_bias",
          "use_qalora",
          "use_bdlora",
          "alora_invocation_tokens",
          "layer_replication",
          "arrow_config",
          "kasa_config",
          "monteclora_config",
          "velora_config");

  private final Path path;
  private final Map<String, @Nullable Object> json;
  private final int rank;
  private final double alpha;
  private final boolean rankStabilized;
  private final Map<Pattern, Double> rankPatterns;
  private final Map<Pattern, Double> alphaPatterns;
  private final List<String> targetParameters;
  private final List<String> targetModules;
  private final @Nullable Pattern targetModulePattern;
  private final @Nullable List<Long> layersToTransform;

  private AdapterConfig(Path path, Map<String, @Nullable Object> json) {
    this.path = path;
    this.json = json;
    if (!"LORA".equals(json.get("peft_type"))) {
      throw fault("peft_type must be LORA", json.get("peft_type"));
    }
    for (String option : UNSUPPORTED) {
      Object value = json.get(option);
      if (value != null && !Boolean.FALSE.equals(value)) {
        throw fault(option + " must be off, since it is not supported", value);
      }
    }
    rank = rankOf("r", json.get("r"));
    alpha = number("lora_alpha", json.get("lora_alpha"));
    rankStabilized = Boolean.TRUE.equals(json.get("use_rslora"));
    rankPatterns = patterns("rank_pattern");
    alphaPatterns = patterns("alpha_pattern");
    targetParameters = strings("target_parameters");
    boolean pattern = json.get("target_modules") instanceof String;
    targetModules = pattern ? List.of() : strings("target_modules");
    targetModulePattern =
        json.get("target_modules") instanceof String regex
            ? compile("target_modules", regex)
            : null;
    layersToTransform = layers(json.get("layers_to_transform"));
  }

  static AdapterConfig read(Path path) throws IOException {
    long size = Files.size(path);
    if (size > MAX_BYTES) {
      throw new AdapterFormatException(
          path, null, "the file must have at most %d bytes".formatted(MAX_BYTES), size);
    }
    byte[] bytes = Files.readAllBytes(path);
    Map<String, @Nullable Object> json;
    try {
      json = Json.object(bytes);
    } catch (IOException e) {
      throw new AdapterFormatException(
          path,
          null,
          "the file must be a JSON object without duplicate keys",
          SafeTensorsFile.firstLine(e));
    }
    return new AdapterConfig(path, json);
  }

  private AdapterFormatException fault(String rule, @Nullable Object value) {
    return new AdapterFormatException(path, null, rule, String.valueOf(value));
  }

  private int rankOf(String name, @Nullable Object value) {
    double number = number(name, value);
    if (number < 1 || number > 1 << 20 || number != Math.rint(number)) {
      throw fault(name + " must be an integer in [1, 2^20]", value);
    }
    return (int) number;
  }

  private double number(String name, @Nullable Object value) {
    if (!(value instanceof Number number) || !Double.isFinite(number.doubleValue())) {
      throw fault(name + " must be a number", value);
    }
    return number.doubleValue();
  }

  private List<String> strings(String name) {
    Object value = json.get(name);
    if (value == null) {
      return List.of();
    }
    if (!(value instanceof List<?> list)) {
      throw fault(name + " must be a list of strings", value);
    }
    List<String> strings = new ArrayList<>();
    for (Object element : list) {
      if (!(element instanceof String string)) {
        throw fault(name + " must hold strings", element);
      }
      strings.add(string);
    }
    return strings;
  }

  private @Nullable List<Long> layers(@Nullable Object value) {
    return switch (value) {
      case null -> null;
      case Long layer -> List.of(layer);
      case List<?> list -> {
        List<Long> layers = new ArrayList<>();
        for (Object element : list) {
          if (!(element instanceof Long layer)) {
            throw fault("layers_to_transform must hold integers", element);
          }
          layers.add(layer);
        }
        yield layers;
      }
      default -> throw fault("layers_to_transform must be an integer or a list of integers", value);
    };
  }

  private Map<Pattern, Double> patterns(String name) {
    Object value = json.get(name);
    Map<Pattern, Double> patterns = new LinkedHashMap<>();
    if (value == null) {
      return patterns;
    }
    if (!(value instanceof Map<?, ?> map)) {
      throw fault(name + " must be an object", value);
    }
    map.forEach(
        (key, number) ->
            patterns.put(
                compile(name, "(.*\\.)?(" + key + ")$"), number(name + " of " + key, number)));
    return patterns;
  }

  private Pattern compile(String name, String regex) {
    try {
      return Pattern.compile(regex);
    } catch (PatternSyntaxException e) {
      throw fault(name + " must be a regular expression", regex);
    }
  }

  /** Rank of a module or parameter by its full name. */
  int rank(String name) {
    Double found = find(rankPatterns, name);
    return found == null ? rank : rankOf("rank_pattern of " + name, found);
  }

  /**
   * {@code alpha / r}, or {@code alpha / sqrt(r)} under rsLoRA, with the rank and alpha in effect
   * for that name.
   */
  float scale(String name) {
    Double found = find(alphaPatterns, name);
    int effectiveRank = rank(name);
    double divisor = rankStabilized ? Math.sqrt(effectiveRank) : effectiveRank;
    double scale = (found == null ? alpha : found) / divisor;
    if (!Double.isFinite(scale) || Math.abs(scale) > Float.MAX_VALUE) {
      throw fault("the scale of " + name + " must fit in float32", scale);
    }
    return (float) scale;
  }

  private @Nullable Double find(Map<Pattern, Double> patterns, String name) {
    for (Map.Entry<Pattern, Double> entry : patterns.entrySet()) {
      if (matches(entry.getKey(), name, false)) {
        return entry.getValue();
      }
    }
    return null;
  }

  /** Whether the fused parameter of that full name is targeted. */
  boolean targetsParameter(String name) {
    return targetParameters.stream().anyMatch(target -> isSuffix(target, name));
  }

  /** Whether the linear module of that full name is targeted. */
  boolean targetsModule(String name) {
    if (targetModulePattern != null) {
      return targetModulePattern.pattern().equals("all-linear")
          || matches(targetModulePattern, name, true);
    }
    return targetModules.stream().anyMatch(target -> isSuffix(target, name));
  }

  private static boolean isSuffix(String target, String name) {
    return name.equals(target) || name.endsWith("." + target);
  }

  boolean transformsLayer(int layer) {
    return layersToTransform == null || layersToTransform.contains((long) layer);
  }

  /**
   * PEFT's version as {@code major * 1000 + minor}, or null for a file that does not say or says a
   * development version.
   */
  @Nullable Integer version() {
    if (json.get("peft_version") instanceof String version) {
      var match =
          Pattern.compile("(\\d{1,4})\\.(\\d{1,3})(\\.\\d+)?(\\.post\\d+)?").matcher(version);
      if (match.matches()) {
        return Integer.parseInt(match.group(1)) * 1000 + Integer.parseInt(match.group(2));
      }
    }
    return null;
  }

  /** Version as recorded, for messages. */
  String versionText() {
    return String.valueOf(json.get("peft_version"));
  }

  /** Matches with bounded work: a hostile expression must not hang the load. */
  private boolean matches(Pattern pattern, String name, boolean whole) {
    var matcher = pattern.matcher(new Bounded(name));
    try {
      return whole ? matcher.matches() : matcher.lookingAt();
    } catch (BudgetExceeded | StackOverflowError e) {
      throw fault(
          "a pattern must match names of %d characters with little work".formatted(name.length()),
          pattern);
    }
  }

  private static final class BudgetExceeded extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  /** Counts the characters that a matcher looks at. */
  private static final class Bounded implements CharSequence {
    private static final int MOST_READS = 1_000_000;
    private final String text;
    private int reads;

    Bounded(String text) {
      this.text = text;
    }

    @Override
    public int length() {
      return text.length();
    }

    @Override
    public char charAt(int index) {
      if (++reads > MOST_READS) {
        throw new BudgetExceeded();
      }
      return text.charAt(index);
    }

    @Override
    public CharSequence subSequence(int start, int end) {
      return text.subSequence(start, end);
    }

    @Override
    public String toString() {
      return text;
    }
  }
}
