package io.github.moelora.cli.golden;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Writes safetensors files from float64 values that may be changed until then. */
public final class TensorFile {

  /**
   * One tensor.
   *
   * @param dtype name in the format; the values are rounded to it when they are written
   * @param values all elements, last dimension fastest
   */
  record Tensor(String dtype, int[] shape, double[] values) {}

  private final Map<String, Tensor> tensors = new LinkedHashMap<>();

  /** Appends a tensor of zeros, to be filled by the caller. */
  public double[] add(String name, String dtype, int... shape) {
    double[] values = new double[IntStream.of(shape).reduce(1, Math::multiplyExact)];
    tensors.put(name, new Tensor(dtype, shape, values));
    return values;
  }

  public double[] values(String name) {
    return Objects.requireNonNull(tensors.get(name), name).values();
  }

  public void remove(String name) {
    Objects.requireNonNull(tensors.remove(name), name);
  }

  public void write(Path path) throws IOException {
    List<String> entries = new ArrayList<>();
    List<byte[]> bodies = new ArrayList<>();
    long at = 0;
    for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
      byte[] body = bytes(entry.getValue());
      entries.add(
          "\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%d,%d]}"
              .formatted(
                  entry.getKey(),
                  entry.getValue().dtype(),
                  IntStream.of(entry.getValue().shape())
                      .mapToObj(Integer::toString)
                      .collect(Collectors.joining(",")),
                  at,
                  at + body.length));
      bodies.add(body);
      at += body.length;
    }
    byte[] header = ("{" + String.join(",", entries) + "}").getBytes(StandardCharsets.UTF_8);
    ByteBuffer file =
        ByteBuffer.allocate(Math.toIntExact(8 + header.length + at)).order(ByteOrder.LITTLE_ENDIAN);
    file.putLong(header.length).put(header);
    bodies.forEach(file::put);
    Files.createDirectories(Objects.requireNonNull(path.getParent()));
    Files.write(path, file.array());
  }

  private static byte[] bytes(Tensor tensor) {
    ByteBuffer bytes =
        ByteBuffer.allocate(8 * tensor.values().length).order(ByteOrder.LITTLE_ENDIAN);
    for (double value : tensor.values()) {
      switch (tensor.dtype()) {
        case "F64" -> bytes.putDouble(value);
        case "F32" -> bytes.putFloat((float) value);
        case "I32" -> bytes.putInt((int) value);
        case "F16" -> bytes.putShort(Float.floatToFloat16((float) value));
        // values are chosen so that the lower half is zero
        case "BF16" -> bytes.putShort((short) (Float.floatToRawIntBits((float) value) >>> 16));
        default -> throw new IllegalArgumentException(tensor.dtype());
      }
    }
    byte[] written = new byte[bytes.position()];
    bytes.flip().get(written);
    return written;
  }
}
