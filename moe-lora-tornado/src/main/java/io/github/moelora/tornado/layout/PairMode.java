package io.github.moelora.tornado.layout;

/**
 * What a kernel on pairs does with the delta, in one number: a constant of the compiled kernel,
 * which then holds nothing of what it does not do.
 */
public final class PairMode {
  /** Added to y; else y becomes the delta. */
  public static final int ADD = 1;

  /** The delta is multiplied by the routing weight. */
  public static final int ROUTED_WEIGHT = 2;

  /** Pairs with an id out of range are counted. */
  public static final int COUNT_ERRORS = 4;

  /** An activation follows; only with it are the others of use. */
  public static final int ACTIVATED = 8;

  /** A gate stands before its up: {@code I} columns before, or right before it. */
  public static final int GATED = 16;

  /** Gates and ups alternate. */
  public static final int INTERLEAVED = 32;

  /** x is of the type of the packed weights, in 16 bits. */
  public static final int NARROW_X = 64;

  /** y is, and what an activation writes. */
  public static final int NARROW_Y = 128;

  /** The kernel makes the router's choice of experts. */
  public static final int CHOOSES = 1 << 10;

  /** The weights of the experts that it chooses add up to 1. */
  public static final int RENORMALIZED = 1 << 11;

  /** Behind the logits of a token stands the score of the shared expert. */
  public static final int SHARED_SCORE = 1 << 12;

  /** The shared expert's result is added to y, too, with its weight. */
  public static final int SHARED = 1 << 13;

  /** x has a row per pair; said by the mode of kernels that have no array of sizes. */
  public static final int PAIR_ROWS = 1 << 14;

  /** The pairs of a token are added up; said where {@link #PAIR_ROWS} is. */
  public static final int COMBINED = 1 << 15;

  private static final int ACTIVATION_SHIFT = 8;

  private static final int RANKS_SHIFT = 16;

  private PairMode() {}

  /**
   * A mode with an activation.
   *
   * @param number of the activation, in {@code [0, 4)}
   */
  public static int withActivation(int mode, int number) {
    return mode | ACTIVATED | number << ACTIVATION_SHIFT;
  }

  /**
   * A mode for so many ranks on chip.
   *
   * @param ranks of all slices of an expert, fewer than 2^15
   */
  public static int withRanks(int mode, int ranks) {
    return mode | ranks << RANKS_SHIFT;
  }

  /** Most ranks of all slices of an expert. */
  public static int ranks(int mode) {
    return mode >> RANKS_SHIFT;
  }

  /** Whether a mode has a part. */
  public static boolean has(int mode, int part) {
    return (mode & part) != 0;
  }

  /** Number of the activation. */
  public static int activation(int mode) {
    return mode >> ACTIVATION_SHIFT & 3;
  }

  /**
   * The column of the projection that is behind an output column.
   *
   * @param columns that are output
   * @param way 0 for the column or the gate, 1 for the up
   */
  public static int source(int mode, int column, int columns, int way) {
    return has(mode, INTERLEAVED) ? 2 * column + way : column + way * columns;
  }

  /** Columns of the projection that an output column needs. */
  public static int ways(int mode) {
    return has(mode, GATED) ? 2 : 1;
  }
}
