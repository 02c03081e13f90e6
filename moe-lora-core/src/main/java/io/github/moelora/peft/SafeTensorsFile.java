package io.github.moelora.peft;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/**
 * A memory-mapped safetensors file: an 8-byte header length, a JSON header, then the tensors' bytes
 * without gaps or overlaps. The format is little-endian, and so must the machine be.
 *
 * <p>Immutable; the segments it hands out live until {@link #close}. Safe for use by several
 * threads.
 */
public final class SafeTensorsFile implements AutoCloseable {
  /** As in the reference implementation. */
  private static final long MAX_HEADER_BYTES = 100_000_000;

  private static final int MAX_DIMENSIONS = 8;

  private static final ValueLayout.OfLong LITTLE_ENDIAN_LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Bytes of an element by dtype name. */
  private static final Map<String, Integer> ELEMENT_BYTES =
      Map.ofEntries(
          Map.entry("BOOL", 1),
          Map.entry("U8", 1),
          Map.entry("I8", 1),
          Map.entry("F8_E5M2", 1),
          Map.entry("F8_E4M3", 1),
          Map.entry("F8_E8M0", 1),
          Map.entry("I16", 2),
          Map.entry("U16", 2),
          Map.entry("F16", 2),
          Map.entry("BF16", 2),
          Map.entry("I32", 4),
          Map.entry("U32", 4),
          Map.entry("F32", 4),
          Map.entry("I64", 8),
          Map.entry("U64", 8),
          Map.entry("F64", 8));

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
    Arena arena = Arena.ofShared();
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      long size = channel.size();
      if (size < Long.BYTES) {
        throw new AdapterFormatException(
            path, null, "a safetensors file must have at least 8 bytes", size);
      }
      MemorySegment file = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
      SafeTensorsFile opened = new SafeTensorsFile(path, arena, readHeader(path, file));
      arena = null;
      return opened;
    } finally {
      if (arena != null) {
        arena.close();
      }
    }
  }

  private static SequencedMap<String, Tensor> readHeader(Path path, MemorySegment file) {
    long headerBytes = file.get(LITTLE_ENDIAN_LONG, 0);
    long most = Math.min(MAX_HEADER_BYTES, file.byteSize() - Long.BYTES);
    if (headerBytes < 2 || headerBytes > most) {
      throw new AdapterFormatException(
          path,
          null,
          "header length must be in [2, %d]".formatted(most),
          Long.toUnsignedString(headerBytes));
    }
    Map<String, @Nullable Object> header;
    try {
      header = Json.object(file.asSlice(Long.BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE));
    } catch (IOException e) {
      throw new AdapterFormatException(
          path, null, "the header must be a JSON object without duplicate keys", firstLine(e));
    }
    MemorySegment body = file.asSlice(Long.BYTES + headerBytes);
    List<Span> spans = new ArrayList<>();
    SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
    header.forEach(
        (name, description) -> {
          if (!name.equals("__metadata__")) {
            tensors.put(name, readTensor(path, name, description, body, spans));
          }
        });
    requireSeamless(path, spans, body.byteSize());
    return tensors;
  }

  /** Bytes {@code [begin, end)} of a tensor. */
  private record Span(String name, long begin, long end) {}

  private static Tensor readTensor(
      Path path, String name, @Nullable Object description, MemorySegment body, List<Span> spans) {
    if (!(description instanceof Map<?, ?> entry)) {
      throw new AdapterFormatException(
          path, name, "the header entry must be an object", description);
    }
    if (!(entry.get("dtype") instanceof String dtype) || !ELEMENT_BYTES.containsKey(dtype)) {
      throw new AdapterFormatException(
          path, name, "dtype must be a known type", entry.get("dtype"));
    }
    List<Long> shape = longs(path, name, "shape", entry.get("shape"));
    if (shape.size() > MAX_DIMENSIONS) {
      throw new AdapterFormatException(
          path, name, "shape must have at most 8 dimensions", shape.size());
    }
    List<Long> offsets = longs(path, name, "data_offsets", entry.get("data_offsets"));
    if (offsets.size() != 2
        || offsets.get(0) > offsets.get(1)
        || offsets.get(1) > body.byteSize()) {
      throw new AdapterFormatException(
          path,
          name,
          "data_offsets must be begin <= end <= %d".formatted(body.byteSize()),
          offsets);
    }
    long begin = offsets.get(0);
    long end = offsets.get(1);
    long bytes = ELEMENT_BYTES.get(dtype);
    try {
      for (long dimension : shape) {
        bytes = Math.multiplyExact(bytes, dimension);
      }
    } catch (ArithmeticException e) {
      throw new AdapterFormatException(
          path, name, "the product of shape must fit in 64 bits", shape);
    }
    if (bytes != end - begin) {
      throw new AdapterFormatException(
          path,
          name,
          "shape %s of %s must fill its %d bytes".formatted(shape, dtype, end - begin),
          bytes);
    }
    spans.add(new Span(name, begin, end));
    return new Tensor(name, dtype, shape, body.asSlice(begin, end - begin));
  }

  private static List<Long> longs(Path path, String name, String field, @Nullable Object value) {
    if (!(value instanceof List<?> list)) {
      throw new AdapterFormatException(path, name, field + " must be a list of integers", value);
    }
    List<Long> longs = new ArrayList<>();
    for (Object element : list) {
      if (!(element instanceof Long number) || number < 0) {
        throw new AdapterFormatException(
            path, name, field + " must hold integers that are not negative", element);
      }
      longs.add(number);
    }
    return List.copyOf(longs);
  }

  private static void requireSeamless(Path path, List<Span> spans, long bodyBytes) {
    spans.sort(Comparator.comparingLong(Span::begin).thenComparingLong(Span::end));
    long at = 0;
    for (Span span : spans) {
      if (span.begin() != at) {
        throw new AdapterFormatException(
            path,
            span.name(),
            "data must begin at %d, where the tensor before it ends".formatted(at),
            span.begin());
      }
      at = span.end();
    }
    if (at != bodyBytes) {
      throw new AdapterFormatException(
          path, null, "tensors must cover all %d data bytes".formatted(bodyBytes), at);
    }
  }

  static String firstLine(Exception e) {
    String message = String.valueOf(e.getMessage());
    int end = message.indexOf('\n');
    return end < 0 ? message : message.substring(0, end);
  }

  /** The file. */
  public Path path() {
    return path;
  }

  /** All tensors by name, in the header's order. */
  public SequencedMap<String, Tensor> tensors() {
    return java.util.Collections.unmodifiableSequencedMap(tensors);
  }

  /** Unmaps the file; closing twice does nothing. */
  @Override
  public void close() {
    if (arena.scope().isAlive()) {
      arena.close();
    }
  }
}
