package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.ArrayHeaders;
import io.github.moelora.tornado.device.Mma;
import io.github.moelora.tornado.layout.PackedLayout;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** Stages of {@link MmaExpand}: tiles of z times tiles of B, and their sums on chip. */
final class MmaTiles {
  private MmaTiles() {}

  /** Tiles of 8 columns of a chunk that a warp computes. */
  static int ofWarp(int rows, int chunk) {
    return chunk / 8 * (rows / 16) / (MmaExpand.THREADS / 32);
  }

  /** Whether a warp has few. */
  static boolean few(int rows, int chunk) {
    return ofWarp(rows, chunk) <= 4;
  }

  /** Floats of the sums on chip. */
  static int floats(int rows, int chunk) {
    return ArrayHeaders.LOCAL_FLOATS + rows * stride(chunk);
  }

  /** Floats of a row of sums; rows and groups of columns begin in different banks. */
  static int stride(int chunk) {
    return column(chunk / 8) + (chunk > PackedLayout.GROUP ? 8 : 0);
  }

  /** Where the sums of a tile of 8 columns begin in a row. */
  static int column(int tile) {
    return tile * 8 + tile / 4 * 8;
  }

  /**
   * The sums of a warp's 16 rows times up to 64 columns, or of 32 times 32.
   *
   * <p>No branch may lie between the loop and {@code mma}: fragments survive only straight-line
   * code.
   *
   * @param zTiles in, high numbers and behind them low ones
   * @param bTiles in, the chunk's from {@code bTile} on
   * @param sums out
   */
  static void bfloat16(
      KernelContext ctx,
      int[] zTiles,
      int[] bTiles,
      FloatArray sums,
      int[] item,
      int tid,
      int maxSteps,
      int rows,
      int chunk,
      int bTile) {
    compute(ctx, zTiles, bTiles, sums, item, tid, maxSteps, rows, chunk, bTile, 1);
  }

  /** The same of float16. */
  static void float16(
      KernelContext ctx,
      int[] zTiles,
      int[] bTiles,
      FloatArray sums,
      int[] item,
      int tid,
      int maxSteps,
      int rows,
      int chunk,
      int bTile) {
    compute(ctx, zTiles, bTiles, sums, item, tid, maxSteps, rows, chunk, bTile, 0);
  }

  private static void compute(
      KernelContext ctx,
      int[] zTiles,
      int[] bTiles,
      FloatArray sums,
      int[] item,
      int tid,
      int maxSteps,
      int rows,
      int chunk,
      int bTile,
      int bf16) {
    int steps = ZRows.steps(item, chunk, maxSteps);
    // fragments of B that serve two row tiles spare a fifth of the loads
    int rowTiles = rows > 16 && maxSteps > 1 && ofWarp(rows, chunk) == 8 ? 2 : 1;
    int rowWarps = rows / 16 / rowTiles;
    int rowTile = (tid >> 5) % rowWarps * rowTiles;
    int warpTiles = ofWarp(rows, chunk) / rowTiles;
    int firstTile = (tid >> 5) / rowWarps * warpTiles;
    // mmaLoadA takes rows of 32 bytes, which would share banks; each lane corrects its own address
    int lane = tid & 31;
    int correction = (lane >> 4) * (4 * ZRows.HALF - 16) - (lane & 15) * 16;
    int zAt = 4 * rowTile * maxSteps * ZRows.TILE + correction;
    int low = 4 * ZRows.ints(rows, maxSteps);
    int row = 16 * rowTile;
    int stride = stride(chunk);
    if (rowTiles > 1) {
      int second = 4 * maxSteps * ZRows.TILE;
      int bAt = 8 * (bTile + firstTile) * steps * BTiles.TILE;
      int to = column(firstTile);
      twoRowTiles(ctx, zTiles, bTiles, sums, zAt, second, low, bAt, steps, row, to, stride, bf16);
    } else {
      boolean eight = !BTiles.few(chunk, maxSteps);
      for (int tile = firstTile; tile < firstTile + warpTiles; tile += eight ? 8 : 4) {
        int bAt = 8 * (bTile + tile) * steps * BTiles.TILE;
        int tiles = eight ? warpTiles : Math.min(warpTiles, 4);
        // a power of two, a warp's tiles do not straddle groups that its first one does not
        int to = column(tile);
        oneRowTile(ctx, zTiles, bTiles, sums, zAt, low, bAt, steps, row, to, stride, tiles, bf16);
      }
    }
  }

  private static void oneRowTile(
      KernelContext ctx,
      int[] zTiles,
      int[] bTiles,
      FloatArray sums,
      int zAt,
      int lowAt,
      int bAt,
      int steps,
      int row,
      int to,
      int stride,
      int tiles,
      int bf16) {
    float[] c0 = ctx.mmaFragment(0.0f);
    float[] c1 = ctx.mmaFragment(0.0f);
    float[] c2 = ctx.mmaFragment(0.0f);
    float[] c3 = ctx.mmaFragment(0.0f);
    float[] c4 = ctx.mmaFragment(0.0f);
    float[] c5 = ctx.mmaFragment(0.0f);
    float[] c6 = ctx.mmaFragment(0.0f);
    float[] c7 = ctx.mmaFragment(0.0f);
    int next = 8 * steps * BTiles.TILE;
    for (int k = 0; k < steps; k++) {
      HalfFloat[] high = ctx.mmaLoadA(zTiles, 16, zAt + 4 * k * ZRows.TILE);
      HalfFloat[] low = ctx.mmaLoadA(zTiles, 16, zAt + lowAt + 4 * k * ZRows.TILE);
      int bStep = bAt + 8 * k * BTiles.TILE;
      HalfFloat[] b0 = ctx.mmaLoadB(bTiles, 16, bStep);
      c0 = Mma.product(ctx, high, b0, c0, bf16);
      c0 = Mma.product(ctx, low, b0, c0, bf16);
      if (tiles > 1) {
        HalfFloat[] b1 = ctx.mmaLoadB(bTiles, 16, bStep + next);
        c1 = Mma.product(ctx, high, b1, c1, bf16);
        c1 = Mma.product(ctx, low, b1, c1, bf16);
      }
      if (tiles > 2) {
        HalfFloat[] b2 = ctx.mmaLoadB(bTiles, 16, bStep + 2 * next);
        HalfFloat[] b3 = ctx.mmaLoadB(bTiles, 16, bStep + 3 * next);
        c2 = Mma.product(ctx, high, b2, c2, bf16);
        c3 = Mma.product(ctx, high, b3, c3, bf16);
        c2 = Mma.product(ctx, low, b2, c2, bf16);
        c3 = Mma.product(ctx, low, b3, c3, bf16);
      }
      if (tiles > 4) {
        HalfFloat[] b4 = ctx.mmaLoadB(bTiles, 16, bStep + 4 * next);
        HalfFloat[] b5 = ctx.mmaLoadB(bTiles, 16, bStep + 5 * next);
        c4 = Mma.product(ctx, high, b4, c4, bf16);
        c5 = Mma.product(ctx, high, b5, c5, bf16);
        c4 = Mma.product(ctx, low, b4, c4, bf16);
        c5 = Mma.product(ctx, low, b5, c5, bf16);
        HalfFloat[] b6 = ctx.mmaLoadB(bTiles, 16, bStep + 6 * next);
        HalfFloat[] b7 = ctx.mmaLoadB(bTiles, 16, bStep + 7 * next);
        c6 = Mma.product(ctx, high, b6, c6, bf16);
        c7 = Mma.product(ctx, high, b7, c7, bf16);
        c6 = Mma.product(ctx, low, b6, c6, bf16);
        c7 = Mma.product(ctx, low, b7, c7, bf16);
      }
    }
    ctx.mmaStore(c0, sums, row, to, stride);
    if (tiles > 1) {
      ctx.mmaStore(c1, sums, row, to + column(1), stride);
    }
    if (tiles > 2) {
      ctx.mmaStore(c2, sums, row, to + column(2), stride);
      ctx.mmaStore(c3, sums, row, to + column(3), stride);
    }
    if (tiles > 4) {
      ctx.mmaStore(c4, sums, row, to + column(4), stride);
      ctx.mmaStore(c5, sums, row, to + column(5), stride);
      ctx.mmaStore(c6, sums, row, to + column(6), stride);
      ctx.mmaStore(c7, sums, row, to + column(7), stride);
    }
  }

  /** Two row tiles times four tiles of columns. */
  private static void twoRowTiles(
      KernelContext ctx,
      int[] zTiles,
      int[] bTiles,
      FloatArray sums,
      int zAt,
      int secondAt,
      int lowAt,
      int bAt,
      int steps,
      int row,
      int to,
      int stride,
      int bf16) {
    float[] c0 = ctx.mmaFragment(0.0f);
    float[] c1 = ctx.mmaFragment(0.0f);
    float[] c2 = ctx.mmaFragment(0.0f);
    float[] c3 = ctx.mmaFragment(0.0f);
    float[] c4 = ctx.mmaFragment(0.0f);
    float[] c5 = ctx.mmaFragment(0.0f);
    float[] c6 = ctx.mmaFragment(0.0f);
    float[] c7 = ctx.mmaFragment(0.0f);
    int next = 8 * steps * BTiles.TILE;
    for (int k = 0; k < steps; k++) {
      int zStep = zAt + 4 * k * ZRows.TILE;
      HalfFloat[] high = ctx.mmaLoadA(zTiles, 16, zStep);
      HalfFloat[] high2 = ctx.mmaLoadA(zTiles, 16, zStep + secondAt);
      int bStep = bAt + 8 * k * BTiles.TILE;
      HalfFloat[] b0 = ctx.mmaLoadB(bTiles, 16, bStep);
      HalfFloat[] b1 = ctx.mmaLoadB(bTiles, 16, bStep + next);
      HalfFloat[] b2 = ctx.mmaLoadB(bTiles, 16, bStep + 2 * next);
      HalfFloat[] b3 = ctx.mmaLoadB(bTiles, 16, bStep + 3 * next);
      HalfFloat[] low = ctx.mmaLoadA(zTiles, 16, zStep + lowAt);
      HalfFloat[] low2 = ctx.mmaLoadA(zTiles, 16, zStep + lowAt + secondAt);
      c0 = Mma.product(ctx, high, b0, c0, bf16);
      c1 = Mma.product(ctx, high, b1, c1, bf16);
      c2 = Mma.product(ctx, high, b2, c2, bf16);
      c3 = Mma.product(ctx, high, b3, c3, bf16);
      c4 = Mma.product(ctx, high2, b0, c4, bf16);
      c5 = Mma.product(ctx, high2, b1, c5, bf16);
      c6 = Mma.product(ctx, high2, b2, c6, bf16);
      c7 = Mma.product(ctx, high2, b3, c7, bf16);
      c0 = Mma.product(ctx, low, b0, c0, bf16);
      c1 = Mma.product(ctx, low, b1, c1, bf16);
      c2 = Mma.product(ctx, low, b2, c2, bf16);
      c3 = Mma.product(ctx, low, b3, c3, bf16);
      c4 = Mma.product(ctx, low2, b0, c4, bf16);
      c5 = Mma.product(ctx, low2, b1, c5, bf16);
      c6 = Mma.product(ctx, low2, b2, c6, bf16);
      c7 = Mma.product(ctx, low2, b3, c7, bf16);
    }
    ctx.mmaStore(c0, sums, row, to, stride);
    ctx.mmaStore(c1, sums, row, to + column(1), stride);
    ctx.mmaStore(c2, sums, row, to + column(2), stride);
    ctx.mmaStore(c3, sums, row, to + column(3), stride);
    ctx.mmaStore(c4, sums, row + 16, to, stride);
    ctx.mmaStore(c5, sums, row + 16, to + column(1), stride);
    ctx.mmaStore(c6, sums, row + 16, to + column(2), stride);
    ctx.mmaStore(c7, sums, row + 16, to + column(3), stride);
  }
}
