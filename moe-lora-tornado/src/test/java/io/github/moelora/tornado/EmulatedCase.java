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
            "two slices",
            DType.BF16,
            130,
            34,
            9,
            List.of(5, 0, -3),
            5,
            new Tiling(1, 1, 1, 3, 1, 4, 32, 1, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "two slices",
            DType.F16,
            130,
            34,
            9,
            List.of(5, 0, -3),
            5,
            new Tiling(1, 1, 1, 3, 1, 4, 32, 1, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "pairs with weights, split H",
            DType.F16,
            72,
            200,
            7,
            List.of(3, 20),
            20,
            new Tiling(1, 2, 2, 2, 30, 8, 32, 2, 2),
            20,
            DOWN.withColumnOffset(4)),
        new EmulatedCase(
            "single pairs, delta only",
            DType.BF16,
            64,
            66,
            3,
            List.of(1, -8),
            8,
            new Tiling(1, 1, 1, 4, 16, 4, 32, 1, 4),
            1,
            GATE_UP.deltaOnly().withColumnOffset(2)),
        new EmulatedCase(
            "large blocks, several rank ranges",
            DType.BF16,
            98,
            96,
            60,
            List.of(70, 0, -100),
            100,
            new Tiling(2, 2, 4, 2, 4, 8, 64, 4, 2),
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
        problem.addAdapter(Math.abs(rank), rank < 0, 0.9);
      }
    }
    problem.route();
    MoeLoraConfig config = problem.config().withMaxRank(maxRank);
    return new EmulatedProjection(problem, config, call, tiling, blockSize);
  }

  @Override
  public String toString() {
    return "%s (%s)".formatted(name, type);
  }
}
