package io.github.moelora.tornado.device;

import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * A local array in another type: for {@code mmaStore}, which is declared for device arrays, and for
 * loads of tiles that were stored as longs.
 *
 * <p>TornadoVM's code generator looks at the address alone: it emits the <a
 * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/cuda/src/main/java/uk/ac/manchester/tornado/drivers/cuda/graal/lir/CUDALIRStmt.java#L2147">store</a>
 * relative to its argument, whatever that is, plus the header of a Java array. So a local array may
 * stand in for one, which keeps the accumulators of {@code mma} on chip; there is no other way to
 * get at them. On the JVM the cast throws.
 */
public final class LocalTile {
  private LocalTile() {}

  /**
   * The array for {@code mmaStore}; on the device alone.
   *
   * @param local a {@code float[]}, declared as an object because the compiler would otherwise see
   *     that the cast fails and pass null
   */
  public static FloatArray floats(Object local) {
    return (FloatArray) local;
  }

  /**
   * The array for {@code mmaLoadA} and {@code mmaLoadB}, which look at the address alone, too; on
   * the device alone.
   *
   * @param local a {@code long[]}
   */
  public static int[] ints(Object local) {
    return (int[]) local;
  }
}
