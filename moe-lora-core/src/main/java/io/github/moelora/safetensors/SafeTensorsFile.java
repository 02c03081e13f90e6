package io.github.moelora.safetensors;

import io.github.moelora.AdapterFormatException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
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
  private final long bytes;
  private final Arena arena;
  private final SequencedMap<String, Tensor> tensors;
  private final AtomicBoolean closed = new AtomicBoolean();

  private SafeTensorsFile(
      Path path, long bytes, Arena arena, SequencedMap<String, Tensor> tensors) {
    this.path = path;
    this.bytes = bytes;
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
      requireNoOtherKind(path, file);
      SafeTensorsFile opened = new SafeTensorsFile(path, size, arena, read(path, file));
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

  /** What people have under this name instead, and what to do about it. */
  private enum OtherKind {
    LFS_POINTER(
        "version https://git-lfs",
        "the file must hold the weights (fetch them with 'git lfs pull')",
        "a Git LFS pointer"),
    ZIP(
        "PK\u0003\u0004",
        "the file must be in safetensors format (load the adapter with PEFT and save it with"
            + " save_pretrained)",
        "a zip file, as torch.save writes"),
    GGUF("GGUF", "the file must be in safetensors format", "a GGUF file"),
    HTML("<!DOCTYPE", "the file must hold the weights (download it again)", "an HTML page"),
    JSON("{\"", "the file must hold the weights (download it again)", "a JSON text");

    private final String beginning;
    private final String rule;
    private final String value;

    OtherKind(String beginning, String rule, String value) {
      this.beginning = beginning;
      this.rule = rule;
      this.value = value;
    }

    boolean begins(MemorySegment file) {
      byte[] bytes = beginning.getBytes(StandardCharsets.ISO_8859_1);
      return file.byteSize() >= bytes.length
          && file.asSlice(0, bytes.length).mismatch(MemorySegment.ofArray(bytes)) < 0;
    }
  }

  private static void requireNoOtherKind(Path path, MemorySegment file) {
    for (OtherKind kind : OtherKind.values()) {
      if (kind.begins(file)) {
        throw new AdapterFormatException(path, null, kind.rule, kind.value);
      }
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

  /**
   * Checks that the file is as long as when it was mapped: see {@link #requireLength}.
   *
   * @throws AdapterFormatException if it is not
   */
  public void requireUnchanged() {
    requireLength(path, bytes);
  }

  /**
   * Checks that a mapped file is as long as it was. Bytes that a shorter one has lost cannot be
   * read: the JVM answers with an {@link InternalError}, which does not name the file.
   *
   * @param bytes that it had when it was mapped
   * @throws AdapterFormatException if it has others
   */
  public static void requireLength(Path path, long bytes) {
    long now;
    try {
      now = Files.size(path);
    } catch (IOException e) {
      // deleted, not shortened: what is mapped stays
      return;
    }
    if (now != bytes) {
      throw new AdapterFormatException(
          path, null, "the file must keep its %d bytes while it is open".formatted(bytes), now);
    }
  }

  /** Unmaps the file; closing twice does nothing. */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      arena.close();
    }
  }
}
