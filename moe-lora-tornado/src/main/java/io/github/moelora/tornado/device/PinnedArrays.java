package io.github.moelora.tornado.device;

import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;
import uk.ac.manchester.tornado.api.common.TornadoDevice;
import uk.ac.manchester.tornado.api.enums.TornadoVMBackendType;

/**
 * Arrays whose host memory TornadoVM's PTX backend may leave pinned for ever: those mapped into a
 * graph that never runs, because freeing a plan passes over such graphs. Once collected, their
 * memory would serve other arrays, whose copies the driver then refuses; so they are kept for as
 * long as the JVM runs. Meant for arrays of one element.
 *
 * <p>The backend pins every array <a
 * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/ptx/src/main/java/uk/ac/manchester/tornado/drivers/ptx/mm/PTXMemorySegmentWrapper.java#L211">when
 * it gets device memory</a>, and has no switch for it. Thread-safe.
 */
public final class PinnedArrays {
  private static final Set<Object> KEPT =
      Collections.synchronizedSet(Collections.newSetFromMap(new IdentityHashMap<>()));

  private PinnedArrays() {}

  /** Keeps an array, on PTX; elsewhere nothing is needed. */
  public static void keep(TornadoDevice device, Object array) {
    if (device.getTornadoVMBackend() == TornadoVMBackendType.PTX) {
      KEPT.add(array);
    }
  }
}
