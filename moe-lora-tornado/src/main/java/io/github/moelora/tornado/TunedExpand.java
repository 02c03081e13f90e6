package io.github.moelora.tornado;

import io.github.moelora.Routing;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Expand for 16-bit types: {@code y[p, offset + c] (+)= scale * w[p]? * sum_r b[c, r] * z[row, r]}.
 *
 * <p>Grid of both kernels: {@code groups} work-groups of {@code threads} threads take the items
 * (block, chunk of a slice's columns) in turn; a chunk is {@code threads * words} words of two
 * columns. The block's rows of z, summed over their parts, scaled and weighted, go to local memory;
 * each thread then computes {@code rowStep} rows at a time of the words that it owns. Elements of y
 * without a delta are not touched.
 *
 * <p>Parameters of both:
 *
 * <ul>
 *   <li>{@code sizes} in, see {@link Sizes}
 *   <li>{@code slices}, {@code scales} in, see {@link SliceTable}
 *   <li>{@code pool} in, words of two 16-bit elements, B as {@link PackedLayout} says
 *   <li>{@code z} in, float32 {@code [parts, blocks, rows, zStride]}, as {@link TunedShrink} writes
 *   <li>{@code routingWeights} in, float32 {@code [P]}
 *   <li>{@code y} in and out, words of two 16-bit elements {@code [P, yWidth / 2]}
 *   <li>{@code rowStep * words} at most 32
 * </ul>
 */
final class TunedExpand {
  /** Floats of local memory for z: most rows of a block times the largest padded rank. */
  static final int MAX_Z = 4096;

  /** Sums of a thread. */
  private static final int SUMS = 64;

  private TunedExpand() {}

  /** Expand for bfloat16. */
  static void expandBf16(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      IntArray slices,
      FloatArray scales,
      IntArray pool,
      FloatArray z,
      FloatArray routingWeights,
      IntArray y,
      int zStride,
      int rankStride,
      int rows,
      int rowStep,
      int threads,
      int words,
      int chunks,
      int groups) {
    float[] zs = ctx.allocateFloatLocalArray(rows * rankStride);
    int[] yFrom = ctx.allocateIntLocalArray(rows);
    float[] factors = ctx.allocateFloatLocalArray(rows);
    int tid = ctx.localIdx;
    int blocks = counts.get(Routing.ACTIVE_BLOCKS);
    int blockSize = counts.get(Routing.BLOCK_SIZE);
    int ranges = PackedLayout.ranges(slices, sizes.get(Sizes.ITEM_RANKS));
    int parts = PackedLayout.parts(sizes, blocks * ranges);
    int partStride = blocks * rows * zStride;
    for (int item = ctx.groupIdx; item < blocks * chunks; item += groups) {
      int block = item / chunks;
      int chunk = item - block * chunks;
      int site = adapterIds.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + expertIds.get(block);
      int at = site * SliceTable.INTS;
      int chunks0 =
          (slices.get(at + SliceTable.COLUMNS) / 2 + threads * words - 1) / (threads * words);
      int second = chunk < chunks0 ? 0 : 1;
      int slice = at + second * SliceTable.FIELDS;
      int columns = slices.get(slice + SliceTable.COLUMNS) / 2;
      int column = (chunk - second * chunks0) * threads * words + tid;
      if (column - tid < columns) {
        ctx.localBarrier();
        // no helper may index these arrays: TornadoVM then addresses them as if they were global
        if (tid < rows) {
          int from = -1;
          float factor = scales.get(2 * site + second);
          if (tid < blockSize) {
            int pair = sortedTokenIds.get(block * blockSize + tid);
            if (pair < counts.get(Routing.PAIRS)) {
              from = yWord(sizes, pair, slices.get(slice + SliceTable.FIRST_COLUMN));
              if (sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
                factor *= routingWeights.get(pair);
              }
            }
          }
          yFrom[tid] = from;
          factors[tid] = factor;
        }
        ctx.localBarrier();
        int rank = slices.get(slice + SliceTable.RANK);
        int padded = PackedLayout.paddedRank(rank);
        int zFrom = block * rows * zStride + second * slices.get(at + SliceTable.RANK);
        for (int i = tid; i < blockSize * padded; i += threads) {
          int row = i / padded;
          int r = i - row * padded;
          float sum = 0.0f;
          if (r < rank && yFrom[row] >= 0) {
            sum = factors[row] * sumParts(z, zFrom + row * zStride + r, parts, partStride);
          }
          zs[row * rankStride + r] = sum;
        }
        ctx.localBarrier();
        int quads = padded / PackedLayout.RANK_STEP;
        // threads beyond the last column compute it again, and write nothing
        int b0 = slices.get(slice + SliceTable.B) + Math.min(column, columns - 1);
        int b1 = slices.get(slice + SliceTable.B) + Math.min(column + threads, columns - 1);
        int b2 = slices.get(slice + SliceTable.B) + Math.min(column + 2 * threads, columns - 1);
        int b3 = slices.get(slice + SliceTable.B) + Math.min(column + 3 * threads, columns - 1);
        for (int row = 0; row < blockSize; row += rowStep) {
          if (yFrom[row] >= 0) {
            float[] sums = new float[SUMS];
            for (int i = 0; i < 2 * words * rowStep; i++) {
              sums[i] = 0.0f;
            }
            for (int q = 0; q < quads; q++) {
              for (int i = 0; i < PackedLayout.RANK_STEP; i++) {
                int r = PackedLayout.RANK_STEP * q + i;
                int v0 = pool.get(b0 + r * columns);
                int v1 = words > 1 ? pool.get(b1 + r * columns) : 0;
                int v2 = words > 2 ? pool.get(b2 + r * columns) : 0;
                int v3 = words > 2 ? pool.get(b3 + r * columns) : 0;
                for (int m = 0; m < rowStep; m++) {
                  float value = zs[(row + m) * rankStride + r];
                  int s = m * 2 * words;
                  sums[s] += BFloat16.bf16ToFloat((short) v0) * value;
                  sums[s + 1] += BFloat16.bf16ToFloat((short) (v0 >>> 16)) * value;
                  if (words > 1) {
                    sums[s + 2] += BFloat16.bf16ToFloat((short) v1) * value;
                    sums[s + 3] += BFloat16.bf16ToFloat((short) (v1 >>> 16)) * value;
                  }
                  if (words > 2) {
                    sums[s + 4] += BFloat16.bf16ToFloat((short) v2) * value;
                    sums[s + 5] += BFloat16.bf16ToFloat((short) (v2 >>> 16)) * value;
                    sums[s + 6] += BFloat16.bf16ToFloat((short) v3) * value;
                    sums[s + 7] += BFloat16.bf16ToFloat((short) (v3 >>> 16)) * value;
                  }
                }
              }
            }
            int add = sizes.get(Sizes.ADD);
            for (int m = 0; m < rowStep; m++) {
              int to = row + m < blockSize ? yFrom[row + m] : -1;
              if (to >= 0) {
                for (int w = 0; w < words; w++) {
                  int c = column + w * threads;
                  int s = 2 * (m * words + w);
                  if (c < columns) {
                    storeBf16(y, to + c, sums[s], sums[s + 1], add);
                  }
                }
              }
            }
          }
        }
      }
    }
  }

  /** Expand for float16. */
  static void expandFp16(
      KernelContext ctx,
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      IntArray slices,
      FloatArray scales,
      HalfFloatArray pool,
      FloatArray z,
      FloatArray routingWeights,
      HalfFloatArray y,
      int zStride,
      int rankStride,
      int rows,
      int rowStep,
      int threads,
      int words,
      int chunks,
      int groups) {
    float[] zs = ctx.allocateFloatLocalArray(rows * rankStride);
    int[] yFrom = ctx.allocateIntLocalArray(rows);
    float[] factors = ctx.allocateFloatLocalArray(rows);
    int tid = ctx.localIdx;
    int blocks = counts.get(Routing.ACTIVE_BLOCKS);
    int blockSize = counts.get(Routing.BLOCK_SIZE);
    int ranges = PackedLayout.ranges(slices, sizes.get(Sizes.ITEM_RANKS));
    int parts = PackedLayout.parts(sizes, blocks * ranges);
    int partStride = blocks * rows * zStride;
    for (int item = ctx.groupIdx; item < blocks * chunks; item += groups) {
      int block = item / chunks;
      int chunk = item - block * chunks;
      int site = adapterIds.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + expertIds.get(block);
      int at = site * SliceTable.INTS;
      int chunks0 =
          (slices.get(at + SliceTable.COLUMNS) / 2 + threads * words - 1) / (threads * words);
      int second = chunk < chunks0 ? 0 : 1;
      int slice = at + second * SliceTable.FIELDS;
      int columns = slices.get(slice + SliceTable.COLUMNS) / 2;
      int column = (chunk - second * chunks0) * threads * words + tid;
      if (column - tid < columns) {
        ctx.localBarrier();
        // no helper may index these arrays: TornadoVM then addresses them as if they were global
        if (tid < rows) {
          int from = -1;
          float factor = scales.get(2 * site + second);
          if (tid < blockSize) {
            int pair = sortedTokenIds.get(block * blockSize + tid);
            if (pair < counts.get(Routing.PAIRS)) {
              from = yWord(sizes, pair, slices.get(slice + SliceTable.FIRST_COLUMN));
              if (sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
                factor *= routingWeights.get(pair);
              }
            }
          }
          yFrom[tid] = from;
          factors[tid] = factor;
        }
        ctx.localBarrier();
        int rank = slices.get(slice + SliceTable.RANK);
        int padded = PackedLayout.paddedRank(rank);
        int zFrom = block * rows * zStride + second * slices.get(at + SliceTable.RANK);
        for (int i = tid; i < blockSize * padded; i += threads) {
          int row = i / padded;
          int r = i - row * padded;
          float sum = 0.0f;
          if (r < rank && yFrom[row] >= 0) {
            sum = factors[row] * sumParts(z, zFrom + row * zStride + r, parts, partStride);
          }
          zs[row * rankStride + r] = sum;
        }
        ctx.localBarrier();
        int quads = padded / PackedLayout.RANK_STEP;
        int b0 = slices.get(slice + SliceTable.B) + Math.min(column, columns - 1);
        int b1 = slices.get(slice + SliceTable.B) + Math.min(column + threads, columns - 1);
        int b2 = slices.get(slice + SliceTable.B) + Math.min(column + 2 * threads, columns - 1);
        int b3 = slices.get(slice + SliceTable.B) + Math.min(column + 3 * threads, columns - 1);
        for (int row = 0; row < blockSize; row += rowStep) {
          if (yFrom[row] >= 0) {
            float[] sums = new float[SUMS];
            for (int i = 0; i < 2 * words * rowStep; i++) {
              sums[i] = 0.0f;
            }
            for (int q = 0; q < quads; q++) {
              for (int i = 0; i < PackedLayout.RANK_STEP; i++) {
                int r = PackedLayout.RANK_STEP * q + i;
                Half2 v0 = pool.getHalf2(2 * (b0 + r * columns));
                for (int m = 0; m < rowStep; m++) {
                  float value = zs[(row + m) * rankStride + r];
                  sums[m * 2 * words] += Half2.lowFloat(v0) * value;
                  sums[m * 2 * words + 1] += Half2.highFloat(v0) * value;
                }
                if (words > 1) {
                  Half2 v1 = pool.getHalf2(2 * (b1 + r * columns));
                  for (int m = 0; m < rowStep; m++) {
                    float value = zs[(row + m) * rankStride + r];
                    sums[m * 2 * words + 2] += Half2.lowFloat(v1) * value;
                    sums[m * 2 * words + 3] += Half2.highFloat(v1) * value;
                  }
                }
                if (words > 2) {
                  Half2 v2 = pool.getHalf2(2 * (b2 + r * columns));
                  Half2 v3 = pool.getHalf2(2 * (b3 + r * columns));
                  for (int m = 0; m < rowStep; m++) {
                    float value = zs[(row + m) * rankStride + r];
                    sums[m * 2 * words + 4] += Half2.lowFloat(v2) * value;
                    sums[m * 2 * words + 5] += Half2.highFloat(v2) * value;
                    sums[m * 2 * words + 6] += Half2.lowFloat(v3) * value;
                    sums[m * 2 * words + 7] += Half2.highFloat(v3) * value;
                  }
                }
              }
            }
            int add = sizes.get(Sizes.ADD);
            for (int m = 0; m < rowStep; m++) {
              int to = row + m < blockSize ? yFrom[row + m] : -1;
              if (to >= 0) {
                for (int w = 0; w < words; w++) {
                  int c = column + w * threads;
                  int s = 2 * (m * words + w);
                  if (c < columns) {
                    storeFp16(y, to + c, sums[s], sums[s + 1], add);
                  }
                }
              }
            }
          }
        }
      }
    }
  }

  /** First word of a pair's columns of a slice in y. */
  private static int yWord(IntArray sizes, int pair, int firstColumn) {
    int column = sizes.get(Sizes.COLUMN_OFFSET) + firstColumn;
    return (pair * sizes.get(Sizes.Y_WIDTH) + column) / 2;
  }

  /** Sum over the parts of z, in order. */
  private static float sumParts(FloatArray z, int from, int parts, int partStride) {
    float sum = 0.0f;
    for (int part = 0; part < parts; part++) {
      sum += z.get(from + part * partStride);
    }
    return sum;
  }

  private static void storeBf16(IntArray y, int index, float lo, float hi, int add) {
    float sumLo = lo;
    float sumHi = hi;
    if (add != 0) {
      int old = y.get(index);
      sumLo += BFloat16.bf16ToFloat((short) old);
      sumHi += BFloat16.bf16ToFloat((short) (old >>> 16));
    }
    // through long, because the code generator shifts a short within 16 bits
    long low = BFloat16.bf16FromFloat(sumLo);
    long high = BFloat16.bf16FromFloat(sumHi);
    y.set(index, (int) ((high << 16) | (low & 0xffffL)));
  }

  private static void storeFp16(HalfFloatArray y, int index, float lo, float hi, int add) {
    float sumLo = lo;
    float sumHi = hi;
    if (add != 0) {
      Half2 old = y.getHalf2(2 * index);
      sumLo += Half2.lowFloat(old);
      sumHi += Half2.highFloat(old);
    }
    y.setHalf2(2 * index, Half2.fromFloats(sumLo, sumHi));
  }
}
