package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.GateUp;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What the {@code config.json} of a base model says of its experts, by the names that transformers'
 * model types use.
 *
 * @param modelType {@code model_type}, or the empty string
 * @param hints sizes; null where the file does not say
 * @param expertsPerToken experts that a token is routed to, or null
 */
public record BaseModelConfig(
    String modelType, ModelHints hints, @Nullable Integer expertsPerToken) {

  private static final long MAX_BYTES = 16 << 20;

  private static final List<String> EXPERTS =
      List.of(
          "num_experts",
          "num_local_experts",
          "n_routed_experts",
          "num_routed_experts",
          "moe_num_experts");

  private static final List<String> HIDDEN = List.of("hidden_size", "d_model", "n_embd");

  private static final List<String> INTERMEDIATE =
      List.of(
          "moe_intermediate_size",
          "expert_ffn_hidden_size",
          "moe_ffn_hidden_size",
          "ffn_hidden_size",
          "intermediate_size");

  private static final List<String> PER_TOKEN =
      List.of(
          "num_experts_per_tok",
          "num_experts_per_token",
          "moe_topk",
          "moe_top_k",
          "moe_k",
          "top_k_experts",
          "top_k");

  /** Parts of a multi-part model's config that hold the language model's. */
  private static final List<String> PARTS =
      List.of("text_config", "llm_config", "language_config", "thinker_config", "ffn_config");

  /**
   * Reads a file.
   *
   * @throws AdapterFormatException if it is no JSON object or says nothing of experts
   * @throws IOException if it cannot be read
   */
  public static BaseModelConfig read(Path file) throws IOException {
    Map<String, @Nullable Object> json = ConfigText.read(file, MAX_BYTES);
    Integer experts = find(json, EXPERTS);
    if (experts == null) {
      throw new AdapterFormatException(
          file, null, "the config must be of a model with experts (" + EXPERTS + ")", "none");
    }
    String type = json.get("model_type") instanceof String text ? text : "";
    return new BaseModelConfig(
        type,
        new ModelHints(find(json, HIDDEN), find(json, INTERMEDIATE), experts, gateUp(type), null),
        find(json, PER_TOKEN));
  }

  private static GateUp gateUp(String type) {
    return switch (type) {
      case "gpt_oss" -> GateUp.INTERLEAVED;
      case "nemotron_h" -> GateUp.UP_ONLY;
      default -> GateUp.HALVES;
    };
  }

  /** The first of some names in the language model's part, or else in the whole. */
  private static @Nullable Integer find(Map<?, ?> json, List<String> names) {
    for (String part : PARTS) {
      if (json.get(part) instanceof Map<?, ?> inner) {
        Integer found = find(inner, names);
        if (found != null) {
          return found;
        }
      }
    }
    for (String name : names) {
      Object value = json.get(name);
      // several modules of experts have a list: the text's is the first
      Object first = value instanceof List<?> list && !list.isEmpty() ? list.getFirst() : value;
      if (first instanceof Long number && number > 0 && number <= Integer.MAX_VALUE) {
        return Math.toIntExact(number);
      }
    }
    return null;
  }
}
