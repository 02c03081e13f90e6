package io.github.moelora.tornado.launch;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.kernels.Activate;
import io.github.moelora.tornado.kernels.Combine;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.StepArrays;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task7;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** Appends what follows a projection on a 16-bit y: {@link Combine} or {@link Activate}. */
public final class FinishLaunch {
  /** Work-groups that a multiprocessor has at once. */
  private static final int PER_UNIT = 8;

  private FinishLaunch() {}

  /**
   * What both read of a step.
   *
   * @param maxPairs of a step
   * @param units multiprocessors of the device
   */
  public record Reads(
      StepArrays step, IntArray expertIds, IntArray sizes, int maxPairs, int units) {

    private int groups(long items) {
      return (int) Math.max(1, Math.min(items, (long) PER_UNIT * units));
    }
  }

  /**
   * What was computed of pairs.
   *
   * @param slices table of the weights
   * @param values float32 {@code [P, O]}
   */
  public record Deltas(IntArray slices, FloatArray values) {}

  /**
   * An activation.
   *
   * @param y in, 16-bit {@code [P, yWidth]}
   * @param out out, {@code [P, I]} of the type of y, in whatever array
   * @param mode has the activation, see {@link PairMode}
   */
  public record Activated(TornadoNativeArray y, TornadoNativeArray out, int mode) {}

  /**
   * Appends {@link Combine}, and enters its grid.
   *
   * @param y in and out, 16-bit {@code [T, yWidth]}
   */
  public static void appendCombine(
      Target target, String task, Reads reads, Deltas deltas, TornadoNativeArray y) {
    StepArrays step = reads.step();
    int perToken = reads.sizes().get(Sizes.PAIRS_PER_ITEM);
    int tokens = reads.maxPairs() / perToken;
    int mostShares = shares(reads.sizes().get(Sizes.COLUMNS), 2 * Combine.THREADS);
    // few tokens share what the device has at once; of many, each has a group to itself
    int shares = Math.clamp(shares(PER_UNIT * reads.units(), tokens), 1, mostShares);
    int groups = reads.groups((long) tokens * shares);
    if (y instanceof IntArray words) {
      target
          .graph()
          .task(
              task,
              Combine::bfloat16,
              new KernelContext(),
              step.step(),
              step.adapterIds(),
              step.expertMap(),
              reads.expertIds(),
              reads.sizes(),
              deltas.slices(),
              deltas.values(),
              words,
              perToken,
              shares,
              groups);
    } else {
      target
          .graph()
          .task(
              task,
              Combine::float16,
              new KernelContext(),
              step.step(),
              step.adapterIds(),
              step.expertMap(),
              reads.expertIds(),
              reads.sizes(),
              deltas.slices(),
              deltas.values(),
              (HalfFloatArray) y,
              perToken,
              shares,
              groups);
    }
    target.addGrid(task, groups, Combine.THREADS);
  }

  private static int shares(int of, int each) {
    return (of + each - 1) / each;
  }

  /** Appends {@link Activate}, and enters its grid. */
  @SuppressWarnings("unchecked")
  public static void appendActivate(Target target, String task, Reads reads, Activated what) {
    long words = (long) reads.maxPairs() * (reads.sizes().get(Sizes.COLUMNS) / 2);
    int groups = reads.groups((words + Activate.THREADS - 1) / Activate.THREADS);
    StepArrays step = reads.step();
    target
        .graph()
        .task(
            task,
            activate(what.y() instanceof IntArray),
            new KernelContext(),
            step.step(),
            reads.sizes(),
            what.y(),
            what.out(),
            what.mode(),
            groups);
    target.addGrid(task, groups, Activate.THREADS);
  }

  @SuppressWarnings("rawtypes")
  private static Task7 activate(boolean bf16) {
    return bf16 ? RawTask.of(Activate::bfloat16) : RawTask.of(Activate::float16);
  }

  /**
   * Writes what the kernels read.
   *
   * @param call what was computed
   * @param combined whether the pairs of a token are added up; else an activation follows
   */
  public static void writeSizes(
      Reads reads, MoeLoraConfig config, ProjectionCall call, int yWidth, boolean combined) {
    IntArray sizes = reads.sizes();
    Sizes.write(sizes, config, call, yWidth);
    int columns =
        combined
            ? config.model().outputWidth(call.projection())
            : config.model().intermediateSize();
    sizes.set(Sizes.COLUMNS, columns);
    sizes.set(Sizes.MAX_PAIRS, reads.maxPairs());
    sizes.set(Sizes.PAIRS_PER_ITEM, combined ? config.expertsPerToken() : 1);
  }
}
