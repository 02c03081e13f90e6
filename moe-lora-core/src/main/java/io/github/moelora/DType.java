package io.github.moelora;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Element type of weights and activations. */
public enum DType {
  /** IEEE 754 binary16. */
  F16(Short.BYTES, 65504f, 0x1p-11),
  /** bfloat16: the upper half of a float32. */
  BF16(Short.BYTES, 0x1.fep127f, 0x1p-8),
  /** IEEE 754 binary32. */
  F32(Float.BYTES, Float.MAX_VALUE, 0x1p-24);

  static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;
  static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

  private final int bytes;
  private final float maxValue;
  private final double unitRoundoff;

  DType(int bytes, float maxValue, double unitRoundoff) {
    this.bytes = bytes;
    this.maxValue = maxValue;
    this.unitRoundoff = unitRoundoff;
  }

  /** Size of one element. */
  public int bytes() {
    return bytes;
  }

  /** Largest finite value. */
  public float maxValue() {
    return maxValue;
  }

  /** Largest relative error of rounding a value in the normal range to this type. */
  public double unitRoundoff() {
    return unitRoundoff;
  }

  /**
   * Reads element {@code index} of a segment; exact for every type.
   *
   * @param index element index, not a byte offset
   */
  public float get(MemorySegment segment, long index) {
    return switch (this) {
      case F16 -> Float.float16ToFloat(segment.get(SHORT, index * Short.BYTES));
      case BF16 -> bf16ToFloat(segment.get(SHORT, index * Short.BYTES));
      case F32 -> segment.get(FLOAT, index * Float.BYTES);
    };
  }

  /**
   * Rounds {@code value} to this type, to nearest even, and writes it to element {@code index} of a
   * segment.
   *
   * @param index element index, not a byte offset
   */
  public void set(MemorySegment segment, long index, float value) {
    switch (this) {
      case F16 -> segment.set(SHORT, index * Short.BYTES, Float.floatToFloat16(value));
      case BF16 -> segment.set(SHORT, index * Short.BYTES, floatToBf16(value));
      case F32 -> segment.set(FLOAT, index * Float.BYTES, value);
    }
  }

  /** Widens bfloat16 bits; exact. */
  public static float bf16ToFloat(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** Rounds to bfloat16, to nearest even; a NaN stays a NaN. */
  public static short floatToBf16(float value) {
    int bits = Float.floatToRawIntBits(value);
    if (Float.isNaN(value)) {
      return (short) ((bits >>> 16) | 0x40);
    }
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }
}
