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

  /**
   * What the activation reads and writes.
   *
   * @param out out, float32 {@code [P, I]}
   * @param gateStep columns from one gate to the next
   * @param gateToUp columns from a gate to its up, 0 without gates
   * @param activation as {@link PairKernels} numbers them
   */
  public record Activated(FloatArray out, int gateStep, int gateToUp, int activation) {}

  /** Appends the tasks {@code name + "Shrink"} and {@code name + "Expand"}. */
  public static void append(
      Target target, String name, ProjectionWeights weights, Call call, Arrays arrays) {
    shrink(target, name + "Shrink", weights, call, arrays);
    String task = name + "Expand";
    switch (weights) {
      case FloatWeights floats -> {
        if (call.combined()) {
          combine(target, task, floats, call, arrays);
        } else {
          expand(target, task, floats, call, arrays);
        }
      }
      case PackedWeights packed -> {
        if (call.combined()) {
          combine(target, task, packed, call, arrays);
        } else {
          expand(target, task, packed, call, arrays);
        }
      }
    }
  }

  /**
   * Appends the tasks {@code name + "Shrink"} and {@code name + "Activate"}: y is read as the base,
   * and what the activation makes of it and the delta goes to {@code activated.out()}.
   */
  public static void appendActivated(
      Target target,
      String name,
      ProjectionWeights weights,
      Call call,
      Arrays arrays,
      Activated activated) {
    shrink(target, name + "Shrink", weights, call, arrays);
    String task = name + "Activate";
    StepArrays step = arrays.step();
    switch (weights) {
      case FloatWeights floats ->
          target
              .graph()
              .task(
                  task,
                  PairKernels::activateFloats,
                  step.step(),
                  step.adapterIds(),
                  step.expertMap(),
                  arrays.expertIds(),
                  arrays.sizes(),
                  floats.table().slices(),
                  floats.pool(),
                  arrays.z(),
                  arrays.y(),
                  activated.out(),
                  call.maxPairs(),
                  call.zStride(),
                  inner(call, activated),
                  activated.gateStep(),
                  activated.gateToUp(),
                  activated.activation());
      case PackedWeights packed ->
          target
              .graph()
              .task(
                  task,
                  PairKernels::activatePacked,
                  step.step(),
                  step.adapterIds(),
                  step.expertMap(),
                  arrays.expertIds(),
                  arrays.sizes(),
                  packed.table().slices(),
                  packed.poolB(),
                  arrays.z(),
                  arrays.y(),
                  activated.out(),
                  call.maxPairs(),
                  call.zStride(),
                  inner(call, activated),
                  activated.gateStep(),
                  activated.gateToUp(),
                  activated.activation(),
                  bf16(packed));
    }
  }

  private static int inner(Call call, Activated activated) {
    return activated.gateToUp() == 0 ? call.outputWidth() : call.outputWidth() / 2;
  }

  private static void shrink(
      Target target, String task, ProjectionWeights weights, Call call, Arrays arrays) {
    switch (weights) {
      case FloatWeights floats -> shrinkFloats(target, task, floats, call, arrays);
      case PackedWeights packed -> shrinkPacked(target, task, packed, call, arrays);
    }
  }

  private static int bf16(PackedWeights weights) {
    return weights.type() == DType.BF16 ? 1 : 0;
  }

  private static void shrinkFloats(
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

  private static void shrinkPacked(
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
