package io.github.moelora.gguf;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Writes an adapter as a GGUF file that llama.cpp loads, whatever format it was read from.
 *
 * <p>llama.cpp multiplies every pair by {@code alpha / R} with one alpha for the file and the rank
 * of the pair's tensor. The alpha written is the one that most pairs need as they are; in the
 * others the difference is multiplied into B: other alphas or rsLoRA beside unequal ranks, and
 * experts of a smaller rank than their tensor, whose missing rows of A and columns of B are zero,
 * as is all of an expert that the adapter does not change. One A under gate and up, which GGUF
 * keeps apart, is written twice.
 *
 * <p>Settings may be changed between calls; not thread-safe.
 */
public final class GgufExport {
  /** transformers' model types whose names differ from llama.cpp's architectures. */
  private static final Map<String, String> ARCHITECTURES =
      Map.ofEntries(
          Map.entry("qwen2_moe", "qwen2moe"),
          Map.entry("qwen3_moe", "qwen3moe"),
          Map.entry("qwen3_next", "qwen3next"),
          Map.entry("qwen3_vl_moe", "qwen3vlmoe"),
          Map.entry("qwen3_vl_moe_text", "qwen3vlmoe"),
          Map.entry("qwen3_5_moe", "qwen35moe"),
          Map.entry("qwen3_5_moe_text", "qwen35moe"),
          Map.entry("mixtral", "llama"),
          Map.entry("llama4", "llama4"),
          Map.entry("llama4_text", "llama4"),
          Map.entry("gpt_oss", "gpt-oss"),
          Map.entry("deepseek_v2", "deepseek2"),
          Map.entry("deepseek_v3", "deepseek2"),
          Map.entry("glm4_moe", "glm4moe"),
          Map.entry("granitemoe", "granitemoe"),
          Map.entry("granitemoehybrid", "granitehybrid"),
          Map.entry("olmoe", "olmoe"),
          Map.entry("phimoe", "phimoe"),
          Map.entry("dbrx", "dbrx"),
          Map.entry("jamba", "jamba"),
          Map.entry("lfm2_moe", "lfm2moe"),
          Map.entry("ernie4_5_moe", "ernie4_5-moe"),
          Map.entry("hunyuan_v1_moe", "hunyuan-moe"),
          Map.entry("dots1", "dots1"),
          Map.entry("minimax_m2", "minimax-m2"),
          Map.entry("nemotron_h", "nemotron_h_moe"),
          Map.entry("exaone_moe", "exaone-moe"),
          Map.entry("afmoe", "afmoe"));

  /**
   * What was written.
   *
   * @param alpha the file's alpha
   * @param pairs pairs of tensors
   * @param foldedPairs those among them with a B that was multiplied, and so rounded again
   * @param bytes size of the file
   * @param leftOut the adapter's modules outside the routed experts, which are not written
   */
  public record Summary(
      float alpha, int pairs, int foldedPairs, long bytes, List<String> leftOut) {}

  private final String architecture;
  private final List<ExportPair> modules = new ArrayList<>();
  private DType type = DType.F32;
  private boolean fusedGateUp;

  /**
   * Starts an export.
   *
   * @param architecture llama.cpp's name of the base model's architecture, as {@code
   *     general.architecture} of its GGUF file has it; llama.cpp refuses an adapter with another
   */
  public GgufExport(String architecture) {
    if (architecture.isEmpty()) {
      throw new IllegalArgumentException("architecture must not be empty");
    }
    this.architecture = architecture;
  }

  /**
   * llama.cpp's name of an architecture by the {@code model_type} of transformers' config, where it
   * is known here.
   */
  public static Optional<String> architectureOf(String modelType) {
    return Optional.ofNullable(ARCHITECTURES.get(modelType));
  }

  /** Sets the element type, float32 unless this is called. */
  public GgufExport type(DType type) {
    this.type = type;
    return this;
  }

  /**
   * Writes gate and up as one, for base models whose GGUF file has {@code ffn_gate_up_exps};
   * without this they are two tensors, as most have them.
   */
  public GgufExport fusedGateUp(boolean fused) {
    this.fusedGateUp = fused;
    return this;
  }

  /**
   * Adds a pair on a weight outside the routed experts.
   *
   * @param name the weight's name in the base model's GGUF file, such as {@code
   *     blk.0.attn_q.weight}
   * @param a in, {@code [R, in]}; for the token embedding {@code in} is the vocabulary
   * @param b in, {@code [out, R]}
   * @param scale what the product is multiplied with
   * @throws IllegalArgumentException if the ranks differ, a size is 0 or the scale is not finite
   */
  public GgufExport module(String name, Matrix a, Matrix b, float scale) {
    LoraSlice slice = new LoraSlice(0, a, b, scale);
    modules.add(ExportPair.ofModule(name, List.of(List.of(slice))));
    return this;
  }

  /** Adds a pair of another GGUF file on a weight outside the routed experts, as it is there. */
  public GgufExport module(GgufModule module) {
    List<List<LoraSlice>> experts = new ArrayList<>();
    for (int expert = 0; expert < module.experts(); expert++) {
      experts.add(List.of(new LoraSlice(0, module.a(expert), module.b(expert), module.scale())));
    }
    modules.add(ExportPair.ofModule(module.name(), experts));
    return this;
  }

  /**
   * Writes the file beside its place and then moves it there, so that it is whole or not there.
   *
   * <p>Of the adapter only the routed experts' part is written: what other modules are called in
   * GGUF, and how their rows are ordered there, {@link #module} is told.
   *
   * @param adapter in, its routed experts' part must fit the model
   * @throws IllegalArgumentException if it does not fit, or a weight is out of the type's range
   * @throws IOException if the file cannot be written
   */
  public Summary write(LoraAdapter adapter, MoeModel model, Path path) throws IOException {
    LoraAdapter experts = adapter.withoutUnlisted(withoutDense(model));
    experts.requireFits(model);
    if (fusedGateUp && model.gateUp() == GateUp.UP_ONLY) {
      throw new IllegalArgumentException(
          "fusedGateUp must be off where the model's experts have no gate, got " + model.gateUp());
    }
    List<ExportPair> pairs = new ArrayList<>();
    for (int layer : experts.layers()) {
      for (ExportTarget target : ExportTarget.all(model, fusedGateUp)) {
        ExportPair pair = pair(experts, model, layer, target);
        if (pair.rank() > 0) {
          pairs.add(pair);
        }
      }
    }
    pairs.addAll(modules);
    float alpha = alpha(pairs);
    GgufWriter writer = new GgufWriter();
    writer.metadata(GgufAdapter.ARCHITECTURE, GgufValue.text(architecture));
    writer.metadata(GgufAdapter.KIND, GgufValue.text("adapter"));
    writer.metadata(GgufAdapter.NAME, GgufValue.text(adapter.name()));
    writer.metadata(GgufAdapter.ADAPTER_KIND, GgufValue.text("lora"));
    writer.metadata(GgufAdapter.ALPHA, GgufValue.float32(alpha));
    pairs.forEach(pair -> pair.addTo(writer, type, alpha));
    long bytes = writer.write(path);
    int folded = (int) pairs.stream().filter(pair -> pair.isFolded(alpha)).count();
    return new Summary(alpha, pairs.size(), folded, bytes, adapter.modules());
  }

  private static MoeModel withoutDense(MoeModel model) {
    return new MoeModel(
        model.hiddenSize(),
        model.intermediateSize(),
        model.experts(),
        model.gateUp(),
        model.layers());
  }

  private static ExportPair pair(
      LoraAdapter adapter, MoeModel model, int layer, ExportTarget target) {
    Projection projection = target.projection();
    List<List<LoraSlice>> experts = new ArrayList<>();
    for (int expert = 0; expert < model.experts(); expert++) {
      experts.add(
          adapter.slices(layer, projection, expert).stream().filter(target::isTouchedBy).toList());
    }
    return new ExportPair(
        "blk.%d.%s.weight".formatted(layer, target.name()),
        experts,
        target,
        model.inputWidth(projection));
  }

  /**
   * The alpha that most slices need unchanged. Never 0, which llama.cpp takes for a scale of 1: a
   * scale of 0 is multiplied into B.
   */
  private static float alpha(List<ExportPair> pairs) {
    Map<Float, Integer> votes = new LinkedHashMap<>();
    for (ExportPair pair : pairs) {
      for (List<LoraSlice> slices : pair.experts()) {
        for (LoraSlice slice : slices) {
          float wanted = slice.scale() * pair.rank();
          if (wanted != 0 && Float.isFinite(wanted)) {
            votes.merge(wanted, 1, Integer::sum);
          }
        }
      }
    }
    float best = 1;
    int most = 0;
    for (Map.Entry<Float, Integer> vote : votes.entrySet()) {
      if (vote.getValue() > most) {
        most = vote.getValue();
        best = vote.getKey();
      }
    }
    return best;
  }
}
