package io.github.moelora.workload;

import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Shape of one MoE layer of a known model, from its published configuration.
 *
 * @param text name by which users ask for it
 * @param model sizes, with a single layer 0
 * @param expertsPerToken {@code K}
 */
public record Preset(String text, MoeModel model, int expertsPerToken) {
  private static final List<Preset> ALL =
      List.of(
          new Preset("qwen3-30b-a3b", model(2048, 768, 128, GateUp.HALVES), 8),
          new Preset("mixtral-8x7b", model(4096, 14336, 8, GateUp.HALVES), 2),
          new Preset("deepseek-v3", model(7168, 2048, 256, GateUp.HALVES), 8),
          new Preset("gpt-oss-20b", model(2880, 2880, 32, GateUp.INTERLEAVED), 4),
          new Preset("olmoe", model(2048, 1024, 64, GateUp.HALVES), 8));

  /** The same model with that many layers, 0 onwards. */
  MoeModel withLayers(int layers) {
    return new MoeModel(
        model.hiddenSize(),
        model.intermediateSize(),
        model.experts(),
        model.gateUp(),
        IntStream.range(0, layers).boxed().toList());
  }

  private static MoeModel model(int hiddenSize, int intermediateSize, int experts, GateUp gateUp) {
    return new MoeModel(hiddenSize, intermediateSize, experts, gateUp, List.of(0));
  }

  /** Names of all presets. */
  public static List<String> names() {
    return ALL.stream().map(Preset::text).toList();
  }

  /**
   * The preset of that name.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static Preset of(String text) {
    for (Preset preset : ALL) {
      if (preset.text.equals(text)) {
        return preset;
      }
    }
    throw new IllegalArgumentException(
        "--preset must be one of %s, got %s".formatted(String.join(", ", names()), text));
  }
}
