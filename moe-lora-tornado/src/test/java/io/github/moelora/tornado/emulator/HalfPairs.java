package io.github.moelora.tornado.emulator;

import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** Pairs of float16 of device arrays, whose indices count from the end of a Java array's header. */
public final class HalfPairs {
  private static final int SHIFT =
      (EmulatedContext.DEVICE_HEADER - LocalTiles.HEADER) * Float.BYTES / Short.BYTES;

  private HalfPairs() {}

  /** {@link HalfFloatArray#getHalf2} as the device does it. */
  public static Half2 getHalf2(HalfFloatArray array, int index) {
    return array.getHalf2(index - SHIFT);
  }

  /** {@link HalfFloatArray#setHalf2} as the device does it. */
  public static void setHalf2(HalfFloatArray array, int index, Half2 value) {
    array.setHalf2(index - SHIFT, value);
  }
}
