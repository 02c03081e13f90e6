package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.device.ArrayHeaders;
import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Shrink on tensor cores, for 16-bit types. */
public final class MmaShrink {
  /** Longs of 8 columns of a 16 x 16 tile of x. */
  private static final int X_HALF = 32;

  /** Longs of a tile of A. */
  private static final int A_TILE = PackedLayout.TILE / PackedLayout.LONG;

  /** Most longs of a stage of A that a thread copies. */
  static final int MAX_LONGS = 16;

  /** Most longs of a stage of x that a thread copies. */
  static final int MAX_X = 8;

  /** Most tiles of ranks of an item. */
  private static final int MAX_TILES = 32;

  /** Longs after the last stack of A, past which an item of more ranks reads. */
  public static final int SPARE = (MAX_TILES - 1) * A_TILE;

  /** Floats that keep the rows of sums in different banks. */
  static final int SUMS_PAD = 8;

  private MmaShrink() {}

  /**
   * {@code z[part, block, row, r] = sum_h x[row of pair, h] * a[h, r]} over the part's share of H:
   * one pass over x for the stacked ranks of all slices.
   *
   * <p>Grid: {@code groups} work-groups of {@code 32 * rowWarps * rankWarps * stepWarps} threads
   * take the items (part, rank range, block) in turn. An item is {@code M = 16 * rowTiles *
   * rowWarps} rows times {@code 8 * rankTiles * rankWarps} ranks; a warp computes {@code rowTiles}
   * times {@code rankTiles} tiles of it, over one of {@code stepWarps} shares of the steps, which
   * meet in local memory. While a stage is computed, the next arrives in registers, because that is
   * how 64 bits are loaded at once; the stages take turns between two buffers. Rows without a pair
   * take the first row of x; nobody reads them.
   *
   * @param sizes in, see {@link Sizes}
   * @param slices in, see {@link SliceTable}
   * @param pool in, 16-bit, A as {@link PackedLayout} says, and {@link #SPARE} longs of anything
   * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}, H a multiple of 4
   * @param z out, float32 {@code [parts, blocks, M, zStride]}
   * @param bf16 1 for bfloat16, 0 for float16
   * @param rankWarps 1, 2 or 4
   * @param stepWarps 1, 2 or 4, at most {@code steps}
   * @param rowTiles 1 or 2
   * @param rankTiles 1, 2, 4 or 8
   * @param steps tiles of 16 elements of H in a stage, 2 or 4
   */
  public static void shrink(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      LongArray pool,
      LongArray x,
      FloatArray z,
      int inputWidth,
      int zStride,
      int bf16,
      int rowWarps,
      int rankWarps,
      int stepWarps,
      int rowTiles,
      int rankTiles,
      int steps,
      int groups) {
    int threads = 32 * rowWarps * rankWarps * stepWarps;
    int rows = 16 * rowTiles * rowWarps;
    int itemTiles = rankTiles * rankWarps;
    int xHalf = xHalf(steps);
    int xTile = 2 * xHalf;
    int xStage = rowTiles * rowWarps * steps * xTile;
    int stepLongs = itemTiles * A_TILE;
    int aStage = steps * stepLongs;
    long[] xTiles = ctx.allocateLongLocalArray(2 * xStage);
    long[] aTiles = ctx.allocateLongLocalArray(2 * aStage);
    int sumsStride = 8 * itemTiles + SUMS_PAD;
    float[] sums =
        ctx.allocateFloatLocalArray(
            stepWarps > 1 ? ArrayHeaders.LOCAL_FLOATS + stepWarps * rows * sumsStride : 1);
    int tid = ctx.localIdx;
    int warp = (tid >> 5) % (rowWarps * rankWarps);
    int stepWarp = (tid >> 5) / (rowWarps * rankWarps);
    int copies = aStage / threads;
    int rowLongs = 4 * steps;
    int rowStep = threads / rowLongs;
    int xCopies = rows / rowStep;
    int firstRow = tid / rowLongs;
    int column = tid & (rowLongs - 1);
    int rowTile = warp / rankWarps * rowTiles;
    int rankTile = (warp & (rankWarps - 1)) * rankTiles;
    int xTo = tileAt(firstRow, column, steps);
    // powers of two: all of a thread's longs of A belong to one step, or each to another
    int aStep = tid / stepLongs;
    int inStep = tid & (stepLongs - 1);
    // mmaLoadA takes rows of 32 bytes, which would share banks; each lane corrects its own address
    int lane = tid & 31;
    int xLane = (lane >> 4) * (8 * xHalf - 16) - (lane & 15) * 16;

    int blocks = counts.get(PlanFormat.ACTIVE_BLOCKS);
    int blockSize = counts.get(PlanFormat.BLOCK_SIZE);
    int pairs = counts.get(PlanFormat.PAIRS);
    int ranges = PackedLayout.ranges(slices, 8 * itemTiles);
    int stages = sizes.get(Sizes.STAGES);
    int parts = PackedLayout.parts(sizes, blocks * ranges);
    int share = (stages + parts - 1) / parts;
    int items = blocks * ranges * parts;

    for (int item = ctx.groupIdx; item < items; item += groups) {
      int block = item % blocks;
      int range = item / blocks % ranges;
      int part = item / (blocks * ranges);
      int at =
          (blockAdapters.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + blockExperts.get(block))
              * SliceTable.INTS;
      int ranks =
          slices.get(at + SliceTable.RANK) + slices.get(at + SliceTable.FIELDS + SliceTable.RANK);
      int stackTiles = PackedLayout.rankTiles(ranks);
      int stackLongs = stackTiles * A_TILE;
      int firstTile = range * itemTiles;
      int validTiles = Math.min(itemTiles, stackTiles - firstTile);
      int first = part * share;
      int end = validTiles > 0 ? Math.min(stages, first + share) : first;
      // longs after the stack are of no rank that is stored, or of none that is read
      int a = slices.get(at + SliceTable.A) + firstTile * A_TILE + aStep * stackLongs + inStep;

      // where the longs of x begin that this thread copies
      int[] xFrom = new int[MAX_X];
      for (int i = 0; i < xCopies; i++) {
        int row = firstRow + i * rowStep;
        int position = block * blockSize + Math.min(row, blockSize - 1);
        int pair = sortedTokenIds.get(position);
        xFrom[i] = pair < pairs ? pair / sizes.get(Sizes.PAIRS_PER_ROW) * (inputWidth / 4) : 0;
      }

      float[] c00 = ctx.mmaFragment(0.0f);
      float[] c01 = ctx.mmaFragment(0.0f);
      float[] c02 = ctx.mmaFragment(0.0f);
      float[] c03 = ctx.mmaFragment(0.0f);
      float[] c04 = ctx.mmaFragment(0.0f);
      float[] c05 = ctx.mmaFragment(0.0f);
      float[] c06 = ctx.mmaFragment(0.0f);
      float[] c07 = ctx.mmaFragment(0.0f);
      float[] c10 = ctx.mmaFragment(0.0f);
      float[] c11 = ctx.mmaFragment(0.0f);
      float[] c12 = ctx.mmaFragment(0.0f);
      float[] c13 = ctx.mmaFragment(0.0f);
      float[] c14 = ctx.mmaFragment(0.0f);
      float[] c15 = ctx.mmaFragment(0.0f);
      float[] c16 = ctx.mmaFragment(0.0f);
      float[] c17 = ctx.mmaFragment(0.0f);
      long[] next = new long[MAX_LONGS];
      long[] xNext = new long[MAX_X];
      // an item without ranks copies what it finds, and computes nothing
      int opening = Math.min(first, stages - 1);
      for (int i = 0; i < copies; i++) {
        int step = steps * opening + i * threads / stepLongs;
        next[i] = pool.get(a + step * stackLongs + i * threads % stepLongs);
      }
      for (int i = 0; i < xCopies; i++) {
        xNext[i] = x.get(xFrom[i] + withinRow(opening * rowLongs + column, inputWidth));
      }
      ctx.localBarrier();
      // no branch may lie between the loop and mma: fragments survive only straight-line code
      for (int stage = first; stage < end; stage++) {
        int buffer = (stage - first) & 1;
        for (int i = 0; i < copies; i++) {
          aTiles[buffer * aStage + tid + i * threads] = next[i];
        }
        for (int i = 0; i < xCopies; i++) {
          xTiles[buffer * xStage + xTo + tileAt(i * rowStep, 0, steps)] = xNext[i];
        }
        int following = Math.min(stage + 1, end - 1);
        for (int i = 0; i < copies; i++) {
          int step = steps * following + i * threads / stepLongs;
          next[i] = pool.get(a + step * stackLongs + i * threads % stepLongs);
        }
        for (int i = 0; i < xCopies; i++) {
          xNext[i] = x.get(xFrom[i] + withinRow(following * rowLongs + column, inputWidth));
        }
        ctx.localBarrier();
        for (int i = 0; i < steps / stepWarps; i++) {
          int k = stepWarp + i * stepWarps;
          int xAt = 8 * (buffer * xStage + (rowTile * steps + k) * xTile) + xLane;
          int aAt = 8 * (buffer * aStage + (k * itemTiles + rankTile) * A_TILE);
          HalfFloat[] x0 = ctx.mmaLoadA(LocalTile.ints(xTiles), 16, xAt);
          HalfFloat[] x1 = x0;
          if (rowTiles > 1) {
            x1 = ctx.mmaLoadA(LocalTile.ints(xTiles), 16, xAt + 8 * steps * xTile);
          }
          // all loads before the products
          HalfFloat[] a0 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt);
          HalfFloat[] a1 = a0;
          HalfFloat[] a2 = a0;
          HalfFloat[] a3 = a0;
          HalfFloat[] a4 = a0;
          HalfFloat[] a5 = a0;
          HalfFloat[] a6 = a0;
          HalfFloat[] a7 = a0;
          if (rankTiles > 1) {
            a1 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt + 8 * A_TILE);
          }
          if (rankTiles > 2) {
            a2 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt + 16 * A_TILE);
            a3 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt + 24 * A_TILE);
          }
          if (rankTiles > 4) {
            a4 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt + 32 * A_TILE);
            a5 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt + 40 * A_TILE);
            a6 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt + 48 * A_TILE);
            a7 = ctx.mmaLoadB(LocalTile.ints(aTiles), 16, aAt + 56 * A_TILE);
          }
          c00 = product(ctx, x0, a0, c00, bf16);
          if (rankTiles > 1) {
            c01 = product(ctx, x0, a1, c01, bf16);
          }
          if (rankTiles > 2) {
            c02 = product(ctx, x0, a2, c02, bf16);
            c03 = product(ctx, x0, a3, c03, bf16);
          }
          if (rankTiles > 4) {
            c04 = product(ctx, x0, a4, c04, bf16);
            c05 = product(ctx, x0, a5, c05, bf16);
            c06 = product(ctx, x0, a6, c06, bf16);
            c07 = product(ctx, x0, a7, c07, bf16);
          }
          if (rowTiles > 1) {
            c10 = product(ctx, x1, a0, c10, bf16);
            if (rankTiles > 1) {
              c11 = product(ctx, x1, a1, c11, bf16);
            }
            if (rankTiles > 2) {
              c12 = product(ctx, x1, a2, c12, bf16);
              c13 = product(ctx, x1, a3, c13, bf16);
            }
            if (rankTiles > 4) {
              c14 = product(ctx, x1, a4, c14, bf16);
              c15 = product(ctx, x1, a5, c15, bf16);
              c16 = product(ctx, x1, a6, c16, bf16);
              c17 = product(ctx, x1, a7, c17, bf16);
            }
          }
        }
      }

      int row = (part * blocks + block) * rows;
      if (stepWarps > 1) {
        int sumsRow = stepWarp * rows + rowTile * 16;
        int rank = rankTile * 8;
        FloatArray to = LocalTile.floats(sums);
        store(ctx, c00, c10, to, sumsRow, rank, sumsStride, rowTiles);
        if (rankTiles > 1) {
          store(ctx, c01, c11, to, sumsRow, rank + 8, sumsStride, rowTiles);
        }
        if (rankTiles > 2) {
          store(ctx, c02, c12, to, sumsRow, rank + 16, sumsStride, rowTiles);
          store(ctx, c03, c13, to, sumsRow, rank + 24, sumsStride, rowTiles);
        }
        if (rankTiles > 4) {
          store(ctx, c04, c14, to, sumsRow, rank + 32, sumsStride, rowTiles);
          store(ctx, c05, c15, to, sumsRow, rank + 40, sumsStride, rowTiles);
          store(ctx, c06, c16, to, sumsRow, rank + 48, sumsStride, rowTiles);
          store(ctx, c07, c17, to, sumsRow, rank + 56, sumsStride, rowTiles);
        }
        ctx.localBarrier();
        // tid, in a form that keeps the compiler from holding all these addresses from item to item
        int thread = tid ^ (ranks >> 31);
        for (int i = 0; i < rows * 8 * itemTiles / threads; i++) {
          int index = thread + i * threads;
          int r = index % (8 * itemTiles);
          int from = ArrayHeaders.LOCAL_FLOATS + index / (8 * itemTiles) * sumsStride + r;
          float sum = sums[from];
          for (int w = 1; w < stepWarps; w++) {
            sum += sums[from + w * rows * sumsStride];
          }
          if (r < 8 * validTiles) {
            z.set((row + index / (8 * itemTiles)) * zStride + firstTile * 8 + r, sum);
          }
        }
      } else if (rankTile < validTiles) {
        int firstRank = (firstTile + rankTile) * 8 + ArrayHeaders.DEVICE_FLOATS;
        row += rowTile * 16;
        store(ctx, c00, c10, z, row, firstRank, zStride, rowTiles);
        if (rankTiles > 1) {
          store(ctx, c01, c11, z, row, firstRank + 8, zStride, rowTiles);
        }
        if (rankTiles > 2) {
          store(ctx, c02, c12, z, row, firstRank + 16, zStride, rowTiles);
          store(ctx, c03, c13, z, row, firstRank + 24, zStride, rowTiles);
        }
        if (rankTiles > 4) {
          store(ctx, c04, c14, z, row, firstRank + 32, zStride, rowTiles);
          store(ctx, c05, c15, z, row, firstRank + 40, zStride, rowTiles);
          store(ctx, c06, c16, z, row, firstRank + 48, zStride, rowTiles);
          store(ctx, c07, c17, z, row, firstRank + 56, zStride, rowTiles);
        }
      }
    }
  }

  /** Longs from one half of a tile of x to the next: those that 16 lanes store differ in banks. */
  private static int xHalf(int steps) {
    return X_HALF + 8 / steps;
  }

  /** Long of a stage of x where a long of a row belongs. */
  private static int tileAt(int row, int column, int steps) {
    int half = ((row >> 4) * steps + (column >> 2)) * 2 + ((column >> 1) & 1);
    return half * xHalf(steps) + (row & 15) * 2 + (column & 1);
  }

  /**
   * Beyond H, where A is padded with zeros, the first element; whether there is a beyond is known
   * when the kernel is compiled.
   */
  private static int withinRow(int column, int inputWidth) {
    return inputWidth % PackedLayout.STAGE_WIDTH == 0 || 4 * column < inputWidth ? column : 0;
  }

  /** Stores the tile of 16 rows, and if a warp has two row tiles, the one below it. */
  private static void store(
      KernelContext ctx,
      float[] upper,
      float[] lower,
      FloatArray to,
      int row,
      int rank,
      int stride,
      int rowTiles) {
    ctx.mmaStore(upper, to, row, rank, stride);
    if (rowTiles > 1) {
      ctx.mmaStore(lower, to, row + 16, rank, stride);
    }
  }

  private static float[] product(
      KernelContext ctx, HalfFloat[] x, HalfFloat[] a, float[] sum, int bf16) {
    return bf16 != 0
        ? ctx.mmaBF16(x, a, sum, MMAShape.M16N8K16)
        : ctx.mma(x, a, sum, MMAShape.M16N8K16);
  }
}
