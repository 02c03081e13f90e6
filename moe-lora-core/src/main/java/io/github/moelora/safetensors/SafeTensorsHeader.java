package io.github.moelora.safetensors;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.github.moelora.AdapterFormatException;
import io.github.moelora.json.Json;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Reads the JSON header of a safetensors file token by token, so that no tree of it is built. */
final class SafeTensorsHeader {
  /** The largest known adapter, 384 experts in 61 layers, has 140,544. */
  private static final int MAX_TENSORS = 1 << 20;

  private static final int MAX_DIMENSIONS = 8;

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
   * @param begin first byte in the data part
   * @param end byte after the last one
   */
  record Extent(String name, String dtype, List<Long> shape, long begin, long end) {}

  private final Path path;
  private final long dataBytes;
  private final List<Extent> extents = new ArrayList<>();

  /** Tensor whose entry is being read. */
  private @Nullable String tensor;

  private SafeTensorsHeader(Path path, long dataBytes) {
    this.path = path;
    this.dataBytes = dataBytes;
  }

  /**
   * Reads and checks a header.
   *
   * @param json the header's bytes
   * @param dataBytes bytes that follow the header
   * @return the tensors in the order of their bytes
   */
  static List<Extent> read(Path path, MemorySegment json, long dataBytes) {
    SafeTensorsHeader header = new SafeTensorsHeader(path, dataBytes);
    try (JsonParser parser = Json.parser(new SegmentInputStream(json))) {
      header.readTensors(parser);
    } catch (IOException e) {
      throw header.fault("the header must be a JSON object in UTF-8", Json.explain(e));
    }
    header.tensor = null;
    header.requireSeamless();
    return header.extents;
  }

  private AdapterFormatException fault(String rule, @Nullable Object value) {
    return new AdapterFormatException(path, tensor, rule, value);
  }

  private void readTensors(JsonParser parser) throws IOException {
    Json.requireObject(parser);
    Set<String> names = new HashSet<>();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      tensor = null;
      String name = parser.currentName();
      parser.nextToken();
      if (name.equals("__metadata__")) {
        readMetadata(parser);
      } else {
        if (extents.size() == MAX_TENSORS) {
          throw fault("a file must have at most %d tensors".formatted(MAX_TENSORS), "one more");
        }
        tensor = name;
        if (!names.add(name)) {
          throw fault("a name must occur once", "a second entry");
        }
        extents.add(readTensor(parser, name));
      }
    }
    tensor = null;
    Json.requireEnd(parser);
  }

  private void readMetadata(JsonParser parser) throws IOException {
    boolean strings = parser.currentToken() == JsonToken.START_OBJECT;
    while (strings && parser.nextToken() != JsonToken.END_OBJECT) {
      strings = parser.nextToken() == JsonToken.VALUE_STRING;
    }
    if (!strings) {
      throw fault("__metadata__ must be an object of strings", parser.currentToken());
    }
  }

  private Extent readTensor(JsonParser parser, String name) throws IOException {
    if (parser.currentToken() != JsonToken.START_OBJECT) {
      throw fault("the header entry must be an object", parser.currentToken());
    }
    String dtype = null;
    List<Long> shape = null;
    List<Long> offsets = null;
    Set<String> fields = new HashSet<>(4);
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String field = parser.currentName();
      if (!fields.add(field)) {
        throw fault("a field of the header entry must occur once", field);
      }
      parser.nextToken();
      switch (field) {
        case "dtype" -> dtype = readDtype(parser);
        case "shape" -> shape = readNumbers(parser, field, MAX_DIMENSIONS);
        case "data_offsets" -> offsets = readNumbers(parser, field, 2);
        default ->
            throw fault("the header entry must hold dtype, shape and data_offsets only", field);
      }
    }
    if (dtype == null || shape == null || offsets == null) {
      throw fault(
          "the header entry must hold dtype, shape and data_offsets",
          "dtype %s, shape %s, data_offsets %s".formatted(dtype, shape, offsets));
    }
    return checked(name, dtype, shape, offsets);
  }

  private String readDtype(JsonParser parser) throws IOException {
    String dtype = parser.getText();
    if (parser.currentToken() != JsonToken.VALUE_STRING || !ELEMENT_BYTES.containsKey(dtype)) {
      throw fault("dtype must be one of the format's", dtype);
    }
    return dtype;
  }

  private List<Long> readNumbers(JsonParser parser, String field, int most) throws IOException {
    if (parser.currentToken() != JsonToken.START_ARRAY) {
      throw fault(field + " must be a list of integers", parser.currentToken());
    }
    List<Long> numbers = new ArrayList<>(2);
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      if (numbers.size() == most) {
        throw fault("%s must have at most %d elements".formatted(field, most), "one more");
      }
      if (parser.currentToken() != JsonToken.VALUE_NUMBER_INT || parser.getText().startsWith("-")) {
        throw fault(field + " must hold integers that are not negative", parser.getText());
      }
      numbers.add(parser.getLongValue());
    }
    return List.copyOf(numbers);
  }

  private Extent checked(String name, String dtype, List<Long> shape, List<Long> offsets) {
    if (offsets.size() != 2 || offsets.get(0) > offsets.get(1) || offsets.get(1) > dataBytes) {
      throw fault(
          "data_offsets must be [begin, end] with begin <= end <= %d".formatted(dataBytes),
          offsets);
    }
    long begin = offsets.get(0);
    long end = offsets.get(1);
    long bytes = Objects.requireNonNull(ELEMENT_BYTES.get(dtype));
    try {
      for (long dimension : shape) {
        bytes = Math.multiplyExact(bytes, dimension);
      }
    } catch (ArithmeticException e) {
      throw fault("the bytes of shape and dtype must be fewer than 2^63", shape);
    }
    if (bytes != end - begin) {
      throw fault(
          "shape %s of %s must fill the %d bytes of data_offsets"
              .formatted(shape, dtype, end - begin),
          bytes);
    }
    return new Extent(name, dtype, shape, begin, end);
  }

  /** Sorts the tensors by their bytes, which must cover the data without overlap or gap. */
  private void requireSeamless() {
    extents.sort(Comparator.comparingLong(Extent::begin).thenComparingLong(Extent::end));
    long at = 0;
    for (Extent extent : extents) {
      tensor = extent.name();
      if (extent.begin() != at) {
        throw fault(
            "data must begin at byte %d, where the tensor before it ends".formatted(at),
            extent.begin());
      }
      at = extent.end();
    }
    tensor = null;
    if (at != dataBytes) {
      throw fault("the tensors must cover all %d bytes of data".formatted(dataBytes), at);
    }
  }

  /** The bytes of a segment, in place. */
  private static final class SegmentInputStream extends InputStream {
    private final MemorySegment segment;
    private long at;

    SegmentInputStream(MemorySegment segment) {
      this.segment = segment;
    }

    @Override
    public int read() {
      return at == segment.byteSize()
          ? -1
          : Byte.toUnsignedInt(segment.get(ValueLayout.JAVA_BYTE, at++));
    }

    @Override
    public int read(byte[] bytes, int from, int length) {
      int count = (int) Math.min(length, segment.byteSize() - at);
      if (count == 0) {
        return length == 0 ? 0 : -1;
      }
      MemorySegment.copy(segment, ValueLayout.JAVA_BYTE, at, bytes, from, count);
      at += count;
      return count;
    }
  }
}
