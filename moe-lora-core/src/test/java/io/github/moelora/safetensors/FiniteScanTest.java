package io.github.moelora.safetensors;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

final class FiniteScanTest {

  private static MemorySegment segment(DType type, int elements) {
    return MemorySegment.ofArray(new byte[elements * type.bytes()]);
  }

  @ParameterizedTest
  @EnumSource
  void everyBitPatternIsJudgedAsJavaJudgesIt(DType type) {
    Random random = new Random();
    for (int i = 0; i < 1 << 16; i++) {
      MemorySegment data = segment(type, 4);
      byte[] bytes = new byte[type.bytes()];
      random.nextBytes(bytes);
      bytes[bytes.length - 1] = (byte) (i >>> 8);
      bytes[bytes.length - 2] = (byte) i;
      int at = i % 4;
      MemorySegment.copy(
          MemorySegment.ofArray(bytes), 0, data, (long) at * type.bytes(), type.bytes());
      boolean finite = Float.isFinite(type.get(data, at));
      assertThat(FiniteScan.firstNonFinite(data, type)).isEqualTo(finite ? -1 : at);
    }
  }

  /** Lengths around the block of 512 words, and every place where a word or a block ends. */
  @ParameterizedTest
  @EnumSource
  void theFirstIsFoundWhereverItIs(DType type) {
    int perWord = 8 / type.bytes();
    for (int elements :
        new int[] {
          0, 1, 2, 3, 5, 512 * perWord - 1, 512 * perWord, 512 * perWord + 1, 1100 * perWord + 1
        }) {
      MemorySegment data = segment(type, elements);
      for (int i = 0; i < elements; i++) {
        type.set(data, i, i % 2 == 0 ? type.maxValue() : -type.maxValue());
      }
      assertThat(FiniteScan.firstNonFinite(data, type)).isEqualTo(-1);
      for (int at : new int[] {0, 1, elements / 2, 512 * perWord, elements - 2, elements - 1}) {
        if (at >= 0 && at < elements) {
          float before = type.get(data, at);
          type.set(data, at, at % 2 == 0 ? Float.NaN : Float.NEGATIVE_INFINITY);
          // a later one must not hide it
          float last = type.get(data, elements - 1);
          type.set(data, elements - 1, Float.POSITIVE_INFINITY);
          assertThat(FiniteScan.firstNonFinite(data, type)).isEqualTo(at);
          type.set(data, elements - 1, last);
          type.set(data, at, before);
        }
      }
    }
  }

  @Test
  void subnormalsAndZerosAreFinite() {
    MemorySegment data = segment(DType.F32, 4);
    DType.F32.set(data, 0, Float.MIN_VALUE);
    DType.F32.set(data, 1, -0f);
    DType.F32.set(data, 2, -Float.MIN_NORMAL);
    assertThat(FiniteScan.firstNonFinite(data, DType.F32)).isEqualTo(-1);
  }
}
