package io.github.moelora.tornado.device;

import io.github.moelora.DType;

/** Rounds float32 values to what a narrower type holds. */
public final class Rounding {
  private Rounding() {}

  public static float toType(DType type, float value) {
    return switch (type) {
      case F32 -> value;
      case F16 -> Float.float16ToFloat(Float.floatToFloat16(value));
      case BF16 -> DType.bf16ToFloat(DType.floatToBf16(value));
    };
  }

  /**
   * Bits of a value rounded to a 16-bit type.
   *
   * @throws IllegalArgumentException for float32
   */
  public static short toBits(DType type, float value) {
    return switch (type) {
      case F16 -> Float.floatToFloat16(value);
      case BF16 -> DType.floatToBf16(value);
      case F32 -> throw new IllegalArgumentException("type must have 16 bits, got " + type);
    };
  }
}
