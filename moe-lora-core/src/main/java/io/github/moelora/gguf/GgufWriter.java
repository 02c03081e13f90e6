package io.github.moelora.gguf;

import io.github.moelora.gguf.GgufValue.Array;
import io.github.moelora.gguf.GgufValue.Real;
import io.github.moelora.gguf.GgufValue.Text;
import io.github.moelora.gguf.GgufValue.Truth;
import io.github.moelora.gguf.GgufValue.Whole;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;

/**
 * Writes a GGUF file of version 3 that llama.cpp reads: the tensors' bytes in the order of their
 * entries, each at the next multiple of the alignment, which is 32 unless {@code general.alignment}
 * says otherwise. Not thread-safe.
 */
public final class GgufWriter {
  /** What llama.cpp has room for. */
  static final int MAX_NAME_BYTES = 63;

  private static final int MAX_DIMENSIONS = 4;

  /** Bytes that go to the file at once. */
  private static final int CHUNK_BYTES = 1 << 24;

  /** Makes a tensor's bytes when their turn has come. */
  @FunctionalInterface
  public interface Body {
    /**
     * Fills a tensor.
     *
     * @param data out, all its bytes, zero before
     */
    void fill(MemorySegment data);
  }

  private record Entry(String name, GgmlType type, List<Long> shape, long bytes, Body body) {}

  private final SequencedMap<String, GgufValue> metadata = new LinkedHashMap<>();
  private final List<Entry> entries = new ArrayList<>();
  private final Set<String> names = new HashSet<>();
  private long alignment = GgufHeader.DEFAULT_ALIGNMENT;

  /** Starts a file without metadata or tensors. */
  public GgufWriter() {}

  /**
   * Appends a metadata value.
   *
   * @throws IllegalArgumentException if the key is empty or there, or an alignment is not a power
   *     of two of at least 8 as uint32
   */
  public GgufWriter metadata(String key, GgufValue value) {
    if (key.isEmpty() || metadata.containsKey(key)) {
      throw new IllegalArgumentException("key must be new and not empty, got '" + key + "'");
    }
    if (key.equals("general.alignment")) {
      boolean sound =
          value instanceof Whole whole
              && whole.type() == GgufValue.Type.UINT32
              && whole.value() >= 8
              && Long.bitCount(whole.value()) == 1;
      if (!sound) {
        throw new IllegalArgumentException(
            "general.alignment must be a uint32 power of two of at least 8, got " + value);
      }
      alignment = ((Whole) value).value();
    }
    metadata.put(key, value);
    return this;
  }

  /**
   * Appends a tensor.
   *
   * @param name at most 63 bytes in UTF-8
   * @param shape one to four dimensions, slowest first, each at least 1; the last fills blocks of
   *     the type
   * @throws IllegalArgumentException if the name is there, empty or too long, or the shape does not
   *     do
   */
  public GgufWriter tensor(String name, GgmlType type, List<Long> shape, Body body) {
    int length = name.getBytes(StandardCharsets.UTF_8).length;
    if (length < 1 || length > MAX_NAME_BYTES) {
      throw new IllegalArgumentException(
          "name must have [1, %d] bytes, got %d in %s".formatted(MAX_NAME_BYTES, length, name));
    }
    if (names.contains(name)) {
      throw new IllegalArgumentException("name must be new, got " + name);
    }
    if (shape.isEmpty()
        || shape.size() > MAX_DIMENSIONS
        || shape.stream().anyMatch(dimension -> dimension < 1)
        || shape.getLast() % type.blockElements() != 0) {
      throw new IllegalArgumentException(
          "shape of %s must have 1 to 4 dimensions of at least 1, the last a multiple of %d, got %s"
              .formatted(name, type.blockElements(), shape));
    }
    long bytes = type.blockBytes();
    for (int i = 0; i < shape.size(); i++) {
      boolean last = i == shape.size() - 1;
      bytes = Math.multiplyExact(bytes, last ? shape.get(i) / type.blockElements() : shape.get(i));
    }
    names.add(name);
    entries.add(new Entry(name, type, List.copyOf(shape), bytes, body));
    return this;
  }

  /**
   * Writes the file beside its place and then moves it there, so that it is whole or not there.
   *
   * @return its size in bytes
   * @throws IOException if it cannot be written
   */
  public long write(Path path) throws IOException {
    long pid = ProcessHandle.current().pid();
    Path part = path.resolveSibling("%s.%d.part".formatted(path.getFileName(), pid));
    try {
      long size;
      try (FileChannel channel =
          FileChannel.open(
              part,
              StandardOpenOption.CREATE,
              StandardOpenOption.TRUNCATE_EXISTING,
              StandardOpenOption.WRITE)) {
        writeAll(channel, header());
        for (Entry entry : entries) {
          writeTensor(channel, entry);
        }
        size = channel.position();
      }
      Files.move(part, path, StandardCopyOption.REPLACE_EXISTING);
      return size;
    } finally {
      Files.deleteIfExists(part);
    }
  }

  private void writeTensor(FileChannel channel, Entry entry) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment data = arena.allocate(aligned(entry.bytes()), Long.BYTES);
      entry.body().fill(data.asSlice(0, entry.bytes()));
      for (long at = 0; at < data.byteSize(); at += CHUNK_BYTES) {
        long count = Math.min(CHUNK_BYTES, data.byteSize() - at);
        writeAll(channel, data.asSlice(at, count).asByteBuffer());
      }
    }
  }

  private static void writeAll(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  private long aligned(long bytes) {
    return Math.addExact(bytes, -bytes & (alignment - 1));
  }

  private ByteBuffer header() {
    Bytes header = new Bytes();
    header.text("GGUF").int32(3).int64(entries.size()).int64(metadata.size());
    metadata.forEach(
        (key, value) -> {
          header.string(key).int32(value.type().id());
          write(header, value);
        });
    long offset = 0;
    for (Entry entry : entries) {
      header.string(entry.name()).int32(entry.shape().size());
      entry.shape().reversed().forEach(header::int64);
      header.int32(entry.type().id()).int64(offset);
      offset = Math.addExact(offset, aligned(entry.bytes()));
    }
    header.zeros(aligned(header.size()) - header.size());
    return ByteBuffer.wrap(header.bytes());
  }

  private static void write(Bytes header, GgufValue value) {
    switch (value) {
      case Text text -> header.string(text.value());
      case Truth truth -> header.number(truth.value() ? 1 : 0, 1);
      case Whole whole -> header.number(whole.value(), whole.type().bytes());
      case Real real -> {
        if (real.type() == GgufValue.Type.FLOAT32) {
          header.int32(Float.floatToRawIntBits((float) real.value()));
        } else {
          header.int64(Double.doubleToRawLongBits(real.value()));
        }
      }
      case Array array -> {
        header.int32(array.elementType().id()).int64(array.count());
        header.raw(array.data().toArray(ValueLayout.JAVA_BYTE));
      }
    }
  }

  /** Little-endian bytes, as many as come. */
  private static final class Bytes {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteBuffer scratch =
        ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);

    Bytes number(long value, int bytes) {
      scratch.putLong(0, value);
      out.write(scratch.array(), 0, bytes);
      return this;
    }

    Bytes int32(int value) {
      return number(value, Integer.BYTES);
    }

    Bytes int64(long value) {
      return number(value, Long.BYTES);
    }

    Bytes text(String text) {
      return raw(text.getBytes(StandardCharsets.UTF_8));
    }

    Bytes string(String text) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      return int64(bytes.length).raw(bytes);
    }

    Bytes raw(byte[] bytes) {
      out.writeBytes(bytes);
      return this;
    }

    void zeros(long count) {
      out.writeBytes(new byte[Math.toIntExact(count)]);
    }

    int size() {
      return out.size();
    }

    byte[] bytes() {
      return out.toByteArray();
    }
  }
}
