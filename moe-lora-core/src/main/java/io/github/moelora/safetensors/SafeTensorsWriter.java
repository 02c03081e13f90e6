package io.github.moelora.safetensors;

import io.github.moelora.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * Writes a safetensors file, a tensor at a time, so that no more than the largest is in memory. Not
 * thread-safe.
 */
public final class SafeTensorsWriter {
  /** The data part begins at a multiple of this. */
  private static final int ALIGNMENT = 8;

  private record Item(
      String name, DType type, List<Long> shape, long bytes, Consumer<MemorySegment> filler) {}

  private final List<Item> items = new ArrayList<>();

  /** Starts a file without tensors. */
  public SafeTensorsWriter() {}

  /**
   * Appends a tensor.
   *
   * @param name printable ASCII without quotes and backslashes
   * @param shape dimensions, slowest first
   * @param filler sets all elements of a zeroed segment
   * @throws IllegalArgumentException if the name cannot be written as it is
   */
  public void add(String name, DType type, List<Long> shape, Consumer<MemorySegment> filler) {
    if (name.chars().anyMatch(c -> c < ' ' || c > '~' || c == '"' || c == '\\')) {
      throw new IllegalArgumentException(
          "name must be printable ASCII without quotes and backslashes, got " + name);
    }
    long bytes = type.bytes();
    for (long dimension : shape) {
      bytes = Math.multiplyExact(bytes, dimension);
    }
    items.add(new Item(name, type, List.copyOf(shape), bytes, filler));
  }

  /**
   * Writes the file beside its place and then moves it there, so that a failure leaves what was
   * there.
   *
   * @return its size in bytes
   */
  public long write(Path file) throws IOException {
    Path unfinished = file.resolveSibling(file.getFileName() + ".unfinished");
    try {
      long size;
      try (FileChannel channel = open(unfinished)) {
        byte[] header = header();
        ByteBuffer start =
            ByteBuffer.allocate(Long.BYTES + header.length).order(ByteOrder.LITTLE_ENDIAN);
        writeAll(channel, start.putLong(header.length).put(header).flip());
        for (Item item : items) {
          writeTensor(channel, item);
        }
        size = channel.size();
      }
      Files.move(unfinished, file, StandardCopyOption.REPLACE_EXISTING);
      return size;
    } finally {
      Files.deleteIfExists(unfinished);
    }
  }

  private static FileChannel open(Path file) throws IOException {
    return FileChannel.open(
        file,
        StandardOpenOption.CREATE,
        StandardOpenOption.TRUNCATE_EXISTING,
        StandardOpenOption.WRITE);
  }

  private byte[] header() {
    StringBuilder json = new StringBuilder("{\"__metadata__\":{\"format\":\"pt\"}");
    long at = 0;
    for (Item item : items) {
      json.append(
          ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}"
              .formatted(
                  item.name,
                  item.type,
                  item.shape.toString().replace(" ", ""),
                  at,
                  at + item.bytes));
      at += item.bytes;
    }
    json.append('}');
    int length = json.length();
    json.repeat(' ', (ALIGNMENT - length % ALIGNMENT) % ALIGNMENT);
    return json.toString().getBytes(StandardCharsets.US_ASCII);
  }

  private static void writeTensor(FileChannel channel, Item item) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment data = arena.allocate(item.bytes, Long.BYTES);
      item.filler.accept(data);
      // a buffer has at most 2^31 - 1 bytes
      for (long from = 0; from < item.bytes; from += 1 << 30) {
        long count = Math.min(1 << 30, item.bytes - from);
        writeAll(channel, data.asSlice(from, count).asByteBuffer());
      }
    }
  }

  private static void writeAll(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }
}
