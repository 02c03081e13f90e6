package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.device.ArrayHeaders;
import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.device.LocalTile;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Expand on tensor cores, for 16-bit types: {@code y[p, offset + c] (+)= scale * w[p]? * sum_r b[c,
 * r] * z[row, r]}.
 *
 * <p>{@code mma} takes 16-bit operands, so each float32 of z goes in as the sum of two 16-bit
 * numbers. Of bfloat16 that leaves out at most 2<sup>-18</sup> of the number, less than what
 * summing 64 products in float32 may. Of float16, whose exponents are few, a row is first scaled by
 * a power of two.
 */
public final class MmaExpand {
  /** Ints of a 16 x 16 tile of z. */
  private static final int Z_TILE = 128;

  /** Ints of 8 columns of a tile of z. */
  private static final int Z_HALF = 64;

  /** Longs of a 16 x 8 tile of B. */
  private static final int B_TILE = 32;

  /** Longs of half a tile of B: 8 ranks of 8 columns. */
  private static final int B_UNIT = 16;

  /** Most longs of a chunk of B that a thread copies. */
  public static final int MAX_LONGS = 16;

  /** Threads of a work-group. */
  public static final int THREADS = 128;

  /** Longs after B of the last slice, whose last chunk is read whole. */
  public static final int SPARE = MAX_LONGS * THREADS;

  /** Most longs of four columns that a thread has of a chunk. */
  private static final int MAX_TARGETS = 8;

  /** Longs of y of a thread that are added to, read and stored together. */
  private static final int Y_BATCH = 4;

  /** Most numbers of z that a thread reads before the first is needed. */
  private static final int Z_BATCH = 8;

  /** Float16 rows are scaled by powers of this until their largest magnitude is below the next. */
  private static final float SCALE_STEP = 0x1p8f;

  private static final float LARGEST = 0x1p15f;

  private MmaExpand() {}

  /**
   * Expand. Elements of y without a delta are not touched.
   *
   * <p>Grid: {@code groups} work-groups of {@link #THREADS} threads take the items (block, slice,
   * share of the columns) in turn; there are more shares per slice when there are fewer blocks. The
   * block's rows of z, summed over their parts, go to local memory as pairs of 16-bit numbers; then
   * chunk after chunk of columns of B arrives there, one ahead of the products, as y may in
   * registers. A warp computes 16 rows of up to 64 columns of a chunk, and each thread then adds
   * longs of four columns to y.
   *
   * @param sizes in, see {@link Sizes}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param pool in, 16-bit, B as {@link PackedLayout} says, and {@link #SPARE} longs of anything
   * @param z in, float32 {@code [parts, blocks, blockRows, zStride]}, as {@link MmaShrink} writes
   * @param routingWeights in, float32 {@code [P]}
   * @param yLongs in and out, bfloat16 {@code [P, yWidth]} in longs of four; not used for float16
   * @param yHalves in and out, float16 {@code [P, yWidth]}; not used for bfloat16
   * @param maxSteps most steps of 16 ranks of a slice
   * @param blockRows rows of a block of z, a multiple of {@code rows}
   * @param rows rows of an item: 16, 32 or 64
   * @param chunk columns of a chunk: 32, or a power of two up to 4096 / rows
   * @param bf16 1 for bfloat16, 0 for float16
   */
  public static void expand(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray scales,
      LongArray pool,
      FloatArray z,
      FloatArray routingWeights,
      LongArray yLongs,
      HalfFloatArray yHalves,
      int zStride,
      int maxSteps,
      int blockRows,
      int rows,
      int chunk,
      int groups,
      int bf16) {
    long[] bTiles = ctx.allocateLongLocalArray(chunk / 8 * maxSteps * B_TILE);
    int[] zTiles = ctx.allocateIntLocalArray(2 * rows / 16 * maxSteps * Z_TILE);
    float[] sums =
        ctx.allocateFloatLocalArray(ArrayHeaders.LOCAL_FLOATS + rows * sumsStride(chunk));
    int[] yFrom = ctx.allocateIntLocalArray(rows);
    float[] factors = ctx.allocateFloatLocalArray(rows);
    int[] used = ctx.allocateIntLocalArray(1);
    int tid = ctx.localIdx;
    int warp = tid >> 5;
    int rowTiles = rows / 16;
    int rowTile = warp % rowTiles;
    // columns of a chunk, in tiles of 8, that a warp computes
    int warpTiles = chunk / 8 * rowTiles / (THREADS / 32);
    int firstTile = warp / rowTiles * warpTiles;
    boolean fewTiles = warpTiles <= 4;
    int stride = sumsStride(chunk);
    int rowLongs = chunk / 4;
    int targets = rows * rowLongs / THREADS;
    int targetRows = THREADS / rowLongs;
    int yBatch = Math.min(targets, Y_BATCH);
    int targetRow = tid / rowLongs;
    int inTargetRow = tid & (rowLongs - 1);
    int sumsFrom =
        ArrayHeaders.LOCAL_FLOATS
            + targetRow * stride
            + sumsColumn(4 * (inTargetRow >> 3))
            + (inTargetRow & 7);
    int rowThreads = THREADS / rows;
    int zPart = rowTiles * maxSteps * Z_TILE;
    // words of two ranks of a row of z that a thread has, and that it has at a time
    int mostWords = 8 * maxSteps / rowThreads;
    int batch = fewTiles ? Math.min(mostWords, Z_BATCH / 2) : 1;
    // where a thread has much to do, more at once would cost registers, and a work-group with them
    int atOnce = fewTiles ? 2 * batch : 1;
    // mmaLoadA takes rows of 32 bytes, which would share banks; each lane corrects its own address
    int lane = tid & 31;
    int zLane = (lane >> 4) * (4 * Z_HALF - 16) - (lane & 15) * 16;
    int copies = (chunk / 8 * maxSteps * 2 * B_UNIT + THREADS - 1) / THREADS;
    // one step of the rank makes straight-line code, for whose registers few copies leave room
    boolean straight = maxSteps == 1 && copies <= 4;
    // where a thread copies much of B, y a chunk ahead or fewer tiles at once only make B late
    boolean fewCopies = copies <= 8;
    int tilesAtOnce = fewCopies ? 4 : 8;

    int blocks = counts.get(PlanFormat.ACTIVE_BLOCKS);
    int blockSize = counts.get(PlanFormat.BLOCK_SIZE);
    int pairs = counts.get(PlanFormat.PAIRS);
    int ranges = PackedLayout.ranges(slices, sizes.get(Sizes.ITEM_RANKS));
    int parts = PackedLayout.parts(sizes, blocks * ranges);
    int partStride = blocks * blockRows * zStride;
    int perSite = slices.get(SliceTable.MOST_SLICES);
    int subs = blockRows / rows;
    int shares = PackedLayout.expandShares(sizes, blocks * subs * perSite, perSite);
    int items = blocks * subs * perSite * shares;
    int add = sizes.get(Sizes.ADD);
    for (int item = ctx.groupIdx; item < items; item += groups) {
      int blockSlice = item / shares;
      int share = item - blockSlice * shares;
      int rowsIndex = blockSlice / perSite;
      int second = blockSlice - rowsIndex * perSite;
      int block = rowsIndex / subs;
      int firstRow = (rowsIndex - block * subs) * rows;
      int site =
          blockAdapters.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + blockExperts.get(block);
      int at = site * SliceTable.INTS;
      int slice = at + second * SliceTable.FIELDS;
      int columns = slices.get(slice + SliceTable.COLUMNS);
      int chunks = (columns + chunk - 1) / chunk;
      int perShare = (chunks + shares - 1) / shares;
      int first = share * perShare;
      int end = Math.min(chunks, first + perShare);
      // rows without a pair come last in a block
      int position = block * blockSize + firstRow;
      boolean hasPairs = firstRow < blockSize && sortedTokenIds.get(position) < pairs;
      if (hasPairs && first < end) {
        int itemRows = Math.min(rows, blockSize - firstRow);
        int rank = slices.get(slice + SliceTable.RANK);
        int units = PackedLayout.rankUnits(rank);
        int steps = straight ? 1 : (units + 1) >> 1;
        int b = slices.get(slice + SliceTable.B);
        int tileLongs = units * B_UNIT;
        int chunkLongs = chunk / 8 * tileLongs;
        // B is read a chunk ahead, and before z is there
        long[] next = new long[MAX_LONGS];
        for (int i = 0; i < copies; i++) {
          int index = tid + i * THREADS;
          next[i] = 0L;
          if (straight || i * THREADS < chunkLongs) {
            next[i] = pool.get(b + first * chunkLongs + index);
          }
        }

        // no helper may index these arrays: TornadoVM then addresses them as if they were global
        int zRow = Math.min(tid / rowThreads, itemRows - 1);
        int inRow = tid % rowThreads;
        int zRowAt = block * blockRows + firstRow + zRow;
        int zFrom = zRowAt * zStride + second * slices.get(at + SliceTable.RANK);
        int pair = sortedTokenIds.get(position + zRow);
        float factor = scales.get(2 * site + second);
        if (pair < pairs && sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
          factor *= routingWeights.get(pair);
        }
        if (inRow == 0 && tid / rowThreads < itemRows) {
          int following = pairs;
          if (zRow + 1 < itemRows) {
            following = sortedTokenIds.get(position + zRow + 1);
          }
          int from = 0;
          if (pair < pairs) {
            if (following >= pairs) {
              used[0] = zRow + 1;
            }
            from = yLong(sizes, pair, slices.get(slice + SliceTable.FIRST_COLUMN));
          }
          yFrom[zRow] = from;
        }
        ctx.localBarrier();
        int usedRows = used[0];
        int lastLong = (columns >> 2) - 1;
        int zero = usedRows >> 31;
        int[] yAt = new int[MAX_TARGETS];
        for (int i = 0; i < targets; i++) {
          yAt[i] = yFrom[Math.min(targetRow + i * targetRows, usedRows - 1)];
        }

        int zWords = 8 * ((units + 1) >> 1) / rowThreads;
        float[] zSums = new float[Z_BATCH];
        float up = 1.0f;
        if (bf16 == 0) {
          float largest = 0.0f;
          for (int word = 0; word < zWords; word += batch) {
            int q = inRow + word * rowThreads;
            for (int i = 0; i < 2 * batch; i += atOnce) {
              sumParts(z, zSums, i, atOnce, zFrom, q, rowThreads, rank, parts, partStride);
            }
            for (int i = 0; i < 2 * batch; i++) {
              largest = Math.max(largest, Math.abs(zSums[i]));
            }
          }
          // the row's threads are neighbours in a warp; the first of them gets the maximum
          for (int d = rowThreads / 2; d > 0; d /= 2) {
            largest = Math.max(largest, ctx.simdShuffleDown(largest, d));
          }
          if (inRow == 0) {
            factors[tid / rowThreads] = largest;
          }
          ctx.localBarrier();
          largest = factors[tid / rowThreads];
          ctx.localBarrier();
          if (largest > 0.0f && largest < LARGEST * LARGEST * LARGEST) {
            while (largest >= LARGEST) {
              largest *= 1.0f / SCALE_STEP;
              up *= 1.0f / SCALE_STEP;
            }
            while (largest * SCALE_STEP < LARGEST) {
              largest *= SCALE_STEP;
              up *= SCALE_STEP;
            }
          }
        }
        if (bf16 != 0) {
          up = factor;
        } else if (inRow == 0 && tid / rowThreads < itemRows) {
          factors[zRow] = factor / up;
        }
        int rowAt = (zRow >> 4) * maxSteps * Z_TILE + (zRow & 15) * 4;
        for (int word = 0; word < zWords; word += batch) {
          // a single batch of float16 is still there
          if (bf16 != 0 || batch < mostWords) {
            int q = inRow + word * rowThreads;
            for (int i = 0; i < 2 * batch; i += atOnce) {
              sumParts(z, zSums, i, atOnce, zFrom, q, rowThreads, rank, parts, partStride);
            }
          }
          for (int i = 0; i < batch; i++) {
            int q = inRow + (word + i) * rowThreads;
            // beyond the rank z is 0
            float v0 = 2 * q < rank ? up * zSums[2 * i] : 0.0f;
            float v1 = 2 * q + 1 < rank ? up * zSums[2 * i + 1] : 0.0f;
            int to = rowAt + (q >> 2) * Z_HALF + (q & 3);
            if (q < 8 * steps) {
              if (bf16 != 0) {
                int high = bf16Word(v0, v1);
                zTiles[to] = high;
                zTiles[zPart + to] =
                    bf16Word(
                        v0 - BFloat16.bf16ToFloat((short) high),
                        v1 - BFloat16.bf16ToFloat((short) (high >>> 16)));
              } else {
                Half2 high = Half2.fromFloats(v0, v1);
                zTiles[to] = fp16Word(v0, v1);
                zTiles[zPart + to] =
                    fp16Word(v0 - Half2.lowFloat(high), v1 - Half2.highFloat(high));
              }
            }
          }
        }

        int readRows = add == 0 ? 0 : fewTiles ? usedRows : rows;
        long[] old = new long[MAX_TARGETS];
        for (int i = 0; i < targets; i++) {
          old[i] = 0L;
        }
        if (bf16 != 0 && fewCopies) {
          int readLong = Math.min(first * rowLongs + inTargetRow, lastLong);
          readLongs(yLongs, old, 0, targets, yAt, readLong, targetRows, readRows);
        }
        for (int c = first; c < end; c++) {
          if (units > 1) {
            // the same number of longs for each thread
            for (int i = 0; i < copies; i++) {
              if (straight || i * THREADS < chunkLongs) {
                bTiles[tid + i * THREADS] = next[i];
              }
            }
          } else {
            // a unit alone stands in for the step's other one too, where z is 0
            for (int i = 0; i < copies; i++) {
              int index = tid + i * THREADS;
              if (index < chunkLongs) {
                int to = (index >> 4) * B_TILE + (index & (B_UNIT - 1));
                bTiles[to] = next[i];
                bTiles[to + B_UNIT] = next[i];
              }
            }
          }
          int firstLong = c * rowLongs;
          int readLong = Math.min(firstLong + inTargetRow, lastLong);
          if (bf16 != 0 && !fewCopies) {
            readLongs(yLongs, old, 0, targets, yAt, readLong, targetRows, readRows);
          }
          // a delta alone reads one place of y, and does not use it
          int mask = add != 0 ? -1 : 0;
          // float16 cannot wait in an array but as floats, which take twice the registers; of each
          // long, y has the first two columns and w the last two
          Half2 zeros = Half2.fromFloats(0.0f, 0.0f);
          Half2 y0 = zeros;
          Half2 w0 = zeros;
          Half2 y1 = zeros;
          Half2 w1 = zeros;
          Half2 y2 = zeros;
          Half2 w2 = zeros;
          Half2 y3 = zeros;
          Half2 w3 = zeros;
          Half2 y4 = zeros;
          Half2 w4 = zeros;
          Half2 y5 = zeros;
          Half2 w5 = zeros;
          Half2 y6 = zeros;
          Half2 w6 = zeros;
          Half2 y7 = zeros;
          Half2 w7 = zeros;
          if (bf16 == 0) {
            y0 = Halves.get(yHalves, 4 * ((yAt[0] + readLong) & mask));
            w0 = Halves.get(yHalves, 4 * ((yAt[0] + readLong) & mask) + 2);
            if (targets > 1) {
              y1 = Halves.get(yHalves, 4 * ((yAt[1] + readLong) & mask));
              w1 = Halves.get(yHalves, 4 * ((yAt[1] + readLong) & mask) + 2);
            }
            if (targets > 2) {
              y2 = Halves.get(yHalves, 4 * ((yAt[2] + readLong) & mask));
              w2 = Halves.get(yHalves, 4 * ((yAt[2] + readLong) & mask) + 2);
              y3 = Halves.get(yHalves, 4 * ((yAt[3] + readLong) & mask));
              w3 = Halves.get(yHalves, 4 * ((yAt[3] + readLong) & mask) + 2);
            }
            if (targets > 4) {
              y4 = Halves.get(yHalves, 4 * ((yAt[4] + readLong) & mask));
              w4 = Halves.get(yHalves, 4 * ((yAt[4] + readLong) & mask) + 2);
              y5 = Halves.get(yHalves, 4 * ((yAt[5] + readLong) & mask));
              w5 = Halves.get(yHalves, 4 * ((yAt[5] + readLong) & mask) + 2);
              y6 = Halves.get(yHalves, 4 * ((yAt[6] + readLong) & mask));
              w6 = Halves.get(yHalves, 4 * ((yAt[6] + readLong) & mask) + 2);
              y7 = Halves.get(yHalves, 4 * ((yAt[7] + readLong) & mask));
              w7 = Halves.get(yHalves, 4 * ((yAt[7] + readLong) & mask) + 2);
            }
          }
          int following = Math.min(c + 1, end - 1) * chunkLongs;
          for (int i = 0; i < copies; i++) {
            if (straight || i * THREADS < chunkLongs) {
              int index = tid + i * THREADS;
              next[i] = pool.get(b + following + index);
            }
          }
          ctx.localBarrier();
          int zAt = 4 * rowTile * maxSteps * Z_TILE + zLane;
          int next8 = 8 * steps * B_TILE;
          for (int tile = firstTile; tile < firstTile + warpTiles; tile += tilesAtOnce) {
            float[] c0 = ctx.mmaFragment(0.0f);
            float[] c1 = ctx.mmaFragment(0.0f);
            float[] c2 = ctx.mmaFragment(0.0f);
            float[] c3 = ctx.mmaFragment(0.0f);
            float[] c4 = ctx.mmaFragment(0.0f);
            float[] c5 = ctx.mmaFragment(0.0f);
            float[] c6 = ctx.mmaFragment(0.0f);
            float[] c7 = ctx.mmaFragment(0.0f);
            // no branch may lie between the loop and mma: fragments survive only straight-line code
            for (int k = 0; k < steps; k++) {
              HalfFloat[] high = ctx.mmaLoadA(zTiles, 16, zAt + 4 * k * Z_TILE);
              HalfFloat[] low = ctx.mmaLoadA(zTiles, 16, zAt + 4 * (zPart + k * Z_TILE));
              int bStep = 8 * (tile * steps + k) * B_TILE;
              HalfFloat[] b0 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep);
              c0 = product(ctx, high, b0, c0, bf16);
              c0 = product(ctx, low, b0, c0, bf16);
              if (warpTiles > 1) {
                HalfFloat[] b1 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep + next8);
                c1 = product(ctx, high, b1, c1, bf16);
                c1 = product(ctx, low, b1, c1, bf16);
              }
              if (warpTiles > 2) {
                HalfFloat[] b2 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep + 2 * next8);
                HalfFloat[] b3 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep + 3 * next8);
                c2 = product(ctx, high, b2, c2, bf16);
                c3 = product(ctx, high, b3, c3, bf16);
                c2 = product(ctx, low, b2, c2, bf16);
                c3 = product(ctx, low, b3, c3, bf16);
              }
              if (warpTiles > 4 && !fewCopies) {
                HalfFloat[] b4 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep + 4 * next8);
                HalfFloat[] b5 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep + 5 * next8);
                c4 = product(ctx, high, b4, c4, bf16);
                c5 = product(ctx, high, b5, c5, bf16);
                c4 = product(ctx, low, b4, c4, bf16);
                c5 = product(ctx, low, b5, c5, bf16);
                HalfFloat[] b6 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep + 6 * next8);
                HalfFloat[] b7 = ctx.mmaLoadB(LocalTile.ints(bTiles), 16, bStep + 7 * next8);
                c6 = product(ctx, high, b6, c6, bf16);
                c7 = product(ctx, high, b7, c7, bf16);
                c6 = product(ctx, low, b6, c6, bf16);
                c7 = product(ctx, low, b7, c7, bf16);
              }
            }
            int row16 = rowTile * 16;
            // a power of two, a warp's tiles do not straddle groups that its first one does not
            int firstSum = sumsColumn(tile);
            ctx.mmaStore(c0, LocalTile.floats(sums), row16, firstSum, stride);
            if (warpTiles > 1) {
              ctx.mmaStore(c1, LocalTile.floats(sums), row16, firstSum + sumsColumn(1), stride);
            }
            if (warpTiles > 2) {
              ctx.mmaStore(c2, LocalTile.floats(sums), row16, firstSum + sumsColumn(2), stride);
              ctx.mmaStore(c3, LocalTile.floats(sums), row16, firstSum + sumsColumn(3), stride);
            }
            if (warpTiles > 4 && !fewCopies) {
              ctx.mmaStore(c4, LocalTile.floats(sums), row16, firstSum + sumsColumn(4), stride);
              ctx.mmaStore(c5, LocalTile.floats(sums), row16, firstSum + sumsColumn(5), stride);
              ctx.mmaStore(c6, LocalTile.floats(sums), row16, firstSum + sumsColumn(6), stride);
              ctx.mmaStore(c7, LocalTile.floats(sums), row16, firstSum + sumsColumn(7), stride);
            }
          }
          ctx.localBarrier();
          // blocks of few pairs have them all in the first target of each thread
          boolean oneTarget = fewTiles && usedRows <= targetRows;
          int lastRow = firstLong + inTargetRow <= lastLong ? usedRows : 0;
          int followingLong = Math.min(Math.min(c + 1, end - 1) * rowLongs + inTargetRow, lastLong);
          if (bf16 != 0) {
            // the next chunk of y is read as soon as this one's registers are free
            for (int batchFrom = 0; batchFrom < targets; batchFrom += yBatch) {
              long[] words = new long[Y_BATCH];
              for (int j = 0; j < yBatch; j++) {
                int i = batchFrom + j;
                if (i > 0 && oneTarget) {
                  continue;
                }
                int from = sumsFrom + i * targetRows * stride;
                float s0 = sums[from] + BFloat16.bf16ToFloat((short) old[i]);
                float s1 = sums[from + 8] + BFloat16.bf16ToFloat((short) (old[i] >>> 16));
                float s2 = sums[from + 16] + BFloat16.bf16ToFloat((short) (old[i] >>> 32));
                float s3 = sums[from + 24] + BFloat16.bf16ToFloat((short) (old[i] >>> 48));
                words[j] = bf16Long(s0, s1, s2, s3, zero);
              }
              if (fewCopies) {
                readLongs(yLongs, old, batchFrom, yBatch, yAt, followingLong, targetRows, readRows);
              }
              for (int j = 0; j < yBatch; j++) {
                int i = batchFrom + j;
                if (targetRow + i * targetRows < lastRow) {
                  yLongs.set(yAt[i] + firstLong + inTargetRow, words[j]);
                }
              }
            }
          }
          // all sums before the first store, which keeps loads from being moved up
          float[] values = new float[4 * MAX_TARGETS];
          for (int i = 0; i < targets; i++) {
            if (bf16 != 0 || (i > 0 && oneTarget)) {
              continue;
            }
            int from = sumsFrom + i * targetRows * stride;
            float scale = factors[targetRow + i * targetRows];
            values[4 * i] = scale * sums[from];
            values[4 * i + 1] = scale * sums[from + 8];
            values[4 * i + 2] = scale * sums[from + 16];
            values[4 * i + 3] = scale * sums[from + 24];
          }
          if (bf16 == 0 && add != 0) {
            add(values, 0, y0, w0);
            if (targets > 1) {
              add(values, 4, y1, w1);
            }
            if (targets > 2) {
              add(values, 8, y2, w2);
              add(values, 12, y3, w3);
            }
            if (targets > 4) {
              add(values, 16, y4, w4);
              add(values, 20, y5, w5);
              add(values, 24, y6, w6);
              add(values, 28, y7, w7);
            }
          }
          for (int i = 0; i < targets; i++) {
            if (bf16 == 0 && targetRow + i * targetRows < lastRow) {
              int at64 = yAt[i] + firstLong + inTargetRow;
              int v = 4 * i;
              Halves.set(yHalves, 4 * at64, Half2.fromFloats(values[v], values[v + 1]));
              Halves.set(yHalves, 4 * at64 + 2, Half2.fromFloats(values[v + 2], values[v + 3]));
            }
          }
        }
      }
    }
  }

  /** Floats of a row of sums of a chunk; rows and groups of columns begin in different banks. */
  public static int sumsStride(int chunk) {
    return sumsColumn(chunk / 8) + (chunk > PackedLayout.GROUP ? 8 : 0);
  }

  /** Where the sums of a tile of 8 columns begin in a row. */
  private static int sumsColumn(int tile) {
    return tile * 8 + tile / 4 * 8;
  }

  /**
   * Reads longs of a column of y, as far as there are rows.
   *
   * @param out longs {@code from} to {@code from + count}
   */
  private static void readLongs(
      LongArray y,
      long[] out,
      int from,
      int count,
      int[] rowAt,
      int column,
      int targetRows,
      int readRows) {
    for (int j = 0; j < count; j++) {
      int i = from + j;
      if (i * targetRows < readRows) {
        out[i] = y.get(rowAt[i] + column);
      }
    }
  }

  /** Adds four elements of float16 to a thread's sums. */
  private static void add(float[] values, int at, Half2 first, Half2 last) {
    values[at] += Half2.lowFloat(first);
    values[at + 1] += Half2.highFloat(first);
    values[at + 2] += Half2.lowFloat(last);
    values[at + 3] += Half2.highFloat(last);
  }

  private static float[] product(
      KernelContext ctx, HalfFloat[] z, HalfFloat[] b, float[] sum, int bf16) {
    return bf16 != 0
        ? ctx.mmaBF16(z, b, sum, MMAShape.M16N8K16)
        : ctx.mma(z, b, sum, MMAShape.M16N8K16);
  }

  /** First long of a pair's columns of a slice in y. */
  private static int yLong(IntArray sizes, int pair, int firstColumn) {
    int column = sizes.get(Sizes.COLUMN_OFFSET) + firstColumn;
    return (pair * sizes.get(Sizes.Y_WIDTH) + column) / 4;
  }

  /**
   * Sums the parts of numbers of a row of z, in order.
   *
   * @param sums out; number {@code i} is of rank {@code 2 * (q + i / 2 * step) + i % 2}, or of the
   *     last one where there is none
   * @param first number
   * @param count of numbers, at most {@link #Z_BATCH}
   */
  private static void sumParts(
      FloatArray z,
      float[] sums,
      int first,
      int count,
      int from,
      int q,
      int step,
      int rank,
      int parts,
      int partStride) {
    for (int i = 0; i < count; i++) {
      sums[first + i] = z.get(from + rankOf(first + i, q, step, rank));
    }
    // of few numbers, several parts are read before the first is needed
    int together = Math.min(Z_BATCH / count, Z_BATCH / 2);
    for (int part = 1; part < parts; part += together) {
      float[] next = new float[Z_BATCH];
      for (int i = 0; i < together * count; i++) {
        int at = from + Math.min(part + i / count, parts - 1) * partStride;
        next[i] = z.get(at + rankOf(first + i % count, q, step, rank));
      }
      for (int i = 0; i < together * count; i++) {
        sums[first + i % count] += part + i / count < parts ? next[i] : 0.0f;
      }
    }
  }

  private static int rankOf(int number, int q, int step, int rank) {
    return Math.min(2 * (q + (number >> 1) * step) + (number & 1), rank - 1);
  }

  private static int bf16Word(float lo, float hi) {
    // through long, because the code generator shifts a short within 16 bits
    long low = BFloat16.bf16FromFloat(lo);
    long high = BFloat16.bf16FromFloat(hi);
    return (int) ((high << 16) | (low & 0xffffL));
  }

  /**
   * A long of four bfloat16.
   *
   * @param zero 0, which the compiler must not know: it would do all of this in 64 bits
   */
  private static long bf16Long(float s0, float s1, float s2, float s3, int zero) {
    long low = (bf16Word(s0, s1) ^ zero) & 0xffffffffL;
    long high = bf16Word(s2, s3) ^ zero;
    return low | (high << 32);
  }

  private static int fp16Word(float lo, float hi) {
    int low = new HalfFloat(lo).getHalfFloatValue() & 0xffff;
    int high = new HalfFloat(hi).getHalfFloatValue() & 0xffff;
    return low | (high << 16);
  }
}
