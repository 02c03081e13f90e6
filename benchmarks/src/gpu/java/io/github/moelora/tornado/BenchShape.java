package io.github.moelora.tornado;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import java.util.List;

/**
 * A projection of a model as {@link BenchGpu} measures it.
 *
 * @param name as tables show it
 * @param hiddenSize of the model
 * @param intermediateSize of the model
 * @param experts {@code E}
 * @param expertsPerToken {@code K}
 * @param adapters {@code L}
 * @param projection which of the layer's two
 */
record BenchShape(
    String name,
    int hiddenSize,
    int intermediateSize,
    int experts,
    int expertsPerToken,
    int adapters,
    Projection projection) {

  static final List<BenchShape> ALL =
      List.of(
          new BenchShape("qwen3_30b_w13", 2048, 768, 128, 8, 2, Projection.GATE_UP),
          new BenchShape("qwen3_30b_w2", 2048, 768, 128, 8, 2, Projection.DOWN),
          new BenchShape("qwen3moe64", 2048, 1408, 64, 8, 4, Projection.GATE_UP),
          new BenchShape("mixtral", 4096, 7168, 8, 2, 4, Projection.GATE_UP));

  /**
   * @throws IllegalArgumentException if no shape has that name
   */
  static BenchShape named(String name) {
    return ALL.stream()
        .filter(shape -> shape.name.equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "--cases must name some of %s, got %s"
                        .formatted(ALL.stream().map(BenchShape::name).toList(), name)));
  }

  boolean down() {
    return projection == Projection.DOWN;
  }

  MoeModel model() {
    return new MoeModel(hiddenSize, intermediateSize, experts, GateUp.HALVES, List.of(0));
  }

  MoeLoraConfig config(int maxTokens, int rank, DType type) {
    return MoeLoraConfig.of(model(), adapters, expertsPerToken)
        .withMaxTokens(maxTokens)
        .withMaxRank(rank)
        .withWeightType(type);
  }

  ProjectionCall call() {
    return down() ? ProjectionCall.down(0) : ProjectionCall.gateUp(0);
  }

  int inputWidth() {
    return model().inputWidth(projection);
  }

  int outputWidth() {
    return model().outputWidth(projection);
  }

  /** LoRA matrix pairs of an expert: gate and up, or down. */
  int slices() {
    return down() ? 1 : 2;
  }

  int sliceWidth() {
    return outputWidth() / slices();
  }

  /** Rows of x: one for each pair of the down projection, else one for each token. */
  int inputRows(int tokens) {
    return down() ? tokens * expertsPerToken : tokens;
  }
}
