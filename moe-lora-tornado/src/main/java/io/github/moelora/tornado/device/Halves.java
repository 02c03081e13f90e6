package io.github.moelora.tornado.device;

import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Two neighbouring float16 of a device array at once, in 32 bits. */
public final class Halves {
  private Halves() {}

  /**
   * Two elements.
   *
   * @param index of the first, even
   */
  public static Half2 get(HalfFloatArray array, int index) {
    return array.getHalf2(index + ArrayHeaders.DEVICE_HALVES);
  }

  /**
   * Stores two elements.
   *
   * @param index of the first, even
   */
  public static void set(HalfFloatArray array, int index, Half2 value) {
    array.setHalf2(index + ArrayHeaders.DEVICE_HALVES, value);
  }
}
