package io.github.moelora.safetensors;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Finds NaN and infinity. An element is one of them exactly if its exponent bits are all ones, that
 * is, if adding one at the lowest exponent bit carries into the sign bit; so a word of two or four
 * elements takes an {@code and} and an {@code add}, and a block is judged by the {@code or} of all.
 */
public final class FiniteScan {
  private static final ValueLayout.OfLong WORD = ValueLayout.JAVA_LONG_UNALIGNED;

  /** Words between two looks at what was gathered: small enough to be in cache for the search. */
  private static final int BLOCK_WORDS = 512;

  private FiniteScan() {}

  /**
   * Index of the first element that is NaN or infinite, or -1.
   *
   * @param data in, elements of {@code type} without gaps
   */
  public static long firstNonFinite(MemorySegment data, DType type) {
    long words = data.byteSize() / Long.BYTES;
    long first = 0;
    for (; first < words; first += BLOCK_WORDS) {
      int count = (int) Math.min(BLOCK_WORDS, words - first);
      if (hasNonFinite(data, type, first * Long.BYTES, count)) {
        break;
      }
    }
    // the block that has one, or the elements after the last whole word
    long elements = data.byteSize() / type.bytes();
    for (long i = Math.min(first, words) * Long.BYTES / type.bytes(); i < elements; i++) {
      if (!Float.isFinite(type.get(data, i))) {
        return i;
      }
    }
    return -1;
  }

  private static boolean hasNonFinite(MemorySegment data, DType type, long offset, int words) {
    long exponent =
        switch (type) {
          case F32 -> 0x7f800000_7f800000L;
          case F16 -> 0x7c00_7c00_7c00_7c00L;
          case BF16 -> 0x7f80_7f80_7f80_7f80L;
        };
    // its lowest bit in each element
    long one = exponent & ~(exponent << 1);
    long gathered = 0;
    for (int i = 0; i < words; i++) {
      gathered |= (data.get(WORD, offset + (long) i * Long.BYTES) & exponent) + one;
    }
    // each sign bit: the exponent's highest, shifted up
    return (gathered & ((exponent & ~(exponent >>> 1)) << 1)) != 0;
  }
}
