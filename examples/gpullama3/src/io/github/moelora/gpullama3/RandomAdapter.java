package io.github.moelora.gpullama3;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/**
 * A LoRA adapter of random weights on the experts' gate, up and down, as PEFT saves one. All
 * weights are multiples of 1/128 up to 15/128, so that every type holds them exactly.
 */
final class RandomAdapter {
  /** A linear layer of an expert. */
  record Site(int layer, int expert, String linear) {
    private String name() {
      return "base_model.model.model.layers.%d.mlp.experts.%d.%s".formatted(layer, expert, linear);
    }
  }

  /**
   * What belongs to a linear layer.
   *
   * @param a {@code [r, inputs]}
   * @param b {@code [outputs, r]}
   */
  record Pair(float[] a, float[] b) {}

  /**
   * How the adapter was trained, by the words of PEFT.
   *
   * @param experts which of them have weights
   */
  record Config(String name, int r, int alpha, boolean rslora, IntPredicate experts) {
    double scale() {
      return alpha / (rslora ? Math.sqrt(r) : r);
    }
  }

  static final String GATE = "gate_proj";
  static final String UP = "up_proj";
  static final String DOWN = "down_proj";

  private final Config config;
  private final Map<Site, Pair> pairs = new LinkedHashMap<>();

  /** Draws the weights. */
  RandomAdapter(Shape shape, Config config) {
    this.config = config;
    for (int layer = 0; layer < shape.layers(); layer++) {
      for (int expert = 0; expert < shape.experts(); expert++) {
        if (config.experts().test(expert)) {
          add(new Site(layer, expert, GATE), shape.hidden(), shape.inner());
          add(new Site(layer, expert, UP), shape.hidden(), shape.inner());
          add(new Site(layer, expert, DOWN), shape.inner(), shape.hidden());
        }
      }
    }
  }

  private void add(Site site, int inputs, int outputs) {
    long seed = Noise.seed(config.alpha(), config.name() + site);
    pairs.put(site, new Pair(draw(seed, config.r() * inputs), draw(~seed, outputs * config.r())));
  }

  private static float[] draw(long seed, int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = Math.round(15 * Noise.uniform(seed, i)) / 128f;
    }
    return values;
  }

  String name() {
    return config.name();
  }

  int rank() {
    return config.r();
  }

  double scale() {
    return config.scale();
  }

  /** The weights of a linear layer, or null if it has none. */
  @Nullable Pair pair(Site site) {
    return pairs.get(site);
  }

  /** Writes {@code adapter_config.json} and {@code adapter_model.safetensors} into a folder. */
  void write(Path folder) throws IOException {
    Files.createDirectories(folder);
    Files.writeString(
        folder.resolve("adapter_config.json"),
        """
        {"peft_type": "LORA", "r": %d, "lora_alpha": %d, "use_rslora": %b, "bias": "none",
         "target_modules": ["gate_proj", "up_proj", "down_proj"]}
        """
            .formatted(config.r(), config.alpha(), config.rslora()));
    StringBuilder header = new StringBuilder("{");
    long[] end = {0};
    pairs.forEach(
        (site, pair) -> {
          header.append(entry(site.name() + ".lora_A", pair.a(), true, end)).append(',');
          header.append(entry(site.name() + ".lora_B", pair.b(), false, end)).append(',');
        });
    header.setCharAt(header.length() - 1, '}');
    byte[] text = header.toString().getBytes(StandardCharsets.UTF_8);
    try (OutputStream out = Files.newOutputStream(folder.resolve("adapter_model.safetensors"))) {
      out.write(little(Long.BYTES).putLong(text.length).array());
      out.write(text);
      for (Pair pair : pairs.values()) {
        out.write(bytes(pair.a()));
        out.write(bytes(pair.b()));
      }
    }
  }

  private String entry(String name, float[] values, boolean rankFirst, long[] end) {
    int width = values.length / config.r();
    long from = end[0];
    end[0] += (long) Float.BYTES * values.length;
    return "\"%s.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%d,%d]}"
        .formatted(
            name, rankFirst ? config.r() : width, rankFirst ? width : config.r(), from, end[0]);
  }

  private static byte[] bytes(float[] values) {
    ByteBuffer buffer = little(Float.BYTES * values.length);
    buffer.asFloatBuffer().put(values);
    return buffer.array();
  }

  private static ByteBuffer little(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }
}
