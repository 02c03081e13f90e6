package io.github.moelora.testkit;

import io.github.moelora.DType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Writes adapter directories, sound ones and damaged ones. */
public final class AdapterFiles {
  /** A function of row and column. */
  public interface Element {
    double at(int row, int column);
  }

  private final Map<String, String> config = new LinkedHashMap<>();
  private final List<String> entries = new ArrayList<>();
  private final List<byte[]> bodies = new ArrayList<>();
  private long bodyBytes;

  public AdapterFiles() {
    config("peft_type", "\"LORA\"");
    config("peft_version", "\"0.21.0\"");
    config("r", "2");
    config("lora_alpha", "8");
  }

  /** Sets an option to a JSON value. */
  public AdapterFiles config(String option, String json) {
    config.put(option, json);
    return this;
  }

  public AdapterFiles withoutConfig(String option) {
    config.remove(option);
    return this;
  }

  /** Appends a tensor. */
  public AdapterFiles tensor(String name, DType type, int rows, int columns, Element element) {
    byte[] bytes = new byte[rows * columns * type.bytes()];
    MemorySegment data = MemorySegment.ofArray(bytes);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        type.set(data, (long) i * columns + j, (float) element.at(i, j));
      }
    }
    return entry(name, type.name(), "[%d,%d]".formatted(rows, columns), bytes);
  }

  /**
   * Appends a tensor of three dimensions.
   *
   * @param element function of the row, counted over the first two dimensions, and the column
   */
  public AdapterFiles tensor3(String name, DType type, List<Integer> shape, Element element) {
    int rows = shape.get(0) * shape.get(1);
    byte[] bytes = new byte[rows * shape.get(2) * type.bytes()];
    MemorySegment data = MemorySegment.ofArray(bytes);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < shape.get(2); j++) {
        type.set(data, (long) i * shape.get(2) + j, (float) element.at(i, j));
      }
    }
    return entry(name, type.name(), shape.toString().replace(" ", ""), bytes);
  }

  /** Appends a tensor of zeros. */
  public AdapterFiles zeros(String name, int rows, int columns) {
    return tensor(name, DType.F32, rows, columns, (i, j) -> 0);
  }

  /** Appends A {@code [rank, in]} and B {@code [out, rank]} of zeros of one module. */
  public AdapterFiles pair(String module, int rank, int in, int out) {
    return zeros(module + ".lora_A.weight", rank, in).zeros(module + ".lora_B.weight", out, rank);
  }

  /** Appends a header entry for the bytes that follow. */
  public AdapterFiles entry(String name, String dtype, String shape, byte[] bytes) {
    entries.add(
        "\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}"
            .formatted(name, dtype, shape, bodyBytes, bodyBytes + bytes.length));
    bodies.add(bytes);
    bodyBytes += bytes.length;
    return this;
  }

  /** Appends a header entry as it stands; no bytes are added. */
  public AdapterFiles rawEntry(String json) {
    entries.add(json);
    return this;
  }

  /** Appends bytes that no entry claims. */
  public AdapterFiles bytes(int count) {
    bodies.add(new byte[count]);
    bodyBytes += count;
    return this;
  }

  public String configJson() {
    List<String> fields = new ArrayList<>();
    config.forEach((option, json) -> fields.add("\"%s\": %s".formatted(option, json)));
    return "{" + String.join(",\n", fields) + "}";
  }

  public byte[] weights() {
    byte[] header = ("{" + String.join(",", entries) + "}").getBytes(StandardCharsets.UTF_8);
    return weights(header.length, header, bodies);
  }

  public static byte[] weights(long headerLength, byte[] header, List<byte[]> bodies) {
    int size = 8 + header.length + bodies.stream().mapToInt(body -> body.length).sum();
    ByteBuffer file = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    file.putLong(headerLength).put(header);
    bodies.forEach(file::put);
    return file.array();
  }

  /** A weights file with this header and nothing else. */
  public static byte[] headerOnly(String header) {
    byte[] bytes = header.getBytes(StandardCharsets.UTF_8);
    return weights(bytes.length, bytes, List.of());
  }

  /** Writes both files into a directory. */
  public Path write(Path directory) throws IOException {
    Files.createDirectories(directory);
    Files.writeString(directory.resolve("adapter_config.json"), configJson());
    Files.write(directory.resolve("adapter_model.safetensors"), weights());
    return directory;
  }
}
