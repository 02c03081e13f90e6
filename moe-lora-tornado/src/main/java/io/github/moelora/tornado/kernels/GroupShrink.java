package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.ArrayHeaders;
import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.device.Mma;
import io.github.moelora.tornado.layout.GroupNumbers;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Stages of {@link GroupKernels}: z of up to 16 rows, a pass over H for up to 64 ranks.
 *
 * <p>A warp has up to two tiles of 8 ranks; where there are fewer tiles than four warps take, the
 * warps share the steps of a stage, and their sums meet on chip. A stage is on chip once: the next
 * one waits in registers, because so many of its longs are then under way.
 */
final class GroupShrink {
  /** Rows of a tile. */
  static final int ROWS = 16;

  /** Tiles of ranks of a warp at most. */
  private static final int WARP_TILES = 2;

  private static final int WARPS = MmaExpand.THREADS / 32;

  /** Floats that keep the rows of sums in different banks. */
  private static final int PAD = 8;

  private GroupShrink() {}

  /** Tiles of ranks of a warp. */
  private static int warpTiles(int tiles) {
    return Math.min(WARP_TILES, GroupNumbers.rankTiles(tiles));
  }

  /** Warps that share the steps of a stage. */
  private static int stepWarps(int tiles) {
    return WARPS * warpTiles(tiles) / GroupNumbers.rankTiles(tiles);
  }

  private static int stride(int tiles) {
    return 8 * GroupNumbers.rankTiles(tiles) + PAD;
  }

  /** Floats of the sums of a pass on chip. */
  static int floats(int tiles) {
    return ArrayHeaders.LOCAL_FLOATS + stepWarps(tiles) * ROWS * stride(tiles);
  }

  /** Longs of a stage on chip. */
  static int longs(int tiles) {
    int steps = GroupNumbers.steps(tiles);
    return ShrinkTiles.aLongs(GroupNumbers.rankTiles(tiles), steps)
        + ShrinkTiles.xLongs(ROWS, steps);
  }

  /** Steps of 16 elements that H takes in packed A. */
  private static int allSteps(int inputWidth) {
    return (inputWidth + 63) / 64 * 4;
  }

  /** Whether H ends where a stage does. */
  private static boolean isWhole(int inputWidth, int tiles) {
    return inputWidth % (16 * GroupNumbers.steps(tiles)) == 0;
  }

  /** Longs of x of a stage that a thread copies. */
  private static int xCopies(int tiles) {
    return ROWS * 4 * GroupNumbers.steps(tiles) / MmaExpand.THREADS;
  }

  private static int aCopies(int tiles) {
    return ShrinkTiles.aLongs(GroupNumbers.rankTiles(tiles), GroupNumbers.steps(tiles))
        / MmaExpand.THREADS;
  }

  /** Longs of a row of a stage of x that a load of a warp takes. */
  private static int together(int tiles) {
    return Math.min(32, 4 * GroupNumbers.steps(tiles));
  }

  /** Rows of which a thread copies longs: four neighbouring ones of a warp. */
  static int rows(int tiles) {
    return ROWS / WARPS * together(tiles) / 32;
  }

  /** Row number {@code i} of a thread. */
  static int row(int tid, int i, int tiles) {
    int together = together(tiles);
    return (tid >> 5) * (ROWS / WARPS) + (tid & 31) / together + i * (32 / together);
  }

  /** Long of a row of a stage that a thread copies as number {@code i} of the row. */
  private static int column(int tid, int i, int tiles) {
    return (tid & (together(tiles) - 1)) + 32 * i;
  }

  /**
   * Reads the longs of A of a stage that a thread copies: a warp has whole steps, so a thread's
   * longs of a step lie at distances that are known when the kernel is compiled. Beyond H the last
   * step is read again; x is 0 there.
   *
   * @param next out, from 0
   * @param tile first of the pass
   */
  static void readA(
      LongArray pool,
      long[] next,
      int[] item,
      int tile,
      int stage,
      int tid,
      int inputWidth,
      int tiles) {
    int steps = GroupNumbers.steps(tiles);
    int rankTiles = GroupNumbers.rankTiles(tiles);
    int from = item[GroupItem.A] + tile * ShrinkTiles.A_TILE + (tid & 31);
    int first = stage * steps + (tid >> 5) * (steps / WARPS);
    for (int i = 0; i < aCopies(tiles); i++) {
      int step = first + i / rankTiles;
      if (!isWhole(inputWidth, tiles)) {
        step = Math.min(step, allSteps(inputWidth) - 1);
      }
      next[i] =
          pool.get(from + step * item[GroupItem.STEP_LONGS] + i % rankTiles * ShrinkTiles.A_TILE);
    }
  }

  /**
   * Reads the longs of x of a stage that a thread copies, 0 beyond H, of rows that have a pair.
   *
   * @param next out, behind those of A
   * @param xFrom where the thread's rows begin
   */
  static void readX(
      LongArray x,
      long[] next,
      int[] xFrom,
      int[] item,
      int stage,
      int tid,
      int inputWidth,
      int tiles) {
    int perRow = xCopies(tiles) / rows(tiles);
    int first = aCopies(tiles);
    for (int i = 0; i < xCopies(tiles); i++) {
      int column = stage * 4 * GroupNumbers.steps(tiles) + column(tid, i % perRow, tiles);
      int within = column;
      // all bits or none
      int bits = -1;
      if (!isWhole(inputWidth, tiles)) {
        within = Math.min(column, inputWidth / 4 - 1);
        bits = (column - inputWidth / 4) >> 31;
      }
      long mask = bits;
      if (row(tid, i / perRow, tiles) < item[ExpandItem.ROWS]) {
        next[first + i] = x.get(xFrom[i / perRow] + within) & mask;
      }
    }
  }

  /** Stores what was read on chip. */
  private static int[] store(KernelContext ctx, long[] next, int[] item, int tid, int tiles) {
    int steps = GroupNumbers.steps(tiles);
    long[] longs = ctx.allocateLongLocalArray(longs(tiles));
    int aLongs = ShrinkTiles.aLongs(GroupNumbers.rankTiles(tiles), steps);
    int aCopies = aCopies(tiles);
    int perRow = xCopies(tiles) / rows(tiles);
    int aAt = (tid >> 5) * (aLongs / WARPS) + (tid & 31);
    for (int i = 0; i < aCopies; i++) {
      longs[aAt + i * ShrinkTiles.A_TILE] = next[i];
    }
    int xAt = aLongs + ShrinkTiles.xAt(row(tid, 0, tiles), column(tid, 0, tiles), steps);
    for (int i = 0; i < xCopies(tiles); i++) {
      int rowsOn = row(0, i / perRow, tiles);
      if (row(tid, i / perRow, tiles) < item[ExpandItem.ROWS]) {
        longs[xAt + ShrinkTiles.xAt(rowsOn, 32 * (i % perRow), steps)] = next[aCopies + i];
      }
    }
    return LocalTile.ints(longs);
  }

  /**
   * A number from 0 on itself, in a way that hides from the compiler that it is the same in each
   * iteration. Otherwise it would compute the addresses of all that a loop has from that number
   * before the loop, and hold them: here, 40 registers of 128.
   *
   * @param iteration from 0 on
   */
  static int again(int[] item, int number, int iteration) {
    return number + ((iteration + item[ExpandItem.ROWS]) >> 31);
  }

  /**
   * Stores the B that was read on chip, and reads the next, or the last one again.
   *
   * @param next in and out
   * @param c chunk of B, of as many columns as are on chip together
   * @return the tiles
   */
  static int[] takeB(
      KernelContext ctx, LongArray pool, long[] next, int[] item, int c, int thread, int tiles) {
    int columns = GroupNumbers.columns(tiles);
    int rankSteps = GroupNumbers.rankSteps(tiles);
    int tid = again(item, thread, c);
    int[] stored = BTiles.store(ctx, next, item, tid, columns, rankSteps);
    int following = Math.min(c + 1, item[ExpandItem.END] - 1);
    BTiles.read(pool, next, item, following, tid, columns, rankSteps);
    return stored;
  }

  /** The chunk of columns after the last of those whose B is on chip together. */
  static int endPart(int[] item, int c, int together) {
    // of one chunk, no loop is left
    return together == 1 ? c + 1 : again(item, (c + 1) * together, c);
  }

  /** Reads the first stage of a pass: x, and A but for the first pass, whose A is there. */
  static void beginPass(
      LongArray pool,
      LongArray x,
      long[] next,
      int[] xFrom,
      int[] item,
      int from,
      int tile,
      int tid,
      int inputWidth,
      int tiles) {
    if (from + tile > item[GroupItem.FIRST_TILE]) {
      readA(pool, next, item, tile, 0, tid, inputWidth, tiles);
    }
    readX(x, next, xFrom, item, 0, tid, inputWidth, tiles);
  }

  /**
   * Where the sum of a rank of a pass lies that a thread needs, of the first warp that has some.
   */
  private static int sumAt(int row, int rank, int tiles) {
    int ranks = 8 * GroupNumbers.rankTiles(tiles);
    return ArrayHeaders.LOCAL_FLOATS + row * stride(tiles) + Math.max(0, Math.min(rank, ranks - 1));
  }

  /**
   * A pass: z of up to 16 rows, of the ranks of the pass. All threads meet here.
   *
   * @param next in, A and x of the first stage; out, B of the first chunk
   * @param numbers in and out, the thread's, see {@link GroupZ}: those of the pass are set
   * @param tile first of the pass
   * @param bf16 1 for bfloat16, 0 for float16
   */
  static void pass(
      KernelContext ctx,
      LongArray poolA,
      LongArray poolB,
      LongArray x,
      long[] next,
      int[] xFrom,
      float[] numbers,
      int[] item,
      int tile,
      int tid,
      int inputWidth,
      int tiles,
      int bf16) {
    float[] sums = ctx.allocateFloatLocalArray(floats(tiles));
    FloatArray allSums = LocalTile.floats(sums);
    int steps = GroupNumbers.steps(tiles);
    int rankTiles = GroupNumbers.rankTiles(tiles);
    int warpTiles = warpTiles(tiles);
    int rankWarps = rankTiles / warpTiles;
    int stepWarp = stepWarps(tiles) == 1 ? 0 : (tid >> 5) / rankWarps;
    int rankTile = ((tid >> 5) & (rankWarps - 1)) * warpTiles;
    int aLongs = ShrinkTiles.aLongs(rankTiles, steps);
    // not unrolled, whatever the number
    int stages = again(item, (allSteps(inputWidth) + steps - 1) / steps, 0);
    float[] u0 = ctx.mmaFragment(0.0f);
    float[] u1 = ctx.mmaFragment(0.0f);
    for (int stage = 0; stage < stages; stage++) {
      int[] stored = store(ctx, next, item, tid, tiles);
      int following = Math.min(stage + 1, stages - 1);
      readA(poolA, next, item, tile, following, tid, inputWidth, tiles);
      readX(x, next, xFrom, item, following, tid, inputWidth, tiles);
      ctx.localBarrier();
      int zero = again(item, 0, stage);
      for (int i = 0; i < steps / stepWarps(tiles); i++) {
        int k = stepWarp + i * stepWarps(tiles);
        int aTile = zero + (k * rankTiles + rankTile) * ShrinkTiles.A_TILE;
        HalfFloat[] x0 = ShrinkTiles.loadX(ctx, stored, zero + aLongs, k, steps, tid);
        HalfFloat[] a0 = ctx.mmaLoadB(stored, 16, Long.BYTES * aTile);
        HalfFloat[] a1 = ShrinkTiles.loadA(ctx, stored, aTile, 1, warpTiles, a0);
        u0 = Mma.product(ctx, x0, a0, u0, bf16);
        u1 = ShrinkTiles.product(ctx, x0, a1, u1, 1, warpTiles, bf16);
      }
      ctx.localBarrier();
    }
    // on its way while the sums meet
    int columns = GroupNumbers.columns(tiles);
    BTiles.read(
        poolB, next, item, item[ExpandItem.FIRST], tid, columns, GroupNumbers.rankSteps(tiles));
    ctx.mmaStore(u0, allSums, stepWarp * ROWS, 8 * rankTile, stride(tiles));
    if (warpTiles > 1) {
      ctx.mmaStore(u1, allSums, stepWarp * ROWS, 8 * rankTile + 8, stride(tiles));
    }
    ctx.localBarrier();
    int first = 8 * (tile - item[GroupItem.FIRST_TILE]) - item[GroupItem.SKIPPED];
    for (int i = 0; i < GroupZ.count(tiles); i++) {
      int rank = GroupZ.rank(item, tid, i) - first;
      float sum = 0.0f;
      for (int w = 0; w < stepWarps(tiles); w++) {
        sum += sums[sumAt(ZRows.row(item, tid, ROWS), rank, tiles) + w * ROWS * stride(tiles)];
      }
      // another pass has the ranks before and behind
      int has = Math.min(rank, 8 * rankTiles - 1 - rank);
      numbers[i] = has < 0 ? numbers[i] : sum;
    }
  }
}
