package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import java.util.List;
import java.util.Random;
import java.util.function.ObjLongConsumer;

/**
 * A small projection for the emulated device.
 *
 * @param name what is special
 * @param type of weights and activations
 * @param hidden width of the residual stream
 * @param inner width of the activation
 * @param tokens of the batch
 * @param slots what they hold
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
    List<Slot> slots,
    int maxRank,
    Tiling tiling,
    int blockSize,
    ProjectionCall call) {
  private static final int LAYER = 3;
  private static final int EXPERTS = 3;
  private static final int PER_TOKEN = 2;

  /** Magnitude of x where z is to have one. */
  private static final float SIGNS = 0x1p9f;

  private static final ProjectionCall GATE_UP = ProjectionCall.gateUp(LAYER);
  private static final ProjectionCall DOWN = ProjectionCall.down(LAYER);

  /**
   * An adapter, or nothing.
   *
   * @param rank 0 leaves the slot empty
   * @param fused whether gate and up are one pair
   * @param a A is larger than usual by this power of two
   * @param b B is larger than usual by this power of two
   * @param peakRank A is larger for this rank
   * @param peak by this power of two
   * @param single whether each row of A has a single number, 1 before it is made larger, and x is
   *     of {@link #SIGNS}, so that all of z has one magnitude
   */
  private record Slot(
      int rank, boolean fused, int a, int b, int peakRank, int peak, boolean single) {

    static Slot of(int rank) {
      return new Slot(rank, false, 0, 0, 0, 0, false);
    }

    static Slot fused(int rank) {
      return new Slot(rank, true, 0, 0, 0, 0, false);
    }

    /** Magnitude of z, as a power of two, and how much larger B is. */
    static Slot ofMagnitude(int rank, int z, int b) {
      return new Slot(rank, false, z - Math.getExponent(SIGNS), b, 0, 0, true);
    }

    static Slot empty() {
      return of(0);
    }

    Slot scaled(int newA, int newB) {
      return new Slot(rank, fused, newA, newB, peakRank, peak, single);
    }

    Slot withPeak(int newPeakRank, int newPeak) {
      return new Slot(rank, fused, a, b, newPeakRank, newPeak, single);
    }
  }

  /** Cases for each way through the narrow kernels, with odd sizes and ends that are not whole. */
  static List<EmulatedCase> all() {
    return List.of(
        new EmulatedCase(
            "single pairs, delta only, shares of columns",
            DType.BF16,
            132,
            68,
            2,
            List.of(Slot.of(1), Slot.fused(26)),
            26,
            new SplitTiling(1, 2, 2, 1, 2, 4, 2, 1, 16, 32, 4, 4),
            1,
            GATE_UP.deltaOnly().withColumnOffset(4)),
        new EmulatedCase(
            "single pairs, shares of columns",
            DType.F16,
            200,
            200,
            4,
            List.of(Slot.of(1), Slot.fused(28)),
            28,
            new SplitTiling(1, 1, 4, 1, 4, 4, 3, 15, 16, 128, 12, 12),
            1,
            GATE_UP),
        new EmulatedCase(
            "pipeline, two slices, two rank ranges",
            DType.BF16,
            332,
            36,
            8,
            List.of(Slot.fused(12), Slot.empty(), Slot.of(17)),
            17,
            new SplitTiling(1, 4, 1, 1, 1, 4, 5, 17, 16, 32, 24, 24),
            16,
            GATE_UP),
        new EmulatedCase(
            "large blocks",
            DType.BF16,
            40,
            172,
            95,
            List.of(Slot.of(20)),
            20,
            new SplitTiling(2, 4, 1, 2, 4, 2, 2, 2, 64, 64, 2, 2),
            49,
            GATE_UP.withPairRows(true).withRoutedWeight(true)),
        new EmulatedCase(
            "large blocks, warps that take all ranks of their rows",
            DType.F16,
            200,
            140,
            110,
            List.of(Slot.of(12)),
            12,
            new SplitTiling(4, 1, 1, 1, 4, 4, 2, 2, 64, 64, 2, 2),
            64,
            GATE_UP),
        new EmulatedCase(
            "one token, as many longs as a thread may have",
            DType.BF16,
            260,
            132,
            1,
            List.of(Slot.of(17)),
            17,
            new SplitTiling(1, 2, 1, 1, 4, 4, 2, 4, 16, 256, 2, 2),
            16,
            GATE_UP),
        new EmulatedCase(
            "full blocks, whole columns and ranks, warps of one tile share the steps",
            DType.BF16,
            64,
            32,
            7,
            List.of(Slot.of(8)),
            8,
            new SplitTiling(1, 2, 2, 1, 1, 2, 2, 1, 16, 32, 2, 2),
            2,
            GATE_UP),
        new EmulatedCase(
            "full blocks, whole columns and ranks, warps of two by two tiles",
            DType.F16,
            100,
            64,
            34,
            List.of(Slot.of(16)),
            16,
            new SplitTiling(1, 1, 1, 2, 2, 2, 2, 1, 32, 32, 1, 1),
            20,
            GATE_UP.deltaOnly()),
        new EmulatedCase(
            "small and large numbers, many parts of H, routing weights",
            DType.F16,
            72,
            332,
            34,
            List.of(
                Slot.of(5).scaled(-22, 14),
                Slot.of(55).scaled(2, -12).withPeak(31, 10),
                Slot.of(56).scaled(2, -12).withPeak(2, 10)),
            56,
            new SplitTiling(2, 1, 2, 1, 4, 4, 3, 50, 32, 64, 4, 4),
            18,
            DOWN.deltaOnly().withColumnOffset(4)),
        new EmulatedCase(
            "blocks of four items, warps of two by eight tiles",
            DType.BF16,
            100,
            40,
            75,
            List.of(Slot.of(36)),
            36,
            new SplitTiling(2, 2, 1, 2, 8, 2, 2, 2, 16, 64, 5, 5),
            48,
            GATE_UP),
        new EmulatedCase(
            "blocks of two items, a warp of two by eight tiles",
            DType.F16,
            200,
            136,
            75,
            List.of(Slot.of(12), Slot.of(60)),
            60,
            new SplitTiling(1, 1, 1, 2, 8, 2, 2, 60, 16, 64, 3, 3),
            26,
            DOWN.withPairRows(true)),
        new EmulatedCase(
            "warps of one by eight tiles share the steps",
            DType.F16,
            200,
            72,
            20,
            List.of(Slot.of(45)),
            45,
            new SplitTiling(1, 1, 2, 1, 8, 4, 2, 3, 16, 64, 3, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "warps of one by eight tiles that take all steps",
            DType.BF16,
            72,
            40,
            20,
            List.of(Slot.of(29)),
            29,
            new SplitTiling(1, 1, 1, 1, 8, 2, 2, 1, 16, 64, 3, 3),
            16,
            GATE_UP.deltaOnly()),
        new EmulatedCase(
            "more ranks than a thread reads at once",
            DType.F16,
            36,
            40,
            5,
            List.of(Slot.of(72), Slot.of(3)),
            72,
            new SplitTiling(1, 4, 1, 1, 4, 4, 2, 8, 16, 32, 3, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "more ranks than a thread reads at once, delta only",
            DType.BF16,
            36,
            40,
            5,
            List.of(Slot.of(72)),
            72,
            new SplitTiling(1, 4, 1, 1, 4, 4, 2, 8, 16, 32, 3, 3),
            16,
            GATE_UP.deltaOnly()),
        new EmulatedCase(
            "numbers of z far below those of float16",
            DType.F16,
            36,
            40,
            5,
            List.of(Slot.of(9).scaled(-24, 12)),
            9,
            new SplitTiling(1, 4, 1, 1, 4, 4, 2, 8, 16, 32, 3, 3),
            16,
            GATE_UP.deltaOnly()),
        new EmulatedCase(
            "numbers of z beyond those of float16, and where its scale changes",
            DType.F16,
            36,
            40,
            7,
            List.of(
                Slot.ofMagnitude(3, 8, -4),
                Slot.ofMagnitude(3, 24, -18),
                Slot.ofMagnitude(3, 16, -10)),
            9,
            new SplitTiling(1, 4, 1, 1, 4, 4, 2, 8, 16, 32, 3, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "many ranks of many columns for few rows",
            DType.BF16,
            36,
            140,
            12,
            List.of(Slot.of(45)),
            45,
            new SplitTiling(1, 4, 1, 1, 4, 4, 2, 8, 16, 128, 3, 3),
            16,
            GATE_UP),
        new EmulatedCase(
            "rank ranges and parts of H, warps of two by two tiles",
            DType.F16,
            128,
            36,
            34,
            List.of(Slot.of(17)),
            17,
            new SplitTiling(1, 2, 1, 2, 2, 4, 3, 30, 32, 32, 3, 3),
            20,
            GATE_UP),
        new EmulatedCase(
            "shares of several chunks",
            DType.F16,
            36,
            160,
            2,
            List.of(Slot.of(5)),
            5,
            new SplitTiling(1, 1, 4, 1, 4, 4, 2, 2, 16, 32, 16, 8),
            16,
            GATE_UP),
        new EmulatedCase(
            "one shot, segments of H, one pass, two rows",
            DType.BF16,
            2100,
            36,
            2,
            List.of(Slot.of(8)),
            8,
            new OneShotTiling(2, 3, 3),
            2,
            GATE_UP),
        new EmulatedCase(
            "one shot, segments of H, passes of ranks, shares of many columns, two rows",
            DType.F16,
            2100,
            1200,
            4,
            List.of(Slot.of(72)),
            72,
            new OneShotTiling(2, 4, 13),
            2,
            GATE_UP.deltaOnly()),
        new EmulatedCase(
            "one shot, two rows of many columns",
            DType.F16,
            36,
            600,
            4,
            List.of(Slot.of(3)),
            3,
            new OneShotTiling(2, 2, 2),
            2,
            GATE_UP),
        new EmulatedCase(
            "one shot, one token",
            DType.BF16,
            188,
            36,
            1,
            List.of(Slot.fused(17)),
            17,
            new OneShotTiling(1, 1, 1),
            1,
            GATE_UP),
        new EmulatedCase(
            "one shot, two rows",
            DType.F16,
            64,
            36,
            5,
            List.of(Slot.fused(9)),
            9,
            new OneShotTiling(2, 2, 1),
            2,
            GATE_UP.withPairRows(true).withRoutedWeight(true)),
        new EmulatedCase(
            "one shot, single pairs, shares of columns",
            DType.BF16,
            132,
            100,
            2,
            List.of(Slot.fused(72)),
            72,
            new OneShotTiling(1, 3, 2),
            1,
            GATE_UP.withColumnOffset(4)),
        new EmulatedCase(
            "one shot, segments of H, two slices",
            DType.F16,
            4164,
            36,
            1,
            List.of(Slot.of(20)),
            20,
            new OneShotTiling(1, 2, 1),
            1,
            GATE_UP),
        new EmulatedCase(
            "one shot, one token, two slices",
            DType.BF16,
            188,
            72,
            1,
            List.of(Slot.of(17)),
            17,
            new OneShotTiling(2, 1, 1),
            2,
            GATE_UP),
        new EmulatedCase(
            "one shot, almost as many ranks as tensor cores take, delta only",
            DType.F16,
            196,
            20,
            2,
            List.of(Slot.of(1), Slot.of(250)),
            250,
            new OneShotTiling(1, 2, 1),
            1,
            DOWN.deltaOnly()),
        new EmulatedCase(
            "one shot, blocks smaller than they may be",
            DType.BF16,
            64,
            32,
            3,
            List.of(Slot.of(1), Slot.of(8)),
            8,
            new OneShotTiling(2, 2, 1),
            1,
            GATE_UP.deltaOnly()),
        new EmulatedCase(
            "one shot, segments of H, passes of ranks, routing weights",
            DType.BF16,
            1036,
            2100,
            4,
            List.of(Slot.of(80)),
            80,
            new OneShotTiling(2, 1, 1),
            2,
            DOWN.withColumnOffset(4)));
  }

  /** Cases of the one-shot kernel with more ranks than shrink and expand take, and with few. */
  static List<EmulatedCase> ofManyRanks() {
    return List.of(
        new EmulatedCase(
            "one shot, 257 ranks, single pairs",
            DType.BF16,
            68,
            72,
            4,
            List.of(Slot.of(8), Slot.of(257)),
            257,
            new OneShotTiling(1, 3, 5),
            1,
            GATE_UP.withColumnOffset(4)),
        new EmulatedCase(
            "one shot, 257 ranks, two rows",
            DType.F16,
            100,
            148,
            4,
            List.of(Slot.of(257), Slot.of(8)),
            320,
            new OneShotTiling(2, 3, 5),
            2,
            DOWN),
        new EmulatedCase(
            "one shot, 320 ranks, segments of H, two rows",
            DType.BF16,
            2116,
            20,
            3,
            List.of(Slot.of(8), Slot.of(320)),
            320,
            new OneShotTiling(2, 2, 2),
            2,
            GATE_UP),
        new EmulatedCase(
            "one shot, as many ranks as there may be, two rows",
            DType.BF16,
            68,
            76,
            5,
            List.of(Slot.of(511), Slot.of(8), Slot.fused(512)),
            512,
            new OneShotTiling(2, 2, 3),
            2,
            GATE_UP.withPairRows(true).withRoutedWeight(true)),
        new EmulatedCase(
            "one shot, as many ranks as there may be, single pairs",
            DType.F16,
            36,
            68,
            4,
            List.of(Slot.of(8), Slot.of(512)),
            512,
            new OneShotTiling(1, 2, 3),
            1,
            DOWN.deltaOnly()));
  }

  /** Those of shrink and expand. */
  static List<EmulatedCase> ofSplit() {
    return all().stream().filter(each -> each.tiling instanceof SplitTiling).toList();
  }

  /** Those of the one-shot kernel. */
  static List<EmulatedCase> ofOneShot() {
    return all().stream().filter(each -> each.tiling instanceof OneShotTiling).toList();
  }

  /**
   * Builds the case at random, and runs it in three orders of the threads.
   *
   * @param run runs kernels of the projection in the order of a seed, and checks
   */
  void run(ObjLongConsumer<EmulatedProjection> run) {
    run(3, run);
  }

  /**
   * Builds the case at random, and runs it in some orders of the threads.
   *
   * @param run as for {@link #run(ObjLongConsumer)}
   */
  void run(int orders, ObjLongConsumer<EmulatedProjection> run) {
    long seed = new Random().nextLong();
    System.out.println(this + ": seed " + seed);
    EmulatedProjection projection = build(seed);
    for (int order = 0; order < orders; order++) {
      run.accept(projection, seed + order);
    }
  }

  EmulatedProjection build(long seed) {
    MoeModel model = new MoeModel(hidden, inner, EXPERTS, GateUp.HALVES, List.of(LAYER));
    Problem problem =
        new Problem(seed, model, tokens, PER_TOKEN)
            .types(type, type, type)
            .expertMap(ExpertMap.of(1, -1, 0));
    if (slots.stream().anyMatch(Slot::single)) {
      problem.xOfSigns(SIGNS);
    }
    for (Slot slot : slots) {
      if (slot.rank == 0) {
        problem.addEmptySlot();
      } else {
        // the last fills its slot up to the pool's end, others leave out slices
        double coverage = problem.adapters().size() == slots.size() - 1 ? 1 : 0.8;
        LoraAdapter adapter = problem.randomAdapter(slot.rank, slot.fused, coverage);
        scale(adapter, slot);
        problem.addAdapter(adapter);
      }
    }
    problem.route().dealAdapters();
    if (tokens > 1) {
      problem.adapterIds()[0] = -1;
    } else {
      // the last expert of the pool, and one that lives elsewhere
      problem.expertIds()[0] = 0;
      problem.expertIds()[1] = 1;
    }
    MoeLoraConfig config = problem.config().withMaxRank(maxRank);
    return new EmulatedProjection(problem, config, call, tiling, blockSize);
  }

  private void scale(LoraAdapter adapter, Slot slot) {
    for (int e = 0; e < EXPERTS; e++) {
      for (LoraSlice slice : adapter.slices(LAYER, call.projection(), e)) {
        if (slot.single) {
          unit(slice.a());
        }
        scale(slice.a(), slot.a, slot.peakRank, slot.peak);
        scale(slice.b(), slot.b, 0, 0);
      }
    }
  }

  /** Ones on the diagonal, zeros elsewhere. */
  private static void unit(Matrix matrix) {
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        matrix.set(i, j, i == j ? 1 : 0);
      }
    }
  }

  /** Multiplies by a power of two, and a row by another one too, and keeps elements finite. */
  private static void scale(Matrix matrix, int exponent, int peakRow, int peak) {
    float max = matrix.type().maxValue();
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        int power = i == peakRow ? exponent + peak : exponent;
        float scaled = Math.scalb(matrix.get(i, j), power);
        matrix.set(i, j, Math.clamp(scaled, -max, max));
      }
    }
  }

  @Override
  public String toString() {
    return "%s (%s)".formatted(name, type);
  }
}
