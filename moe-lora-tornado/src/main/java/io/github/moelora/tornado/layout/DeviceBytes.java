package io.github.moelora.tornado.layout;

import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Device memory that arrays take, TornadoVM's headers included.
 *
 * @param total bytes of all
 * @param largest bytes of the largest array
 */
public record DeviceBytes(long total, long largest) {
  /** Of no array. */
  public static final DeviceBytes NONE = new DeviceBytes(0, 0);

  /**
   * Of an array that need not exist yet.
   *
   * @param bytes of an element
   */
  public static DeviceBytes array(long elements, int bytes) {
    long all =
        Math.addExact(Math.multiplyExact(elements, (long) bytes), TornadoNativeArray.ARRAY_HEADER);
    return new DeviceBytes(all, all);
  }

  /** Of arrays, each of which is counted as often as it is given. */
  public static DeviceBytes of(Object... arrays) {
    DeviceBytes sum = NONE;
    for (Object each : arrays) {
      if (each instanceof TornadoNativeArray array) {
        long bytes = array.getNumBytesOfSegmentWithHeader();
        sum = sum.plus(new DeviceBytes(bytes, bytes));
      }
    }
    return sum;
  }

  /** Of these and others. */
  public DeviceBytes plus(DeviceBytes other) {
    return new DeviceBytes(Math.addExact(total, other.total), Math.max(largest, other.largest));
  }
}
