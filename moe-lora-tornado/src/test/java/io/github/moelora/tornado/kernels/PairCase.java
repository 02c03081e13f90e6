package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.layout.PairMode;
import java.util.Arrays;
import java.util.List;

/**
 * A small projection for {@link PairKernels} on the emulated device.
 *
 * @param name what is special
 * @param weights type of the weights
 * @param x type of x
 * @param y type of y
 * @param shape of the model and the batch
 * @param rank of the first adapter; the last has rank 1, on some experts
 * @param call what is computed
 * @param mode what is beside it
 * @param combined whether a token's pairs are added up
 * @param units multiprocessors
 */
record PairCase(
    String name,
    DType weights,
    DType x,
    DType y,
    Shape shape,
    int rank,
    ProjectionCall call,
    int mode,
    boolean combined,
    int units) {
  private static final int LAYER = 2;
  private static final int EXPERTS = 3;
  private static final ProjectionCall GATE_UP = ProjectionCall.gateUp(LAYER);
  private static final ProjectionCall DOWN = ProjectionCall.down(LAYER);

  /**
   * Sizes.
   *
   * @param fused whether the first adapter has gate and up in one
   * @param astray whether the batch has ids out of range
   */
  private record Shape(
      int tokens, int hidden, int inner, GateUp gateUp, boolean fused, boolean astray) {
    Shape(int tokens, int hidden, int inner) {
      this(tokens, hidden, inner, GateUp.HALVES, false, false);
    }

    Shape(int tokens, int hidden, int inner, GateUp gateUp, boolean fused) {
      this(tokens, hidden, inner, gateUp, fused, false);
    }

    static Shape astray(int hidden, int inner) {
      return new Shape(5, hidden, inner, GateUp.HALVES, false, true);
    }
  }

  private static PairCase of(String name, DType weights, DType x, DType y, Shape shape, int rank) {
    return new PairCase(name, weights, x, y, shape, rank, GATE_UP, 0, false, 3);
  }

  private PairCase call(ProjectionCall other) {
    return new PairCase(name, weights, x, y, shape, rank, other, mode, combined, units);
  }

  private PairCase activated(int number) {
    int gates = shape.gateUp.gated() ? PairMode.GATED : 0;
    gates |= shape.gateUp == GateUp.INTERLEAVED ? PairMode.INTERLEAVED : 0;
    int with = PairMode.withActivation(gates, number);
    return new PairCase(name, weights, x, y, shape, rank, call, with, false, units);
  }

  private PairCase combinedOver(int newUnits) {
    return new PairCase(name, weights, x, y, shape, rank, DOWN, mode, true, newUnits);
  }

  private PairCase beside(int more) {
    int with = mode | more;
    return new PairCase(name, weights, x, y, shape, rank, call, with, combined, units);
  }

  private PairCase units(int newUnits) {
    return new PairCase(name, weights, x, y, shape, rank, call, mode, combined, newUnits);
  }

  /** Cases for each way through the kernels, with odd sizes and ends that are not whole. */
  static List<PairCase> all() {
    DType f32 = DType.F32;
    DType f16 = DType.F16;
    DType bf16 = DType.BF16;
    return List.of(
        of("smallest", f32, f32, f32, new Shape(1, 1, 1), 1).units(1),
        of("ids out of range", f32, f32, f32, Shape.astray(3, 34), 1),
        of("ids out of range", bf16, bf16, bf16, Shape.astray(4, 36), 1),
        of("ids out of range", f16, f16, f32, Shape.astray(4, 36), 1),
        of("ranks of a pass and more", f32, f32, f32, new Shape(2, 141, 133), 9).units(4),
        of("delta only, shares", f32, f32, f32, new Shape(1, 7, 65), 3)
            .call(GATE_UP.deltaOnly().withColumnOffset(3))
            .units(40),
        of("combined", f32, f32, f32, new Shape(3, 5, 37), 5).combinedOver(2),
        of("chosen", f32, f32, f32, new Shape(3, 5, 67), 3)
            .call(GATE_UP.deltaOnly())
            .beside(PairMode.CHOOSES | PairMode.SHARED_SCORE)
            .units(12),
        of("shared", f32, f32, f32, new Shape(3, 5, 37), 5).combinedOver(2).beside(PairMode.SHARED),
        of("chosen", bf16, f32, f32, new Shape(2, 20, 36), 3).beside(PairMode.CHOOSES),
        of("shared", bf16, f32, f32, new Shape(2, 36, 40), 12)
            .combinedOver(6)
            .beside(PairMode.SHARED),
        of("chosen", f16, f32, f32, new Shape(2, 20, 36), 3)
            .beside(PairMode.CHOOSES | PairMode.RENORMALIZED | PairMode.SHARED_SCORE)
            .units(9),
        of("shared", f16, f16, f32, new Shape(2, 36, 40), 12)
            .combinedOver(6)
            .beside(PairMode.SHARED),
        of("halves", f32, f32, f32, new Shape(2, 6, 67), 4).activated(PairKernels.SWIGLU).units(9),
        of("alternating", f32, f32, f32, new Shape(2, 5, 13, GateUp.INTERLEAVED, true), 4)
            .activated(PairKernels.CLAMPED_SWIGLU),
        of("up alone", f32, f32, f32, new Shape(2, 5, 13, GateUp.UP_ONLY, false), 4)
            .activated(PairKernels.RELU2),
        of("columns in two goes", f32, f32, f32, new Shape(1, 261, 3), 2).call(DOWN).units(1),
        of("a column left over", f32, f32, f32, new Shape(1, 33, 3), 1).call(DOWN).units(20),
        of("slices left out, added", f32, f32, f32, new Shape(6, 3, 5), 1),
        of("slices left out", f32, f32, f32, new Shape(6, 3, 5), 1).call(GATE_UP.deltaOnly()),
        of("gates in two goes", f32, f32, f32, new Shape(1, 271, 131), 1)
            .activated(PairKernels.SWIGLU)
            .units(1),
        of("columns in two goes", bf16, f32, f32, new Shape(1, 292, 4), 2).call(DOWN).units(1),
        of("columns in two goes", f16, f32, f32, new Shape(1, 292, 4), 2).call(DOWN).units(1),
        of("combined", f16, f32, f32, new Shape(2, 36, 40), 12).combinedOver(6),
        of("many ranks", f32, f32, f32, new Shape(1, 7, 9), 35),
        of("batches of ranks", bf16, f32, f32, new Shape(1, 8, 36), 140).call(DOWN),
        of("batches of ranks", f16, f32, f32, new Shape(1, 8, 32), 260)
            .activated(PairKernels.SWIGLU),
        of("gate and up in one", bf16, f32, f32, new Shape(1, 20, 36, GateUp.HALVES, true), 5)
            .activated(PairKernels.SWIGLU),
        of("tiles of ranks", bf16, f32, f32, new Shape(1, 276, 72), 70),
        of("passes of ranks", bf16, f32, f32, new Shape(1, 36, 40), 70)
            .activated(PairKernels.SWIGLU),
        of("segments of x", bf16, bf16, bf16, new Shape(1, 4132, 4), 17),
        of("segments of x", f16, f16, f32, new Shape(1, 4132, 4), 17),
        of("columns in two goes", bf16, bf16, bf16, new Shape(1, 1540, 4), 9).call(DOWN).units(1),
        of("columns in two goes", f16, f16, f32, new Shape(1, 1024, 4), 34).call(DOWN).units(1),
        of("warps of one tile", bf16, f32, f32, new Shape(2, 68, 36), 3)
            .call(DOWN.withColumnOffset(3))
            .units(5),
        of("shares", bf16, f32, f32, new Shape(1, 20, 140), 17).units(30),
        of("combined", bf16, f32, f32, new Shape(2, 36, 40), 12).combinedOver(6),
        of("all narrow", bf16, bf16, bf16, new Shape(2, 60, 68), 9)
            .call(GATE_UP.withColumnOffset(4))
            .units(7),
        of("all narrow, delta only", bf16, bf16, bf16, new Shape(2, 36, 44), 9)
            .call(DOWN.deltaOnly()),
        of("all narrow, halves", bf16, bf16, bf16, new Shape(2, 20, 36), 5)
            .activated(PairKernels.SWIGLU),
        of("two ranges of ranks", f16, f32, f32, new Shape(2, 132, 44), 33).units(60),
        of("narrow x, combined", f16, f16, f32, new Shape(2, 36, 40), 12).combinedOver(6),
        of("narrow x", f16, f16, f32, new Shape(2, 64, 40), 12),
        of("all narrow", f16, f16, f16, new Shape(2, 36, 40), 12).units(9),
        of("all narrow, delta only", f16, f16, f16, new Shape(1, 36, 40), 2)
            .call(GATE_UP.deltaOnly()),
        of(
                "all narrow, alternating",
                f16,
                f16,
                f16,
                new Shape(1, 20, 36, GateUp.INTERLEAVED, true),
                5)
            .activated(PairKernels.GEGLU),
        of("activated", f16, f32, f32, new Shape(1, 20, 36), 5).activated(PairKernels.SWIGLU));
  }

  EmulatedPairs build(long seed) {
    // more than are compared at once, if there is a choice
    int[] map = new int[PairMode.has(mode, PairMode.CHOOSES) ? 11 : EXPERTS];
    Arrays.setAll(map, e -> e == 0 ? 1 : e == 1 ? -1 : e == 2 ? 0 : e - 1);
    MoeModel model =
        new MoeModel(shape.hidden, shape.inner, map.length, shape.gateUp, List.of(LAYER));
    Problem problem =
        new Problem(seed, model, shape.tokens, combined ? 3 : 2)
            .types(weights, x, y)
            .expertMap(ExpertMap.of(map))
            .addAdapter(rank, shape.fused)
            .addEmptySlot()
            .addAdapter(1, shape.fused, 0.5)
            .route();
    // the first token has something to do, and an expert that lives elsewhere or is a slot's last
    problem.adapterIds()[0] = 0;
    problem.expertIds()[0] = 2;
    problem.expertIds()[1] = shape.tokens == 2 ? 0 : 1;
    if (shape.tokens > 2) {
      problem.adapterIds()[shape.tokens - 1] = 2;
    }
    if (shape.astray) {
      problem.expertIds()[2] = EXPERTS;
      problem.expertIds()[3] = -2;
      problem.adapterIds()[2] = problem.adapters().size();
      problem.adapterIds()[3] = -2;
    }
    return new EmulatedPairs(problem, call, mode, combined, units);
  }

  @Override
  public String toString() {
    return "%s (%s, %s, %s)".formatted(name, weights, x, y);
  }
}
