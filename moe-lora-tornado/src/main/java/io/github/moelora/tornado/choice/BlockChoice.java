package io.github.moelora.tornado.choice;

/** Which kernel runs, on blocks of how many rows. */
public final class BlockChoice {
  /** Rows of a block where pairs share weights; neighbouring threads then read the same ones. */
  public static final int SMALL_BLOCK = 16;

  /** Most tokens for which an engine's graph gets the kernel for blocks of one pair. */
  public static final int FEW_TOKENS = 16;

  /** Most tokens for which an engine's graph gets the kernels for small blocks. */
  public static final int SMALL_TOKENS = 512;

  private BlockChoice() {}
}
