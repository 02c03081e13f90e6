package io.github.moelora.gpullama3;

import uk.ac.manchester.tornado.api.types.arrays.ByteArray;

/** float16 for devices without it. */
public final class Halves {
  private Halves() {}

  /** The normal float16 or zero in bytes {@code at} and {@code at + 1}; kernels call it. */
  public static float read(ByteArray bytes, int at) {
    int low = bytes.get(at) & 255;
    int high = bytes.get(at + 1);
    int exponent = (high >> 2) & 31;
    float value = 1024 + ((high & 3) << 8) + low;
    for (int i = exponent; i < 25; i++) {
      value = value * 0.5f;
    }
    for (int i = 25; i < exponent; i++) {
      value = value * 2;
    }
    if (exponent == 0) {
      value = 0;
    }
    return high < 0 ? -value : value;
  }
}
