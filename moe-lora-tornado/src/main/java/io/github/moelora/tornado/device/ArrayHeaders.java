package io.github.moelora.tornado.device;

import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * How far the first element of an array lies from where TornadoVM's CUDA code looks for it.
 *
 * <p>The elements of a device array begin after a header whose bytes {@code
 * -Dtornado.panama.objectHeader} sets. But <a
 * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/cuda/src/main/java/uk/ac/manchester/tornado/drivers/cuda/graal/lir/CUDALIRStmt.java#L2147">{@code
 * mmaStore}</a>, and <a
 * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/cuda/src/main/java/uk/ac/manchester/tornado/drivers/cuda/graal/compiler/plugins/CUDAVectorPlugins.java#L219">{@code
 * getHalf2} and {@code setHalf2}</a> of a {@code HalfFloatArray}, count from the end of a Java
 * array's header, whatever they are given: a device array, or a local one, which has none.
 */
public final class ArrayHeaders {
  private static final int JAVA = javaHeader();
  private static final int DEVICE = (int) TornadoNativeArray.ARRAY_HEADER;

  /** Floats of a local array before the first that {@code mmaStore} writes. */
  public static final int LOCAL_FLOATS = JAVA / Float.BYTES;

  /** To add to the column of {@code mmaStore} to a device array. */
  public static final int DEVICE_FLOATS = (DEVICE - JAVA) / Float.BYTES;

  /** To add to the index of {@code getHalf2} and {@code setHalf2}. */
  static final int DEVICE_HALVES = (DEVICE - JAVA) / Short.BYTES;

  private ArrayHeaders() {}

  /** Bytes before the first element of an array of numbers of at most 32 bits. */
  private static int javaHeader() {
    try {
      // named by a string: javac warns of every other use of the class
      return Class.forName("sun.misc.Unsafe").getField("ARRAY_FLOAT_BASE_OFFSET").getInt(null);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("the JVM must tell how its arrays are laid out", e);
    }
  }
}
