package io.github.moelora.tornado;

import java.util.List;

/**
 * The kernels of {@link MeasureKernels} without one measure of vLLM's PR #32770.
 *
 * @param measure number in docs/performance.md, 0 for the baseline, which has all
 * @param name as tables show it
 * @param grid which programs there are
 * @param slots adapter slots that the grid is for; the batch uses {@code L} of them
 * @param check see {@link MeasureKernels}
 * @param branch see {@link MeasureKernels}
 * @param wrap see {@link MeasureKernels}
 * @param wide whether indices have 64 bits
 */
record MeasureVariant(
    int measure, String name, Grid grid, int slots, int check, int branch, int wrap, boolean wide) {
  private static final int FEW_SLOTS = 2;
  private static final int MANY_SLOTS = 16;

  /** The programs of a launch, or of each slice and chunk of columns. */
  enum Grid {
    /** A program for each block with work. */
    FLAT,
    /** For each slot as many programs as all pairs can make blocks. */
    BLOCKS_OF_SLOT,
    /** For each (slot, expert) as many programs as all tokens can make blocks. */
    BLOCKS_OF_EXPERT
  }

  /** The baseline. */
  static final MeasureVariant ALL_MEASURES =
      new MeasureVariant(
          0, "all measures", Grid.FLAT, FEW_SLOTS, MeasureKernels.VALID, 0, 0, false);

  /** The baseline and all others. */
  static final List<MeasureVariant> ALL =
      List.of(
          ALL_MEASURES,
          grid("slots x blocks", Grid.BLOCKS_OF_SLOT, FEW_SLOTS),
          grid("slots x blocks", Grid.BLOCKS_OF_SLOT, MANY_SLOTS),
          grid("slots x experts x blocks", Grid.BLOCKS_OF_EXPERT, FEW_SLOTS),
          grid("slots x experts x blocks", Grid.BLOCKS_OF_EXPERT, MANY_SLOTS),
          kernel(2, "one comparison of an id", MeasureKernels.ONCE, 0, 0, false),
          kernel(2, "two comparisons of an id", MeasureKernels.SIGNED, 0, 0, false),
          kernel(3, "64-bit indices", MeasureKernels.VALID, 0, 0, true),
          kernel(4, "branch around each load", MeasureKernels.VALID, 1, 0, false),
          kernel(5, "modulo on columns", MeasureKernels.VALID, 0, 1, false));

  private static MeasureVariant grid(String name, Grid grid, int slots) {
    return new MeasureVariant(1, name, grid, slots, MeasureKernels.ONCE, 0, 0, false);
  }

  private static MeasureVariant kernel(
      int measure, String name, int check, int branch, int wrap, boolean wide) {
    return new MeasureVariant(measure, name, Grid.FLAT, FEW_SLOTS, check, branch, wrap, wide);
  }
}
