package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.spi.BlockRule;
import io.github.moelora.spi.HostPlanner;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.testkit.Operands;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.function.Consumer;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** One projection of a random batch on float32 activations, computed by calling the loops. */
final class LoopProjection {
  private final Problem problem;
  private final MoeLoraConfig config;
  private final ProjectionCall call;
  private final DevicePlan plan;
  private final Operands operands;
  private final FloatArray x;
  private final FloatArray z;
  private final FloatArray y;
  private final int rows;

  /**
   * @param problem routed, x and y of float32
   */
  LoopProjection(Problem problem, ProjectionCall call, int blockSize) {
    this.problem = problem;
    this.call = call;
    config = problem.config();
    rows = PlanFormat.sortedCapacity(config, blockSize);
    plan = DevicePlan.of(rows, config.maxPairs(), config.maxPairs());
    planBlocks(blockSize);
    operands = problem.operands(call);
    x = copy(operands.x());
    y = copy(operands.y());
    z = new FloatArray(rows * SliceTable.maxStack(config));
    z.init(Float.NaN);
    Sizes.write(plan.sizes(), config, call, operands.y().columns());
  }

  /**
   * Checks both projections of adapters of two ranks beside an empty slot, in all modes.
   *
   * @param name of the seed
   * @param check {@link #checkFloatLoops} or {@link #checkPackedLoops}
   */
  static void checkCalls(String name, Shape shape, int blockSize, Consumer<LoopProjection> check) {
    MoeModel model = new MoeModel(shape.hidden, shape.inner, 3, GateUp.HALVES, List.of(2));
    Problem problem =
        new Problem(Seeds.of(name + " " + shape.tokens), model, shape.tokens, 2)
            .types(shape.type, DType.F32, DType.F32)
            .addAdapter(shape.rank, false)
            .addEmptySlot()
            .addAdapter(1, true, 0.5)
            .route();
    for (ProjectionCall call :
        List.of(
            ProjectionCall.gateUp(2).withColumnOffset(3),
            ProjectionCall.gateUp(2).deltaOnly(),
            ProjectionCall.down(2),
            ProjectionCall.down(2).withRoutedWeight(false).deltaOnly())) {
      check.accept(new LoopProjection(problem, call, blockSize));
    }
  }

  /** A batch, and the type of its weights. */
  record Shape(DType type, int tokens, int hidden, int inner, int rank) {}

  private void planBlocks(int blockSize) {
    BlockRule rule =
        new BlockRule() {
          @Override
          public int maxBlockSize() {
            return blockSize;
          }

          @Override
          public int blockSize(int activePairs, int groups) {
            return blockSize;
          }
        };
    HostPlanner planner = new HostPlanner(config, rule);
    boolean[] active = new boolean[config.slots()];
    for (int slot = 0; slot < active.length; slot++) {
      active[slot] = problem.adapters().get(slot) != null;
    }
    planner.plan(
        problem.tokens(),
        MemorySegment.ofArray(problem.expertIds()),
        MemorySegment.ofArray(problem.routingWeights()),
        MemorySegment.ofArray(problem.adapterIds()),
        active);
    planner.routing().copyTo(plan.hostArrays());
  }

  private static FloatArray copy(Matrix matrix) {
    FloatArray array = new FloatArray(matrix.rows() * matrix.columns());
    for (int i = 0; i < matrix.rows(); i++) {
      MemorySegment.copy(
          matrix.data(),
          Float.BYTES * matrix.index(i, 0),
          array.getSegment(),
          (long) Float.BYTES * i * matrix.columns(),
          (long) Float.BYTES * matrix.columns());
    }
    return array;
  }

  /** Computes with {@link FloatLoops} and checks y. */
  void checkFloatLoops(int products) {
    FloatWeights weights = SlotWeights.floats(problem, config, call);
    FloatLoops.shrink(
        plan.sizes(),
        plan.counts(),
        plan.sortedTokenIds(),
        plan.blockExperts(),
        plan.blockAdapters(),
        weights.table().slices(),
        weights.table().scales(),
        weights.pool(),
        x,
        z,
        FloatLoops.tiles(rows),
        FloatLoops.tiles(SliceTable.maxStack(config)),
        products);
    FloatLoops.expand(
        plan.sizes(),
        plan.counts(),
        plan.sortedTokenIds(),
        plan.blockExperts(),
        plan.blockAdapters(),
        weights.table().slices(),
        weights.pool(),
        z,
        plan.routingWeights(),
        y,
        FloatLoops.tiles(rows),
        FloatLoops.tiles(config.model().outputWidth(call.projection())),
        config.model().outputWidth(call.projection()),
        products);
    check();
  }

  /** Computes with {@link PackedLoops} and checks y. */
  void checkPackedLoops() {
    PackedWeights weights = SlotWeights.packed(problem, config, call);
    int bf16 = config.weightType() == DType.BF16 ? 1 : 0;
    PackedLoops.shrink(
        plan.sizes(),
        plan.counts(),
        plan.sortedTokenIds(),
        plan.blockExperts(),
        plan.blockAdapters(),
        weights.table().slices(),
        weights.table().scales(),
        weights.poolA(),
        x,
        z,
        FloatLoops.tiles(rows),
        FloatLoops.tiles(SliceTable.maxStack(config)),
        bf16);
    PackedLoops.expand(
        plan.sizes(),
        plan.counts(),
        plan.sortedTokenIds(),
        plan.blockExperts(),
        plan.blockAdapters(),
        weights.table().slices(),
        weights.poolB(),
        z,
        plan.routingWeights(),
        y,
        FloatLoops.tiles(rows),
        FloatLoops.tiles(config.model().outputWidth(call.projection())),
        config.model().outputWidth(call.projection()),
        bf16);
    check();
  }

  private void check() {
    Matrix actual = operands.y();
    for (int i = 0; i < actual.rows(); i++) {
      MemorySegment.copy(
          y.getSegment(),
          (long) Float.BYTES * i * actual.columns(),
          actual.data(),
          Float.BYTES * actual.index(i, 0),
          (long) Float.BYTES * actual.columns());
    }
    operands.check(actual);
  }
}
