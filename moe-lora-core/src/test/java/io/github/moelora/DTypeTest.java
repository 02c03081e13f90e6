package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.testkit.Rounded;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Widening and rounding against their definitions, for all patterns of 16 bits. */
class DTypeTest {

  /** Value of a pattern of 16 bits: sign, exponent, fraction. */
  private static double value(int bits, int exponentBits) {
    int fractionBits = 15 - exponentBits;
    int exponent = (bits >>> fractionBits) & ((1 << exponentBits) - 1);
    int fraction = bits & ((1 << fractionBits) - 1);
    int bias = (1 << (exponentBits - 1)) - 1;
    double magnitude;
    if (exponent == (1 << exponentBits) - 1) {
      magnitude = fraction == 0 ? Double.POSITIVE_INFINITY : Double.NaN;
    } else if (exponent == 0) {
      magnitude = Math.scalb((double) fraction, 1 - bias - fractionBits);
    } else {
      magnitude =
          Math.scalb((double) (fraction + (1 << fractionBits)), exponent - bias - fractionBits);
    }
    return (bits & 0x8000) == 0 ? magnitude : -magnitude;
  }

  @ParameterizedTest
  @CsvSource({"F16, 5", "BF16, 8"})
  void all65536PatternsWidenExactlyAndRoundBack(DType type, int exponentBits) {
    short[] array = new short[2];
    MemorySegment segment = MemorySegment.ofArray(array);
    for (int bits = 0; bits < 1 << 16; bits++) {
      array[1] = (short) bits;
      float got = type.get(segment, 1);
      double expected = value(bits, exponentBits);
      assertThat((double) got).as("%x", bits).isEqualTo(Double.valueOf(expected));
      // the sign of a zero, too
      assertThat(Float.floatToRawIntBits(got) < 0).as("%x", bits).isEqualTo((bits & 0x8000) != 0);

      array[1] = 0;
      type.set(segment, 1, got);
      if (Double.isNaN(expected)) {
        assertThat(type.get(segment, 1)).as("%x", bits).isNaN();
      } else {
        assertThat(array[1]).as("%x", bits).isEqualTo((short) bits);
      }
      assertThat(array[0]).isZero();
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F16", "BF16"})
  void roundsToNearestEven(DType type) {
    short[] array = new short[1];
    MemorySegment segment = MemorySegment.ofArray(array);
    SplittableRandom random = new SplittableRandom(Seeds.of("roundsToNearestEven"));
    for (int bits = 0; bits < 1 << 16; bits++) {
      array[0] = (short) bits;
      float here = type.get(segment, 0);
      array[0] = (short) (bits + 1);
      float next = type.get(segment, 0);
      float middle = (float) (((double) here + next) / 2);
      for (float value : new float[] {middle, Math.nextUp(middle), Math.nextDown(middle)}) {
        assertRounds(type, segment, value);
      }
      assertRounds(type, segment, Float.intBitsToFloat(random.nextInt()));
    }
  }

  private static void assertRounds(DType type, MemorySegment segment, float value) {
    type.set(segment, 0, value);
    assertThat((double) type.get(segment, 0))
        .as("%s of type %s", value, type)
        .isEqualTo(Double.valueOf(Rounded.nearest(value, type)));
  }

  @Test
  void float32KeepsItsBits() {
    float[] array = new float[3];
    MemorySegment segment = MemorySegment.ofArray(array);
    for (int bits : new int[] {0x80000000, 1, 0x7f7fffff, 0x3f800001, 0x7f800000}) {
      DType.F32.set(segment, 2, Float.intBitsToFloat(bits));
      assertThat(Float.floatToRawIntBits(DType.F32.get(segment, 2))).isEqualTo(bits);
    }
    assertThat(array[0]).isZero();
    assertThat(array[1]).isZero();
  }

  @Test
  void aNanWhosePayloadLiesInTheLowBitsStaysANan() {
    float nan = Float.intBitsToFloat(0x7f800001);
    assertThat(DType.bf16ToFloat(DType.floatToBf16(nan))).isNaN();
    assertThat(DType.bf16ToFloat(DType.floatToBf16(-nan))).isNaN();
    // the sign and the high bits of the payload stay
    assertThat(DType.floatToBf16(Float.intBitsToFloat(0xffa50001))).isEqualTo((short) 0xffe5);
  }

  @ParameterizedTest
  @CsvSource({
    "F16, 2, 65504, 11",
    "BF16, 2, 3.3895313892515355E38, 8",
    "F32, 4, 3.4028234663852886E38, 24"
  })
  void sizesAndLimits(DType type, int bytes, double maxValue, int digits) {
    assertThat(type.bytes()).isEqualTo(bytes);
    assertThat((double) type.maxValue()).isEqualTo(maxValue);
    assertThat(type.unitRoundoff()).isEqualTo(Math.scalb(1.0, -digits));
  }
}
