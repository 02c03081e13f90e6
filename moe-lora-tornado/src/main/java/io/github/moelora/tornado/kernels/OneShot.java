package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Shrink and expand of a few rows in one launch, for 16-bit types; z stays on chip: {@code y[p,
 * offset + c] (+)= scale * w[p]? * sum_r b[c, r] * sum_h a[h, r] * x[row of p, h]}. Elements of y
 * without a delta are not touched.
 *
 * <p>With so few rows there is nothing to do but to read the weights once, and every launch and
 * every barrier before the first load costs as much as thousands of them. So the products are plain
 * multiply-adds on weights that go from memory to registers, and a work-group that needs z of a
 * block computes it itself, even if others do the same.
 *
 * <p>Grid: {@code groups} work-groups of {@link #THREADS} threads take the items (block, slice,
 * share of the columns) in turn; there are more shares per slice when there are fewer blocks.
 * Shrink: a warp reads tiles of A, a lane of it 4 ranks of one element of H, and adds up in
 * registers; the lanes' sums meet by shuffles, the warps' in local memory. Expand: B passes through
 * local memory; a thread has 4 columns and a share of the ranks.
 */
public final class OneShot {
  /** Threads of a work-group. */
  public static final int THREADS = 256;

  /** Most rows of a block. */
  public static final int MAX_ROWS = 2;

  /** Columns that the shares of a slice are counted in. */
  public static final int CHUNK = 64;

  private OneShot() {}

  /**
   * Shrink and expand of bfloat16.
   *
   * @param sizes in, see {@link Sizes}
   * @param counts in, see {@link DevicePlan}, like {@code sortedTokenIds}, {@code blockExperts} and
   *     {@code blockAdapters}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param poolA in, bfloat16, A as {@link PackedLayout} says
   * @param poolB in, bfloat16, B as {@link PackedLayout} says
   * @param x in, bfloat16 {@code [T, H]} or {@code [P, H]} in words of two
   * @param routingWeights in, float32 {@code [P]}
   * @param y in and out, bfloat16 {@code [P, yWidth]} in words of two
   * @param rows rows of a block: 1 or 2
   * @param zWidth floats of a row of z, a multiple of 16: at least the largest rank
   * @param groups work-groups
   */
  public static void bfloat16(
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
      IntArray x,
      FloatArray routingWeights,
      IntArray y,
      int rows,
      int zWidth,
      int groups) {
    float[] xs = ctx.allocateFloatLocalArray(OneShotX.FLOATS);
    long[] bTiles = ctx.allocateLongLocalArray(OneShotB.LONGS);
    float[] z = ctx.allocateFloatLocalArray(rows * zWidth);
    int tid = ctx.localIdx;
    int xWidth = OneShotX.width(rows);
    int batch = OneShotA.batch(rows);
    int[] item = new int[OneShotItem.INTS];
    int items = OneShotItem.count(item, sizes, counts, slices);
    for (int index = ctx.groupIdx; index < items; index += groups) {
      OneShotItem.find(item, sizes, blockExperts, blockAdapters, slices, index);
      if (item[OneShotItem.FIRST] < item[OneShotItem.END]) {
        long[] next = new long[OneShotA.MOST];
        OneShotA.open(poolA, next, item, tid, rows);
        int[] xFrom = new int[MAX_ROWS];
        OneShotX.find(item, sizes, sortedTokenIds, xFrom, rows);
        long[] bNext = new long[OneShotB.BATCH];
        OneShotB.open(poolB, bNext, item, tid, rows == 1);
        float[] c = new float[4 * MAX_ROWS];
        int segments = OneShotItem.segments(item, rows);
        int passes = OneShotItem.passes(item);
        for (int segment = 0; segment < segments; segment++) {
          int[] words = new int[OneShotX.WORDS];
          OneShotX.read(x, words, item, xFrom, segment, tid, rows);
          ctx.localBarrier();
          for (int i = 0; i < OneShotX.WORDS; i++) {
            int to = 2 * (tid + i * THREADS);
            xs[to] = OneShotX.first(item, words[i], segment, i, tid, rows);
            xs[to + 1] = OneShotX.second(item, words[i], segment, i, tid, rows);
          }
          if (OneShotSums.pads(item, segment, tid, rows, zWidth)) {
            z[OneShotSums.padding(item, tid, zWidth)] = 0.0f;
          }
          ctx.localBarrier();
          int firstRow = OneShotA.firstRow(segment, rows);
          int endRow = OneShotA.endRow(item, segment, rows);
          int step = OneShotA.rowStep(item);
          for (int pass = 0; pass < passes; pass++) {
            if (OneShotSums.begins(item, segment)) {
              OneShotSums.clear(c, rows);
            }
            int warpRow = firstRow + OneShotA.warpRow(item, tid);
            for (int first = warpRow; first < endRow; first += batch * step) {
              int tile = OneShotA.nextTile(item, pass, first, endRow, tid, rows);
              int row0 = OneShotA.nextRow(item, pass, first, firstRow, endRow, tid, rows);
              for (int i = 0; i < batch; i++) {
                long value = next[i];
                OneShotA.readNext(poolA, next, item, i, tile, row0);
                int row = first + i * step;
                if (row < endRow) {
                  int xAt = 16 * (row - firstRow) + ((tid & 31) >> 1);
                  for (int k = 0; k < rows; k++) {
                    OneShotSums.add(c, k, value, xs[xAt + k * xWidth]);
                  }
                }
              }
            }
            if (OneShotSums.ends(item, segment, rows)) {
              int to = OneShotSums.z(item, pass, tid, rows, zWidth);
              float before = to >= 0 && OneShotSums.goesOn(item, segment) ? z[to] : 0.0f;
              float sum = OneShotSums.meet(ctx, c, before, to, item, tid, rows);
              if (to >= 0) {
                z[to] = sum;
              }
              ctx.localBarrier();
            }
          }
        }
        OneShotB.open(poolB, bNext, item, tid, rows > 1);
        int slabColumns = OneShotB.columns(item);
        int end = item[OneShotItem.END];
        for (int column = item[OneShotItem.FIRST]; column < end; column += slabColumns) {
          int[] targets = new int[MAX_ROWS];
          int[] old = new int[MAX_ROWS];
          OneShotY.find(item, sizes, sortedTokenIds, slices, y, targets, old, column, tid, rows);
          float[] d = new float[4 * MAX_ROWS];
          OneShotSums.clear(d, rows);
          for (int slab = 0; slab < OneShotB.slabs(item); slab++) {
            for (int i = 0; i < OneShotB.BATCH; i++) {
              bTiles[OneShotB.to(item, i, tid)] = bNext[i];
            }
            OneShotB.readFollowing(poolB, bNext, item, column, slab, tid);
            ctx.localBarrier();
            int endRank = OneShotB.endRank(item, slab, tid);
            for (int r = OneShotB.firstRank(item, slab, tid); r < endRank; r++) {
              int from = OneShotB.from(item, r, tid);
              int zAt = slab * OneShotB.ranks(item) + r;
              long value = bTiles[from];
              for (int k = 0; k < rows; k++) {
                OneShotSums.add(d, k, value, z[k * zWidth + zAt]);
              }
            }
            ctx.localBarrier();
          }
          float[] sums = new float[2 * MAX_ROWS];
          OneShotY.meet(ctx, d, sums, item, targets, tid, rows);
          OneShotY.scale(
              sums, item, sizes, sortedTokenIds, scales, routingWeights, targets, tid, rows);
          OneShotY.write(y, sums, old, targets, rows);
        }
      }
    }
  }

  /**
   * Shrink and expand of float16.
   *
   * @param sizes in, see {@link Sizes}
   * @param counts in, see {@link DevicePlan}, like {@code sortedTokenIds}, {@code blockExperts} and
   *     {@code blockAdapters}
   * @param slices in, see {@link SliceTable}
   * @param scales in, see {@link SliceTable}
   * @param poolA in, float16, A as {@link PackedLayout} says
   * @param poolB in, float16, B as {@link PackedLayout} says
   * @param x in, float16 {@code [T, H]} or {@code [P, H]}
   * @param routingWeights in, float32 {@code [P]}
   * @param y in and out, float16 {@code [P, yWidth]}
   * @param rows rows of a block: 1 or 2
   * @param zWidth floats of a row of z, a multiple of 16: at least the largest rank
   * @param groups work-groups
   */
  public static void float16(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray scales,
      HalfFloatArray poolA,
      HalfFloatArray poolB,
      HalfFloatArray x,
      FloatArray routingWeights,
      HalfFloatArray y,
      int rows,
      int zWidth,
      int groups) {
    float[] xs = ctx.allocateFloatLocalArray(OneShotX.FLOATS);
    Half2[] bTiles = ctx.allocateHalf2LocalArray(2 * OneShotB.LONGS);
    float[] z = ctx.allocateFloatLocalArray(rows * zWidth);
    int tid = ctx.localIdx;
    int xWidth = OneShotX.width(rows);
    int batch = OneShotA.batch(rows);
    int[] item = new int[OneShotItem.INTS];
    int items = OneShotItem.count(item, sizes, counts, slices);
    for (int index = ctx.groupIdx; index < items; index += groups) {
      OneShotItem.find(item, sizes, blockExperts, blockAdapters, slices, index);
      if (item[OneShotItem.FIRST] < item[OneShotItem.END]) {
        int[] xFrom = new int[MAX_ROWS];
        OneShotX.find(item, sizes, sortedTokenIds, xFrom, rows);
        float[] c = new float[4 * MAX_ROWS];
        int segments = OneShotItem.segments(item, rows);
        int passes = OneShotItem.passes(item);
        for (int segment = 0; segment < segments; segment++) {
          float[] words = new float[2 * OneShotX.WORDS];
          OneShotX.readHalves(x, words, item, xFrom, segment, tid, rows);
          ctx.localBarrier();
          for (int i = 0; i < OneShotX.WORDS; i++) {
            int to = 2 * (tid + i * THREADS);
            xs[to] = OneShotX.within(item, words[2 * i], segment, i, tid, rows);
            xs[to + 1] = OneShotX.within(item, words[2 * i + 1], segment, i, tid, rows);
          }
          if (OneShotSums.pads(item, segment, tid, rows, zWidth)) {
            z[OneShotSums.padding(item, tid, zWidth)] = 0.0f;
          }
          ctx.localBarrier();
          int firstRow = OneShotA.firstRow(segment, rows);
          int endRow = OneShotA.endRow(item, segment, rows);
          int step = OneShotA.rowStep(item);
          for (int pass = 0; pass < passes; pass++) {
            if (OneShotSums.begins(item, segment)) {
              OneShotSums.clear(c, rows);
            }
            int warpRow = firstRow + OneShotA.warpRow(item, tid);
            for (int first = warpRow; first < endRow; first += batch * step) {
              float[] numbers = new float[4 * OneShotA.MOST];
              OneShotA.readHalves(poolA, numbers, item, pass, first, tid, rows);
              for (int i = 0; i < batch; i++) {
                int row = first + i * step;
                if (row < endRow) {
                  int xAt = 16 * (row - firstRow) + ((tid & 31) >> 1);
                  for (int k = 0; k < rows; k++) {
                    OneShotSums.addHalves(c, k, numbers, 4 * i, xs[xAt + k * xWidth]);
                  }
                }
              }
            }
            if (OneShotSums.ends(item, segment, rows)) {
              int to = OneShotSums.z(item, pass, tid, rows, zWidth);
              float before = to >= 0 && OneShotSums.goesOn(item, segment) ? z[to] : 0.0f;
              float sum = OneShotSums.meet(ctx, c, before, to, item, tid, rows);
              if (to >= 0) {
                z[to] = sum;
              }
              ctx.localBarrier();
            }
          }
        }
        int slabColumns = OneShotB.columns(item);
        int end = item[OneShotItem.END];
        for (int column = item[OneShotItem.FIRST]; column < end; column += slabColumns) {
          int[] targets = new int[MAX_ROWS];
          float[] old = new float[2 * MAX_ROWS];
          OneShotY.findHalves(
              item, sizes, sortedTokenIds, slices, y, targets, old, column, tid, rows);
          float[] d = new float[4 * MAX_ROWS];
          OneShotSums.clear(d, rows);
          for (int slab = 0; slab < OneShotB.slabs(item); slab++) {
            float[] numbers = new float[4 * OneShotB.BATCH];
            OneShotB.readHalves(poolB, numbers, item, column, slab, tid);
            for (int i = 0; i < OneShotB.BATCH; i++) {
              int to = 2 * OneShotB.to(item, i, tid);
              bTiles[to] = Half2.fromFloats(numbers[4 * i], numbers[4 * i + 1]);
              bTiles[to + 1] = Half2.fromFloats(numbers[4 * i + 2], numbers[4 * i + 3]);
            }
            ctx.localBarrier();
            int endRank = OneShotB.endRank(item, slab, tid);
            for (int r = OneShotB.firstRank(item, slab, tid); r < endRank; r++) {
              int from = OneShotB.from(item, r, tid);
              int zAt = slab * OneShotB.ranks(item) + r;
              float[] four = new float[4];
              OneShotSums.unpack(bTiles[2 * from], bTiles[2 * from + 1], four, 0);
              for (int k = 0; k < rows; k++) {
                OneShotSums.addHalves(d, k, four, 0, z[k * zWidth + zAt]);
              }
            }
            ctx.localBarrier();
          }
          float[] sums = new float[2 * MAX_ROWS];
          OneShotY.meet(ctx, d, sums, item, targets, tid, rows);
          OneShotY.scale(
              sums, item, sizes, sortedTokenIds, scales, routingWeights, targets, tid, rows);
          OneShotY.writeHalves(y, sums, old, targets, rows);
        }
      }
    }
  }
}
