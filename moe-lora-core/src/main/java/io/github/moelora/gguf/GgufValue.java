package io.github.moelora.gguf;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A value of a GGUF file's metadata. */
public sealed interface GgufValue {
  /** What the format can hold. */
  enum Type {
    UINT8(0, 1),
    INT8(1, 1),
    UINT16(2, 2),
    INT16(3, 2),
    UINT32(4, 4),
    INT32(5, 4),
    FLOAT32(6, 4),
    BOOL(7, 1),
    STRING(8, 0),
    ARRAY(9, 0),
    UINT64(10, 8),
    INT64(11, 8),
    FLOAT64(12, 8);

    private final int id;
    private final int bytes;

    Type(int id, int bytes) {
      this.id = id;
      this.bytes = bytes;
    }

    /** Number of this type in a file. */
    public int id() {
      return id;
    }

    /** Bytes of a value, 0 for strings and arrays. */
    public int bytes() {
      return bytes;
    }

    /** The type with a number, or null if there is none. */
    static @Nullable Type withId(int id) {
      // numbered without a gap
      return id >= 0 && id < values().length ? values()[id] : null;
    }
  }

  /** Type of this value. */
  Type type();

  /**
   * A whole number.
   *
   * @param type one of the eight integer types
   * @param value the number; for {@link Type#UINT64} its 64 bits
   */
  record Whole(Type type, long value) implements GgufValue {
    @Override
    public String toString() {
      return type == Type.UINT64 ? Long.toUnsignedString(value) : Long.toString(value);
    }
  }

  /**
   * A floating-point number.
   *
   * @param type {@link Type#FLOAT32} or {@link Type#FLOAT64}
   */
  record Real(Type type, double value) implements GgufValue {
    @Override
    public String toString() {
      return type == Type.FLOAT32 ? Float.toString((float) value) : Double.toString(value);
    }
  }

  /** A truth value. */
  record Truth(boolean value) implements GgufValue {
    @Override
    public Type type() {
      return Type.BOOL;
    }

    @Override
    public String toString() {
      return Boolean.toString(value);
    }
  }

  /** A string. */
  record Text(String value) implements GgufValue {
    @Override
    public Type type() {
      return Type.STRING;
    }

    @Override
    public String toString() {
      return value;
    }
  }

  /**
   * An array, as a view of the file.
   *
   * @param elementType type of every element, not {@link Type#ARRAY}
   * @param count number of elements
   * @param data the elements as the file has them
   */
  record Array(Type elementType, long count, MemorySegment data) implements GgufValue {
    @Override
    public Type type() {
      return Type.ARRAY;
    }

    /**
     * The first elements.
     *
     * @param most how many to read, at least 0
     */
    public List<GgufValue> first(int most) {
      List<GgufValue> elements = new ArrayList<>();
      long at = 0;
      for (long i = 0; i < Math.min(most, count); i++) {
        if (elementType == Type.STRING) {
          long length = data.get(Little.LONG, at);
          MemorySegment text = data.asSlice(at + Long.BYTES, length);
          elements.add(
              new Text(new String(text.toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8)));
          at += Long.BYTES + length;
        } else {
          elements.add(scalar(elementType, data, at));
          at += elementType.bytes();
        }
      }
      return elements;
    }

    @Override
    public String toString() {
      return "%d values of %s".formatted(count, elementType);
    }
  }

  /** A string value. */
  static GgufValue text(String value) {
    return new Text(value);
  }

  /** A float32 value. */
  static GgufValue float32(float value) {
    return new Real(Type.FLOAT32, value);
  }

  /** An unsigned 32-bit value. */
  static GgufValue uint32(int value) {
    return new Whole(Type.UINT32, Integer.toUnsignedLong(value));
  }

  /** Reads a value of a fixed size; a truth value is any byte but 0. */
  private static GgufValue scalar(Type type, MemorySegment data, long at) {
    return switch (type) {
      case UINT8 -> new Whole(type, Byte.toUnsignedInt(data.get(ValueLayout.JAVA_BYTE, at)));
      case INT8 -> new Whole(type, data.get(ValueLayout.JAVA_BYTE, at));
      case UINT16 -> new Whole(type, Short.toUnsignedInt(data.get(Little.SHORT, at)));
      case INT16 -> new Whole(type, data.get(Little.SHORT, at));
      case UINT32 -> new Whole(type, Integer.toUnsignedLong(data.get(Little.INT, at)));
      case INT32 -> new Whole(type, data.get(Little.INT, at));
      case UINT64, INT64 -> new Whole(type, data.get(Little.LONG, at));
      case FLOAT32 -> new Real(type, Float.intBitsToFloat(data.get(Little.INT, at)));
      case FLOAT64 -> new Real(type, Double.longBitsToDouble(data.get(Little.LONG, at)));
      case BOOL -> new Truth(data.get(ValueLayout.JAVA_BYTE, at) != 0);
      case STRING, ARRAY -> throw new IllegalArgumentException("type must be of a fixed size");
    };
  }

  /** Reads the one value of a fixed size that {@code data} holds. */
  static GgufValue scalar(Type type, MemorySegment data) {
    return scalar(type, data, 0);
  }
}
