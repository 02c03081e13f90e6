package io.github.moelora.gguf;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/**
 * Writes GGUF files byte by byte from the description of the format, sound ones and damaged ones.
 * It has nothing in common with the library's writer, and can do what that one refuses to.
 */
final class GgufBytes {
  static final int F32 = 0;
  static final int F16 = 1;
  static final int Q4_0 = 2;
  static final int Q8_0 = 8;
  static final int I32 = 26;
  static final int BF16 = 30;

  private record Entry(String name, int type, long[] ne, byte[] data) {}

  private final List<byte[]> metadata = new ArrayList<>();
  private final List<Entry> entries = new ArrayList<>();
  private int version = 3;
  private int alignment = 32;
  private @Nullable Long tensorCount;
  private @Nullable Long metadataCount;
  private long gap;
  private Random order = new Random(0);
  private boolean shuffled;

  GgufBytes version(int version) {
    this.version = version;
    return this;
  }

  /** Aligns the data; the metadata that says so is apart. */
  GgufBytes alignment(int alignment) {
    this.alignment = alignment;
    return this;
  }

  /** Claims another number of tensors. */
  GgufBytes tensorCount(long count) {
    this.tensorCount = count;
    return this;
  }

  /** Claims another number of metadata values. */
  GgufBytes metadataCount(long count) {
    this.metadataCount = count;
    return this;
  }

  /** Places the tensors' bytes in another order than their entries, with gaps. */
  GgufBytes shuffled(long seed) {
    this.shuffled = true;
    this.order = new Random(seed);
    this.gap = 3;
    return this;
  }

  /** A metadata value as it stands. */
  GgufBytes raw(String key, int type, byte[] value) {
    metadata.add(join(string(key), int32(type), value));
    return this;
  }

  GgufBytes text(String key, String value) {
    return raw(key, 8, string(value));
  }

  GgufBytes uint32(String key, int value) {
    return raw(key, 4, int32(value));
  }

  GgufBytes float32(String key, float value) {
    return raw(key, 6, int32(Float.floatToIntBits(value)));
  }

  /** What an adapter of an architecture has, less the alpha. */
  GgufBytes adapter(String architecture) {
    return text("general.architecture", architecture)
        .text("general.type", "adapter")
        .text("adapter.type", "lora");
  }

  /**
   * Appends a tensor.
   *
   * @param ne dimensions, fastest first as the file has them
   */
  GgufBytes tensor(String name, int type, long[] ne, byte[] data) {
    entries.add(new Entry(name, type, ne, data));
    return this;
  }

  /** Appends a float32 tensor of some number of zeros. */
  GgufBytes zeros(String name, long... ne) {
    int elements = 1;
    for (long n : ne) {
      elements = (int) (elements * n);
    }
    return tensor(name, F32, ne, new byte[4 * elements]);
  }

  byte[] bytes() {
    long[] offsets = new long[entries.size()];
    List<Integer> places = new ArrayList<>();
    for (int i = 0; i < entries.size(); i++) {
      places.add(i);
    }
    if (shuffled) {
      Collections.shuffle(places, order);
    }
    ByteArrayOutputStream data = new ByteArrayOutputStream();
    for (int place : places) {
      offsets[place] = data.size();
      byte[] body = entries.get(place).data();
      data.writeBytes(body);
      data.writeBytes(new byte[padding(body.length) + (int) (gap * alignment)]);
    }
    return assemble(offsets, data.toByteArray());
  }

  /** The file with these offsets in its entries. */
  byte[] assemble(long[] offsets, byte[] data) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes("GGUF".getBytes(StandardCharsets.ISO_8859_1));
    out.writeBytes(int32(version));
    out.writeBytes(int64(tensorCount == null ? entries.size() : tensorCount));
    out.writeBytes(int64(metadataCount == null ? metadata.size() : metadataCount));
    metadata.forEach(out::writeBytes);
    for (int i = 0; i < entries.size(); i++) {
      Entry entry = entries.get(i);
      out.writeBytes(string(entry.name()));
      out.writeBytes(int32(entry.ne().length));
      for (long n : entry.ne()) {
        out.writeBytes(int64(n));
      }
      out.writeBytes(int32(entry.type()));
      out.writeBytes(int64(offsets[i]));
    }
    out.writeBytes(new byte[padding(out.size())]);
    out.writeBytes(data);
    return out.toByteArray();
  }

  private int padding(int size) {
    return (alignment - size % alignment) % alignment;
  }

  Path write(Path path) {
    try {
      return Files.write(path, bytes());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static byte[] join(byte[]... parts) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (byte[] part : parts) {
      out.writeBytes(part);
    }
    return out.toByteArray();
  }

  static byte[] int32(int value) {
    return ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(value).array();
  }

  static byte[] int64(long value) {
    return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
  }

  static byte[] string(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    return join(int64(bytes.length), bytes);
  }

  /** Values in an element type; Q8_0 takes values that are a power of two times a byte. */
  static byte[] encode(int type, double[] values) {
    ByteBuffer out = ByteBuffer.allocate(4 * values.length + 64).order(ByteOrder.LITTLE_ENDIAN);
    switch (type) {
      case F32 -> {
        for (double value : values) {
          out.putFloat((float) value);
        }
      }
      case F16 -> {
        for (double value : values) {
          out.putShort(Float.floatToFloat16((float) value));
        }
      }
      case BF16 -> {
        for (double value : values) {
          // the values in use have few bits, so cutting them off is exact
          out.putShort((short) (Float.floatToRawIntBits((float) value) >>> 16));
        }
      }
      case Q8_0 -> {
        for (int i = 0; i < values.length; i += 32) {
          out.putShort(Float.floatToFloat16(Q8_SCALE));
          for (int j = 0; j < 32; j++) {
            out.put((byte) Math.round(values[i + j] / Q8_SCALE));
          }
        }
      }
      default -> throw new IllegalArgumentException("type " + type);
    }
    byte[] bytes = new byte[out.position()];
    out.flip().get(bytes);
    return bytes;
  }

  /** Scale of each block that {@link #encode} writes. */
  static final float Q8_SCALE = 0x1p-6f;

  /** Values that every type holds exactly: bytes times {@link #Q8_SCALE}. */
  static double[] values(Random random, int count) {
    double[] values = new double[count];
    for (int i = 0; i < count; i++) {
      values[i] = (random.nextInt(255) - 127) * (double) Q8_SCALE;
    }
    return values;
  }
}
