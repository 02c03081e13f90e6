package io.github.moelora.tornado.choice;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.json.Json;
import io.github.moelora.tornado.kernels.OneShot;
import io.github.moelora.tornado.layout.Sizes;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A {@link Tuning} as JSON. Everything that is read is checked: a file that is not right in each
 * field is refused, by file, field, rule and value.
 */
public final class TuningFile {
  private static final int FORMAT = 1;
  private static final int MAX_BYTES = 1 << 16;
  private static final int MAX_SHOWN = 80;
  private static final int MAX_ITEMS = 1 << 16;

  /** Largest number of a shape, and of pairs. */
  private static final int MAX_SIZE = 1 << 30;

  private TuningFile() {}

  public static void write(Path file, Tuning tuning) throws IOException {
    Files.writeString(file, text(tuning));
  }

  private static String text(Tuning tuning) {
    Tuning.Shape shape = tuning.shape();
    StringBuilder text = new StringBuilder();
    text.append("{\n  \"format\": ").append(FORMAT);
    text.append(",\n  \"device\": \"").append(escaped(tuning.device())).append('"');
    text.append(
        """
        ,
          "shape": {
            "hidden_size": %d,
            "intermediate_size": %d,
            "experts": %d,
            "experts_per_token": %d,
            "gate_up": "%s",
            "max_rank": %d,
            "weights": "%s"
          }\
        """
            .formatted(
                shape.hiddenSize(),
                shape.intermediateSize(),
                shape.experts(),
                shape.expertsPerToken(),
                shape.gateUp(),
                shape.maxRank(),
                shape.weights()));
    text.append(",\n  \"target_items\": {");
    String separator = "";
    for (int rows = 1; rows <= OneShot.MAX_ROWS; rows++) {
      int items = tuning.targetItems().get(rows - 1);
      if (items > 0) {
        text.append(separator).append("\"%d\": %d".formatted(rows, items));
        separator = ", ";
      }
    }
    text.append("},\n  \"rules\": [");
    separator = "\n";
    for (Tuning.Rule rule : tuning.rules()) {
      text.append(separator).append("    {\"max_active_pairs\": ").append(rule.maxActivePairs());
      if (rule.maxPairsPerGroup() < Double.POSITIVE_INFINITY) {
        text.append(
            String.format(Locale.ROOT, ", \"max_pairs_per_group\": %.3f", rule.maxPairsPerGroup()));
      }
      text.append(", \"block_size\": ").append(rule.blockSize()).append('}');
      separator = ",\n";
    }
    return text.append("\n  ]\n}\n").toString();
  }

  /** What a JSON string holds as it is. */
  private static String escaped(String text) {
    return text.replaceAll("[\\\\\"\\p{Cntrl}]", "?");
  }

  /**
   * Reads and checks a file.
   *
   * @throws IllegalArgumentException naming file, field, rule and value
   */
  static Tuning read(Path file) {
    Node root = new Node(file, "", parse(file));
    root.requireFields("format", "device", "shape", "target_items", "rules");
    root.integer("format", FORMAT, FORMAT);
    String device = root.text("device");
    Node shape = root.object("shape");
    shape.requireFields(
        "hidden_size",
        "intermediate_size",
        "experts",
        "experts_per_token",
        "gate_up",
        "max_rank",
        "weights");
    return new Tuning(
        device,
        new Tuning.Shape(
            shape.integer("hidden_size", 1, MAX_SIZE),
            shape.integer("intermediate_size", 1, MAX_SIZE),
            shape.integer("experts", 1, MAX_SIZE),
            shape.integer("experts_per_token", 1, MAX_SIZE),
            shape.constant("gate_up", GateUp.values()),
            shape.integer("max_rank", 1, Sizes.RANK_LIMIT),
            shape.constant("weights", DType.values())),
        targetItems(root.object("target_items")),
        rules(root));
  }

  private static List<Integer> targetItems(Node node) {
    node.requireFields("1", "2");
    List<Integer> items = new ArrayList<>();
    for (int rows = 1; rows <= OneShot.MAX_ROWS; rows++) {
      String name = Integer.toString(rows);
      items.add(node.has(name) ? node.integer(name, 1, MAX_ITEMS) : 0);
    }
    return items;
  }

  private static List<Tuning.Rule> rules(Node root) {
    List<Tuning.Rule> rules = new ArrayList<>();
    int least = 1;
    for (Node node : root.objects("rules")) {
      node.requireFields("max_active_pairs", "max_pairs_per_group", "block_size");
      least = node.integer("max_active_pairs", least, MAX_SIZE);
      rules.add(
          new Tuning.Rule(
              least,
              node.has("max_pairs_per_group")
                  ? node.number("max_pairs_per_group", 1, MAX_SIZE)
                  : Double.POSITIVE_INFINITY,
              node.integer("block_size", 1, MAX_SIZE)));
    }
    return rules;
  }

  /** Checks what only the shape on this device tells. */
  static void requireBlockSizes(Path file, Tuning tuning, List<Integer> sizes) {
    for (int i = 0; i < tuning.rules().size(); i++) {
      int size = tuning.rules().get(i).blockSize();
      if (!sizes.contains(size)) {
        throw new IllegalArgumentException(
            "%s: rules[%d].block_size must be one of %s, got %d".formatted(file, i, sizes, size));
      }
    }
  }

  private static Map<String, @Nullable Object> parse(Path file) {
    if (!Files.isReadable(file) || Files.isDirectory(file)) {
      throw new IllegalArgumentException(
          "%s must name a readable file, got %s".formatted(Tuning.PROPERTY, file));
    }
    byte[] content;
    try {
      long bytes = Files.size(file);
      if (bytes > MAX_BYTES) {
        throw new IllegalArgumentException(
            "%s must be at most %d bytes, got %d".formatted(file, MAX_BYTES, bytes));
      }
      content = Files.readAllBytes(file);
    } catch (IOException e) {
      throw new IllegalArgumentException("%s cannot be read: %s".formatted(file, e), e);
    }
    try {
      return Json.object(new ByteArrayInputStream(content));
    } catch (IOException e) {
      throw new IllegalArgumentException("%s must be JSON: %s".formatted(file, Json.explain(e)), e);
    }
  }

  /** An object of the file, and where it stands. */
  private record Node(Path file, String prefix, Map<?, ?> fields) {

    boolean has(String name) {
      return fields.containsKey(name);
    }

    void requireFields(String... known) {
      for (Object name : fields.keySet()) {
        if (!Arrays.asList(known).contains(name)) {
          throw new IllegalArgumentException(
              "%s: the fields of %s must be among %s, got %s"
                  .formatted(
                      file,
                      prefix.isEmpty() ? "the file" : prefix.substring(0, prefix.length() - 1),
                      Arrays.asList(known),
                      shown(name)));
        }
      }
    }

    int integer(String name, int least, int most) {
      double value = number(name, least, most);
      if (value != Math.rint(value)) {
        throw refusal(name, "be an integer");
      }
      return (int) value;
    }

    double number(String name, int least, int most) {
      if (fields.get(name) instanceof Number number
          && number.doubleValue() >= least
          && number.doubleValue() <= most) {
        return number.doubleValue();
      }
      throw refusal(
          name, least == most ? "be " + least : "be a number in [%d, %d]".formatted(least, most));
    }

    String text(String name) {
      if (fields.get(name) instanceof String value && value.equals(escaped(value))) {
        return value;
      }
      throw refusal(name, "be a text without control characters");
    }

    <E extends Enum<E>> E constant(String name, E[] constants) {
      for (E constant : constants) {
        if (constant.name().equals(fields.get(name))) {
          return constant;
        }
      }
      throw refusal(name, "be one of " + Arrays.toString(constants));
    }

    Node object(String name) {
      if (fields.get(name) instanceof Map<?, ?> object) {
        return new Node(file, prefix + name + ".", object);
      }
      throw refusal(name, "be an object");
    }

    List<Node> objects(String name) {
      if (!(fields.get(name) instanceof List<?> array)) {
        throw refusal(name, "be an array");
      }
      List<Node> nodes = new ArrayList<>();
      for (int i = 0; i < array.size(); i++) {
        String element = "%s[%d]".formatted(name, i);
        if (!(array.get(i) instanceof Map<?, ?> object)) {
          throw new IllegalArgumentException(
              "%s: %s%s must be an object, got %s"
                  .formatted(file, prefix, element, shown(array.get(i))));
        }
        nodes.add(new Node(file, prefix + element + ".", object));
      }
      return nodes;
    }

    private IllegalArgumentException refusal(String name, String rule) {
      return new IllegalArgumentException(
          "%s: %s%s must %s, got %s".formatted(file, prefix, name, rule, shown(fields.get(name))));
    }

    /** A value for a message: short, and without what could steer a terminal. */
    private static String shown(@Nullable Object value) {
      String text =
          value == null
              ? "nothing"
              : value instanceof Double number && number == Math.rint(number)
                  ? String.format(Locale.ROOT, "%.0f", number)
                  : escaped(value.toString());
      return text.length() > MAX_SHOWN ? text.substring(0, MAX_SHOWN) + "..." : text;
    }
  }
}
