package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.tornado.kernels.PairKernels;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Appends {@link PairKernels} with their constants and grids: two tasks for each projection. */
public final class PairLaunch {
  private PairLaunch() {}

  /**
   * Arrays of one projection, all on the device when the tasks run.
   *
   * @param step what the engine said of the step
   * @param expertIds int32 {@code [T, K]}
   * @param routingWeights float32 {@code [T, K]}
   * @param sizes of the call
   * @param x in, float32 {@code [T, H]} or {@code [P, H]}
   * @param z scratch, float32 {@code [P, zStride]}
   * @param y in and out, float32 {@code [P, yWidth]}, or {@code [T, yWidth]} if combined
   */
  public record Arrays(
      StepArrays step,
      IntArray expertIds,
      FloatArray routingWeights,
      IntArray sizes,
      FloatArray x,
      FloatArray z,
      FloatArray y) {}

  /**
   * Numbers of a call.
   *
   * @param maxPairs of a step
   * @param perToken K
   * @param zStride floats of a row of z
   * @param outputWidth columns of the projection
   * @param countErrors whether ids out of range are counted here
   * @param combined whether the pairs of a token are added up
   */
  public record Call(
      int maxPairs,
      int perToken,
      int zStride,
      int outputWidth,
      boolean countErrors,
      boolean combined) {

    private int groups() {
      int ranges = (zStride + PairKernels.ITEM_RANKS - 1) / PairKernels.ITEM_RANKS;
      return (int) Math.min(StepArrays.MAX_GROUPS, (long) maxPairs * ranges);
    }
  }

  /** Appends the tasks {@code name + "Shrink"} and {@code name + "Expand"}. */
  public static void append(
      Target target, String name, ProjectionWeights weights, Call call, Arrays arrays) {
    switch (weights) {
      case FloatWeights floats -> {
        shrink(target, name + "Shrink", floats, call, arrays);
        if (call.combined()) {
          combine(target, name + "Expand", floats, call, arrays);
        } else {
          expand(target, name + "Expand", floats, call, arrays);
        }
      }
      case PackedWeights packed -> {
        shrink(target, name + "Shrink", packed, call, arrays);
        if (call.combined()) {
          combine(target, name + "Expand", packed, call, arrays);
        } else {
          expand(target, name + "Expand", packed, call, arrays);
        }
      }
    }
  }

  private static int bf16(PackedWeights weights) {
    return weights.type() == DType.BF16 ? 1 : 0;
  }

  private static void shrink(
      Target target, String task, FloatWeights weights, Call call, Arrays arrays) {
    SliceTable table = weights.table();
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            PairKernels::shrinkFloats,
            new KernelContext(),
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            step.errors(),
            arrays.sizes(),
            table.slices(),
            table.scales(),
            weights.pool(),
            arrays.x(),
            arrays.z(),
            call.maxPairs(),
            call.zStride(),
            call.countErrors() ? 1 : 0,
            call.groups());
    target.addGrid(task, call.groups(), PairKernels.THREADS);
  }

  private static void shrink(
      Target target, String task, PackedWeights weights, Call call, Arrays arrays) {
    SliceTable table = weights.table();
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            PairKernels::shrinkPacked,
            new KernelContext(),
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            step.errors(),
            arrays.sizes(),
            table.slices(),
            table.scales(),
            weights.poolA(),
            arrays.x(),
            arrays.z(),
            call.maxPairs(),
            call.zStride(),
            call.countErrors() ? 1 : 0,
            call.groups(),
            bf16(weights));
    target.addGrid(task, call.groups(), PairKernels.THREADS);
  }

  private static void expand(
      Target target, String task, FloatWeights weights, Call call, Arrays arrays) {
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            PairKernels::expandFloats,
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            arrays.sizes(),
            weights.table().slices(),
            weights.pool(),
            arrays.z(),
            arrays.routingWeights(),
            arrays.y(),
            call.maxPairs(),
            call.zStride(),
            call.outputWidth());
  }

  private static void expand(
      Target target, String task, PackedWeights weights, Call call, Arrays arrays) {
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            PairKernels::expandPacked,
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            arrays.sizes(),
            weights.table().slices(),
            weights.poolB(),
            arrays.z(),
            arrays.routingWeights(),
            arrays.y(),
            call.maxPairs(),
            call.zStride(),
            call.outputWidth(),
            bf16(weights));
  }

  private static void combine(
      Target target, String task, FloatWeights weights, Call call, Arrays arrays) {
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            PairKernels::combineFloats,
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            arrays.sizes(),
            weights.table().slices(),
            weights.pool(),
            arrays.z(),
            arrays.routingWeights(),
            arrays.y(),
            call.maxPairs() / call.perToken(),
            call.perToken(),
            call.zStride(),
            call.outputWidth());
  }

  private static void combine(
      Target target, String task, PackedWeights weights, Call call, Arrays arrays) {
    StepArrays step = arrays.step();
    target
        .graph()
        .task(
            task,
            PairKernels::combinePacked,
            step.step(),
            step.adapterIds(),
            step.expertMap(),
            arrays.expertIds(),
            arrays.sizes(),
            weights.table().slices(),
            weights.poolB(),
            arrays.z(),
            arrays.routingWeights(),
            arrays.y(),
            call.maxPairs() / call.perToken(),
            call.perToken(),
            call.zStride(),
            call.outputWidth(),
            bf16(weights));
  }
}
