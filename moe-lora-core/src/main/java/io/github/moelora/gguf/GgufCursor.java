package io.github.moelora.gguf;

import io.github.moelora.AdapterFormatException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Reads a file from front to back. Each method takes what the value is called, for the message when
 * the file ends before it.
 */
final class GgufCursor {
  /** Chat templates, the longest strings in use, have some 20 KB. */
  static final int MAX_TEXT_BYTES = 1 << 24;

  private final Path path;
  private final MemorySegment file;
  private long at;

  /** Tensor whose entry is being read. */
  private @Nullable String tensor;

  GgufCursor(Path path, MemorySegment file) {
    this.path = path;
    this.file = file;
  }

  AdapterFormatException fault(String rule, @Nullable Object value) {
    return new AdapterFormatException(path, tensor, rule, value);
  }

  /** Names the tensor that messages are about from here on, or none. */
  void about(@Nullable String tensor) {
    this.tensor = tensor;
  }

  long at() {
    return at;
  }

  long remaining() {
    return file.byteSize() - at;
  }

  int int32(String what) {
    return bytes(what, Integer.BYTES).get(Little.INT, 0);
  }

  /** An unsigned 64-bit number that must be in {@code [0, most]}. */
  long count(String what, long most) {
    long value = int64(what);
    if (value < 0 || value > most) {
      throw fault("%s must be in [0, %d]".formatted(what, most), Long.toUnsignedString(value));
    }
    return value;
  }

  long int64(String what) {
    return bytes(what, Long.BYTES).get(Little.LONG, 0);
  }

  /** The next bytes, as a view. */
  MemorySegment bytes(String what, long count) {
    if (count > remaining()) {
      throw fault(
          "%s must lie within the file".formatted(what), "%d bytes left".formatted(remaining()));
    }
    MemorySegment bytes = file.asSlice(at, count);
    at += count;
    return bytes;
  }

  /** A string of at most so many bytes, which must be UTF-8. */
  String text(String what, int most) {
    long length =
        count("the length of " + what, Math.min(most, Math.max(0, remaining() - Long.BYTES)));
    byte[] bytes = bytes(what, length).toArray(ValueLayout.JAVA_BYTE);
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw fault(what + " must be UTF-8", new String(bytes, StandardCharsets.UTF_8));
    }
  }

  /** A value of a type that is known. */
  GgufValue value(String what, GgufValue.Type type) {
    return switch (type) {
      case STRING -> new GgufValue.Text(text(what, MAX_TEXT_BYTES));
      case ARRAY -> array(what);
      case BOOL -> truth(what);
      default -> GgufValue.scalar(type, bytes(what, type.bytes()));
    };
  }

  private GgufValue truth(String what) {
    byte value = bytes(what, 1).get(ValueLayout.JAVA_BYTE, 0);
    if (value != 0 && value != 1) {
      throw fault(what + " must be 0 or 1", value);
    }
    return new GgufValue.Truth(value == 1);
  }

  private GgufValue array(String what) {
    int id = int32("the element type of " + what);
    GgufValue.Type type = GgufValue.Type.withId(id);
    if (type == null || type == GgufValue.Type.ARRAY) {
      // llama.cpp reads no arrays of arrays either
      throw fault("the element type of %s must be 0 to 8 or 10 to 12".formatted(what), id);
    }
    int least = type == GgufValue.Type.STRING ? Long.BYTES : type.bytes();
    long count = count("the count of " + what, Math.max(0, remaining() - Long.BYTES) / least);
    if (type != GgufValue.Type.STRING) {
      return new GgufValue.Array(type, count, bytes(what, count * least));
    }
    long from = at;
    for (long i = 0; i < count; i++) {
      bytes(what, count("the length of a string of " + what, MAX_TEXT_BYTES));
    }
    return new GgufValue.Array(type, count, file.asSlice(from, at - from));
  }
}
