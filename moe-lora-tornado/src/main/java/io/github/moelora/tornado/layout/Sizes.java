package io.github.moelora.tornado.layout;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Indices into the small array that tells the kernels the sizes and modes of a call. */
public final class Sizes {
  /** Largest rank that the kernels take; the library's own limit may be larger. */
  public static final int RANK_LIMIT = 512;

  /** {@code H}. */
  public static final int INPUT_WIDTH = 0;

  /** Columns of a row of {@code y}. */
  public static final int Y_WIDTH = 1;

  /** First column of {@code y} to write. */
  public static final int COLUMN_OFFSET = 2;

  /** Floats of a row of {@code z}. */
  public static final int Z_STRIDE = 3;

  /** Experts that live here. */
  public static final int LOCAL_EXPERTS = 4;

  /** Pairs that share a row of {@code x}: {@code K}, or 1 where x has a row per pair. */
  public static final int PAIRS_PER_ROW = 5;

  /** 1 to multiply by the routing weight. */
  public static final int ROUTED_WEIGHT = 6;

  /** 1 to add to y, 0 to write the delta alone. */
  public static final int ADD = 7;

  /** Pipeline stages that H takes in the narrow kernels. */
  public static final int STAGES = 8;

  /** Items of work that suit the device; with fewer blocks or pairs they are cut. */
  public static final int TARGET_ITEMS = 9;

  /** Ranks of an item of MmaShrink. */
  public static final int ITEM_RANKS = 10;

  /** Chunks of columns of the widest slice in MmaExpand. */
  public static final int CHUNKS = 11;

  /** Items of the one-shot kernel that suit the device, or of expand that it holds at once. */
  public static final int EXPAND_ITEMS = 12;

  /** Columns that a kernel on pairs writes: those of the projection, or of its activation. */
  public static final int COLUMNS = 13;

  /** Most pairs of a step. */
  public static final int MAX_PAIRS = 14;

  /** Pairs that an item of a kernel on pairs adds up: {@code K} where they are combined, else 1. */
  public static final int PAIRS_PER_ITEM = 15;

  /** Work-groups of a kernel on pairs. */
  public static final int GROUPS = 16;

  public static final int COUNT = 17;

  private Sizes() {}

  public static void write(IntArray sizes, MoeLoraConfig config, ProjectionCall call, int yWidth) {
    sizes.set(INPUT_WIDTH, config.model().inputWidth(call.projection()));
    sizes.set(Y_WIDTH, yWidth);
    sizes.set(COLUMN_OFFSET, call.columnOffset());
    sizes.set(Z_STRIDE, SliceTable.maxStack(config));
    sizes.set(LOCAL_EXPERTS, config.expertMap().localExperts());
    sizes.set(PAIRS_PER_ROW, call.pairRows() ? 1 : config.expertsPerToken());
    sizes.set(ROUTED_WEIGHT, call.routedWeight() ? 1 : 0);
    sizes.set(ADD, call.add() ? 1 : 0);
  }
}
