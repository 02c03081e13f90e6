package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
import java.util.List;
import java.util.SplittableRandom;

/**
 * A projection of a model as {@link BenchGpu} measures it.
 *
 * @param preset the layer; its name is what tables show
 * @param adapters {@code L}
 * @param projection which of the layer's two
 */
record BenchShape(Preset preset, int adapters, Projection projection) {

  static final List<BenchShape> ALL =
      List.of(
          new BenchShape(preset("qwen3_30b_w13", 2048, 768, 128, 8), 2, Projection.GATE_UP),
          new BenchShape(preset("qwen3_30b_w2", 2048, 768, 128, 8), 2, Projection.DOWN),
          new BenchShape(preset("qwen3moe64", 2048, 1408, 64, 8), 4, Projection.GATE_UP),
          new BenchShape(preset("mixtral", 4096, 7168, 8, 2), 4, Projection.GATE_UP));

  /** Models whose whole layers are measured: gate/up of each, which down belongs to. */
  static final List<BenchShape> LAYERS =
      List.of(
          new BenchShape(preset("qwen3_30b", 2048, 768, 128, 8), 2, Projection.GATE_UP),
          ALL.get(2),
          ALL.get(3));

  private static Preset preset(
      String name, int hiddenSize, int intermediateSize, int experts, int expertsPerToken) {
    return new Preset(
        name,
        new MoeModel(hiddenSize, intermediateSize, experts, GateUp.HALVES, List.of(0)),
        expertsPerToken);
  }

  /**
   * The shape of that name.
   *
   * @throws IllegalArgumentException if there is none
   */
  static BenchShape named(String name) {
    return named(ALL, name);
  }

  /**
   * The layer of that name.
   *
   * @throws IllegalArgumentException if there is none
   */
  static BenchShape layer(String name) {
    return named(LAYERS, name);
  }

  private static BenchShape named(List<BenchShape> shapes, String name) {
    return shapes.stream()
        .filter(shape -> shape.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "--cases must name some of %s, got %s"
                        .formatted(shapes.stream().map(BenchShape::name).toList(), name)));
  }

  String name() {
    return preset.text();
  }

  /** A workload of this shape, weights and activations of one type. */
  Workload.Sizes sizes(int maxTokens, int rank, DType type) {
    return new Workload.Sizes(preset, 1, adapters, rank, maxTokens, type, type);
  }

  /** Tokens with random experts; the first of them have the first adapter. */
  Batch batch(int tokens, long seed) {
    return Batch.random(
        new SplittableRandom(seed),
        Batch.sequences(tokens, adapters, 0),
        preset.expertsPerToken(),
        preset.model().experts());
  }

  ProjectionCall call() {
    return projection == Projection.DOWN ? ProjectionCall.down(0) : ProjectionCall.gateUp(0);
  }

  int inputWidth() {
    return preset.model().inputWidth(projection);
  }

  int outputWidth() {
    return preset.model().outputWidth(projection);
  }

  /** Rows of x: one for each pair of the down projection, else one for each token. */
  int inputRows(int tokens) {
    return call().pairRows() ? tokens * preset.expertsPerToken() : tokens;
  }
}
