package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Bf16;
import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Adds the deltas of a token's pairs to its row of a 16-bit y: {@code y[t, offset + c] = round(y +
 * sum_k deltas[t * K + k, c])}. The sum starts at 0 and takes the pairs in their order, in float32;
 * the result is rounded once. What has no delta is not touched, and rows of pairs without one are
 * not read.
 *
 * <p>Grid: work-groups take the items (token, share of the columns) in turn; a thread has two
 * neighbouring columns of each {@code 2 * THREADS}.
 *
 * <p>Parameters that both kernels share: {@code step}, {@code adapterIds}, {@code expertMap},
 * {@code expertIds} in, as {@link PairSites#of} says; {@code sizes} in, see {@link Sizes}; {@code
 * slices} in, see {@link SliceTable}; {@code deltas} in, float32 {@code [P, O]}, routing weights
 * applied; {@code perToken} {@code K}; {@code shares} of the columns of a token; {@code groups}
 * work-groups.
 */
public final class Combine {
  /** Threads of a work-group. */
  public static final int THREADS = 128;

  private Combine() {}

  /**
   * Bfloat16.
   *
   * @param y in and out, {@code [T, yWidth]} in words of two
   */
  public static void bfloat16(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      FloatArray deltas,
      IntArray y,
      int perToken,
      int shares,
      int groups) {
    int[] from = ctx.allocateIntLocalArray(perToken);
    int[] begin = ctx.allocateIntLocalArray(perToken);
    int[] end = ctx.allocateIntLocalArray(perToken);
    int tid = ctx.localIdx;
    int columns = sizes.get(Sizes.COLUMNS);
    int items = PairSites.pairs(step, sizes.get(Sizes.MAX_PAIRS)) / perToken * shares;
    for (int index = ctx.groupIdx; index < items; index += groups) {
      int token = index / shares;
      for (int k = tid; k < perToken; k += THREADS) {
        int pair = token * perToken + k;
        int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
        from[k] = site >= 0 ? pair * columns : -1;
        begin[k] = CombinedRange.begin(slices, site);
        end[k] = CombinedRange.end(slices, site);
      }
      ctx.localBarrier();
      // a pair without a delta reads another one's, and does not use it
      int any = -1;
      for (int k = 0; k < perToken; k++) {
        any = Math.max(any, from[k]);
      }
      int endColumn = any < 0 ? 0 : CombinedRange.endOf(index, shares, columns);
      for (int c = CombinedRange.beginOf(index, shares, columns) + 2 * tid;
          c < endColumn;
          c += 2 * THREADS) {
        int at = (token * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET) + c) >> 1;
        int old = y.get(at);
        float sum0 = 0.0f;
        float sum1 = 0.0f;
        int touched = 0;
        for (int k = 0; k < perToken; k++) {
          int row = from[k] < 0 ? any : from[k];
          float delta0 = deltas.get(row + c);
          float delta1 = deltas.get(row + c + 1);
          boolean has = Math.min(c - begin[k], end[k] - 1 - c) >= 0;
          sum0 += has ? delta0 : 0.0f;
          sum1 += has ? delta1 : 0.0f;
          touched += has ? 1 : 0;
        }
        if (touched > 0) {
          y.set(
              at,
              Bf16.word(
                  BFloat16.bf16ToFloat((short) old) + sum0,
                  BFloat16.bf16ToFloat((short) (old >>> 16)) + sum1));
        }
      }
      // the next token's pairs may not come before the last column has read these
      ctx.localBarrier();
    }
  }

  /**
   * Float16.
   *
   * @param y in and out, {@code [T, yWidth]}
   */
  public static void float16(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray sizes,
      IntArray slices,
      FloatArray deltas,
      HalfFloatArray y,
      int perToken,
      int shares,
      int groups) {
    int[] from = ctx.allocateIntLocalArray(perToken);
    int[] begin = ctx.allocateIntLocalArray(perToken);
    int[] end = ctx.allocateIntLocalArray(perToken);
    int tid = ctx.localIdx;
    int columns = sizes.get(Sizes.COLUMNS);
    int items = PairSites.pairs(step, sizes.get(Sizes.MAX_PAIRS)) / perToken * shares;
    for (int index = ctx.groupIdx; index < items; index += groups) {
      int token = index / shares;
      for (int k = tid; k < perToken; k += THREADS) {
        int pair = token * perToken + k;
        int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
        from[k] = site >= 0 ? pair * columns : -1;
        begin[k] = CombinedRange.begin(slices, site);
        end[k] = CombinedRange.end(slices, site);
      }
      ctx.localBarrier();
      // a pair without a delta reads another one's, and does not use it
      int any = -1;
      for (int k = 0; k < perToken; k++) {
        any = Math.max(any, from[k]);
      }
      int endColumn = any < 0 ? 0 : CombinedRange.endOf(index, shares, columns);
      for (int c = CombinedRange.beginOf(index, shares, columns) + 2 * tid;
          c < endColumn;
          c += 2 * THREADS) {
        int at = token * sizes.get(Sizes.Y_WIDTH) + sizes.get(Sizes.COLUMN_OFFSET) + c;
        Half2 old = Halves.get(y, at);
        float sum0 = 0.0f;
        float sum1 = 0.0f;
        int touched = 0;
        for (int k = 0; k < perToken; k++) {
          int row = from[k] < 0 ? any : from[k];
          float delta0 = deltas.get(row + c);
          float delta1 = deltas.get(row + c + 1);
          boolean has = Math.min(c - begin[k], end[k] - 1 - c) >= 0;
          sum0 += has ? delta0 : 0.0f;
          sum1 += has ? delta1 : 0.0f;
          touched += has ? 1 : 0;
        }
        if (touched > 0) {
          Halves.set(
              y, at, Half2.fromFloats(Half2.lowFloat(old) + sum0, Half2.highFloat(old) + sum1));
        }
      }
      // the next token's pairs may not come before the last column has read these
      ctx.localBarrier();
    }
  }
}
