package io.github.moelora.gguf;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Shard;
import io.github.moelora.gguf.GgufFile.Tensor;
import io.github.moelora.gguf.GgufValue.Array;
import io.github.moelora.gguf.GgufValue.Real;
import io.github.moelora.gguf.GgufValue.Text;
import io.github.moelora.gguf.GgufValue.Whole;
import io.github.moelora.peft.ModelHints;
import io.github.moelora.peft.PeftAdapter.Linear;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A LoRA adapter in a GGUF file, as llama.cpp's {@code convert_lora_to_gguf.py} writes them,
 * memory-mapped.
 *
 * <p>All routed experts of a layer share a tensor: A is {@code [E, R, in]} and B {@code [E, out,
 * R]}, for gate, up and down, or for gate and up as one, gate first. Element types are F32, F16,
 * BF16 and Q8_0, and may differ between A and B. The file has one alpha; a pair is scaled by {@code
 * alpha / R} with its own rank, or by 1 where alpha is 0 or absent. The deltas are those of the
 * PEFT adapter that the file was made of, as far as the element type can hold its weights.
 *
 * <p>Opening reads and checks all but the elements, of which {@link #toLoraAdapter} reads those
 * that it hands out. Immutable; safe for use by several threads. The views handed out live until
 * {@link #close}, and the file must not be changed meanwhile.
 */
public final class GgufAdapter implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(GgufAdapter.class);

  static final String ARCHITECTURE = "general.architecture";
  static final String KIND = "general.type";
  static final String NAME = "general.name";
  static final String ADAPTER_KIND = "adapter.type";
  static final String ALPHA = "adapter.lora.alpha";

  /**
   * One pair of routed experts.
   *
   * @param experts number {@code E} of experts that the pair holds
   * @param rank rank {@code R}
   * @param scale {@code alpha / R}, or 1 where the file has no alpha
   * @param a tensor of A, {@code [E, R, in]}
   * @param b tensor of B, {@code [E, out, R]}
   */
  public record Entry(
      int layer, Linear linear, int experts, int rank, float scale, Tensor a, Tensor b) {

    /** Bytes of A and B. */
    public long bytes() {
      return a.data().byteSize() + b.data().byteSize();
    }

    int in() {
      return Math.toIntExact(a.shape().get(2));
    }

    int out() {
      return Math.toIntExact(b.shape().get(1));
    }

    int hiddenSize() {
      return linear == Linear.DOWN ? out() : in();
    }

    int intermediateSize() {
      return switch (linear) {
        case DOWN -> in();
        case GATE_UP -> out() / 2;
        case GATE, UP -> out();
      };
    }
  }

  private final String name;
  private final GgufFile file;
  private final String architecture;
  private final float alpha;
  private final List<Entry> entries;
  private final List<GgufModule> otherModules;
  private final List<String> ignoredTensors;

  private GgufAdapter(GgufFile file) {
    this.file = file;
    String fileName = String.valueOf(file.path().getFileName());
    this.name =
        fileName.endsWith(".gguf") ? fileName.substring(0, fileName.length() - 5) : fileName;
    requireText(KIND, "adapter");
    requireText(ADAPTER_KIND, "lora");
    requireNothingElse();
    this.architecture = text(ARCHITECTURE);
    this.alpha = readAlpha();
    GgufPairs pairs = new GgufPairs(file, alpha);
    this.entries = List.copyOf(pairs.entries());
    this.otherModules = List.copyOf(pairs.modules());
    this.ignoredTensors = List.copyOf(pairs.ignored());
  }

  /**
   * Opens an adapter.
   *
   * @throws AdapterFormatException if the file breaks a rule
   * @throws IOException if it cannot be read
   */
  public static GgufAdapter open(Path path) throws IOException {
    GgufFile file = GgufFile.open(path);
    boolean opened = false;
    try {
      GgufAdapter adapter = new GgufAdapter(file);
      opened = true;
      if (!adapter.otherModules.isEmpty()) {
        LOG.info(
            "{}: {} pairs are not of routed experts, the first is {}",
            path,
            adapter.otherModules.size(),
            AdapterFormatException.printable(adapter.otherModules.getFirst().name()));
      }
      return adapter;
    } finally {
      if (!opened) {
        file.close();
      }
    }
  }

  private AdapterFormatException fault(
      @Nullable String tensor, String rule, @Nullable Object value) {
    return new AdapterFormatException(file.path(), tensor, rule, value);
  }

  private String text(String key) {
    GgufValue value = file.metadata().get(key);
    if (value instanceof Text text) {
      return text.value();
    }
    throw fault(null, "metadata %s must be a string".formatted(key), shown(value));
  }

  private static String shown(@Nullable GgufValue value) {
    return value == null ? "none" : "%s %s".formatted(value.type(), value);
  }

  private void requireText(String key, String expected) {
    String value = text(key);
    if (!value.equals(expected)) {
      throw fault(null, "metadata %s must be %s".formatted(key, expected), value);
    }
  }

  /** What would change the result and is not done here is refused. */
  private void requireNothingElse() {
    if (file.metadata().get("adapter.alora.invocation_tokens") instanceof Array tokens
        && tokens.count() > 0) {
      throw fault(
          null,
          "an activated LoRA, which counts only after certain tokens, is not supported:"
              + " adapter.alora.invocation_tokens must be absent",
          tokens);
    }
    if (file.metadata().get("split.count") instanceof Whole parts && parts.value() > 1) {
      throw fault(null, "the adapter must be in one file: split.count must be 1", parts);
    }
  }

  private float readAlpha() {
    GgufValue value = file.metadata().get(ALPHA);
    if (value == null) {
      return 0;
    }
    if (value instanceof Real real
        && real.type() == GgufValue.Type.FLOAT32
        && Double.isFinite(real.value())) {
      return (float) real.value();
    }
    throw fault(null, "metadata %s must be a finite float32".formatted(ALPHA), shown(value));
  }

  /** Name of the file without its ending. */
  public String name() {
    return name;
  }

  /** The file. */
  public Path file() {
    return file.path();
  }

  /** llama.cpp's name of the base model's architecture, such as {@code qwen3moe}. */
  public String architecture() {
    return architecture;
  }

  /** Alpha of all pairs; 0 says that they are not scaled. */
  public float alpha() {
    return alpha;
  }

  /** All metadata by key. */
  public SequencedMap<String, GgufValue> metadata() {
    return file.metadata();
  }

  /** All pairs of routed experts, by layer and linear layer. */
  public List<Entry> entries() {
    return entries;
  }

  /** All other pairs, in the file's order. */
  public List<GgufModule> otherModules() {
    return otherModules;
  }

  /** Names of tensors that are no halves of pairs: norms, which llama.cpp does not use either. */
  public List<String> ignoredTensors() {
    return ignoredTensors;
  }

  /**
   * Reads every element once, for those who show a file rather than load it: {@link #toLoraAdapter}
   * refuses the same values by expert.
   *
   * @throws AdapterFormatException naming the first tensor with an element that is not finite
   */
  public void checkWeights() {
    for (Entry entry : entries) {
      requireFinite(entry.a());
      requireFinite(entry.b());
    }
    for (GgufModule module : otherModules) {
      requireFinite(module.tensorA());
      requireFinite(module.tensorB());
    }
  }

  private void requireFinite(Tensor tensor) {
    long at = Weights.firstNonFinite(tensor);
    if (at >= 0) {
      throw fault(tensor.name(), "every element must be finite", "element %d is not".formatted(at));
    }
  }

  /**
   * The adapter for a model: views of the mapped file, and copies where the file is quantised or
   * the model interleaves gate and up. Linear layers outside the routed experts go by the names of
   * GGUF without {@code .weight}, such as {@code blk.0.attn_q}; the model lists them so.
   *
   * @throws AdapterFormatException if a tensor does not fit the model, or is none of a linear layer
   * @throws IllegalArgumentException if a weight is not finite
   * @throws IllegalStateException if this is closed
   */
  public LoraAdapter toLoraAdapter(MoeModel model) {
    return toLoraAdapter(model, Shard.WHOLE, ExpertMap.identity(model.experts()));
  }

  /**
   * What one instance of a model that is spread over devices needs of the adapter; no other weights
   * are read.
   *
   * @param whole the whole model
   * @param shard the part of its widths
   * @param localExperts the experts that the instance has
   * @throws AdapterFormatException if a tensor does not fit the model, or is none of a linear layer
   * @throws IllegalArgumentException if a weight is not finite, or a width cannot be divided
   * @throws IllegalStateException if this is closed
   */
  public LoraAdapter toLoraAdapter(MoeModel whole, Shard shard, ExpertMap localExperts) {
    entries.forEach(entry -> requireBelongs(entry, whole));
    otherModules.forEach(this::requireLinear);
    LoraAdapter.Builder builder =
        LoraAdapter.builder(name).source(file::requireUnchanged).only(whole, shard, localExperts);
    Arena copies = Arena.ofAuto();
    Interleaving interleaving = new Interleaving(builder, whole, copies);
    for (Entry entry : entries) {
      for (int expert = 0; expert < entry.experts(); expert++) {
        if (localExperts.local(expert) >= 0) {
          LoraSlice slice = slice(entry, expert, whole, copies);
          if (whole.gateUp() == GateUp.INTERLEAVED && entry.linear() != Linear.DOWN) {
            interleaving.add(entry.layer(), expert, entry.linear(), slice);
          } else {
            builder.add(entry.layer(), entry.linear().projection(), expert, slice);
          }
        }
      }
    }
    interleaving.finish();
    for (GgufModule module : otherModules) {
      LoraSlice slice = new LoraSlice(0, module.a(0), module.b(0), module.scale());
      builder.addDense(whole.denseName(module.path()), slice);
    }
    return builder.build();
  }

  private void requireLinear(GgufModule module) {
    if (module.isEmbedding()) {
      throw fault(
          module.tensorA().name(),
          "it must be of a linear layer, not of the token embedding",
          "that");
    }
    if (module.isOfExperts()) {
      throw fault(
          module.tensorA().name(),
          "a tensor of experts must be ffn_gate_exps, ffn_up_exps, ffn_gate_up_exps or"
              + " ffn_down_exps",
          module.name());
    }
  }

  private void requireBelongs(Entry entry, MoeModel model) {
    String tensor = entry.a().name();
    if (!model.layers().contains(entry.layer())) {
      throw fault(tensor, "its layer must be one of the model's, " + model.layers(), entry.layer());
    }
    if (entry.experts() != model.experts()) {
      throw fault(
          tensor,
          "shape[0] must be the model's %d experts".formatted(model.experts()),
          entry.experts());
    }
    boolean gate = entry.linear() == Linear.GATE || entry.linear() == Linear.GATE_UP;
    if (gate && !model.gateUp().gated()) {
      throw fault(tensor, "the model's experts must have a gate", model.gateUp());
    }
    int in = model.inputWidth(entry.linear().projection());
    if (entry.in() != in) {
      throw fault(tensor, "shape[2] must be the model's input width " + in, entry.in());
    }
    int out =
        switch (entry.linear()) {
          case DOWN -> model.hiddenSize();
          case GATE_UP -> 2 * model.intermediateSize();
          case GATE, UP -> model.intermediateSize();
        };
    if (entry.out() != out) {
      throw fault(
          entry.b().name(), "shape[1] must be the model's output width " + out, entry.out());
    }
  }

  private static LoraSlice slice(Entry entry, int expert, MoeModel model, Arena copies) {
    Weights a = Weights.of(entry.a(), expert, entry.experts(), copies);
    Weights b = Weights.of(entry.b(), expert, entry.experts(), copies);
    boolean second = entry.linear() == Linear.UP && model.gateUp() == GateUp.HALVES;
    return new LoraSlice(
        second ? model.intermediateSize() : 0,
        Matrix.of(a.data(), a.type(), entry.rank(), entry.in()),
        Matrix.of(b.data(), b.type(), entry.out(), entry.rank()),
        entry.scale());
  }

  /**
   * The model's sizes as far as hints and adapters tell them: widths and experts from the shapes,
   * the layers that the adapters change. Gate and up are halves unless the hints say otherwise.
   *
   * @param adapters adapters of one model, one with expert weights at least
   * @param hints what is known from elsewhere; adapters must not contradict the widths and experts
   * @throws AdapterFormatException if an adapter contradicts the hints or the others
   * @throws IllegalArgumentException naming the hint that must be given
   */
  public static MoeModel inferModel(List<GgufAdapter> adapters, ModelHints hints) {
    return new GgufInference(new ArrayList<>(adapters), hints).model();
  }

  AdapterFormatException contradiction(Entry entry, String what, int expected, int value) {
    return fault(entry.a().name(), "its pair must have %s %d".formatted(what, expected), value);
  }

  /** Unmaps the file; closing twice does nothing. */
  @Override
  public void close() {
    file.close();
  }
}
