package io.github.moelora.gguf;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.safetensors.SafeTensorsFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A memory-mapped GGUF file of version 2 or 3: metadata, an entry for each tensor, then the
 * tensors' bytes, each at the offset of its entry, in any order, with gaps or without. Files are
 * little-endian here, and so must the machine be.
 *
 * <p>Immutable; the segments it hands out live until {@link #close}, and the file must not be
 * changed meanwhile. Safe for use by several threads.
 */
public final class GgufFile implements AutoCloseable {
  /**
   * One tensor.
   *
   * @param shape dimensions, slowest first: the file itself has them the other way round
   * @param data its bytes, read-only
   */
  public record Tensor(String name, GgmlType type, List<Long> shape, MemorySegment data) {}

  private final Path path;
  private final Arena arena;
  private final long bytes;
  private final int version;
  private final long alignment;
  private final SequencedMap<String, GgufValue> metadata;
  private final SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
  private final AtomicBoolean closed = new AtomicBoolean();

  private GgufFile(Path path, Arena arena, MemorySegment file) {
    this.path = path;
    this.arena = arena;
    bytes = file.byteSize();
    GgufHeader header = GgufHeader.read(path, file);
    version = header.version();
    alignment = header.alignment();
    metadata = header.metadata();
    for (GgufHeader.Extent extent : header.extents()) {
      MemorySegment data = file.asSlice(extent.begin(), extent.bytes());
      tensors.put(extent.name(), new Tensor(extent.name(), extent.type(), extent.shape(), data));
    }
  }

  /**
   * Maps a file and checks its header.
   *
   * @throws AdapterFormatException if it breaks a rule of the format
   * @throws IOException if it cannot be read
   */
  @SuppressWarnings("MustBeClosedChecker") // the file owns it, and a failed open closes it
  public static GgufFile open(Path path) throws IOException {
    SafeTensorsFile.requireRegularFile(path);
    Arena arena = Arena.ofShared();
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      MemorySegment file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
      GgufFile opened = new GgufFile(path, arena, file);
      arena = null;
      return opened;
    } finally {
      if (arena != null) {
        arena.close();
      }
    }
  }

  /** The file. */
  public Path path() {
    return path;
  }

  /** Version of the format, 2 or 3. */
  public int version() {
    return version;
  }

  /** Bytes at whose multiples tensors begin, a power of two. */
  public long alignment() {
    return alignment;
  }

  /** All metadata by key, in the file's order. */
  public SequencedMap<String, GgufValue> metadata() {
    return Collections.unmodifiableSequencedMap(metadata);
  }

  /** All tensors by name, in the order of their entries. */
  public SequencedMap<String, Tensor> tensors() {
    return Collections.unmodifiableSequencedMap(tensors);
  }

  /**
   * Checks that the file is as long as when it was mapped, as {@link SafeTensorsFile#requireLength}
   * does.
   *
   * @throws AdapterFormatException if it is not
   */
  public void requireUnchanged() {
    SafeTensorsFile.requireLength(path, bytes);
  }

  /** Unmaps the file; closing twice does nothing. */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      arena.close();
    }
  }
}
