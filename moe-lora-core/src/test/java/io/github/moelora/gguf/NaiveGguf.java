package io.github.moelora.gguf;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Reads the adapter files that the library writes, by the rules of llama.cpp's loader: magic,
 * version, tensors in the order of their entries without gaps, names shorter than 64 bytes. Written
 * without the library's reader, which it helps to test.
 */
final class NaiveGguf {
  record Tensor(int type, long[] ne, double[] values) {

    /** Element by fastest index first. */
    double at(int i0, int i1, int i2) {
      return values[(int) ((i2 * ne[1] + i1) * ne[0] + i0)];
    }
  }

  final Map<String, Object> metadata = new LinkedHashMap<>();
  final Map<String, Tensor> tensors = new LinkedHashMap<>();

  private record Info(String name, long[] ne, int type) {}

  NaiveGguf(Path path) throws IOException {
    ByteBuffer in = ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN);
    require(in.getInt() == 0x46554747 && in.getInt() == 3, "magic and version");
    long count = in.getLong();
    long values = in.getLong();
    for (long i = 0; i < values; i++) {
      String key = string(in);
      int type = in.getInt();
      Object value =
          switch (type) {
            case 4 -> in.getInt();
            case 6 -> in.getFloat();
            case 8 -> string(in);
            default -> throw new IllegalStateException("type " + type);
          };
      require(metadata.put(key, value) == null, "keys once");
    }
    Info[] infos = new Info[(int) count];
    long expected = 0;
    for (int i = 0; i < count; i++) {
      String name = string(in);
      require(name.getBytes(StandardCharsets.UTF_8).length < 64, "short name " + name);
      long[] ne = {1, 1, 1, 1};
      int dimensions = in.getInt();
      long elements = 1;
      for (int d = 0; d < dimensions; d++) {
        ne[d] = in.getLong();
        elements *= ne[d];
      }
      infos[i] = new Info(name, ne, in.getInt());
      require(in.getLong() == expected, "no gap before " + name);
      expected += (elements * bytes(infos[i].type()) + 31) / 32 * 32;
    }
    in.position((in.position() + 31) / 32 * 32);
    require(in.remaining() == expected, "no bytes after the last tensor");
    for (Info info : infos) {
      readTensor(in, info);
    }
  }

  private void readTensor(ByteBuffer in, Info info) {
    double[] elements = new double[(int) (info.ne()[0] * info.ne()[1] * info.ne()[2])];
    for (int i = 0; i < elements.length; i++) {
      elements[i] =
          switch (info.type()) {
            case GgufBytes.F32 -> in.getFloat();
            case GgufBytes.F16 -> Float.float16ToFloat(in.getShort());
            case GgufBytes.BF16 -> Float.intBitsToFloat(in.getShort() << 16);
            default -> throw new IllegalStateException("type " + info.type());
          };
    }
    while (in.position() % 32 != 0) {
      require(in.get() == 0, "padding of zeros");
    }
    require(
        tensors.put(info.name(), new Tensor(info.type(), info.ne(), elements)) == null,
        "names once");
  }

  private static int bytes(int type) {
    return type == GgufBytes.F32 ? 4 : 2;
  }

  private static String string(ByteBuffer in) {
    byte[] bytes = new byte[(int) in.getLong()];
    in.get(bytes);
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /**
   * What llama.cpp adds to a weight for an expert, {@code [out][in]}, or null if the file does not
   * change it.
   */
  double @Nullable [][] delta(String weight, int expert) {
    Tensor a = tensors.get(weight + ".lora_a");
    Tensor b = tensors.get(weight + ".lora_b");
    if (a == null || b == null) {
      require(a == null && b == null, "both halves of " + weight);
      return null;
    }
    int rank = (int) b.ne()[0];
    require(a.ne()[1] == rank && a.ne()[2] == b.ne()[2], "halves fit: " + weight);
    float alpha = metadata.get("adapter.lora.alpha") instanceof Float f ? f : 0;
    float scale = alpha == 0 ? 1 : alpha / rank;
    double[][] delta = new double[(int) b.ne()[1]][(int) a.ne()[0]];
    for (int o = 0; o < delta.length; o++) {
      for (int h = 0; h < delta[o].length; h++) {
        double sum = 0;
        for (int r = 0; r < rank; r++) {
          sum += b.at(r, o, expert) * a.at(h, r, expert);
        }
        delta[o][h] = scale * sum;
      }
    }
    return delta;
  }

  private static void require(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }
}
