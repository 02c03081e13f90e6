package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.tornado.kernels.PairKernels;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Appends {@link PairKernels} with their numbers and grid: one task for each projection. */
public final class PairLaunch {
  /** Work-groups that a multiprocessor has at most at once, so that they take turns with memory. */
  private static final int PER_UNIT = 4;

  private PairLaunch() {}

  /**
   * Arrays of one projection, all on the device when the task runs.
   *
   * @param step what the engine said of the step
   * @param expertIds int32 {@code [T, K]}
   * @param routingWeights float32 {@code [T, K]}
   * @param sizes of the call, as {@link #writeSizes} leaves them
   * @param x in, float32 {@code [T, H]} or {@code [P, H]}
   * @param y in and out, float32 {@code [P, yWidth]}, or {@code [T, yWidth]} if combined
   * @param out out, float32 {@code [P, I]}, of an activation; else any array that nobody else
   *     writes
   */
  public record Arrays(
      StepArrays step,
      IntArray expertIds,
      FloatArray routingWeights,
      IntArray sizes,
      FloatArray x,
      FloatArray y,
      FloatArray out) {}

  /**
   * Numbers of a call.
   *
   * @param maxPairs of a step
   * @param pairsPerItem K where the pairs of a token are added up, else 1
   * @param outputWidth columns of the projection
   * @param countErrors whether ids out of range are counted here
   * @param activated what follows; null for nothing
   */
  public record Call(
      int maxPairs,
      int pairsPerItem,
      int outputWidth,
      boolean countErrors,
      @Nullable Activated activated) {

    private int columns() {
      return activated != null && activated.gateToUp() > 0 ? outputWidth / 2 : outputWidth;
    }

    /** As many as there are items, but for what so many multiprocessors have at once. */
    private int groups(int units) {
      long rows = maxPairs / pairsPerItem;
      int shares = (columns() + PackedLayout.GROUP - 1) / PackedLayout.GROUP;
      long items = Math.min(Math.max(units, rows), rows * shares);
      return (int) Math.min(Math.min(StepArrays.MAX_GROUPS, PER_UNIT * (long) units), items);
    }
  }

  /**
   * The activation that follows.
   *
   * @param gateStep columns from one gate to the next
   * @param gateToUp columns from a gate to its up, 0 without gates
   * @param activation as {@link PairKernels} numbers them
   */
  public record Activated(int gateStep, int gateToUp, int activation) {}

  /**
   * Writes what the kernels read beside {@link Sizes#write}.
   *
   * @param units multiprocessors of the device
   */
  public static void writeSizes(IntArray sizes, Call call, int units) {
    Activated activated = call.activated();
    sizes.set(Sizes.TARGET_ITEMS, units);
    sizes.set(Sizes.COLUMNS, call.columns());
    sizes.set(Sizes.MAX_PAIRS, call.maxPairs());
    sizes.set(Sizes.PAIRS_PER_ITEM, call.pairsPerItem());
    sizes.set(Sizes.COUNT_ERRORS, call.countErrors() ? 1 : 0);
    sizes.set(Sizes.GROUPS, call.groups(units));
    sizes.set(Sizes.GATE_STEP, activated == null ? 0 : activated.gateStep());
    sizes.set(Sizes.GATE_TO_UP, activated == null ? 0 : activated.gateToUp());
    sizes.set(Sizes.ACTIVATION, activated == null ? 0 : activated.activation());
  }

  /**
   * Appends a task, and enters its grid.
   *
   * @param zStride most ranks of all slices of an expert
   */
  public static void append(
      Target target, String task, ProjectionWeights weights, int zStride, Arrays arrays) {
    switch (weights) {
      case FloatWeights floats -> appendFloats(target, task, floats, zStride, arrays);
      case PackedWeights packed -> appendPacked(target, task, packed, zStride, arrays);
    }
    target.addGrid(task, arrays.sizes().get(Sizes.GROUPS), PairKernels.THREADS);
  }

  private static void appendFloats(
      Target target, String task, FloatWeights weights, int zStride, Arrays arrays) {
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            PairKernels::floats,
            new KernelContext(),
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            step.errors(),
            arrays.sizes(),
            weights.table().slices(),
            weights.table().scales(),
            weights.pool(),
            arrays.routingWeights(),
            arrays.x(),
            arrays.y(),
            arrays.out(),
            zStride);
  }

  @SuppressWarnings("unchecked")
  private static void appendPacked(
      Target target, String task, PackedWeights weights, int zStride, Arrays arrays) {
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            kernel(weights.type()),
            new KernelContext(),
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            step.errors(),
            arrays.sizes(),
            weights.table().slices(),
            weights.table().scales(),
            weights.poolA(),
            weights.poolB(),
            arrays.routingWeights(),
            arrays.x(),
            arrays.y(),
            arrays.out(),
            zStride);
  }

  @SuppressWarnings("rawtypes")
  private static Task16 kernel(DType type) {
    return type == DType.BF16
        ? RawTask.of(PairKernels::bfloat16)
        : RawTask.of(PairKernels::float16);
  }
}
