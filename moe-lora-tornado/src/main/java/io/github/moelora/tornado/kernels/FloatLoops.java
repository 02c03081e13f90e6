package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Kernels as plain parallel loops, for every device that TornadoVM supports. All arithmetic and all
 * arrays are float32: 16-bit types are not available on every OpenCL device, and widening them is
 * exact.
 *
 * <p>The loops run over the largest batch; what the batch holds is read from {@code counts}, so a
 * compiled kernel serves every batch. Only the staging arrays are asked for their size, which
 * TornadoVM makes a constant of the kernel: the others may be mapped to larger ones.
 */
public final class FloatLoops {
  /**
   * Rows, and ranks or columns, of a tile. Loops go over whole tiles, and bodies leave out what is
   * beyond the end, so that a work-group may be a tile. TornadoVM replaces a parameter that is
   * itself the bound of a parallel loop, wherever the kernel uses it, by the <a
   * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/ptx/src/main/java/uk/ac/manchester/tornado/drivers/ptx/graal/phases/TornadoTaskSpecialisation.java#L302">size
   * of the task's grid</a> if it has one, in the order of the parameters; a product stays what it
   * is.
   */
  public static final int SIDE = 8;

  /**
   * Products of an iteration of a sum, for a compiler that unrolls loops: NVRTC makes sixteen of
   * four, and of eight code that takes up to 1.11 times as long.
   */
  public static final int FEW = 4;

  /** Products of an iteration for one that does not, as PTX's: 0.85 of the time with four. */
  public static final int MANY = 8;

  private FloatLoops() {}

  /** Tiles that hold so many rows, ranks or columns. */
  public static int tiles(int count) {
    return Math.ceilDiv(count, SIDE);
  }

  /**
   * Copies a packed adapter from the staging array to its slot.
   *
   * @param staging in, float32
   * @param range in, {@code [from, count]}: first element of the slot and how many to copy
   * @param pool out, float32, all slots
   */
  public static void storeSlot(FloatArray staging, IntArray range, FloatArray pool) {
    for (@Parallel int i = 0; i < staging.getSize(); i++) {
      if (i < range.get(1)) {
        pool.set(range.get(0) + i, staging.get(i));
      }
    }
  }

  /**
   * Shrink: {@code z[row, r] = scale * sum_h a[r, h] * x[t, h]} for the pair at position {@code
   * row} of {@code sortedTokenIds}.
   *
   * <p>Grid: one thread per row and stacked rank. Writes the ranks that the block's adapter has, of
   * rows that hold a pair.
   *
   * @param sizes in, see {@link Sizes}
   * @param x in, float32 {@code [T, H]} or {@code [P, H]}
   * @param z out, float32 {@code [EM, zStride]}
   * @param rowTiles tiles of the most rows of a batch
   * @param rankTiles tiles of the most stacked ranks
   * @param products of an iteration: {@link #FEW} or {@link #MANY}
   */
  public static void shrink(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray scales,
      FloatArray pool,
      FloatArray x,
      FloatArray z,
      int rowTiles,
      int rankTiles,
      int products) {
    for (@Parallel int row = 0; row < rowTiles * SIDE; row++) {
      for (@Parallel int r = 0; r < rankTiles * SIDE; r++) {
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
              int inputWidth = sizes.get(Sizes.INPUT_WIDTH);
              int second = r < rank0 ? 0 : 1;
              int slice = at + second * SliceTable.FIELDS;
              int a = slices.get(slice + SliceTable.A) + (r - second * rank0) * inputWidth;
              int from = pair / sizes.get(Sizes.PAIRS_PER_ROW) * inputWidth;
              float sum = dot(pool, a, x, from, inputWidth, products);
              z.set(row * sizes.get(Sizes.Z_STRIDE) + r, sum * scales.get(site * 2 + second));
            }
          }
        }
      }
    }
  }

  /**
   * Expand: {@code y[p, offset + c] (+)= w[p]? * sum_r b[c, r] * z[row, r]}.
   *
   * <p>Grid: one thread per row and column. In add mode elements without a delta are not touched;
   * otherwise every element of the pairs' rows is written.
   *
   * @param sizes in, see {@link Sizes}
   * @param z in, float32 {@code [EM, zStride]}
   * @param routingWeights in, float32 {@code [P]}
   * @param y in and out, float32 {@code [P, yWidth]}
   * @param rowTiles tiles of the most rows of a batch
   * @param columnTiles tiles of {@code outputWidth}
   * @param products of an iteration: {@link #FEW} or {@link #MANY}
   */
  public static void expand(
      IntArray sizes,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      FloatArray pool,
      FloatArray z,
      FloatArray routingWeights,
      FloatArray y,
      int rowTiles,
      int columnTiles,
      int outputWidth,
      int products) {
    for (@Parallel int row = 0; row < rowTiles * SIDE; row++) {
      for (@Parallel int c = 0; c < columnTiles * SIDE; c++) {
        int pair = pairOf(counts, sortedTokenIds, row);
        if (pair >= 0 && c < outputWidth) {
          int slice = sliceOf(sizes, counts, blockExperts, blockAdapters, slices, row, c);
          float sum = 0.0f;
          if (slice >= 0) {
            int rank = slices.get(slice + SliceTable.RANK);
            int column = c - slices.get(slice + SliceTable.FIRST_COLUMN);
            int b = slices.get(slice + SliceTable.B) + column * rank;
            int zFrom = zOf(sizes, slices, slice, row);
            sum = dot(pool, b, z, zFrom, rank, products);
          }
          store(sizes, routingWeights, y, pair, c, slice, sum);
        }
      }
    }
  }

  /**
   * {@code sum_i a[aFrom + i] * b[bFrom + i]}, in four sums: a device then has many loads and four
   * additions under way, where one sum makes each wait for the one before.
   *
   * @param products of an iteration: {@link #FEW} or {@link #MANY}
   */
  static float dot(FloatArray a, int aFrom, FloatArray b, int bFrom, int length, int products) {
    float sum0 = 0.0f;
    float sum1 = 0.0f;
    float sum2 = 0.0f;
    float sum3 = 0.0f;
    int eights = products == MANY ? length - (length & 7) : 0;
    for (int i = 0; i < eights; i += 8) {
      int at = aFrom + i;
      int of = bFrom + i;
      sum0 += a.get(at) * b.get(of);
      sum1 += a.get(at + 1) * b.get(of + 1);
      sum2 += a.get(at + 2) * b.get(of + 2);
      sum3 += a.get(at + 3) * b.get(of + 3);
      sum0 += a.get(at + 4) * b.get(of + 4);
      sum1 += a.get(at + 5) * b.get(of + 5);
      sum2 += a.get(at + 6) * b.get(of + 6);
      sum3 += a.get(at + 7) * b.get(of + 7);
    }
    int fours = length - (length & 3);
    for (int i = eights; i < fours; i += 4) {
      sum0 += a.get(aFrom + i) * b.get(bFrom + i);
      sum1 += a.get(aFrom + i + 1) * b.get(bFrom + i + 1);
      sum2 += a.get(aFrom + i + 2) * b.get(bFrom + i + 2);
      sum3 += a.get(aFrom + i + 3) * b.get(bFrom + i + 3);
    }
    for (int i = fours; i < length; i++) {
      sum0 += a.get(aFrom + i) * b.get(bFrom + i);
    }
    return (sum0 + sum1) + (sum2 + sum3);
  }

  /** Pair at a position of any block, blocks without work included; -1 where there is none. */
  static int pairOf(IntArray counts, IntArray sortedTokenIds, int row) {
    int pair = -1;
    if (row < counts.get(PlanFormat.ALL_BLOCKS) * counts.get(PlanFormat.BLOCK_SIZE)) {
      int id = sortedTokenIds.get(row);
      if (id < counts.get(PlanFormat.PAIRS)) {
        pair = id;
      }
    }
    return pair;
  }

  /** Table index of the slice that covers a column, -1 without one. */
  static int sliceOf(
      IntArray sizes,
      IntArray counts,
      IntArray blockExperts,
      IntArray blockAdapters,
      IntArray slices,
      int row,
      int column) {
    int slice = -1;
    int block = row / counts.get(PlanFormat.BLOCK_SIZE);
    int adapter = blockAdapters.get(block);
    if (adapter >= 0) {
      int at =
          (adapter * sizes.get(Sizes.LOCAL_EXPERTS) + blockExperts.get(block)) * SliceTable.INTS;
      int next = at + SliceTable.FIELDS;
      int column0 = column - slices.get(at + SliceTable.FIRST_COLUMN);
      int column1 = column - slices.get(next + SliceTable.FIRST_COLUMN);
      if (column0 >= 0 && column0 < slices.get(at + SliceTable.COLUMNS)) {
        slice = at;
      }
      if (column1 >= 0 && column1 < slices.get(next + SliceTable.COLUMNS)) {
        slice = next;
      }
    }
    return slice;
  }

  /** Where a slice's ranks begin in a row of z: after those of the slice before it. */
  static int zOf(IntArray sizes, IntArray slices, int slice, int row) {
    int from = row * sizes.get(Sizes.Z_STRIDE);
    if ((slice & SliceTable.FIELDS) != 0) {
      from += slices.get(slice - SliceTable.FIELDS + SliceTable.RANK);
    }
    return from;
  }

  /** Stores or adds an element; without a slice it is a zero to store, and nothing to add. */
  static void store(
      IntArray sizes,
      FloatArray routingWeights,
      FloatArray y,
      int pair,
      int column,
      int slice,
      float sum) {
    int to = pair * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET) + column;
    if (slice >= 0) {
      float delta = sum;
      if (sizes.get(Sizes.ROUTED_WEIGHT) != 0) {
        delta *= routingWeights.get(pair);
      }
      if (sizes.get(Sizes.ADD) != 0) {
        delta += y.get(to);
      }
      y.set(to, delta);
    } else {
      if (sizes.get(Sizes.ADD) == 0) {
        y.set(to, 0.0f);
      }
    }
  }
}
