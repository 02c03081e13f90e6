package io.github.moelora.peft;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import com.code_intelligence.jazzer.junit.FuzzTest;
import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.testkit.AdapterFiles;
import io.github.moelora.testkit.Choices;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.io.TempDir;

/**
 * Directories put together from what real ones hold, sound and unsound: loaded, and then every
 * weight is there and fits the model, or refused.
 */
final class AdapterFuzzTest {
  private static final int H = 4;
  private static final int I = 3;
  private static final int E = 3;

  private static final List<String> PREFIXES =
      List.of("base_model.model.model.layers.", "model.layers.", "base_model.model.layers.", "x.");

  private static final List<String> BLOCKS =
      List.of(
          ".mlp.experts",
          ".mlp.experts.base_layer",
          ".feed_forward.experts",
          ".mixer.experts",
          ".block_sparse_moe.input_linear",
          ".block_sparse_moe.output_linear",
          ".self_attn.q_proj",
          ".mlp.shared_expert.up_proj");

  private static final List<String> LINEARS =
      List.of(
          "", ".0.gate_proj", ".1.up_proj", ".2.down_proj", ".0.w1", ".9.w2", ".gate_up_projs.1");

  private static final List<String> ENDS =
      List.of(
          ".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".weight", ".lora_A.bias");

  private static final List<String> OPTIONS =
      List.of(
          "target_modules",
          "target_parameters",
          "exclude_modules",
          "rank_pattern",
          "alpha_pattern",
          "use_rslora",
          "r",
          "lora_alpha",
          "peft_version",
          "lora_B_layout",
          "layers_to_transform",
          "base_model_name_or_path");

  private static final List<String> VALUES =
      List.of(
          "null",
          "[]",
          "{}",
          "true",
          "1",
          "2",
          "[0]",
          "\"all-linear\"",
          "\".*\"",
          "[\"experts.gate_up_proj\"]",
          "[\"experts.down_proj\"]",
          "[\"experts.gate_up_proj\", \"experts.down_proj\"]",
          "[\"experts.up_proj\"]",
          "[\"input_linear.weight\", \"output_linear.weight\"]",
          "[\"up_proj\", \"w1\", \"w2\"]",
          "{\"down_proj\": 2}",
          "{\"gate_up_proj\": 3}",
          "\"0.18.0\"",
          "\"0.19.0\"",
          "\"grouped_by_expert\"",
          "\"openai/gpt-oss\"",
          "\"Qwen3-VL\"");

  private static final List<GateUp> GATES = List.of(GateUp.values());

  @TempDir private Path directory;

  @FuzzTest
  void isLoadedOrRefused(FuzzedDataProvider data) throws Exception {
    Choices choices = new Choices(data);
    AdapterFiles files = new AdapterFiles();
    for (int i = choices.number(0, 4); i > 0; i--) {
      files.config(choices.oneOf(OPTIONS), choices.oneOf(VALUES));
    }
    for (int i = choices.number(1, 4); i > 0; i--) {
      add(files, choices);
    }
    MoeModel model = new MoeModel(H, I, E, choices.oneOf(GATES), List.of(0, 1));
    Path path = files.write(directory);
    try (PeftAdapter file = PeftAdapter.open(path)) {
      requireSound(file.toLoraAdapter(model), model);
      requireSound(file.toLoraAdapter(PeftAdapter.inferModel(List.of(file))), null);
    } catch (AdapterFormatException e) {
      require(e.file().startsWith(path), "the refusal names the file");
    } catch (IllegalArgumentException e) {
      // only what cannot be inferred
      require(
          String.valueOf(e.getMessage()).contains("must be given")
              || String.valueOf(e.getMessage()).contains("must hold tensors of routed experts"),
          String.valueOf(e.getMessage()));
    }
  }

  /** Mostly both halves of a pair with the shapes that one of the layouts has. */
  private static void add(AdapterFiles files, Choices choices) {
    String module =
        choices.oneOf(PREFIXES)
            + choices.number(0, 2)
            + choices.oneOf(BLOCKS)
            + choices.oneOf(LINEARS);
    int experts = choices.rarely(2) ? E : 1;
    int rank = experts * choices.number(1, 3);
    List<Integer> widths = List.of(H, I, 2 * I, 1);
    int in = choices.oneOf(widths);
    int out = choices.oneOf(widths);
    DType type = choices.oneOf(List.of(DType.values()));
    float odd = choices.rarely(10) ? Float.NaN : 1;
    if (!choices.rarely(5)) {
      files.tensor(module + ".lora_A.weight", type, rank, in, (i, j) -> i == 0 ? odd : i + 10 * j);
      files.tensor(module + ".lora_B.weight", type, out, rank, (i, j) -> i + 10 * j);
    } else {
      files.tensor(module + choices.oneOf(ENDS), type, rank, in, (i, j) -> i + j);
    }
  }

  private static void requireSound(LoraAdapter adapter, @Nullable MoeModel model) {
    if (model != null) {
      adapter.requireFits(model);
    }
    for (int layer : adapter.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < E; e++) {
          for (LoraSlice slice : adapter.slices(layer, projection, e)) {
            require(slice.rank() <= adapter.maxRank(), "no rank exceeds the largest");
            float last = slice.b().get(slice.columns() - 1, slice.rank() - 1);
            require(Float.isFinite(last), "every weight is finite");
          }
        }
      }
    }
  }

  private static void require(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }
}
