package io.github.moelora.tornado;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import java.util.List;

/**
 * A small projection for the emulated device.
 *
 * @param name what is special
 * @param type of weights and activations
 * @param hidden width of the residual stream
 * @param inner width of the activation
 * @param tokens of the batch
 * @param ranks of the adapters; 0 leaves a slot empty, a negative one is a fused gate_up pair
 * @param maxRank that memory is reserved for
 * @param tiling how the work is cut
 * @param blockSize rows of a block
 * @param call what is computed
 */
record EmulatedCase(
    String name,
    DType type,
    int hidden,
    int inner,
    int tokens,
    List<Integer> ranks,
    int maxRank,
    Tiling tiling,
    int blockSize,
    ProjectionCall call) {
  private static final int LAYER = 3;
  private static final int EXPERTS = 3;
  private static final int PER_TOKEN = 2;
  private static final ProjectionCall GATE_UP = ProjectionCall.gateUp(LAYER);
  private static final ProjectionCall DOWN = ProjectionCall.down(LAYER);

  /** One case for each way through the tuned kernels, odd sizes and ends that are not whole. */
  static List<EmulatedCase> all() {
    return List.of(
        new EmulatedCase(
            "single pairs, delta only",
            DType.BF16,
            34,
            210,
            3,
            List.of(1, -3),
            3,
            new Tiling(1, 1, 1, 4, 3, 1, 32, 32, 2),
            1,
            GATE_UP.deltaOnly().withColumnOffset(2)),
        new EmulatedCase(
            "long pipeline, two slices, two rank ranges",
            DType.BF16,
            200,
            34,
            5,
            List.of(17, 0, -3),
            17,
            new Tiling(1, 1, 1, 4, 5, 1, 64, 64, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "two row tiles, H in parts, routing weights",
            DType.BF16,
            72,
            136,
            26,
            List.of(5),
            5,
            new Tiling(1, 2, 2, 2, 3, 8, 32, 64, 2),
            18,
            DOWN.withColumnOffset(4)),
        new EmulatedCase(
            "single pairs, delta only",
            DType.F16,
            34,
            210,
            3,
            List.of(1, -3),
            3,
            new Tiling(1, 1, 1, 4, 3, 1, 32, 32, 2),
            1,
            GATE_UP.deltaOnly().withColumnOffset(2)),
        new EmulatedCase(
            "long pipeline, two slices, two rank ranges",
            DType.F16,
            200,
            34,
            5,
            List.of(17, 0, -3),
            17,
            new Tiling(1, 1, 1, 4, 5, 1, 64, 64, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "two row tiles, H in parts, routing weights",
            DType.F16,
            72,
            136,
            26,
            List.of(5),
            5,
            new Tiling(1, 2, 2, 2, 3, 8, 32, 64, 2),
            18,
            DOWN.withColumnOffset(4)),
        new EmulatedCase(
            "large blocks",
            DType.F16,
            40,
            32,
            75,
            List.of(20),
            20,
            new Tiling(2, 2, 4, 2, 2, 2, 32, 128, 2),
            60,
            GATE_UP.withPairRows(true).withRoutedWeight(true)));
  }

  EmulatedProjection build(long seed) {
    MoeModel model = new MoeModel(hidden, inner, EXPERTS, GateUp.HALVES, List.of(LAYER));
    Problem problem =
        new Problem(seed, model, tokens, PER_TOKEN)
            .types(type, type, type)
            .expertMap(ExpertMap.of(1, -1, 0));
    for (int rank : ranks) {
      if (rank == 0) {
        problem.addEmptySlot();
      } else {
        // all but the first leave out slices
        problem.addAdapter(Math.abs(rank), rank < 0, problem.adapters().isEmpty() ? 1 : 0.8);
      }
    }
    problem.route().dealAdapters();
    problem.adapterIds()[1] = -1;
    MoeLoraConfig config = problem.config().withMaxRank(maxRank);
    return new EmulatedProjection(problem, config, call, tiling, blockSize);
  }

  @Override
  public String toString() {
    return "%s (%s)".formatted(name, type);
  }
}
