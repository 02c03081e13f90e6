package io.github.moelora.tornado.device;

import uk.ac.manchester.tornado.api.types.BFloat16;

/** Numbers rounded to bfloat16 and packed, on the device. */
public final class Bf16 {
  private Bf16() {}

  /** Two bfloat16 in a word, the first in its lower half. */
  public static int word(float first, float second) {
    // through long, because the code generator shifts a short within 16 bits
    long low = BFloat16.bf16FromFloat(first);
    long high = BFloat16.bf16FromFloat(second);
    return (int) ((high << 16) | (low & 0xffffL));
  }

  /** What rounding to a word has left of two numbers, in a word. */
  public static int rest(float first, float second, int word) {
    return word(
        first - BFloat16.bf16ToFloat((short) word),
        second - BFloat16.bf16ToFloat((short) (word >>> 16)));
  }
}
