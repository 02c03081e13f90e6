package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.device.Bf16;
import io.github.moelora.tornado.device.Halves;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * The activation of a 16-bit y to which gate and up have been added: {@code out[p, i] = act(y[p,
 * gate of i], y[p, up of i])} for the pairs of the step, computed in float32.
 *
 * <p>Grid: threads take words of two neighbouring columns of {@code out} in turn.
 *
 * <p>Parameters that both kernels share: {@code step} in, see {@link PairSites#pairs}; {@code
 * sizes} in, see {@link Sizes}, whose columns are those of {@code out}; {@code mode} has the
 * activation, see {@link PairMode}; {@code groups} work-groups.
 */
public final class Activate {
  /** Threads of a work-group. */
  public static final int THREADS = 256;

  private Activate() {}

  /**
   * Bfloat16.
   *
   * @param y in, {@code [P, yWidth]} in words of two
   * @param out out, {@code [P, I]} in words of two
   */
  public static void bfloat16(
      KernelContext ctx,
      IntArray step,
      IntArray sizes,
      IntArray y,
      IntArray out,
      int mode,
      int groups) {
    int perRow = sizes.get(Sizes.COLUMNS) >> 1;
    int words = PairSites.pairs(step, sizes.get(Sizes.MAX_PAIRS)) * perRow;
    int number = PairMode.activation(mode);
    for (int word = ctx.groupIdx * THREADS + ctx.localIdx; word < words; word += groups * THREADS) {
      int gates = y.get(ActivateWords.first(sizes, word, perRow, mode));
      int ups = y.get(ActivateWords.second(sizes, word, perRow, mode));
      float low0 = BFloat16.bf16ToFloat((short) gates);
      float high0 = BFloat16.bf16ToFloat((short) (gates >>> 16));
      float low1 = BFloat16.bf16ToFloat((short) ups);
      float high1 = BFloat16.bf16ToFloat((short) (ups >>> 16));
      float value0 = ActivateWords.value(low0, high0, low1, high1, 0, number, mode);
      float value1 = ActivateWords.value(low0, high0, low1, high1, 1, number, mode);
      out.set(word, Bf16.word(value0, value1));
    }
  }

  /**
   * Float16.
   *
   * @param y in, {@code [P, yWidth]}
   * @param out out, {@code [P, I]}
   */
  public static void float16(
      KernelContext ctx,
      IntArray step,
      IntArray sizes,
      HalfFloatArray y,
      HalfFloatArray out,
      int mode,
      int groups) {
    int perRow = sizes.get(Sizes.COLUMNS) >> 1;
    int words = PairSites.pairs(step, sizes.get(Sizes.MAX_PAIRS)) * perRow;
    int number = PairMode.activation(mode);
    for (int word = ctx.groupIdx * THREADS + ctx.localIdx; word < words; word += groups * THREADS) {
      Half2 gates = Halves.get(y, 2 * ActivateWords.first(sizes, word, perRow, mode));
      Half2 ups = Halves.get(y, 2 * ActivateWords.second(sizes, word, perRow, mode));
      float low0 = Half2.lowFloat(gates);
      float high0 = Half2.highFloat(gates);
      float low1 = Half2.lowFloat(ups);
      float high1 = Half2.highFloat(ups);
      float value0 = ActivateWords.value(low0, high0, low1, high1, 0, number, mode);
      float value1 = ActivateWords.value(low0, high0, low1, high1, 1, number, mode);
      Halves.set(out, 2 * word, Half2.fromFloats(value0, value1));
    }
  }
}
