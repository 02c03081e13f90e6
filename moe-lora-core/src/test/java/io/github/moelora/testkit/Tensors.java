package io.github.moelora.testkit;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Tensors of a well-formed safetensors file, read by a regular expression: nothing in common with
 * the reader that the library has, which it helps to test.
 */
public final class Tensors {
  private static final Pattern ENTRY =
      Pattern.compile(
          "\"([^\"]+)\":\\{\"dtype\":\"(\\w+)\",\"shape\":\\[([\\d, ]*)\\],"
              + "\"data_offsets\":\\[(\\d+), ?(\\d+)\\]\\}");

  /**
   * One tensor.
   *
   * @param bytes its bytes, little-endian
   */
  public record Tensor(String dtype, int[] shape, byte[] bytes) {

    /** Element {@code index} of a float tensor, widened exactly. */
    public double real(int index) {
      ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
      return switch (dtype) {
        case "F64" -> buffer.getDouble(8 * index);
        case "F32" -> buffer.getFloat(4 * index);
        case "F16" -> Float.float16ToFloat(buffer.getShort(2 * index));
        case "BF16" -> Float.intBitsToFloat(buffer.getShort(2 * index) << 16);
        default -> throw new IllegalStateException("dtype must be a float, got " + dtype);
      };
    }

    /** All elements of an I32 tensor. */
    public int[] ints() {
      requireDtype("I32");
      int[] ints = new int[bytes.length / 4];
      ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(ints);
      return ints;
    }

    /** All elements of an F32 tensor. */
    public float[] floats() {
      requireDtype("F32");
      float[] floats = new float[bytes.length / 4];
      ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(floats);
      return floats;
    }

    /** A float tensor as a matrix: all dimensions but the last make the rows. */
    public Matrix matrix() {
      int columns = shape[shape.length - 1];
      int rows = Arrays.stream(shape, 0, shape.length - 1).reduce(1, Math::multiplyExact);
      return Matrix.of(MemorySegment.ofArray(bytes), DType.valueOf(dtype), rows, columns);
    }

    private void requireDtype(String expected) {
      if (!dtype.equals(expected)) {
        throw new IllegalStateException("dtype must be %s, got %s".formatted(expected, dtype));
      }
    }
  }

  private final Map<String, Tensor> tensors = new TreeMap<>();

  private Tensors() {}

  public static Tensors read(Path file) throws IOException {
    return parse(Files.readAllBytes(file));
  }

  /** Reads a file among the resources, be it in a folder or a jar. */
  static Tensors resource(String name) throws IOException {
    try (InputStream in = Tensors.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IllegalArgumentException("%s must be among the resources".formatted(name));
      }
      return parse(in.readAllBytes());
    }
  }

  private static Tensors parse(byte[] bytes) {
    int headerBytes =
        Math.toIntExact(ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong(0));
    Matcher entry = ENTRY.matcher(new String(bytes, 8, headerBytes, StandardCharsets.UTF_8));
    Tensors read = new Tensors();
    while (entry.find()) {
      int begin = 8 + headerBytes + Integer.parseInt(entry.group(4));
      int end = 8 + headerBytes + Integer.parseInt(entry.group(5));
      int[] shape =
          Pattern.compile(",")
              .splitAsStream(entry.group(3))
              .filter(dimension -> !dimension.isBlank())
              .mapToInt(dimension -> Integer.parseInt(dimension.strip()))
              .toArray();
      read.tensors.put(
          entry.group(1), new Tensor(entry.group(2), shape, Arrays.copyOfRange(bytes, begin, end)));
    }
    return read;
  }

  /** All tensors by name; may be changed. */
  public Map<String, Tensor> all() {
    return tensors;
  }

  /** Whether there is such a tensor. */
  public boolean has(String name) {
    return tensors.containsKey(name);
  }

  public Tensor get(String name) {
    Tensor tensor = tensors.get(name);
    if (tensor == null) {
      throw new IllegalArgumentException(
          "name must be one of %s, got %s".formatted(tensors.keySet(), name));
    }
    return tensor;
  }
}
