package io.github.moelora.tornado.emulator;

import java.lang.ref.WeakReference;
import java.util.Map;
import java.util.WeakHashMap;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * Local arrays that a kernel hands to tensor-core operations in another type, which Java cannot
 * cast: arrays that stand for them. Takes the place of the class {@code LocalTile} of the kernels.
 */
public final class LocalTiles {
  /** Internal name of the class whose calls come here. */
  static final String REPLACED = "io/github/moelora/tornado/device/LocalTile";

  /**
   * Floats of the header of a Java array, with the JVM's usual flags: {@code mmaStore} skips it.
   */
  static final int HEADER = 4;

  private static final Map<Object, Object> STANDINS = new WeakHashMap<>();
  private static final Map<Object, WeakReference<Object>> ORIGINALS = new WeakHashMap<>();

  private LocalTiles() {}

  /**
   * What stands for a local array.
   *
   * @param type what the kernel casts it to: {@code FloatArray} for {@code mmaStore}, {@code int[]}
   *     for {@code mmaLoadA} and {@code mmaLoadB}
   */
  public static synchronized Object standIn(Object local, Class<?> type) {
    return STANDINS.computeIfAbsent(
        local,
        array -> {
          Object standIn = type == FloatArray.class ? new FloatArray(1) : new int[1];
          ORIGINALS.put(standIn, new WeakReference<>(array));
          return standIn;
        });
  }

  /** The local array that an array stands for, itself if it stands for none. */
  static synchronized Object original(Object array) {
    WeakReference<Object> reference = ORIGINALS.get(array);
    Object local = reference == null ? null : reference.get();
    return local == null ? array : local;
  }
}
