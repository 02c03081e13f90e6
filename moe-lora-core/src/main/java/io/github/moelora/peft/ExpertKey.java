package io.github.moelora.peft;

import io.github.moelora.peft.PeftAdapter.Linear;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What the name of a tensor of routed experts says. Names are {@code
 * [base_model.model.]...layers.N....experts...lora_A[.adapter].weight}; between {@code experts} and
 * {@code lora_A} stands {@code E.linear} or {@code linears.E} for one expert, {@code linear} for
 * that of all experts, or nothing or {@code base_layer}s for the nested wrappers of a module's
 * parameters. Some models have no {@code experts}: early Gemma 4 a module {@code moe} with nested
 * wrappers, GraniteMoE and JetMoE a module for each parameter of all experts, {@code input_linear}
 * and {@code output_linear}. Old files of NeMo Automodel have {@code experts.lora_down_A} and the
 * like.
 *
 * @param experts full name of the module that holds the experts, as the model has it
 * @param module full name of the module that the pair belongs to
 * @param layer layer number
 * @param expert expert, or -1 for all
 * @param linear linear layer that the name tells, or null if it tells none
 * @param form how the name tells its linear layer
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
    Form form,
    int depth,
    int half,
    String adapter) {

  /** Kinds of names. */
  enum Form {
    /** A linear layer of one expert. */
    SINGLE,
    /** A linear layer of all experts under its own name. */
    OWN,
    /** One of the nested wrappers of a module's parameters. */
    NESTED,
    /** The same of DBRX's module, whose parameters are matrices. */
    NESTED_STACK,
    /** A weight in Automodel's old names. */
    AUTOMODEL
  }

  private static final String EXPERTS = "experts";
  private static final String NESTED = "base_layer";
  private static final String STACK = "mlp";

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

  /** Where the experts stand in a name, and what follows. */
  private record Place(List<String> parts, int at, int end, int half, String adapter) {

    String experts() {
      return String.join(".", parts.subList(0, at + 1));
    }

    String module() {
      return String.join(".", parts.subList(0, end - 1));
    }

    List<String> inner() {
      return parts.subList(at + 1, end - 1);
    }

    ExpertKey key(int expert, @Nullable Linear linear, Form form, int depth)
        throws UnreadableException {
      int layer = ExpertKey.layer(parts.subList(0, at));
      return new ExpertKey(experts(), module(), layer, expert, linear, form, depth, half, adapter);
    }
  }

  /**
   * Reads a name.
   *
   * @return null for a tensor that is not of routed experts
   * @throws UnreadableException if it is, and breaks a rule
   */
  static @Nullable ExpertKey parse(String name) throws UnreadableException {
    if (!name.contains(EXPERTS) && !name.contains("moe") && !name.contains("put_linear.")) {
      return null;
    }
    String path = ModulePath.of(name);
    if (!mayBeOfExperts(path)) {
      return null;
    }
    List<String> parts = split(path);
    int at = place(parts);
    if (at < 0) {
      return null;
    }
    if (parts.size() == at + 2 && parts.get(at + 1).startsWith("lora_")) {
      return automodel(parts, at);
    }
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
    return read(new Place(parts, at, end, half, adapter));
  }

  /** Most tensors are not, and their names need not be taken apart. */
  private static boolean mayBeOfExperts(String path) {
    String dotted = "." + path + ".";
    return dotted.contains(".experts.")
        || dotted.contains(".moe.")
        || dotted.contains(".input_linear.")
        || dotted.contains(".output_linear.");
  }

  /** Position of the part that holds the experts, or -1. */
  private static int place(List<String> parts) {
    int at = parts.lastIndexOf(EXPERTS);
    if (at >= 0) {
      // attention of experts, as JetMoE has it, is another projection
      boolean attention = at > 0 && parts.get(at - 1).contains("attention");
      return attention ? -1 : at;
    }
    for (int i = parts.size() - 2; i >= 0; i--) {
      String next = parts.get(i + 1);
      boolean parallel = next.equals("input_linear") || next.equals("output_linear");
      boolean wrapped = next.equals(NESTED) || isHalf(next);
      switch (parts.get(i)) {
        case "moe" -> {
          if (parallel || wrapped) {
            return i;
          }
        }
        case "block_sparse_moe", "mlp" -> {
          if (parallel) {
            return i;
          }
        }
        default -> {}
      }
    }
    return -1;
  }

  private static ExpertKey automodel(List<String> parts, int at) throws UnreadableException {
    String name = parts.getLast();
    String linear = name.substring("lora_".length(), Math.max(5, name.length() - 2));
    int half = name.endsWith("_A") ? 0 : name.endsWith("_B") ? 1 : -1;
    Linear read =
        switch (linear) {
          case "gate_and_up" -> Linear.GATE_UP;
          case "down" -> Linear.DOWN;
          default -> null;
        };
    if (half < 0 || read == null) {
      throw new UnreadableException(
          "a tensor of experts must be lora_A.weight or lora_B.weight of a module");
    }
    String experts = String.join(".", parts.subList(0, at + 1));
    return new ExpertKey(
        experts,
        experts + "." + linear,
        layer(parts.subList(0, at)),
        -1,
        read,
        Form.AUTOMODEL,
        0,
        half,
        "");
  }

  private static ExpertKey read(Place place) throws UnreadableException {
    List<String> inner = place.inner();
    if (inner.stream().allMatch(NESTED::equals)) {
      return place.key(-1, null, Form.NESTED, inner.size());
    }
    if (inner.getFirst().equals(STACK)
        && inner.subList(1, inner.size()).stream().allMatch(NESTED::equals)) {
      List<String> parts = place.parts();
      Place stack = new Place(parts, place.at() + 1, place.end(), place.half(), place.adapter());
      return stack.key(-1, null, Form.NESTED_STACK, inner.size() - 1);
    }
    int expert = expert(inner);
    if (expert >= 0) {
      String linear = number(inner.getFirst()) >= 0 ? inner.getLast() : inner.getFirst();
      return place.key(expert, linear(linear), Form.SINGLE, 0);
    }
    Linear own = inner.size() == 1 ? ownLinear(inner.getFirst()) : null;
    if (own == null) {
      throw new UnreadableException(
          "after experts must stand an expert's linear layer, base_layer or nothing");
    }
    return place.key(-1, own, Form.OWN, 0);
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

  private static Linear linear(String name) throws UnreadableException {
    return switch (name) {
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

  /** Linear layers of all experts; Aria has {@code fc1} and {@code fc2}. */
  private static @Nullable Linear ownLinear(String name) {
    return switch (name) {
      case "gate_proj", "w1" -> Linear.GATE;
      case "up_proj", "w3" -> Linear.UP;
      case "gate_up_proj", "gate_and_up_projs", "gate_up_projs", "w13", "fc1", "input_linear" ->
          Linear.GATE_UP;
      case "down_proj", "down_projs", "w2", "fc2", "output_linear" -> Linear.DOWN;
      default -> null;
    };
  }
}
