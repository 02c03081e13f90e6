package io.github.moelora.gguf;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.gguf.GgufAdapter.Entry;
import io.github.moelora.gguf.GgufFile.Tensor;
import io.github.moelora.peft.PeftAdapter.Linear;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Joins the halves of a file's pairs and checks that they fit each other; used once.
 *
 * <p>A pair is two tensors named after the weight that it changes: {@code .lora_a} is {@code [in,
 * R]} and {@code .lora_b} is {@code [R, out]} in the file's order, fastest dimension first. Those
 * of routed experts have the experts as third dimension.
 */
final class GgufPairs {
  private static final String A = ".lora_a";
  private static final String B = ".lora_b";

  /** The converter stacks all experts of a layer. */
  private static final Pattern STACKED =
      Pattern.compile("blk\\.(0|[1-9]\\d{0,8})\\.ffn_(gate|up|down|gate_up)_exps\\.weight");

  /** Base models had one tensor for each expert until April 2024; adapters never had. */
  private static final Pattern ONE_EXPERT =
      Pattern.compile("blk\\.\\d+\\.ffn_(gate|up|down)\\.\\d+\\.weight");

  /** The two tensors of a pair as far as they were found. */
  private static final class Halves {
    private @Nullable Tensor a;
    private @Nullable Tensor b;
  }

  private final GgufFile file;
  private final float alpha;
  private final List<Entry> entries = new ArrayList<>();
  private final List<GgufModule> modules = new ArrayList<>();
  private final List<String> ignored = new ArrayList<>();

  /**
   * @param alpha the file's one alpha, 0 where it has none
   */
  GgufPairs(GgufFile file, float alpha) {
    this.file = file;
    this.alpha = alpha;
    halves().forEach(this::addPair);
    entries.sort(Comparator.comparingInt(Entry::layer).thenComparing(Entry::linear));
    requireOneForm();
    requireSameWidths();
  }

  /** Pairs of routed experts by layer and linear layer. */
  List<Entry> entries() {
    return entries;
  }

  /** All other pairs, in the file's order. */
  List<GgufModule> modules() {
    return modules;
  }

  /** Tensors that are no halves of pairs: norms, which llama.cpp leaves out, too. */
  List<String> ignored() {
    return ignored;
  }

  private AdapterFormatException fault(Tensor tensor, String rule, Object value) {
    return new AdapterFormatException(file.path(), tensor.name(), rule, value);
  }

  private Map<String, Halves> halves() {
    Map<String, Halves> halves = new LinkedHashMap<>();
    for (Tensor tensor : file.tensors().values()) {
      String name = tensor.name();
      if (name.endsWith(A)) {
        halves.computeIfAbsent(base(name), base -> new Halves()).a = tensor;
      } else if (name.endsWith(B)) {
        halves.computeIfAbsent(base(name), base -> new Halves()).b = tensor;
      } else if (name.endsWith("_norm.weight")) {
        ignored.add(name);
      } else {
        throw fault(tensor, "its name must end in .lora_a or .lora_b", name);
      }
    }
    return halves;
  }

  private static String base(String name) {
    return name.substring(0, name.length() - A.length());
  }

  private void addPair(String base, Halves halves) {
    Tensor a = halves.a;
    Tensor b = halves.b;
    if (a == null || b == null) {
      Tensor there = a == null ? b : a;
      if (there == null) {
        throw new IllegalStateException(base);
      }
      throw fault(there, "both halves of a pair must be there", "no " + base + (a == null ? A : B));
    }
    requireSound(a);
    requireSound(b);
    Matcher stacked = STACKED.matcher(base);
    if (stacked.matches()) {
      addEntry(stacked, a, b);
    } else if (ONE_EXPERT.matcher(base).matches()) {
      throw fault(
          a, "all experts of a layer must be in one tensor, such as ffn_gate_exps", "one expert");
    } else {
      modules.add(module(base, a, b));
    }
  }

  /** The type must be one that is read, and no size 0. */
  private void requireSound(Tensor tensor) {
    if (tensor.type().dtype() == null && tensor.type() != GgmlType.Q8_0) {
      throw fault(tensor, "its type must be F32, F16, BF16 or Q8_0", tensor.type());
    }
    for (long dimension : tensor.shape()) {
      if (dimension < 1 || dimension > Integer.MAX_VALUE) {
        throw fault(
            tensor,
            "its dimensions must be in [1, %d]".formatted(Integer.MAX_VALUE),
            tensor.shape());
      }
    }
  }

  private void addEntry(Matcher name, Tensor a, Tensor b) {
    List<Long> shapeA = stackedShape(a);
    List<Long> shapeB = stackedShape(b);
    long experts = shapeA.get(0);
    if (shapeB.get(0) != experts) {
      throw fault(b, "it must hold %d experts as A does".formatted(experts), shapeB.get(0));
    }
    requireRank(b, shapeA.get(1), shapeB.get(2));
    int rank = Math.toIntExact(shapeA.get(1));
    Linear linear =
        switch (name.group(2)) {
          case "gate" -> Linear.GATE;
          case "up" -> Linear.UP;
          case "down" -> Linear.DOWN;
          default -> Linear.GATE_UP;
        };
    if (linear == Linear.GATE_UP && shapeB.get(1) % 2 != 0) {
      throw fault(b, "shape[1] must be even, gate and up", shapeB.get(1));
    }
    int layer = Integer.parseInt(name.group(1));
    entries.add(
        new Entry(
            layer,
            linear,
            (int) experts,
            rank,
            scale(rank),
            new Tensor(a.name(), a.type(), shapeA, a.data()),
            new Tensor(b.name(), b.type(), shapeB, b.data())));
  }

  private void requireRank(Tensor b, long ofA, long ofB) {
    if (ofA != ofB) {
      throw fault(b, "its rank must be %d as A's is".formatted(ofA), ofB);
    }
  }

  /** Dimensions of 1 at the slow end may be missing or too many: ggml counts neither. */
  private List<Long> stackedShape(Tensor tensor) {
    List<Long> shape = new ArrayList<>(tensor.shape());
    while (shape.size() > 3 && shape.getFirst() == 1) {
      shape.removeFirst();
    }
    while (shape.size() < 3) {
      shape.addFirst(1L);
    }
    if (shape.size() > 3) {
      throw fault(tensor, "it must have three dimensions", tensor.shape());
    }
    return List.copyOf(shape);
  }

  private GgufModule module(String base, Tensor a, Tensor b) {
    int dimensions = a.shape().size();
    if (dimensions < 2 || dimensions > 3 || b.shape().size() != dimensions) {
      throw fault(
          b,
          "A and B must both have two dimensions, or three with experts",
          "A %s, B %s".formatted(a.shape(), b.shape()));
    }
    long experts = dimensions == 3 ? a.shape().getFirst() : 1;
    if (dimensions == 3 && b.shape().getFirst() != experts) {
      throw fault(b, "it must hold %d experts as A does".formatted(experts), b.shape().getFirst());
    }
    long rank = b.shape().getLast();
    boolean embedding = GgufModule.isEmbedding(base);
    requireRank(b, a.shape().get(embedding ? dimensions - 1 : dimensions - 2), rank);
    return new GgufModule(base, (int) experts, (int) rank, scale((int) rank), a, b);
  }

  /** As llama.cpp computes it, in float32. */
  private float scale(int rank) {
    return alpha == 0 ? 1 : alpha / rank;
  }

  private void requireOneForm() {
    for (int i = 1; i < entries.size(); i++) {
      Entry entry = entries.get(i);
      Entry before = entries.get(i - 1);
      // GATE, UP, GATE_UP is the order of one layer's entries
      boolean twice = entry.linear() == Linear.GATE_UP && entry.layer() == before.layer();
      if (twice) {
        throw fault(
            entry.a(), "a layer must have gate and up in one tensor or in two", before.a().name());
      }
    }
  }

  private void requireSameWidths() {
    for (Entry entry : entries) {
      Entry first = entries.getFirst();
      if (entry.experts() != first.experts()) {
        throw fault(
            entry.a(),
            "it must hold %d experts as %s does".formatted(first.experts(), first.a().name()),
            entry.experts());
      }
      requireWidth(entry.a(), "hidden", entry.hiddenSize(), first.hiddenSize(), first);
      requireWidth(
          entry.b(), "intermediate", entry.intermediateSize(), first.intermediateSize(), first);
    }
  }

  private void requireWidth(Tensor tensor, String which, int width, int expected, Entry first) {
    if (width != expected) {
      throw fault(
          tensor,
          "its pair must have the %s width %d as %s has"
              .formatted(which, expected, first.a().name()),
          width);
    }
  }
}
