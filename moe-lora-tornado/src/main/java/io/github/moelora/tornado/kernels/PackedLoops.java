package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Plain parallel loops over packed 16-bit weights. */
public final class PackedLoops {
  private PackedLoops() {}

  /**
   * Copies staged A or B to its slot.
   *
   * @param range in, {@code [first of A, count of A, first of B, count of B]}, in longs
   * @param at 0 for A, 2 for B
   */
  public static void store(LongArray staging, IntArray range, LongArray pool, int at) {
    for (@Parallel int i = 0; i < staging.getSize(); i++) {
      if (i < range.get(at + 1)) {
        pool.set(range.get(at) + i, staging.get(i));
      }
    }
  }

  /** {@link FloatLoops#shrink} with packed weights. */
  public static void shrink(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray scales,
      LongArray pool,
      FloatArray x,
      FloatArray z,
      int rowTiles,
      int rankTiles,
      int bf16) {
    for (@Parallel int row = 0; row < rowTiles * FloatLoops.SIDE; row++) {
      for (@Parallel int r = 0; r < rankTiles * FloatLoops.SIDE; r++) {
        if (row < counts.get(PlanFormat.NUM_TOKENS_POST_PADDED)) {
          int pair = sortedTokenIds.get(row);
          if (pair < counts.get(PlanFormat.PAIRS)) {
            int block = row / counts.get(PlanFormat.BLOCK_SIZE);
            int site =
                blockAdapters.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + blockExperts.get(block);
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
                int index = PackedLayout.indexA(r, h, tiles);
                sum += element(pool, slices.get(at + SliceTable.A), index, bf16) * x.get(from + h);
              }
              z.set(row * sizes.get(Sizes.Z_STRIDE) + r, sum * scales.get(site * 2 + second));
            }
          }
        }
      }
    }
  }

  /** {@link FloatLoops#expand} with packed weights. */
  public static void expand(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      LongArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int rowTiles,
      int columnTiles,
      int outputWidth,
      int bf16) {
    for (@Parallel int row = 0; row < rowTiles * FloatLoops.SIDE; row++) {
      for (@Parallel int c = 0; c < columnTiles * FloatLoops.SIDE; c++) {
        int pair = FloatLoops.pairOf(counts, sortedTokenIds, row);
        if (pair >= 0 && c < outputWidth) {
          int slice =
              FloatLoops.sliceOf(sizes, counts, blockExperts, blockAdapters, slices, row, c);
          float sum = 0.0f;
          if (slice >= 0) {
            int rank = slices.get(slice + SliceTable.RANK);
            int units = PackedLayout.rankUnits(rank);
            int column = c - slices.get(slice + SliceTable.FIRST_COLUMN);
            int zFrom = FloatLoops.zOf(sizes, slices, slice, row);
            for (int r = 0; r < rank; r++) {
              int index = PackedLayout.indexB(column, r, units);
              sum +=
                  element(pool, slices.get(slice + SliceTable.B), index, bf16) * z.get(zFrom + r);
            }
          }
          FloatLoops.store(sizes, routingWeights, y, pair, c, slice, sum);
        }
      }
    }
  }

  /** The 16-bit element {@code index} after the {@code first} longs, finite. */
  private static float element(LongArray pool, int first, int index, int bf16) {
    return number(pool.get(first + (index >> 2)), index & 3, bf16);
  }

  /** One of the four 16-bit elements of a long, finite. */
  static float number(long four, int index, int bf16) {
    int bits = (int) (four >>> (index << 4)) & 0xffff;
    float value;
    if (bf16 != 0) {
      value = BFloat16.bf16ToFloat((short) bits);
    } else {
      // in arithmetic, because no device function takes the bits of a float16
      int exponent = (bits >> 10) & 31;
      int fraction = (bits & 1023) + (exponent > 0 ? 1024 : 0);
      // a power of two, whose bits are its exponent's
      value = fraction * BFloat16.bf16ToFloat((short) ((Math.max(exponent, 1) + 102) << 7));
      value = (bits & 0x8000) != 0 ? -value : value;
    }
    return value;
  }
}
