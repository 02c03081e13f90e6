package io.github.moelora.testkit;

import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.json.Json;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The golden data of whole adapters among the test resources: experts, attention and shared experts
 * of several families. PEFT 0.21 computes what each adapter adds to each weight, in float64; {@code
 * scripts/golden/families.py} makes them.
 */
public final class GoldenFamilies {
  /** Adapters of every family. */
  public static final List<String> ADAPTERS = List.of("experts", "whole", "patterns", "dense");

  private GoldenFamilies() {}

  /**
   * A family.
   *
   * @param name of the model type
   * @param shape of the routed experts; no dense modules
   * @param deltas what adapters add to weights
   */
  public record Family(String name, MoeModel shape, Tensors deltas) {

    /** Directory of an adapter. */
    public Path adapter(String adapter) {
      return directory().resolve(name).resolve(adapter);
    }

    /** {@code [E, out, in]}: what an adapter adds to experts; null for nothing. */
    public Tensors.@Nullable Tensor delta(String adapter, int layer, Projection projection) {
      String key = "%s|%d|%s".formatted(adapter, layer, projection);
      return deltas.has(key) ? deltas.get(key) : null;
    }

    /** {@code [out, in]}: what an adapter adds to a linear layer outside the routed experts. */
    public Tensors.@Nullable Tensor delta(String adapter, String module) {
      String key = adapter + "|" + module;
      return deltas.has(key) ? deltas.get(key) : null;
    }

    @Override
    public String toString() {
      return name;
    }
  }

  private static Path directory() {
    return Golden.resource("/golden-families");
  }

  /** All families. */
  public static List<Family> all() throws IOException {
    Object names = json(directory().resolve("families.json")).get("families");
    List<Family> families = new ArrayList<>();
    for (Object name : (List<?>) Objects.requireNonNull(names)) {
      Path folder = directory().resolve((String) name);
      families.add(
          new Family(
              (String) name,
              model(json(folder.resolve("model.json"))),
              Tensors.read(folder.resolve("deltas.safetensors"))));
    }
    return families;
  }

  private static Map<String, @Nullable Object> json(Path file) throws IOException {
    try (InputStream text = Files.newInputStream(file)) {
      return Json.object(text);
    }
  }

  private static MoeModel model(Map<String, @Nullable Object> json) {
    List<Integer> layers = new ArrayList<>();
    for (Object layer : (List<?>) Objects.requireNonNull(json.get("layers"))) {
      layers.add(((Long) layer).intValue());
    }
    return new MoeModel(
        number(json, "hiddenSize"),
        number(json, "intermediateSize"),
        number(json, "experts"),
        GateUp.valueOf((String) Objects.requireNonNull(json.get("gateUp"))),
        layers);
  }

  private static int number(Map<String, @Nullable Object> json, String key) {
    return ((Long) Objects.requireNonNull(json.get(key), key)).intValue();
  }
}
