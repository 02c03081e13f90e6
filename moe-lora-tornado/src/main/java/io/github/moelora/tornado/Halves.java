package io.github.moelora.tornado;

import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Two neighbouring float16 of a device array at once, in 32 bits. */
final class Halves {
  private Halves() {}

  /**
   * Two elements.
   *
   * @param index of the first, even
   */
  static Half2 get(HalfFloatArray array, int index) {
    return array.getHalf2(index + ArrayHeaders.DEVICE_HALVES);
  }

  /**
   * Stores two elements.
   *
   * @param index of the first, even
   */
  static void set(HalfFloatArray array, int index, Half2 value) {
    array.setHalf2(index + ArrayHeaders.DEVICE_HALVES, value);
  }
}
