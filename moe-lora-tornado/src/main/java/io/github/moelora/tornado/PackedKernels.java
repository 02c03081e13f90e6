package io.github.moelora.tornado;

import io.github.moelora.Routing;
import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Plain parallel loops over packed 16-bit weights. */
final class PackedKernels {
  private PackedKernels() {}

  /**
   * Copies staged A to its slot.
   *
   * @param range in, {@code [first of A, count of A, first word of B, words of B]}
   */
  static void storeA(HalfFloatArray staging, IntArray range, HalfFloatArray pool) {
    for (@Parallel int i = 0; i < staging.getSize(); i++) {
      if (i < range.get(1)) {
        pool.set(range.get(0) + i, staging.get(i));
      }
    }
  }

  /** Copies staged B of bfloat16 to its slot. */
  static void storeBf16(IntArray staging, IntArray range, IntArray pool) {
    for (@Parallel int i = 0; i < staging.getSize(); i++) {
      if (i < range.get(3)) {
        pool.set(range.get(2) + i, staging.get(i));
      }
    }
  }

  /** Copies staged B of float16 to its slot. */
  static void storeFp16(HalfFloatArray staging, IntArray range, HalfFloatArray pool) {
    for (@Parallel int i = 0; i < staging.getSize(); i++) {
      if (i < 2 * range.get(3)) {
        pool.set(2 * range.get(2) + i, staging.get(i));
      }
    }
  }

  /** {@link PortableKernels#shrink} with packed weights. */
  static void shrink(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      IntArray slices,
      FloatArray scales,
      HalfFloatArray pool,
      FloatArray x,
      FloatArray z,
      int rows,
      int zStride,
      int bf16) {
    for (@Parallel int row = 0; row < rows; row++) {
      for (@Parallel int r = 0; r < zStride; r++) {
        if (row < counts.get(Routing.NUM_TOKENS_POST_PADDED)) {
          int pair = sortedTokenIds.get(row);
          if (pair < counts.get(Routing.PAIRS)) {
            int block = row / counts.get(Routing.BLOCK_SIZE);
            int site =
                adapterIds.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + expertIds.get(block);
            int at = site * SliceTable.INTS;
            int rank0 = slices.get(at + SliceTable.RANK);
            int rank1 = slices.get(at + SliceTable.FIELDS + SliceTable.RANK);
            if (r < rank0 + rank1) {
              int tiles = PackedLayout.rankTiles(rank0 + rank1);
              int second = r < rank0 ? 0 : 1;
              int inputWidth = sizes.get(Sizes.INPUT_WIDTH);
              int from = pair / sizes.get(Sizes.PAIRS_PER_ROW) * inputWidth;
              float sum = 0.0f;
              for (int h = 0; h < inputWidth; h++) {
                int index = slices.get(at + SliceTable.A) + PackedLayout.indexA(r, h, tiles);
                if (bf16 != 0) {
                  sum +=
                      BFloat16.bf16ToFloat(pool.get(index).getHalfFloatValue()) * x.get(from + h);
                } else {
                  sum += pool.get(index).getFloat32() * x.get(from + h);
                }
              }
              z.set(row * zStride + r, sum * scales.get(site * 2 + second));
            }
          }
        }
      }
    }
  }

  /** {@link PortableKernels#expand} with packed bfloat16 weights. */
  static void expandBf16(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      IntArray slices,
      IntArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int rows,
      int outputWidth) {
    for (@Parallel int row = 0; row < rows; row++) {
      for (@Parallel int c = 0; c < outputWidth; c++) {
        int pair = PortableKernels.pairOf(counts, sortedTokenIds, row);
        if (pair >= 0) {
          int slice = PortableKernels.sliceOf(sizes, counts, expertIds, adapterIds, slices, row, c);
          float sum = 0.0f;
          if (slice >= 0) {
            int columns = slices.get(slice + SliceTable.COLUMNS);
            int column = c - slices.get(slice + SliceTable.FIRST_COLUMN);
            int zFrom = PortableKernels.zOf(sizes, slices, slice, row);
            for (int r = 0; r < slices.get(slice + SliceTable.RANK); r++) {
              int index = PackedLayout.indexB(column, r, columns);
              int word = pool.get(slices.get(slice + SliceTable.B) + (index >> 1));
              int bits = word >> ((index & 1) << 4);
              sum += BFloat16.bf16ToFloat((short) bits) * z.get(zFrom + r);
            }
          }
          PortableKernels.store(sizes, routingWeights, y, pair, c, slice, sum);
        }
      }
    }
  }

  /** {@link PortableKernels#expand} with packed float16 weights. */
  static void expandFp16(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray expertIds,
      IntArray adapterIds,
      IntArray slices,
      HalfFloatArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int rows,
      int outputWidth) {
    for (@Parallel int row = 0; row < rows; row++) {
      for (@Parallel int c = 0; c < outputWidth; c++) {
        int pair = PortableKernels.pairOf(counts, sortedTokenIds, row);
        if (pair >= 0) {
          int slice = PortableKernels.sliceOf(sizes, counts, expertIds, adapterIds, slices, row, c);
          float sum = 0.0f;
          if (slice >= 0) {
            int columns = slices.get(slice + SliceTable.COLUMNS);
            int column = c - slices.get(slice + SliceTable.FIRST_COLUMN);
            int zFrom = PortableKernels.zOf(sizes, slices, slice, row);
            for (int r = 0; r < slices.get(slice + SliceTable.RANK); r++) {
              int index =
                  2 * slices.get(slice + SliceTable.B) + PackedLayout.indexB(column, r, columns);
              sum += pool.get(index).getFloat32() * z.get(zFrom + r);
            }
          }
          PortableKernels.store(sizes, routingWeights, y, pair, c, slice, sum);
        }
      }
    }
  }
}
