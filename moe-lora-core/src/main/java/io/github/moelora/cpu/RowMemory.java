package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * The memory of x or y: a segment, and if it lies in an array of the heap, that array. Vectors take
 * arrays as such: a segment that may be on the heap or off it costs a check of its kind and
 * barriers at each access, in the products' loops, too, once both kinds were seen (bfloat16, 512
 * tokens: 1.3 times the time with arrays of shorts, 1.9 times with bytes).
 */
final class RowMemory {
  /** What vectors read and write. */
  enum Kind {
    /** Memory off the heap, or an array of another type. */
    SEGMENT,
    /** {@code float[]} of float32. */
    FLOATS,
    /** {@code short[]} of a 16-bit type. */
    SHORTS,
    /** {@code byte[]}. */
    BYTES
  }

  private static final float[] NO_FLOATS = {};
  private static final short[] NO_SHORTS = {};
  private static final byte[] NO_BYTES = {};

  private final boolean wantsArrays;
  private DType type = DType.F32;
  private MemorySegment data = MemorySegment.NULL;
  private Kind kind = Kind.SEGMENT;
  private float[] floats = NO_FLOATS;
  private short[] shorts = NO_SHORTS;
  private byte[] bytes = NO_BYTES;
  private long first;

  /**
   * @param wantsArrays whether the kernels do, see {@link Kernels#wantArrays}
   */
  RowMemory(boolean wantsArrays) {
    this.wantsArrays = wantsArrays;
  }

  /** Takes the memory of a matrix; only its elements matter, not its rows. */
  void take(Matrix matrix) {
    type = matrix.type();
    data = matrix.data();
    kind = Kind.SEGMENT;
    if (!wantsArrays || data.isNative()) {
      return;
    }
    // null for a read-only segment, too
    @Nullable Object array = data.heapBase().orElse(null);
    // where the segment begins in the array, in bytes
    first = data.address();
    if (array instanceof float[] elements && type == DType.F32 && first % Float.BYTES == 0) {
      kind = Kind.FLOATS;
      floats = elements;
      first /= Float.BYTES;
    } else if (array instanceof short[] elements && type != DType.F32 && first % Short.BYTES == 0) {
      kind = Kind.SHORTS;
      shorts = elements;
      first /= Short.BYTES;
    } else if (array instanceof byte[] elements) {
      kind = Kind.BYTES;
      bytes = elements;
    }
  }

  /** Lets go of it. */
  void release() {
    data = MemorySegment.NULL;
    kind = Kind.SEGMENT;
    floats = NO_FLOATS;
    shorts = NO_SHORTS;
    bytes = NO_BYTES;
  }

  DType type() {
    return type;
  }

  /** The segment, whatever the kind. */
  MemorySegment data() {
    return data;
  }

  Kind kind() {
    return kind;
  }

  /** The array of {@link Kind#FLOATS}; {@link #indexOf} says where elements are. */
  float[] floats() {
    return floats;
  }

  /** The array of {@link Kind#SHORTS}; {@link #indexOf} says where elements are. */
  short[] shorts() {
    return shorts;
  }

  /** The array of {@link Kind#BYTES}; {@link #indexOf} says where elements begin. */
  byte[] bytes() {
    return bytes;
  }

  /** Where an element of the segment is in its array. */
  int indexOf(long element) {
    return (int) (first + (kind == Kind.BYTES ? element * type.bytes() : element));
  }
}
