package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Shrink and expand of a few rows in one launch, for 16-bit types; z stays on chip.
 *
 * <p>With so few rows there is nothing to do but to read the weights once, and every launch and
 * every barrier before the first load costs as much as thousands of them. So the products are plain
 * multiply-adds on weights that go from memory to registers, and a work-group that needs z of a
 * block computes it itself, even if others do the same.
 */
public final class OneShot {
  /** Threads of a work-group. */
  public static final int THREADS = 256;

  /** Most rows of a block. */
  public static final int MAX_ROWS = 2;

  /** Columns that the shares of a slice are counted in. */
  public static final int CHUNK = 64;

  private static final int WARPS = THREADS / 32;

  /** Floats of x on chip: a segment of H for each row. */
  private static final int X_FLOATS = 4096;

  /** Words of x that a thread copies. */
  private static final int X_WORDS = X_FLOATS / 2 / THREADS;

  /** Most longs of A that a thread has under way. */
  private static final int A_BATCH = 16;

  /** Longs of a tile of A: 16 elements of H times 8 ranks. */
  private static final int A_LONGS = PackedLayout.TILE / PackedLayout.LONG;

  /** Longs of B that a thread copies at once. */
  private static final int B_BATCH = 8;

  /** Longs of B on chip: 512 columns times 16 ranks or the same with more ranks, and padding. */
  private static final int B_LONGS = B_BATCH * THREADS + 128;

  /** Floats of a row of z. */
  private static final int Z_WIDTH = 256;

  private OneShot() {}

  /**
   * {@code y[p, offset + c] (+)= scale * w[p]? * sum_r b[c, r] * sum_h a[h, r] * x[row of p, h]}.
   * Elements of y without a delta are not touched.
   *
   * <p>Grid: {@code groups} work-groups of {@link #THREADS} threads take the items (block, slice,
   * share of the columns) in turn; there are more shares per slice when there are fewer blocks.
   * Shrink: a warp reads tiles of A, a lane of it 4 ranks of one element of H, and adds up in
   * registers; the lanes' sums meet by shuffles, the warps' in local memory. Expand: B passes
   * through local memory; a thread has 4 columns and a share of the ranks.
   *
   * @param sizes in, see {@link Sizes}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param poolA in, bfloat16, A as {@link PackedLayout} says; not used for float16
   * @param poolB in, bfloat16, B as {@link PackedLayout} says; not used for float16
   * @param halvesA in, float16, A as {@link PackedLayout} says; not used for bfloat16
   * @param halvesB in, float16, B as {@link PackedLayout} says; not used for bfloat16
   * @param xInts in, bfloat16 {@code [T, H]} or {@code [P, H]} in words of two; not used for
   *     float16
   * @param xHalves in, float16 {@code [T, H]} or {@code [P, H]}; not used for bfloat16
   * @param routingWeights in, float32 {@code [P]}
   * @param yInts in and out, bfloat16 {@code [P, yWidth]} in words of two; not used for float16
   * @param yHalves in and out, float16 {@code [P, yWidth]}; not used for bfloat16
   * @param rows rows of a block: 1 or 2
   * @param bf16 1 for bfloat16, 0 for float16
   */
  public static void compute(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray scales,
      LongArray poolA,
      LongArray poolB,
      HalfFloatArray halvesA,
      HalfFloatArray halvesB,
      IntArray xInts,
      HalfFloatArray xHalves,
      FloatArray routingWeights,
      IntArray yInts,
      HalfFloatArray yHalves,
      int rows,
      int groups,
      int bf16) {
    float[] xs = ctx.allocateFloatLocalArray(X_FLOATS);
    long[] bLongs = ctx.allocateLongLocalArray(bf16 != 0 ? B_LONGS : 1);
    Half2[] bHalves = ctx.allocateHalf2LocalArray(bf16 != 0 ? 1 : 2 * B_LONGS);
    float[] z = ctx.allocateFloatLocalArray(rows * Z_WIDTH);
    float[] sums = ctx.allocateFloatLocalArray(WARPS * rows * PackedLayout.TILE_RANKS);
    int tid = ctx.localIdx;
    int warp = tid >> 5;
    int lane = tid & 31;
    // more sums leave fewer registers for what is under way
    int batch = A_BATCH / (rows > 1 ? 2 : 1);
    int xWidth = X_FLOATS / rows;
    int xRowWords = xWidth / 2;

    int blocks = counts.get(PlanFormat.ACTIVE_BLOCKS);
    int blockSize = counts.get(PlanFormat.BLOCK_SIZE);
    int pairs = counts.get(PlanFormat.PAIRS);
    int perSite = slices.get(SliceTable.MOST_SLICES);
    int shares = PackedLayout.shares(sizes, blocks * perSite);
    int items = blocks * perSite * shares;
    int inputWidth = sizes.get(Sizes.INPUT_WIDTH);
    int tileRows = 4 * sizes.get(Sizes.STAGES);
    int segments = (16 * tileRows + xWidth - 1) / xWidth;
    for (int item = ctx.groupIdx; item < items; item += groups) {
      int blockSlice = item / shares;
      int share = item - blockSlice * shares;
      int block = blockSlice / perSite;
      int second = blockSlice - block * perSite;
      int site =
          blockAdapters.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + blockExperts.get(block);
      int at = site * SliceTable.INTS;
      int slice = at + second * SliceTable.FIELDS;
      int columns = slices.get(slice + SliceTable.COLUMNS);
      int chunks = (columns + CHUNK - 1) / CHUNK;
      int perShare = (chunks + shares - 1) / shares;
      int firstColumn = share * perShare * CHUNK;
      int endColumn = Math.min(columns, firstColumn + perShare * CHUNK);
      if (firstColumn < endColumn) {
        int rank = slices.get(slice + SliceTable.RANK);
        int rank0 = slices.get(at + SliceTable.RANK);
        int stackTiles =
            PackedLayout.rankTiles(rank0 + slices.get(at + SliceTable.FIELDS + SliceTable.RANK));
        int firstRank = second * rank0;
        int firstTile = firstRank >> 3;
        int tiles = ((firstRank + rank - 1) >> 3) - firstTile + 1;
        // a pass takes up to 8 tiles of ranks; with fewer, several warps share the H of one
        int tileShift = tiles > 4 ? 3 : tiles > 2 ? 2 : tiles - 1;
        int passTiles = 1 << tileShift;
        int passes = (tiles + passTiles - 1) >> tileShift;
        int warpShift = 3 - tileShift;
        int tileWarps = 1 << warpShift;
        int firstRow = warp & (tileWarps - 1);
        int warpTile = warp >> warpShift;
        int a = slices.get(at + SliceTable.A) + firstTile * A_LONGS + lane;
        int rowLongs = stackTiles * A_LONGS;

        long[] next = new long[A_BATCH];
        if (bf16 != 0) {
          int tileAt = a + Math.min(warpTile, tiles - 1) * A_LONGS;
          for (int i = 0; i < batch; i++) {
            int row = Math.min(firstRow + i * tileWarps, tileRows - 1);
            next[i] = poolA.get(tileAt + row * rowLongs);
          }
        }
        int[] xFrom = new int[MAX_ROWS];
        for (int i = 0; i < rows; i++) {
          int pair = sortedTokenIds.get(block * blockSize + Math.min(i, blockSize - 1));
          int xRow = pair < pairs ? pair / sizes.get(Sizes.PAIRS_PER_ROW) : 0;
          xFrom[i] = (xRow * inputWidth) >> 1;
        }
        int b = slices.get(slice + SliceTable.B);
        int units = PackedLayout.rankUnits(rank);
        int lastTile = PackedLayout.columnTiles(columns) - 1;
        int width = endColumn - firstColumn;
        int slabShift = width > 256 ? 0 : width > 128 ? 1 : width > 64 ? 2 : 3;
        int slabRanks = 16 << slabShift;
        int slabs = (8 * units + slabRanks - 1) / slabRanks;
        long[] bNext = new long[B_BATCH];
        if (bf16 != 0 && rows == 1) {
          for (int i = 0; i < B_BATCH; i++) {
            bNext[i] =
                poolB.get(b + bLong(tid + i * THREADS, firstColumn, 0, slabShift, units, lastTile));
          }
        }
        float[] c = new float[4 * MAX_ROWS];
        for (int segment = 0; segment < segments; segment++) {
          // all is read before any of it is stored, which would make each load wait for the last
          int[] xWords = new int[X_WORDS];
          float[] xPairs = new float[2 * X_WORDS];
          for (int i = 0; i < X_WORDS; i++) {
            int word = segment * xRowWords + (tid + i * THREADS) % xRowWords;
            int from = xFrom[i * rows / X_WORDS] + Math.min(word, (inputWidth >> 1) - 1);
            if (bf16 != 0) {
              xWords[i] = xInts.get(from);
            } else {
              Half2 v = Halves.get(xHalves, 2 * from);
              xPairs[2 * i] = Half2.lowFloat(v);
              xPairs[2 * i + 1] = Half2.highFloat(v);
            }
          }
          ctx.localBarrier();
          for (int i = 0; i < X_WORDS; i++) {
            int word = tid + i * THREADS;
            int h = segment * xWidth + 2 * (word % xRowWords);
            float low = bf16 != 0 ? BFloat16.bf16ToFloat((short) xWords[i]) : xPairs[2 * i];
            float high =
                bf16 != 0 ? BFloat16.bf16ToFloat((short) (xWords[i] >>> 16)) : xPairs[2 * i + 1];
            // beyond H, where A is padded with zeros, x is 0
            xs[2 * word] = h < inputWidth ? low : 0.0f;
            xs[2 * word + 1] = h < inputWidth ? high : 0.0f;
          }
          // B is padded with ranks of zeros, for which z must be finite
          if (segment == 0 && tid < 16 * rows) {
            int r = rank + (tid & 15);
            if (r < Z_WIDTH) {
              z[(tid >> 4) * Z_WIDTH + r] = 0.0f;
            }
          }
          ctx.localBarrier();
          int segmentRow = segment * xWidth / 16;
          int endRow = Math.min(tileRows, segmentRow + xWidth / 16);
          for (int pass = 0; pass < passes; pass++) {
            int tile = Math.min((pass << tileShift) + warpTile, tiles - 1);
            int tileAt = a + tile * A_LONGS;
            if (passes > 1 || segment == 0) {
              for (int i = 0; i < 4 * rows; i++) {
                c[i] = 0.0f;
              }
            }
            int followingPass = pass + 1 < passes ? pass + 1 : 0;
            int following =
                a + Math.min((followingPass << tileShift) + warpTile, tiles - 1) * A_LONGS;
            int followingRow = firstRow + (pass + 1 < passes ? segmentRow : endRow);
            for (int first = segmentRow + firstRow; first < endRow; first += batch * tileWarps) {
              boolean last = first + batch * tileWarps >= endRow;
              int from = last ? following : tileAt;
              int row0 = last ? followingRow : first + batch * tileWarps;
              // TornadoVM has no way from a long in a register to the float16 numbers in it
              float[] numbers = new float[4 * A_BATCH];
              if (bf16 == 0) {
                for (int i = 0; i < batch; i++) {
                  int row = Math.min(first + i * tileWarps, tileRows - 1);
                  Half2 low = Halves.get(halvesA, 4 * (tileAt + row * rowLongs));
                  Half2 high = Halves.get(halvesA, 4 * (tileAt + row * rowLongs) + 2);
                  numbers[4 * i] = Half2.lowFloat(low);
                  numbers[4 * i + 1] = Half2.highFloat(low);
                  numbers[4 * i + 2] = Half2.lowFloat(high);
                  numbers[4 * i + 3] = Half2.highFloat(high);
                }
              }
              for (int i = 0; i < batch; i++) {
                long value = next[i];
                if (bf16 != 0) {
                  next[i] =
                      poolA.get(from + Math.min(row0 + i * tileWarps, tileRows - 1) * rowLongs);
                }
                int row = first + i * tileWarps;
                if (row < endRow) {
                  float a0;
                  float a1;
                  float a2;
                  float a3;
                  if (bf16 != 0) {
                    a0 = BFloat16.bf16ToFloat((short) value);
                    a1 = BFloat16.bf16ToFloat((short) (value >>> 16));
                    a2 = BFloat16.bf16ToFloat((short) (value >>> 32));
                    a3 = BFloat16.bf16ToFloat((short) (value >>> 48));
                  } else {
                    a0 = numbers[4 * i];
                    a1 = numbers[4 * i + 1];
                    a2 = numbers[4 * i + 2];
                    a3 = numbers[4 * i + 3];
                  }
                  int xAt = 16 * (row - segmentRow) + (lane >> 1);
                  for (int k = 0; k < rows; k++) {
                    float v = xs[xAt + k * xWidth];
                    c[4 * k] += a0 * v;
                    c[4 * k + 1] += a1 * v;
                    c[4 * k + 2] += a2 * v;
                    c[4 * k + 3] += a3 * v;
                  }
                }
              }
            }
            if (passes > 1 || segment == segments - 1) {
              for (int i = 0; i < 4 * rows; i++) {
                float sum = c[i];
                sum += ctx.simdShuffleDown(sum, 16);
                sum += ctx.simdShuffleDown(sum, 8);
                sum += ctx.simdShuffleDown(sum, 4);
                sum += ctx.simdShuffleDown(sum, 2);
                if (lane < 2) {
                  sums[(warp * rows + (i >> 2)) * 8 + 4 * lane + (i & 3)] = sum;
                }
              }
              ctx.localBarrier();
              int row = tid >> (3 + tileShift);
              int inPass = tid & (8 * passTiles - 1);
              int r = 8 * (firstTile + (pass << tileShift)) + inPass - firstRank;
              if (row < rows && r >= 0 && r < rank) {
                float sum = passes > 1 && segment > 0 ? z[row * Z_WIDTH + r] : 0.0f;
                int from = (((inPass >> 3) << warpShift) * rows + row) * 8 + (inPass & 7);
                for (int w = 0; w < tileWarps; w++) {
                  sum += sums[from + w * rows * 8];
                }
                z[row * Z_WIDTH + r] = sum;
              }
              ctx.localBarrier();
            }
          }
        }

        if (bf16 != 0 && rows > 1) {
          for (int i = 0; i < B_BATCH; i++) {
            bNext[i] =
                poolB.get(b + bLong(tid + i * THREADS, firstColumn, 0, slabShift, units, lastTile));
          }
        }
        // expand: a slab is 512 columns times 16 ranks, or fewer columns times more ranks
        int slabColumns = 512 >> slabShift;
        int quads = slabColumns >> 2;
        int quad = tid & (quads - 1);
        int rankGroup = tid >> (7 - slabShift);
        int rankGroups = 2 << slabShift;
        int tileStride = 2 * slabRanks + 2;
        int yWords = slabColumns >> 1;
        for (int column = firstColumn; column < endColumn; column += slabColumns) {
          // y is read before it is needed; a thread has a word of up to as many rows
          int[] targets = new int[MAX_ROWS];
          int[] old = new int[MAX_ROWS];
          float[] lows = new float[MAX_ROWS];
          float[] highs = new float[MAX_ROWS];
          for (int i = 0; i < rows; i++) {
            int word = tid + i * THREADS;
            int row = Math.min(word / yWords, rows - 1);
            int inRow = word & (yWords - 1);
            int pair = pairs;
            if (word < rows * yWords && row < blockSize && column + 2 * inRow < endColumn) {
              pair = sortedTokenIds.get(block * blockSize + row);
            }
            targets[i] = -1;
            old[i] = 0;
            lows[i] = 0.0f;
            highs[i] = 0.0f;
            if (pair < pairs) {
              int to =
                  sizes.get(Sizes.COLUMN_OFFSET)
                      + slices.get(slice + SliceTable.FIRST_COLUMN)
                      + column;
              targets[i] = ((pair * sizes.get(Sizes.Y_WIDTH) + to) >> 1) + inRow;
              if (sizes.get(Sizes.ADD) != 0) {
                if (bf16 != 0) {
                  old[i] = yInts.get(targets[i]);
                } else {
                  Half2 v = Halves.get(yHalves, 2 * targets[i]);
                  lows[i] = Half2.lowFloat(v);
                  highs[i] = Half2.highFloat(v);
                }
              }
            }
          }
          float[] d = new float[4 * MAX_ROWS];
          for (int i = 0; i < 4 * rows; i++) {
            d[i] = 0.0f;
          }
          for (int slab = 0; slab < slabs; slab++) {
            int ranks = Math.min(slabRanks, 8 * units - slab * slabRanks);
            float[] bNumbers = new float[4 * B_BATCH];
            if (bf16 == 0) {
              for (int i = 0; i < B_BATCH; i++) {
                int index = tid + i * THREADS;
                int from = 4 * (b + bLong(index, column, slab, slabShift, units, lastTile));
                Half2 low = Halves.get(halvesB, from);
                Half2 high = Halves.get(halvesB, from + 2);
                bNumbers[4 * i] = Half2.lowFloat(low);
                bNumbers[4 * i + 1] = Half2.highFloat(low);
                bNumbers[4 * i + 2] = Half2.lowFloat(high);
                bNumbers[4 * i + 3] = Half2.highFloat(high);
              }
            }
            for (int i = 0; i < B_BATCH; i++) {
              int index = tid + i * THREADS;
              int to = (index >> (5 + slabShift)) * tileStride + (index & (2 * slabRanks - 1));
              if (bf16 != 0) {
                bLongs[to] = bNext[i];
              } else {
                bHalves[2 * to] = Half2.fromFloats(bNumbers[4 * i], bNumbers[4 * i + 1]);
                bHalves[2 * to + 1] = Half2.fromFloats(bNumbers[4 * i + 2], bNumbers[4 * i + 3]);
              }
            }
            if (bf16 != 0) {
              int followingSlab = slab + 1 < slabs ? slab + 1 : 0;
              int followingColumn = column + (slab + 1 < slabs ? 0 : slabColumns);
              for (int i = 0; i < B_BATCH; i++) {
                bNext[i] =
                    poolB.get(
                        b
                            + bLong(
                                tid + i * THREADS,
                                followingColumn,
                                followingSlab,
                                slabShift,
                                units,
                                lastTile));
              }
            }
            ctx.localBarrier();
            int perGroup = (ranks + rankGroups - 1) / rankGroups;
            int endRank = Math.min(ranks, (rankGroup + 1) * perGroup);
            for (int r = rankGroup * perGroup; r < endRank; r++) {
              int from = (quad >> 1) * tileStride + 2 * r + (quad & 1);
              float b0;
              float b1;
              float b2;
              float b3;
              if (bf16 != 0) {
                long value = bLongs[from];
                b0 = BFloat16.bf16ToFloat((short) value);
                b1 = BFloat16.bf16ToFloat((short) (value >>> 16));
                b2 = BFloat16.bf16ToFloat((short) (value >>> 32));
                b3 = BFloat16.bf16ToFloat((short) (value >>> 48));
              } else {
                Half2 low = bHalves[2 * from];
                Half2 high = bHalves[2 * from + 1];
                b0 = Half2.lowFloat(low);
                b1 = Half2.highFloat(low);
                b2 = Half2.lowFloat(high);
                b3 = Half2.highFloat(high);
              }
              for (int k = 0; k < rows; k++) {
                float v = z[k * Z_WIDTH + slab * slabRanks + r];
                d[4 * k] += b0 * v;
                d[4 * k + 1] += b1 * v;
                d[4 * k + 2] += b2 * v;
                d[4 * k + 3] += b3 * v;
              }
            }
            ctx.localBarrier();
          }
          for (int i = 0; i < 4 * rows; i++) {
            xs[(rankGroup * 4 * rows + i) * quads + quad] = d[i];
          }
          ctx.localBarrier();
          for (int i = 0; i < rows; i++) {
            if (targets[i] >= 0) {
              int word = tid + i * THREADS;
              int row = word / yWords;
              int inRow = word & (yWords - 1);
              int position = PackedLayout.position(2 * inRow);
              int from = (4 * row + (position & 3)) * quads + (position >> 2);
              float low = 0.0f;
              float high = 0.0f;
              for (int g = 0; g < rankGroups; g++) {
                low += xs[from + g * 4 * rows * quads];
                // the next column lies 8 positions on
                high += xs[from + g * 4 * rows * quads + 2];
              }
              float factor = scales.get(2 * site + second);
              if (sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
                factor *= routingWeights.get(sortedTokenIds.get(block * blockSize + row));
              }
              if (bf16 != 0) {
                low = factor * low + BFloat16.bf16ToFloat((short) old[i]);
                high = factor * high + BFloat16.bf16ToFloat((short) (old[i] >>> 16));
                yInts.set(targets[i], bf16Word(low, high));
              } else {
                Halves.set(
                    yHalves,
                    2 * targets[i],
                    Half2.fromFloats(factor * low + lows[i], factor * high + highs[i]));
              }
            }
          }
        }
      }
    }
  }

  /** Where in B of a slice a long of a slab begins, or the last before where there is none. */
  private static int bLong(
      int index, int column, int slab, int slabShift, int units, int lastTile) {
    int tile = Math.min((column >> 3) + (index >> (5 + slabShift)), lastTile);
    int inTile = (slab << (5 + slabShift)) + (index & ((32 << slabShift) - 1));
    return tile * units * 16 + Math.min(inTile, 16 * units - 1);
  }

  private static int bf16Word(float lo, float hi) {
    // through long, because the code generator shifts a short within 16 bits
    long low = BFloat16.bf16FromFloat(lo);
    long high = BFloat16.bf16FromFloat(hi);
    return (int) ((high << 16) | (low & 0xffffL));
  }
}
