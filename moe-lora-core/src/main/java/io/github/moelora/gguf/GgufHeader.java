package io.github.moelora.gguf;

import io.github.moelora.gguf.GgufValue.Whole;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;

/** Reads what stands before the tensors' bytes, and checks where these lie. */
final class GgufHeader {
  /** Of tensors: the number that experts in one tensor each of 128 layers would need, and more. */
  private static final int MAX_TENSORS = 1 << 20;

  private static final int MAX_METADATA = 1 << 16;
  private static final int MAX_KEY_BYTES = 65_535;

  /** As in the format's description; llama.cpp itself takes 63. */
  private static final int MAX_NAME_BYTES = 64;

  private static final int MAX_DIMENSIONS = 4;

  /** Least bytes of an entry: length of the key, one character, type, value. */
  private static final int LEAST_METADATA_BYTES = 8 + 1 + 4 + 1;

  /** Least bytes of an entry: length of the name, one character, rank, type, offset. */
  private static final int LEAST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8;

  static final long DEFAULT_ALIGNMENT = 32;

  /**
   * One tensor.
   *
   * @param shape dimensions, slowest first
   * @param begin first byte in the file
   * @param bytes number of bytes
   */
  record Extent(String name, GgmlType type, List<Long> shape, long begin, long bytes) {}

  private final GgufCursor cursor;
  private final SequencedMap<String, GgufValue> metadata = new LinkedHashMap<>();
  private final List<Extent> extents = new ArrayList<>();
  private int version;
  private long alignment = DEFAULT_ALIGNMENT;

  private GgufHeader(GgufCursor cursor) {
    this.cursor = cursor;
  }

  /** Reads and checks a header. */
  static GgufHeader read(Path path, MemorySegment file) {
    GgufHeader header = new GgufHeader(new GgufCursor(path, file));
    header.readAll();
    return header;
  }

  int version() {
    return version;
  }

  long alignment() {
    return alignment;
  }

  SequencedMap<String, GgufValue> metadata() {
    return metadata;
  }

  /** The tensors in the order of their entries. */
  List<Extent> extents() {
    return extents;
  }

  private void readAll() {
    requireMagic();
    readVersion();
    long tensors = cursor.int64("the number of tensors");
    long values = cursor.int64("the number of metadata values");
    requireCount("the number of metadata values", values, MAX_METADATA, LEAST_METADATA_BYTES);
    requireCount("the number of tensors", tensors, MAX_TENSORS, LEAST_TENSOR_BYTES);
    for (long i = 0; i < values; i++) {
      readValue();
    }
    readAlignment();
    Set<String> names = new HashSet<>();
    for (long i = 0; i < tensors; i++) {
      readTensor(names);
    }
    cursor.about(null);
    placeTensors();
  }

  private void requireMagic() {
    MemorySegment magic = cursor.bytes("the magic GGUF", 4);
    if (magic.get(Little.INT, 0) != 0x46554747) {
      throw cursor.fault(
          "a GGUF file must begin with GGUF",
          new String(magic.toArray(ValueLayout.JAVA_BYTE), StandardCharsets.ISO_8859_1));
    }
  }

  private void readVersion() {
    version = cursor.int32("the version");
    int turned = Integer.reverseBytes(version);
    if (turned == 2 || turned == 3) {
      throw cursor.fault("the file must be little-endian", "big-endian, version " + turned);
    }
    if (version != 2 && version != 3) {
      throw cursor.fault("the version must be 2 or 3", Integer.toUnsignedString(version));
    }
  }

  private void requireCount(String what, long count, int most, int leastBytes) {
    long limit = Math.min(most, cursor.remaining() / leastBytes);
    if (count < 0 || count > limit) {
      throw cursor.fault(
          "%s must be in [0, %d] in a file of this size".formatted(what, limit),
          Long.toUnsignedString(count));
    }
  }

  private void readValue() {
    String key = cursor.text("a metadata key", MAX_KEY_BYTES);
    if (key.isEmpty()) {
      throw cursor.fault("a metadata key must have at least one character", "none");
    }
    String what = "metadata " + key;
    int id = cursor.int32("the type of " + what);
    GgufValue.Type type = GgufValue.Type.withId(id);
    if (type == null) {
      throw cursor.fault("the type of %s must be in [0, 12]".formatted(what), id);
    }
    if (metadata.put(key, cursor.value(what, type)) != null) {
      throw cursor.fault("a metadata key must occur once", key + " twice");
    }
  }

  private void readAlignment() {
    GgufValue value = metadata.get("general.alignment");
    if (value == null) {
      return;
    }
    boolean sound =
        value instanceof Whole whole
            && whole.type() == GgufValue.Type.UINT32
            && Long.bitCount(whole.value()) == 1;
    if (!sound) {
      throw cursor.fault(
          "general.alignment must be a uint32 that is a power of two",
          "%s %s".formatted(value.type(), value));
    }
    alignment = ((Whole) value).value();
  }

  private void readTensor(Set<String> names) {
    cursor.about(null);
    String name = cursor.text("a tensor name", MAX_NAME_BYTES);
    cursor.about(name);
    if (name.isEmpty()) {
      throw cursor.fault("a tensor name must have at least one character", "none");
    }
    if (!names.add(name)) {
      throw cursor.fault("a name must occur once", "a second entry");
    }
    int dimensions = cursor.int32("the number of dimensions");
    if (dimensions < 0 || dimensions > MAX_DIMENSIONS) {
      throw cursor.fault(
          "the number of dimensions must be in [0, %d]".formatted(MAX_DIMENSIONS),
          Integer.toUnsignedString(dimensions));
    }
    List<Long> shape = new ArrayList<>(dimensions);
    for (int i = 0; i < dimensions; i++) {
      shape.add(cursor.count("dimension " + i, Long.MAX_VALUE));
    }
    // the file has the fastest one first
    Collections.reverse(shape);
    int id = cursor.int32("the type");
    GgmlType type = GgmlType.withId(id);
    if (type == null) {
      throw cursor.fault("the type must be one that is known", Integer.toUnsignedString(id));
    }
    // where it lies in the file is known when all entries have been read
    long offset = cursor.int64("the offset");
    extents.add(new Extent(name, type, List.copyOf(shape), offset, bytes(type, shape)));
  }

  private long bytes(GgmlType type, List<Long> shape) {
    long row = shape.isEmpty() ? 1 : shape.getLast();
    if (row % type.blockElements() != 0) {
      throw cursor.fault(
          "rows of %s must be a multiple of %d long".formatted(type, type.blockElements()), row);
    }
    try {
      long bytes = Math.multiplyExact(row / type.blockElements(), type.blockBytes());
      for (int i = 0; i < shape.size() - 1; i++) {
        bytes = Math.multiplyExact(bytes, shape.get(i));
      }
      return bytes;
    } catch (ArithmeticException e) {
      throw cursor.fault("the bytes of shape and type must be fewer than 2^63", shape);
    }
  }

  /** Gives offsets their place in the file; tensors must lie within it, and apart. */
  private void placeTensors() {
    long end = cursor.at() + cursor.remaining();
    long padding = -cursor.at() & (alignment - 1);
    if (!extents.isEmpty() && padding > cursor.remaining()) {
      throw cursor.fault(
          "the data must begin within the file, at a multiple of %d".formatted(alignment),
          "%d bytes left".formatted(cursor.remaining()));
    }
    long data = cursor.at() + padding;
    for (int i = 0; i < extents.size(); i++) {
      Extent extent = extents.get(i);
      cursor.about(extent.name());
      long offset = extent.begin();
      if (offset < 0 || offset > end - data || (offset & (alignment - 1)) != 0) {
        throw cursor.fault(
            "the offset must be a multiple of %d in [0, %d]".formatted(alignment, end - data),
            Long.toUnsignedString(offset));
      }
      if (extent.bytes() > end - data - offset) {
        throw cursor.fault(
            "%s of %s must end within the file".formatted(extent.shape(), extent.type()),
            "%d bytes of %d".formatted(end - data - offset, extent.bytes()));
      }
      extents.set(
          i,
          new Extent(extent.name(), extent.type(), extent.shape(), data + offset, extent.bytes()));
    }
    requireApart();
    cursor.about(null);
  }

  private void requireApart() {
    List<Extent> sorted = new ArrayList<>(extents);
    sorted.sort(Comparator.comparingLong(Extent::begin).thenComparingLong(Extent::bytes));
    for (int i = 1; i < sorted.size(); i++) {
      Extent before = sorted.get(i - 1);
      Extent extent = sorted.get(i);
      if (extent.begin() < before.begin() + before.bytes()) {
        cursor.about(extent.name());
        throw cursor.fault(
            "its bytes must not overlap those of other tensors",
            "%d bytes of %s"
                .formatted(before.begin() + before.bytes() - extent.begin(), before.name()));
      }
    }
  }
}
