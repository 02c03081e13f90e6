package io.github.moelora.tornado.device;

import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.HalfFloat;

/** Products of tensor cores for either 16-bit type. */
public final class Mma {
  private Mma() {}

  /**
   * A 16 x 16 tile times a 16 x 8 tile, added to a fragment.
   *
   * @param bf16 1 for bfloat16, 0 for float16; known when the kernel is compiled
   */
  public static float[] product(
      KernelContext ctx, HalfFloat[] a, HalfFloat[] b, float[] sum, int bf16) {
    return bf16 != 0
        ? ctx.mmaBF16(a, b, sum, MMAShape.M16N8K16)
        : ctx.mma(a, b, sum, MMAShape.M16N8K16);
  }
}
