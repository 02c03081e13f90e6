package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.choice.GroupTiling;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/**
 * A small projection for {@link GroupKernels} on the emulated device: five experts of which one
 * lives elsewhere, four slots of which one is empty.
 *
 * @param name what is special
 * @param type of the weights, x and y
 * @param shape of the model and the batch
 * @param ranks of the first adapter's two slices; the last has rank 1, on some experts
 * @param call what is computed
 * @param tiling how
 */
record GroupCase(
    String name, DType type, Shape shape, int[] ranks, ProjectionCall call, GroupTiling tiling) {
  private static final int LAYER = 2;
  private static final int PER_TOKEN = 2;
  private static final ProjectionCall GATE_UP = ProjectionCall.gateUp(LAYER);
  private static final ProjectionCall DOWN = ProjectionCall.down(LAYER);

  /** Which experts and adapters the tokens have. */
  private enum Routed {
    RANDOM,
    SKEWED,
    ONE_EXPERT,
    ASTRAY
  }

  /**
   * Sizes.
   *
   * @param mapped whether experts have other numbers here
   */
  private record Shape(int tokens, int hidden, int inner, Routed routed, boolean mapped) {}

  private static GroupCase of(
      String name, DType type, Shape shape, int rank, GroupTiling tiling, ProjectionCall call) {
    return new GroupCase(name, type, shape, new int[] {rank, rank}, call, tiling);
  }

  private GroupCase ranks(int gate, int up) {
    return new GroupCase(name, type, shape, new int[] {gate, up}, call, tiling);
  }

  /** Cases for each way through the kernels, with odd sizes and ends that are not whole. */
  static List<GroupCase> all() {
    DType f16 = DType.F16;
    DType bf16 = DType.BF16;
    Shape few = new Shape(3, 8, 4, Routed.RANDOM, true);
    Shape some = new Shape(11, 76, 68, Routed.RANDOM, true);
    Shape whole = new Shape(9, 256, 64, Routed.RANDOM, false);
    Shape astray = new Shape(7, 64, 36, Routed.ASTRAY, true);
    Shape skewed = new Shape(23, 132, 100, Routed.SKEWED, false);
    Shape one = new Shape(17, 68, 40, Routed.ONE_EXPERT, true);
    Shape scanned = new Shape(71, 4, 36, Routed.RANDOM, false);
    return List.of(
        of("smallest", bf16, few, 1, new GroupTiling(4, 1, 1, 1, 16, 1, 32, 2), DOWN),
        of("smallest", f16, few, 1, new GroupTiling(1, 1, 1, 1, 4, 1, 32, 1), DOWN),
        of("shares", bf16, some, 3, new GroupTiling(2, 2, 3, 1, 16, 1, 32, 2), GATE_UP),
        of("shares", f16, some, 11, new GroupTiling(3, 2, 2, 2, 16, 1, 32, 2), GATE_UP),
        of("whole stages", bf16, whole, 16, new GroupTiling(4, 2, 1, 2, 16, 1, 128, 2), GATE_UP),
        of("whole stages", f16, whole, 16, new GroupTiling(4, 2, 1, 2, 8, 1, 128, 2), GATE_UP)
            .ranks(16, 8),
        of("astray", bf16, astray, 5, new GroupTiling(4, 2, 1, 1, 4, 1, 64, 1), GATE_UP)
            .ranks(5, 7),
        of("astray", f16, astray, 5, new GroupTiling(2, 1, 2, 1, 8, 1, 64, 2), DOWN),
        of("skewed", bf16, skewed, 40, new GroupTiling(4, 2, 1, 8, 8, 3, 32, 2), GATE_UP)
            .ranks(37, 40),
        of("skewed", f16, skewed, 40, new GroupTiling(1, 2, 1, 8, 4, 3, 64, 1), GATE_UP)
            .ranks(33, 31),
        of(
            "one expert",
            bf16,
            one,
            64,
            new GroupTiling(2, 1, 2, 8, 8, 4, 64, 1),
            DOWN.withRoutedWeight(true)),
        of(
            "one expert",
            f16,
            one,
            64,
            new GroupTiling(4, 1, 1, 8, 8, 4, 32, 2),
            DOWN.withRoutedWeight(true)),
        of("passes", bf16, some, 20, new GroupTiling(4, 2, 1, 2, 8, 2, 64, 1), GATE_UP)
            .ranks(19, 20),
        of("passes", f16, skewed, 20, new GroupTiling(4, 2, 1, 1, 8, 2, 64, 1), GATE_UP),
        of(
            "many ids",
            bf16,
            scanned,
            9,
            new GroupTiling(4, 2, 1, 2, 4, 1, 32, 2),
            GATE_UP.withColumnOffset(4)),
        of(
            "many ids",
            f16,
            scanned,
            32,
            new GroupTiling(4, 1, 1, 4, 8, 2, 64, 2),
            DOWN.withPairRows(false).withColumnOffset(8)));
  }

  EmulatedPairs build(long seed) {
    int[] map = shape.mapped ? new int[] {3, -1, 0, 2, 1} : new int[] {0, 1, 2, 3, 4};
    MoeModel model =
        new MoeModel(shape.hidden, shape.inner, map.length, GateUp.HALVES, List.of(LAYER));
    Problem problem =
        new Problem(seed, model, shape.tokens, PER_TOKEN)
            .types(type, type, type)
            .expertMap(ExpertMap.of(map));
    problem.addAdapter(first(problem, model));
    problem
        .addEmptySlot()
        .addAdapter(Math.max(ranks[0], ranks[1]), false)
        .addAdapter(1, false, 0.5)
        .route();
    routeAs(problem, new Random(seed));
    return new EmulatedPairs(problem, call, tiling);
  }

  /** An adapter whose slices differ in rank, on all experts. */
  private LoraAdapter first(Problem problem, MoeModel model) {
    LoraAdapter.Builder builder = LoraAdapter.builder("first");
    for (int e = 0; e < model.experts(); e++) {
      int inner = model.intermediateSize();
      int hidden = model.hiddenSize();
      builder.add(LAYER, Projection.GATE_UP, e, problem.slice(0, ranks[0], hidden, inner));
      builder.add(LAYER, Projection.GATE_UP, e, problem.slice(inner, ranks[1], hidden, inner));
      builder.add(LAYER, Projection.DOWN, e, problem.slice(0, ranks[0], inner, hidden));
    }
    return builder.build();
  }

  private void routeAs(Problem problem, Random random) {
    int[] experts = problem.expertIds();
    int[] adapters = problem.adapterIds();
    adapters[0] = 0;
    experts[0] = 2;
    switch (shape.routed) {
      case RANDOM -> {}
      case SKEWED -> {
        for (int t = 0; t < adapters.length; t++) {
          adapters[t] = random.nextInt(6) == 0 ? 3 : 0;
          experts[PER_TOKEN * t] = random.nextInt(4) == 0 ? 3 : 2;
        }
      }
      case ONE_EXPERT -> {
        Arrays.fill(experts, 2);
        Arrays.fill(adapters, 2);
      }
      case ASTRAY -> {
        experts[1] = -1;
        experts[3] = 5;
        experts[4] = -2;
        experts[7] = Integer.MAX_VALUE;
        adapters[3] = 4;
        adapters[4] = -2;
        adapters[5] = -1;
        adapters[6] = Integer.MIN_VALUE;
      }
    }
  }

  @Override
  public String toString() {
    return "%s (%s)".formatted(name, type);
  }
}
