package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.json.Json;
import io.github.moelora.testkit.Deltas;
import io.github.moelora.testkit.Tensors;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * Whole adapters of several families as PEFT 0.21 computes them: {@code scripts/golden/families.py}
 * makes the data where PyTorch is.
 */
final class GoldenFamiliesTest {
  private static final List<String> ADAPTERS = List.of("experts", "whole", "patterns", "dense");

  private static @Nullable Path root() {
    URL url = GoldenFamiliesTest.class.getResource("/golden-families/families.json");
    try {
      return url == null ? null : Path.of(url.toURI()).getParent();
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  private static Map<String, @Nullable Object> json(Path file) throws IOException {
    try (InputStream text = Files.newInputStream(file)) {
      return Json.object(text);
    }
  }

  @Test
  void theDataAreThere() {
    assumeTrue(
        root() != null,
        "src/test/resources/golden-families is missing: unpack the tar of"
            + " scripts/golden/families.py there");
    assertThat(root()).isDirectory();
  }

  @TestFactory
  Stream<DynamicTest> everyAdapterAddsWhatPeftAdds() throws IOException {
    Path root = root();
    if (root == null) {
      return Stream.empty();
    }
    List<DynamicTest> tests = new ArrayList<>();
    List<?> families =
        (List<?>) Objects.requireNonNull(json(root.resolve("families.json")).get("families"));
    assertThat(families).isNotEmpty();
    for (Object family : families) {
      Path folder = root.resolve((String) family);
      for (String adapter : ADAPTERS) {
        tests.add(
            DynamicTest.dynamicTest(family + " " + adapter, () -> requireDeltas(folder, adapter)));
      }
    }
    return tests.stream();
  }

  private static MoeModel model(Path folder) throws IOException {
    Map<String, @Nullable Object> json = json(folder.resolve("model.json"));
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

  private static void requireDeltas(Path folder, String name) throws IOException {
    MoeModel model = model(folder);
    Tensors golden = Tensors.read(folder.resolve("deltas.safetensors"));
    try (PeftAdapter file = PeftAdapter.open(folder.resolve(name))) {
      LoraAdapter adapter = file.toLoraAdapter(model);
      for (int layer : model.layers()) {
        for (Projection projection : Projection.values()) {
          String key = "%s|%d|%s".formatted(name, layer, projection);
          for (int expert = 0; expert < model.experts(); expert++) {
            List<LoraSlice> slices = adapter.slices(layer, projection, expert);
            if (!golden.has(key)) {
              assertThat(slices).isEmpty();
            } else {
              int out = model.outputWidth(projection);
              int in = model.inputWidth(projection);
              requireMatrix(key, golden.get(key), expert, Deltas.of(slices, out, in));
            }
          }
        }
      }
      assertThat(adapter.modules().isEmpty()).isEqualTo(name.equals("experts"));
      for (String module : adapter.modules()) {
        String key = name + "|" + module;
        Tensors.Tensor expected = golden.get(key);
        List<LoraSlice> slices = adapter.slices(module);
        int[] shape = expected.shape();
        requireMatrix(key, expected, 0, Deltas.of(slices, shape[0], shape[1]));
      }
    }
  }

  /** The scale is rounded to float32, which PEFT's is not. */
  private static void requireMatrix(
      String key, Tensors.Tensor expected, int expert, double[][] found) {
    int from = expert * found.length * found[0].length;
    for (int o = 0; o < found.length; o++) {
      for (int h = 0; h < found[o].length; h++) {
        double value = expected.real(from + o * found[o].length + h);
        assertThat(found[o][h])
            .as("%s, expert %d [%d,%d]", key, expert, o, h)
            .isCloseTo(value, within(1e-6 * Math.max(1, Math.abs(value))));
      }
    }
  }
}
