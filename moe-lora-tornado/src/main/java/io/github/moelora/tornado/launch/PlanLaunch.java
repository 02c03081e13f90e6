package io.github.moelora.tornado.launch;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.kernels.PlanKernels;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.StepArrays;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task14;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Appends {@link PlanKernels} with their constants and grids: one task, or up to three. */
public final class PlanLaunch {
  /** Pairs of the largest chunk. */
  private static final int MAX_SHIFT = 10;

  /** Pairs of the smallest chunk that is worth counting. */
  private static final int MIN_SHIFT = 8;

  /** Numbers of the largest table to count in, 28 KiB of the 48 that a work-group may have. */
  private static final int MAX_TABLE = 7 << 10;

  /** As many as a GPU has in a work-group: a thread then has one pair of a chunk. */
  private static final int MAX_THREADS = 1024;

  /** More groups than this have keys beyond int32. */
  private static final int MAX_GROUPS = (1 << (31 - MAX_SHIFT)) - 2;

  private PlanLaunch() {}

  /**
   * Sizes of a plan.
   *
   * @param maxPairs of a step
   * @param blockSize rows of a block
   * @param groups keys of pairs, that of pairs without work included
   * @param shift of the pairs of a chunk
   * @param threads of a work-group
   * @param counted whether chunks are counted rather than sorted
   */
  public record Shape(
      int maxPairs, int blockSize, int groups, int shift, int threads, boolean counted) {

    /**
     * The shape for a configuration's largest step.
     *
     * @throws IllegalArgumentException if there are too many groups
     */
    public static Shape of(MoeLoraConfig config, int blockSize) {
      long groups = 2;
      if (blockSize > 1) {
        groups = (long) config.slots() * config.expertMap().localExperts() + 1;
      }
      if (groups > MAX_GROUPS) {
        throw new IllegalArgumentException(
            "slots * local experts must be at most %d for plans on the device, got %d"
                .formatted(MAX_GROUPS - 1, groups - 1));
      }
      int shift = 1;
      while (shift < MAX_SHIFT && 1 << shift < config.maxPairs()) {
        shift++;
      }
      int most = MAX_SHIFT;
      while (most > MIN_SHIFT && ((1 << most) / PlanKernels.PART) * groups > MAX_TABLE) {
        most--;
      }
      boolean counted = ((1 << most) / PlanKernels.PART) * groups <= MAX_TABLE;
      if (counted) {
        shift = Math.min(shift, most);
      }
      int threads = Math.clamp(1 << shift, 32, MAX_THREADS);
      return new Shape(config.maxPairs(), blockSize, (int) groups, shift, threads, counted);
    }

    /** Chunks of the largest step. */
    public int chunks() {
      return (maxPairs + (1 << shift) - 1) >> shift;
    }
  }

  /**
   * What the three tasks hand on.
   *
   * @param ranks int32 {@code [P]}
   * @param counts int32 {@code [chunks, groups]}
   * @param groupBlocks int32 {@code [groups, 2]}
   */
  public record Chunks(IntArray ranks, IntArray counts, IntArray groupBlocks) {

    /** Arrays for a shape; of one element where one task makes the plan. */
    public static Chunks of(Shape shape) {
      int chunks = shape.chunks();
      if (chunks <= 1) {
        return handles();
      }
      return new Chunks(
          new IntArray(shape.maxPairs()),
          new IntArray(Math.multiplyExact(chunks, shape.groups())),
          new IntArray(PlanKernels.GROUP_WORDS * shape.groups()));
    }

    /** Stand-ins of one element, to be mapped to the arrays on the device. */
    public static Chunks handles() {
      return new Chunks(new IntArray(1), new IntArray(1), new IntArray(1));
    }

    /** All arrays, in the order of the handles. */
    public Object[] all() {
      return new Object[] {ranks, counts, groupBlocks};
    }
  }

  /**
   * Appends the task {@code name + "Plan"}, or two or three of that beginning, and enters their
   * grids.
   *
   * @param input what the plan is made of
   * @param plan out, all but its sizes and routing weights
   */
  public static void append(
      Target target, String name, Shape shape, Input input, DevicePlan plan, Chunks chunks) {
    if (shape.chunks() <= 1) {
      if (shape.counted()) {
        countFew(target, name + "Plan", shape, input, plan);
      } else {
        sortFew(target, name + "Plan", shape, input, plan);
      }
    } else {
      String first = name + (shape.counted() ? "PlanCount" : "PlanSort");
      appendRanks(target, first, shape, input, chunks);
      if (shape.counted()) {
        appendPlace(target, name + "PlanPlace", shape, input, plan, chunks);
      } else {
        appendAdd(target, name + "PlanAdd", shape, input, plan, chunks);
        appendScatter(target, name + "PlanScatter", shape, input, plan, chunks);
      }
    }
  }

  /**
   * What a plan is made of.
   *
   * @param step what the engine said of the step
   * @param expertIds int32 {@code [T, K]}, the router's
   * @param countErrors whether ids out of range are counted here
   */
  public record Input(StepArrays step, IntArray expertIds, boolean countErrors) {}

  private static void sortFew(
      Target target, String task, Shape shape, Input input, DevicePlan plan) {
    target
        .graph()
        .task(
            task,
            PlanKernels::sortFew,
            new KernelContext(),
            input.step().step(),
            input.step().adapterIds(),
            input.step().expertMap(),
            input.expertIds(),
            input.step().errors(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            shape.maxPairs(),
            input.countErrors() ? 1 : 0,
            shape.blockSize(),
            shape.shift(),
            shape.threads());
    target.addGrid(task, 1, shape.threads());
  }

  private static void countFew(
      Target target, String task, Shape shape, Input input, DevicePlan plan) {
    target
        .graph()
        .task(
            task,
            PlanKernels::countFew,
            new KernelContext(),
            input.step().step(),
            input.step().adapterIds(),
            input.step().expertMap(),
            input.expertIds(),
            input.step().errors(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            shape.maxPairs(),
            input.countErrors() ? 1 : 0,
            shape.blockSize(),
            shape.groups(),
            shape.shift(),
            shape.threads());
    target.addGrid(task, 1, shape.threads());
  }

  private static void appendRanks(
      Target target, String task, Shape shape, Input input, Chunks chunks) {
    Task14<
            KernelContext,
            IntArray,
            IntArray,
            IntArray,
            IntArray,
            IntArray,
            IntArray,
            IntArray,
            Integer,
            Integer,
            Integer,
            Integer,
            Integer,
            Integer>
        kernel = shape.counted() ? PlanKernels::countChunks : PlanKernels::sortChunks;
    target
        .graph()
        .task(
            task,
            kernel,
            new KernelContext(),
            input.step().step(),
            input.step().adapterIds(),
            input.step().expertMap(),
            input.expertIds(),
            input.step().errors(),
            chunks.ranks(),
            chunks.counts(),
            shape.maxPairs(),
            input.countErrors() ? 1 : 0,
            shape.blockSize(),
            shape.groups(),
            shape.shift(),
            shape.threads());
    target.addGrid(task, shape.chunks(), shape.threads());
  }

  private static void appendPlace(
      Target target, String task, Shape shape, Input input, DevicePlan plan, Chunks chunks) {
    target
        .graph()
        .task(
            task,
            PlanKernels::placeChunks,
            new KernelContext(),
            input.step().step(),
            input.step().adapterIds(),
            input.step().expertMap(),
            input.expertIds(),
            chunks.ranks(),
            chunks.counts(),
            plan.counts(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            shape.maxPairs(),
            shape.blockSize(),
            shape.groups(),
            shape.shift(),
            shape.threads());
    target.addGrid(task, shape.chunks(), shape.threads());
  }

  private static void appendAdd(
      Target target, String task, Shape shape, Input input, DevicePlan plan, Chunks chunks) {
    target
        .graph()
        .task(
            task,
            PlanKernels::addChunks,
            new KernelContext(),
            input.step().step(),
            chunks.counts(),
            chunks.groupBlocks(),
            plan.counts(),
            shape.maxPairs(),
            shape.blockSize(),
            shape.groups(),
            shape.shift(),
            shape.threads());
    target.addGrid(task, 1, shape.threads());
  }

  private static void appendScatter(
      Target target, String task, Shape shape, Input input, DevicePlan plan, Chunks chunks) {
    target
        .graph()
        .task(
            task,
            PlanKernels::scatter,
            new KernelContext(),
            input.step().step(),
            input.step().adapterIds(),
            input.step().expertMap(),
            input.expertIds(),
            chunks.ranks(),
            chunks.counts(),
            chunks.groupBlocks(),
            plan.sortedTokenIds(),
            plan.blockExperts(),
            plan.blockAdapters(),
            shape.maxPairs(),
            shape.blockSize(),
            shape.groups(),
            shape.shift(),
            shape.threads());
    target.addGrid(task, shape.chunks(), shape.threads());
  }
}
