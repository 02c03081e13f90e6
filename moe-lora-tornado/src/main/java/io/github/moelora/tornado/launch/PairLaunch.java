package io.github.moelora.tornado.launch;

import io.github.moelora.DType;
import io.github.moelora.tornado.kernels.PairKernels;
import io.github.moelora.tornado.kernels.WidePairs;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task20;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** Appends {@link PairKernels} with their numbers and grid: one task for each projection. */
public final class PairLaunch {
  /** Work-groups that a multiprocessor has at most at once, so that they take turns with memory. */
  private static final int PER_UNIT = 4;

  /** Arrays of which no task makes use, at most: TornadoVM cannot take one of them twice. */
  public static final int MOST_SPARE = 5;

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
   * @param out out, {@code [P, I]} of the type of y, of an activation; else null
   * @param side in, what the mode has beside: logits of a router, or a shared expert's result; else
   *     null
   * @param spare arrays of which nobody makes use: {@link #MOST_SPARE}, or for {@link #appendWide}
   *     one, or none where there is a side
   */
  public record Arrays(
      StepArrays step,
      IntArray expertIds,
      FloatArray routingWeights,
      IntArray sizes,
      TornadoNativeArray x,
      TornadoNativeArray y,
      @Nullable TornadoNativeArray out,
      @Nullable FloatArray side,
      List<FloatArray> spare) {

    private Object wide(@Nullable TornadoNativeArray array, int ifNone) {
      return array instanceof FloatArray floats ? floats : spare.get(ifNone);
    }

    private Object narrow(@Nullable TornadoNativeArray array, int ifNone) {
      return array == null || array instanceof FloatArray ? spare.get(ifNone) : array;
    }
  }

  /**
   * Numbers of a call.
   *
   * @param maxPairs of a step
   * @param pairsPerItem K where the pairs of a token are added up, else 1
   * @param zStride most ranks of all slices of an expert
   * @param outputWidth columns of the projection
   * @param mode see {@link PairMode}
   */
  public record Call(int maxPairs, int pairsPerItem, int zStride, int outputWidth, int mode) {

    /** All that is a constant of the compiled kernel. */
    private int kernelMode() {
      return PairMode.withRanks(mode, zStride);
    }

    private int columns() {
      return outputWidth / PairMode.ways(mode);
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
   * Writes what the kernels read beside {@link Sizes#write}.
   *
   * @param units multiprocessors of the device
   */
  public static void writeSizes(IntArray sizes, Call call, int units) {
    sizes.set(Sizes.TARGET_ITEMS, units);
    sizes.set(Sizes.COLUMNS, call.columns());
    sizes.set(Sizes.MAX_PAIRS, call.maxPairs());
    sizes.set(Sizes.PAIRS_PER_ITEM, call.pairsPerItem());
    sizes.set(Sizes.GROUPS, call.groups(units));
  }

  /**
   * Whether {@link WidePairs} can do it, with fewer arrays.
   *
   * @param hostIds whether the tokens' adapters come from the host, and with the step
   */
  public static boolean isWide(Call call, boolean hostIds) {
    int others = PairMode.NARROW_X | PairMode.NARROW_Y | PairMode.ACTIVATED | PairMode.COUNT_ERRORS;
    return hostIds && !PairMode.has(call.mode(), others);
  }

  /**
   * Appends a task of {@link WidePairs}, and enters its grid.
   *
   * @param arrays of which those in {@code step} but the first are left out, as are sizes, which
   *     are read here, and out
   */
  public static void appendWide(
      Target target, String task, ProjectionWeights weights, Call call, Arrays arrays) {
    IntArray sizes = arrays.sizes();
    int mode =
        call.kernelMode()
            | (sizes.get(Sizes.PAIRS_PER_ROW) == 1 ? PairMode.PAIR_ROWS : 0)
            | (call.pairsPerItem() > 1 ? PairMode.COMBINED : 0);
    FloatArray side = (FloatArray) arrays.wide(arrays.side(), 0);
    switch (weights) {
      case FloatWeights floats -> {
        appendWideFloats(target, task, floats, arrays, side, mode);
        target.addGrid(task, sizes.get(Sizes.GROUPS), PairKernels.FLOAT_THREADS);
      }
      case PackedWeights packed -> {
        appendWidePacked(target, task, packed, arrays, side, mode);
        target.addGrid(task, sizes.get(Sizes.GROUPS), PairKernels.THREADS);
      }
    }
  }

  private static void appendWideFloats(
      Target target, String task, FloatWeights weights, Arrays arrays, FloatArray side, int mode) {
    IntArray sizes = arrays.sizes();
    target
        .graph()
        .task(
            task,
            WidePairs::floats,
            new KernelContext(),
            arrays.step().step(),
            arrays.expertIds(),
            weights.table().floats(),
            weights.pool(),
            arrays.routingWeights(),
            (FloatArray) arrays.x(),
            (FloatArray) arrays.y(),
            side,
            mode,
            weights.config().slots(),
            weights.config().expertsPerToken(),
            sizes.get(Sizes.INPUT_WIDTH),
            sizes.get(Sizes.Y_WIDTH),
            sizes.get(Sizes.COLUMN_OFFSET),
            sizes.get(Sizes.COLUMNS),
            sizes.get(Sizes.MAX_PAIRS),
            sizes.get(Sizes.TARGET_ITEMS),
            sizes.get(Sizes.GROUPS));
  }

  @SuppressWarnings("unchecked")
  private static void appendWidePacked(
      Target target, String task, PackedWeights weights, Arrays arrays, FloatArray side, int mode) {
    IntArray sizes = arrays.sizes();
    target
        .graph()
        .task(
            task,
            wideKernel(weights.type()),
            new KernelContext(),
            arrays.step().step(),
            arrays.expertIds(),
            weights.table().floats(),
            weights.poolA(),
            weights.poolB(),
            arrays.routingWeights(),
            arrays.x(),
            arrays.y(),
            side,
            mode,
            weights.config().slots(),
            weights.config().expertsPerToken(),
            sizes.get(Sizes.INPUT_WIDTH),
            sizes.get(Sizes.Y_WIDTH),
            sizes.get(Sizes.COLUMN_OFFSET),
            sizes.get(Sizes.COLUMNS),
            sizes.get(Sizes.MAX_PAIRS),
            sizes.get(Sizes.TARGET_ITEMS),
            sizes.get(Sizes.GROUPS));
  }

  @SuppressWarnings("rawtypes")
  private static Task20 wideKernel(DType type) {
    return type == DType.BF16 ? RawTask.of(WidePairs::bfloat16) : RawTask.of(WidePairs::float16);
  }

  /** Appends a task, and enters its grid. */
  public static void append(
      Target target, String task, ProjectionWeights weights, Call call, Arrays arrays) {
    switch (weights) {
      case FloatWeights floats -> {
        appendFloats(target, task, floats, call, arrays);
        target.addGrid(task, arrays.sizes().get(Sizes.GROUPS), PairKernels.FLOAT_THREADS);
      }
      case PackedWeights packed -> {
        appendPacked(target, task, packed, call, arrays);
        target.addGrid(task, arrays.sizes().get(Sizes.GROUPS), PairKernels.THREADS);
      }
    }
  }

  private static void appendFloats(
      Target target, String task, FloatWeights weights, Call call, Arrays arrays) {
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
            (FloatArray) arrays.x(),
            (FloatArray) arrays.y(),
            (FloatArray) arrays.wide(arrays.out(), 0),
            (FloatArray) arrays.wide(arrays.side(), 4),
            call.kernelMode());
  }

  @SuppressWarnings("unchecked")
  private static void appendPacked(
      Target target, String task, PackedWeights weights, Call call, Arrays arrays) {
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
            arrays.wide(arrays.x(), 0),
            arrays.wide(arrays.y(), 1),
            arrays.wide(arrays.out(), 2),
            arrays.wide(arrays.side(), 4),
            arrays.narrow(arrays.x(), 0),
            arrays.narrow(arrays.y(), 1),
            arrays.narrow(arrays.out(), arrays.out() == null ? 3 : 2),
            call.kernelMode());
  }

  @SuppressWarnings("rawtypes")
  private static Task20 kernel(DType type) {
    return type == DType.BF16
        ? RawTask.of(PairKernels::bfloat16)
        : RawTask.of(PairKernels::float16);
  }
}
