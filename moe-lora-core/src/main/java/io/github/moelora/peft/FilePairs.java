package io.github.moelora.peft;

import io.github.moelora.peft.ExpertKey.UnreadableException;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** A file's tensors put together as pairs by their names; used once per file. */
final class FilePairs {
  /** A and B of one module of experts. */
  static final class Pair {
    private final ExpertKey key;
    private final @Nullable Tensor[] halves = new Tensor[2];

    Pair(ExpertKey key) {
      this.key = key;
    }

    ExpertKey key() {
      return key;
    }

    /** Name of one of the tensors that are there. */
    String anyName() {
      Tensor any = halves[0] == null ? halves[1] : halves[0];
      return any == null ? key.module() : any.name();
    }
  }

  /** A and B of one linear layer outside the routed experts. */
  static final class DensePair {
    private final String module;
    private final @Nullable Tensor[] halves = new Tensor[2];

    DensePair(String module) {
      this.module = module;
    }

    String module() {
      return module;
    }
  }

  private final AdapterTensors tensors;
  private final ReadOptions options;
  private final Map<String, Pair> experts = new TreeMap<>();
  private final Map<String, DensePair> dense = new TreeMap<>();
  private final List<String> leftOut = new ArrayList<>();
  private final List<String> unsupported = new ArrayList<>();
  private @Nullable ExpertKey first;

  /** Name of the adapter in the names of tensors. */
  private @Nullable String adapter;

  FilePairs(AdapterTensors tensors, ReadOptions options) {
    this.tensors = tensors;
    this.options = options;
    tensors.tensors().values().forEach(this::collect);
    requireOneModulePerLayer();
  }

  /** Pairs of routed experts by module. */
  Map<String, Pair> experts() {
    return experts;
  }

  /** Pairs of other linear layers by module. */
  Map<String, DensePair> dense() {
    return dense;
  }

  /** Names of tensors of experts that the options leave out. */
  List<String> leftOut() {
    return leftOut;
  }

  /** Names of tensors that cannot be applied and that the options leave out. */
  List<String> unsupported() {
    return unsupported;
  }

  /** The first module of experts, or null. */
  @Nullable ExpertKey first() {
    return first;
  }

  private void collect(Tensor tensor) {
    ExpertKey key;
    try {
      key = ExpertKey.parse(tensor.name());
    } catch (UnreadableException e) {
      throw tensors.fault(tensor.name(), String.valueOf(e.getMessage()), tensor.name());
    }
    if (key == null) {
      collectOther(tensor);
    } else if (options.experts() != null && !key.experts().contains(options.experts())) {
      leftOut.add(tensor.name());
    } else {
      collectExperts(tensor, key);
    }
  }

  private void collectExperts(Tensor tensor, ExpertKey key) {
    if (first == null) {
      first = key;
    }
    requireOneAdapter(tensor, key.adapter());
    requireShape(tensor, key.form() == ExpertKey.Form.SINGLE ? 2 : 3);
    Pair pair = experts.computeIfAbsent(key.module(), any -> new Pair(key));
    requireNew(tensor, pair.halves[key.half()]);
    pair.halves[key.half()] = tensor;
  }

  private void requireOneAdapter(Tensor tensor, String name) {
    if (adapter == null) {
      adapter = name;
    } else if (!adapter.equals(name)) {
      throw tensors.fault(
          tensor.name(),
          "all tensors must be of one adapter, '%s'".formatted(adapter),
          "'%s'".formatted(name));
    }
  }

  private void requireNew(Tensor tensor, @Nullable Tensor other) {
    if (other != null) {
      throw tensors.fault(
          tensor.name(), "a weight must be stored once", "it is also " + other.name());
    }
  }

  private void requireShape(Tensor tensor, int mostDimensions) {
    switch (tensor.dtype()) {
      case "F16", "BF16", "F32" -> {}
      default ->
          throw tensors.fault(tensor.name(), "dtype must be F16, BF16 or F32", tensor.dtype());
    }
    List<Long> shape = tensor.shape();
    if (shape.size() < 2 || shape.size() > mostDimensions || shape.contains(0L)) {
      throw tensors.fault(
          tensor.name(),
          "shape must have two %sdimensions that are not 0"
              .formatted(mostDimensions > 2 ? "or three " : ""),
          shape);
    }
    for (long dimension : shape) {
      if (dimension > Integer.MAX_VALUE) {
        throw tensors.fault(tensor.name(), "dimensions must be at most 2^31 - 1", shape);
      }
    }
  }

  /** A tensor outside the routed experts: half of a linear layer's pair, or not to be applied. */
  private void collectOther(Tensor tensor) {
    String path = ModulePath.of(tensor.name());
    int at = Math.max(path.lastIndexOf(".lora_A."), path.lastIndexOf(".lora_B."));
    String end = at < 1 ? "" : path.substring(at + ".lora_A.".length());
    boolean named =
        end.endsWith(".weight") && end.indexOf('.') == end.length() - ".weight".length();
    if (!end.equals("weight") && !named) {
      refuseOrLeaveOut(tensor, reason(path));
      return;
    }
    if (path.contains(".experts.")) {
      refuseOrLeaveOut(tensor, "experts of attention are no projection of an MoE layer");
      return;
    }
    if (tensor.shape().size() > 2) {
      refuseOrLeaveOut(tensor, "a weight outside the routed experts must be a matrix");
      return;
    }
    requireShape(tensor, 2);
    requireOneAdapter(tensor, named ? end.substring(0, end.length() - ".weight".length()) : "");
    String module = path.substring(0, at);
    if (module.chars().anyMatch(c -> c <= ' ' || c >= 0x7f)) {
      throw tensors.fault(
          tensor.name(), "a name must hold printable ASCII characters only", tensor.name());
    }
    DensePair pair = dense.computeIfAbsent(module, DensePair::new);
    int half = path.charAt(at + ".lora_".length()) == 'A' ? 0 : 1;
    requireNew(tensor, pair.halves[half]);
    pair.halves[half] = tensor;
  }

  private static String reason(String path) {
    if (path.contains("lora_magnitude_vector")) {
      return "DoRA is not supported";
    }
    if (path.contains("lora_embedding_")) {
      return "LoRA on an embedding is not supported";
    }
    if (path.endsWith(".bias")) {
      return "trained biases are not supported";
    }
    return "weights of whole modules (modules_to_save, trained tokens) are not supported";
  }

  private void refuseOrLeaveOut(Tensor tensor, String reason) {
    if (!options.leaveOutUnsupported()) {
      throw tensors.fault(
          tensor.name(),
          "a tensor must be applied or left out by option, since " + reason,
          "dtype %s, shape %s".formatted(tensor.dtype(), tensor.shape()));
    }
    unsupported.add(tensor.name());
  }

  /** Two modules with the number of one layer, such as a draft model's, cannot be told apart. */
  private void requireOneModulePerLayer() {
    Map<Integer, ExpertKey> modules = new HashMap<>();
    for (Pair pair : experts.values()) {
      ExpertKey other = modules.putIfAbsent(pair.key.layer(), pair.key);
      if (other != null && !other.experts().equals(pair.key.experts())) {
        throw tensors.fault(
            pair.anyName(),
            "the experts of layer %d must be %s, as others of this file (ReadOptions.experts, --layout experts=..., says which to read)"
                .formatted(other.layer(), other.experts()),
            pair.key.experts());
      }
    }
  }

  /** One of the two tensors of a pair. */
  Tensor half(Pair pair, int half) {
    return half(pair.halves, half);
  }

  /** One of the two tensors of a pair. */
  Tensor half(DensePair pair, int half) {
    return half(pair.halves, half);
  }

  private Tensor half(@Nullable Tensor[] halves, int half) {
    Tensor tensor = halves[half];
    if (tensor != null) {
      return tensor;
    }
    Tensor other = halves[1 - half];
    String present = other == null ? "none" : other.name();
    boolean missingA = half == 0;
    throw tensors.fault(
        present
            .replace(missingA ? ".lora_B." : ".lora_A.", missingA ? ".lora_A." : ".lora_B.")
            .replaceFirst(missingA ? "_B$" : "_A$", missingA ? "_A" : "_B"),
        "both halves of a pair must be there",
        "only " + present);
  }
}
