package io.github.moelora.tornado.emulator;

import java.lang.reflect.Array;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * Local arrays of a work-group. A place that allocates, or without places the n-th allocation of
 * every thread, has one array; it starts filled with values that spoil every result: a NaN, and for
 * an {@code int} one that is two NaNs in float16 and in bfloat16 and no index.
 */
final class LocalMemory {
  static final int POISON = 0x7fff7fff;
  static final long LONG_POISON = 0x7fff7fff7fff7fffL;

  /** Bytes of static shared memory that CUDA allows a kernel. */
  private static final int CAPACITY = 48 * 1024;

  /** Bytes of a row of a tile, which is loaded at once. */
  private static final int ROW_BYTES = 16;

  private final List<Object> arrays = new ArrayList<>();
  private final IdentityHashMap<int[], BitSet> copies = new IdentityHashMap<>();
  private final Map<Integer, Integer> sites = new HashMap<>();
  private int bytes;

  /** An array that is no multiple of what a row of a tile takes; null if there is none. */
  private @Nullable String crooked;

  /**
   * Refuses an array behind which a tile begins where its rows cannot be loaded. A single number is
   * none: the compiler puts it behind the others.
   */
  void requireTileRows() {
    if (crooked != null) {
      throw new EmulationError(
          "a local array beside tiles must be a multiple of %d bytes, got %s"
              .formatted(ROW_BYTES, crooked));
    }
  }

  /** Number of the array that a place of the kernel allocates. */
  int ofSite(int site) {
    return sites.computeIfAbsent(site, key -> sites.size());
  }

  int[] ints(int index, int size) {
    return array(index, int[].class, size, 4);
  }

  long[] longs(int index, int size) {
    return array(index, long[].class, size, 8);
  }

  byte[] bytes(int index, int size) {
    return array(index, byte[].class, size, 1);
  }

  float[] floats(int index, int size) {
    return array(index, float[].class, size, 4);
  }

  double[] doubles(int index, int size) {
    return array(index, double[].class, size, 8);
  }

  HalfFloat[] halves(int index, int size) {
    return array(index, HalfFloat[].class, size, 2);
  }

  Half2[] half2s(int index, int size) {
    return array(index, Half2[].class, size, 4);
  }

  /** Poisons the destination of an asynchronous copy. */
  void copyBegins(int[] tile, int index) {
    BitSet pending = copies.computeIfAbsent(tile, key -> new BitSet());
    if (pending.get(index)) {
      throw new EmulationError(
          "int %d of a tile must be the destination of one copy at a time".formatted(index));
    }
    tile[index] = POISON;
    pending.set(index);
  }

  /** Lands an asynchronous copy. */
  void copyEnds(int[] tile, int index, int word) {
    Objects.requireNonNull(copies.get(tile)).clear(index);
    tile[index] = word;
  }

  private <T> T array(int index, Class<T> type, int size, int elementBytes) {
    if (index == arrays.size()) {
      bytes += size * elementBytes;
      if (bytes > CAPACITY) {
        throw new EmulationError(
            "local memory must be at most %d bytes, got %d".formatted(CAPACITY, bytes));
      }
      if (size > 1 && size * elementBytes % ROW_BYTES != 0) {
        crooked = "%s[%d]".formatted(type.getComponentType(), size);
      }
      arrays.add(poisoned(type, size));
    }
    Object array = arrays.get(index);
    if (array.getClass() != type || Array.getLength(array) != size) {
      throw new EmulationError(
          "allocation %d must be the same in all threads, got %s[%d] and %s[%d]"
              .formatted(
                  index,
                  array.getClass().getComponentType(),
                  Array.getLength(array),
                  type.getComponentType(),
                  size));
    }
    return type.cast(array);
  }

  private static Object poisoned(Class<?> type, int size) {
    Object array = Array.newInstance(type.getComponentType(), size);
    switch (array) {
      case int[] ints -> Arrays.fill(ints, POISON);
      case long[] longs -> Arrays.fill(longs, LONG_POISON);
      case byte[] bytes -> Arrays.fill(bytes, (byte) 0x7f);
      case float[] floats -> Arrays.fill(floats, Float.NaN);
      case double[] doubles -> Arrays.fill(doubles, Double.NaN);
      case HalfFloat[] halves -> Arrays.setAll(halves, i -> new HalfFloat(Float.NaN));
      case Half2[] pairs ->
          Arrays.setAll(pairs, i -> new Half2(new HalfFloat(Float.NaN), new HalfFloat(Float.NaN)));
      default -> throw new IllegalArgumentException("type must be a local array, got " + type);
    }
    return array;
  }
}
