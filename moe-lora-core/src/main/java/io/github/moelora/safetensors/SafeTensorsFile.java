package io.github.moelora.safetensors;

import io.github.moelora.AdapterFormatException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A memory-mapped safetensors file: an 8-byte header length, a JSON header, then the tensors' bytes
 * without gaps or overlaps. The format is little-endian, and so must the machine be.
 *
 * <p>Immutable; the segments it hands out live until {@link #close}, and the file must not be
 * changed meanwhile. Safe for use by several threads.
 */
public final class SafeTensorsFile implements AutoCloseable {
  /** As in the format's own implementation. */
  private static final long MAX_HEADER_BYTES = 100_000_000;

  private static final ValueLayout.OfLong LITTLE_ENDIAN_LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /**
   * One tensor.
   *
   * @param dtype name as in the header, such as {@code BF16}
   * @param shape dimensions, slowest first
   * @param data its bytes, read-only
   */
  public record Tensor(String name, String dtype, List<Long> shape, MemorySegment data) {}

  private final Path path;
  private final Arena arena;
  private final SequencedMap<String, Tensor> tensors;
  private final AtomicBoolean closed = new AtomicBoolean();

  private SafeTensorsFile(Path path, Arena arena, SequencedMap<String, Tensor> tensors) {
    this.path = path;
    this.arena = arena;
    this.tensors = tensors;
  }

  /**
   * Maps a file and checks its header.
   *
   * @throws AdapterFormatException if it breaks a rule of the format
   * @throws IOException if it cannot be read
   */
  @SuppressWarnings("MustBeClosedChecker") // the file owns it, and a failed open closes it
  public static SafeTensorsFile open(Path path) throws IOException {
    requireRegularFile(path);
    Arena arena = Arena.ofShared();
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      long size = channel.size();
      if (size < Long.BYTES) {
        throw new AdapterFormatException(
            path, null, "a safetensors file must have at least 8 bytes", size);
      }
      MemorySegment file = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
      SafeTensorsFile opened = new SafeTensorsFile(path, arena, read(path, file));
      arena = null;
      return opened;
    } finally {
      if (arena != null) {
        arena.close();
      }
    }
  }

  /**
   * Refuses what is not a regular file: opening a pipe would wait for its writer.
   *
   * @throws AdapterFormatException if it is something else, or does not exist
   */
  public static void requireRegularFile(Path path) {
    if (!Files.isRegularFile(path)) {
      throw new AdapterFormatException(
          path,
          null,
          "it must be a regular file",
          Files.exists(path) ? "something else" : "no such file");
    }
  }

  private static SequencedMap<String, Tensor> read(Path path, MemorySegment file) {
    long headerBytes = file.get(LITTLE_ENDIAN_LONG, 0);
    long most = Math.min(MAX_HEADER_BYTES, file.byteSize() - Long.BYTES);
    if (headerBytes < 2 || headerBytes > most) {
      throw new AdapterFormatException(
          path,
          null,
          "header length must be in [2, %d]".formatted(most),
          Long.toUnsignedString(headerBytes));
    }
    MemorySegment data = file.asSlice(Long.BYTES + headerBytes);
    SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
    for (SafeTensorsHeader.Extent extent :
        SafeTensorsHeader.read(path, file.asSlice(Long.BYTES, headerBytes), data.byteSize())) {
      tensors.put(
          extent.name(),
          new Tensor(
              extent.name(),
              extent.dtype(),
              extent.shape(),
              data.asSlice(extent.begin(), extent.end() - extent.begin())));
    }
    return tensors;
  }

  /** The file. */
  public Path path() {
    return path;
  }

  /** All tensors by name, in the order of their bytes. */
  public SequencedMap<String, Tensor> tensors() {
    return Collections.unmodifiableSequencedMap(tensors);
  }

  /** Unmaps the file; closing twice does nothing. */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      arena.close();
    }
  }
}
