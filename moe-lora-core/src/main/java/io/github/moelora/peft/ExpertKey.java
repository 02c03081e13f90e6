package io.github.moelora.peft;

import io.github.moelora.peft.PeftAdapter.Linear;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What the name of a tensor of routed experts says. Names are {@code
 * [base_model.model.]...layers.N....experts...lora_A[.adapter].weight}; between {@code experts} and
 * {@code lora_A} stands {@code E.linear} or {@code linears.E} for one expert, or nothing or {@code
 * base_layer}s for a parameter of all experts. GraniteMoE has a module for each parameter of all
 * experts instead, {@code block_sparse_moe.input_linear} and {@code output_linear}.
 *
 * @param experts full name of the module that holds the experts, as the model has it
 * @param module full name of the module that the pair belongs to
 * @param layer layer number
 * @param expert expert, or -1 for all
 * @param linear linear layer that the name tells, or null if it tells none
 * @param depth number of {@code base_layer}s
 * @param half 0 for A, 1 for B
 * @param adapter name that PEFT gave the adapter, or the empty string
 */
record ExpertKey(
    String experts,
    String module,
    int layer,
    int expert,
    @Nullable Linear linear,
    int depth,
    int half,
    String adapter) {

  private static final String PREFIX = "base_model.model.";
  private static final String EXPERTS = "experts";
  private static final String NESTED = "base_layer";
  private static final String PARALLEL = "block_sparse_moe";

  private static final int MAX_LENGTH = 1024;
  private static final int MAX_COMPONENTS = 32;

  /** A name is of routed experts, but cannot be read. */
  static final class UnreadableException extends Exception {
    private static final long serialVersionUID = 1;

    /**
     * Names the rule that the name breaks.
     *
     * @param rule what must hold
     */
    UnreadableException(String rule) {
      super(rule, null, false, false);
    }
  }

  /**
   * Reads a name.
   *
   * @return null for a tensor that is not of routed experts
   * @throws UnreadableException if it is, and breaks a rule
   */
  static @Nullable ExpertKey parse(String name) throws UnreadableException {
    boolean parallel = isParallel(name);
    if (!parallel && !("." + name + ".").contains("." + EXPERTS + ".")) {
      return null;
    }
    List<String> parts = split(withoutPrefix(name));
    int at = parts.lastIndexOf(parallel ? PARALLEL : EXPERTS);
    int end = parts.size() - 1;
    String adapter = "";
    if (end > 1 && !isHalf(parts.get(end - 1))) {
      end--;
      adapter = parts.get(end);
    }
    if (!parts.getLast().equals("weight") || end <= at + 1 || !isHalf(parts.get(end - 1))) {
      throw new UnreadableException(
          "a tensor of experts must be lora_A.weight or lora_B.weight of a module");
    }
    int half = parts.get(end - 1).equals("lora_A") ? 0 : 1;
    List<String> inner = parts.subList(at + 1, end - 1);
    String experts = String.join(".", parts.subList(0, at + 1));
    int layer = layer(parts.subList(0, at));
    String module = String.join(".", parts.subList(0, end - 1));
    if (parallel) {
      Linear linear = inner.getFirst().startsWith("in") ? Linear.GATE_UP : Linear.DOWN;
      return new ExpertKey(experts, module, layer, -1, linear, 0, half, adapter);
    }
    int expert = expert(inner);
    Linear linear = expert < 0 ? null : linear(inner);
    if (expert < 0 && !inner.stream().allMatch(NESTED::equals)) {
      throw new UnreadableException(
          "after experts must stand an expert's linear layer, base_layer or nothing");
    }
    return new ExpertKey(experts, module, layer, expert, linear, inner.size(), half, adapter);
  }

  private static boolean isParallel(String name) {
    String module = "." + name;
    return module.contains("." + PARALLEL + ".input_linear.lora_")
        || module.contains("." + PARALLEL + ".output_linear.lora_");
  }

  /** A name as the model has it. */
  static String withoutPrefix(String name) {
    return name.startsWith(PREFIX) ? name.substring(PREFIX.length()) : name;
  }

  private static List<String> split(String path) throws UnreadableException {
    if (path.length() > MAX_LENGTH) {
      throw new UnreadableException("a name must have at most %d characters".formatted(MAX_LENGTH));
    }
    if (path.chars().anyMatch(c -> c <= ' ' || c >= 0x7f)) {
      throw new UnreadableException("a name must hold printable ASCII characters only");
    }
    List<String> parts = new ArrayList<>();
    int from = 0;
    for (int dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', from)) {
      parts.add(path.substring(from, dot));
      from = dot + 1;
    }
    parts.add(path.substring(from));
    if (parts.size() > MAX_COMPONENTS || parts.contains("")) {
      throw new UnreadableException(
          "a name must have at most %d parts, none empty".formatted(MAX_COMPONENTS));
    }
    return parts;
  }

  private static boolean isHalf(String part) {
    return part.equals("lora_A") || part.equals("lora_B");
  }

  /** A number of at most six digits, or -1. */
  private static int number(String part) {
    boolean digits = part.length() <= 6 && part.chars().allMatch(c -> c >= '0' && c <= '9');
    return digits ? Integer.parseInt(part) : -1;
  }

  /** The only number before the experts, or the one after "layers" if there are several. */
  private static int layer(List<String> parts) throws UnreadableException {
    List<Integer> numbers = new ArrayList<>();
    List<Integer> afterLayers = new ArrayList<>();
    for (int i = 0; i < parts.size(); i++) {
      int number = number(parts.get(i));
      if (number >= 0) {
        numbers.add(number);
        if (i > 0 && parts.get(i - 1).equals("layers")) {
          afterLayers.add(number);
        }
      }
    }
    List<Integer> candidates = afterLayers.isEmpty() ? numbers : afterLayers;
    if (candidates.size() != 1) {
      throw new UnreadableException("a name must tell one layer number before experts");
    }
    return candidates.getFirst();
  }

  private static int expert(List<String> inner) {
    if (inner.size() != 2) {
      return -1;
    }
    int first = number(inner.getFirst());
    return first >= 0 ? first : number(inner.getLast());
  }

  private static Linear linear(List<String> inner) throws UnreadableException {
    return switch (number(inner.getFirst()) >= 0 ? inner.getLast() : inner.getFirst()) {
      case "gate_proj", "w1" -> Linear.GATE;
      case "up_proj", "w3" -> Linear.UP;
      case "gate_up_proj", "gate_up_projs" -> Linear.GATE_UP;
      case "down_proj", "w2", "down_projs" -> Linear.DOWN;
      default ->
          throw new UnreadableException(
              "a linear layer of an expert must be gate_proj, up_proj, gate_up_proj, down_proj, w1,"
                  + " w2 or w3");
    };
  }
}
