package io.github.moelora.cli;

import io.github.moelora.peft.Orientation;
import io.github.moelora.peft.ReadOptions;
import io.github.moelora.peft.ReadOptions.ColumnOrder;
import io.github.moelora.peft.ReadOptions.Nesting;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import picocli.CommandLine.Option;

/** What the user says of adapter files beyond what they say themselves. */
final class LayoutOptions {
  @Option(
      names = "--layout",
      paramLabel = "KEY=VALUE",
      split = ",",
      description = {
        "What the file does not say: columns=rank-major|grouped (order of a fused B),",
        "orientation=projection|swapped (of old PEFT), nesting=registered|reversed,",
        "experts=PART (of the path, where there are several modules), parameters=NAME+NAME",
        "(fused parameters), zero-experts=N, unsupported=leave-out (what cannot be applied)."
      })
  private List<String> layout = new ArrayList<>();

  /**
   * The options of the reader.
   *
   * @throws IllegalArgumentException naming a key or value that is not known, or a key that has two
   *     values
   */
  ReadOptions readOptions() {
    ReadOptions options = ReadOptions.NONE;
    Map<String, String> values = new HashMap<>();
    for (String entry : layout) {
      int at = entry.indexOf('=');
      if (at < 1) {
        throw new IllegalArgumentException("--layout must be KEY=VALUE, got " + entry);
      }
      String key = entry.substring(0, at).toLowerCase(Locale.ROOT);
      String value = entry.substring(at + 1);
      String other = values.put(key, value);
      if (other != null) {
        throw new IllegalArgumentException(
            "--layout %s must have one value, got %s and %s".formatted(key, other, value));
      }
      options = with(options, key, value);
    }
    return options;
  }

  private static ReadOptions with(ReadOptions options, String key, String value) {
    String word = value.toLowerCase(Locale.ROOT);
    return switch (key) {
      case "columns" ->
          options.withColumnOrder(
              one(
                  key,
                  word,
                  Map.of(
                      "rank-major",
                      ColumnOrder.RANK_MAJOR,
                      "grouped",
                      ColumnOrder.GROUPED_BY_EXPERT)));
      case "orientation" ->
          options.withOrientation(
              one(
                  key,
                  word,
                  Map.of("projection", Orientation.PROJECTION, "swapped", Orientation.SWAPPED)));
      case "nesting" ->
          options.withNesting(
              one(
                  key,
                  word,
                  Map.of("registered", Nesting.REGISTERED, "reversed", Nesting.REVERSED)));
      case "experts" -> options.withExperts(value);
      case "parameters" -> options.withTargetParameters(List.of(value.split("\\+", -1)));
      case "zero-experts" -> options.withZeroExperts(number(value));
      case "unsupported" -> one(key, word, Map.of("leave-out", options.withoutUnsupported()));
      default ->
          throw new IllegalArgumentException(
              "--layout must have the keys columns, orientation, nesting, experts, parameters,"
                  + " zero-experts and unsupported only, got "
                  + key);
    };
  }

  private static <T> T one(String key, String word, Map<String, T> values) {
    T found = values.get(word);
    if (found == null) {
      throw new IllegalArgumentException(
          "--layout %s must be one of %s, got %s"
              .formatted(key, values.keySet().stream().sorted().toList(), word));
    }
    return found;
  }

  private static int number(String value) {
    if (!value.matches("\\d{1,6}")) {
      throw new IllegalArgumentException(
          "--layout zero-experts must be a number of at most six digits, got " + value);
    }
    return Integer.parseInt(value);
  }
}
