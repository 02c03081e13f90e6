package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.PeftAdapter.Layout;
import io.github.moelora.peft.PeftExport.Target;
import io.github.moelora.testkit.Deltas;
import io.github.moelora.testkit.Golden;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What is written is read as the adapter it was made of. */
final class PeftExportTest {
  /** Golden adapters that differ in more than their numbers. */
  private static final String TOLD = ".*(rslora|pattern|partial|w2_only|attention).*";

  @TempDir private Path directory;

  static Stream<Arguments> wild() throws IOException {
    return WildAdapterTest.readable()
        .flatMap(name -> Stream.of(Target.values()).map(target -> Arguments.of(name, target)));
  }

  @ParameterizedTest
  @MethodSource("wild")
  void everyReadableCaseHasBothLayouts(String name, Target target) throws IOException {
    WildAdapterTest.Expected expected = Objects.requireNonNull(WildAdapterTest.expected(name));
    Path source = WildAdapterTest.folder(name);
    try (PeftAdapter adapter = PeftAdapter.open(source, WildAdapterTest.options(name))) {
      export(adapter.toLoraAdapter(expected.model()), expected.model(), target, adapter);
    }
    try (PeftAdapter written = PeftAdapter.open(directory)) {
      assertThat(written.warnings()).isEmpty();
      assertThat(written.layout())
          .isEqualTo(target == Target.FUSED ? Layout.FUSED : Layout.PER_EXPERT);
      LoraAdapter lora = written.toLoraAdapter(expected.model());
      Deltas.require(lora, expected.model(), expected.deltas());
    }
  }

  private PeftExport.Summary export(
      LoraAdapter lora, MoeModel model, Target target, PeftAdapter source) throws IOException {
    return new PeftExport(model, target, DType.F32, source.expertsPath())
        .write(lora, source.baseModel(), directory);
  }

  static Stream<Arguments> golden() {
    return GoldenAdapterTest.adapters()
        .filter(arguments -> String.valueOf(arguments.get()[1]).matches(TOLD))
        .flatMap(
            arguments ->
                Stream.of(Target.values())
                    .map(t -> Arguments.of(arguments.get()[0], arguments.get()[1], t)));
  }

  /** Ranks, alphas, rsLoRA and partial experts of PEFT's own files; bit for bit but for folding. */
  @ParameterizedTest
  @MethodSource("golden")
  void everyGoldenAdapterHasBothLayouts(Golden.Model model, String name, Target target)
      throws IOException {
    Map<String, double[][]> expected = new LinkedHashMap<>();
    PeftExport.Summary summary;
    int modules;
    try (PeftAdapter adapter = PeftAdapter.open(model.directory().resolve(name))) {
      LoraAdapter lora = adapter.toLoraAdapter(model.shape());
      deltas(lora, model.shape(), expected);
      summary = export(lora, model.shape(), target, adapter);
      modules = lora.modules().size();
    }
    assertThat(summary.bytes())
        .isEqualTo(Files.size(directory.resolve("adapter_model.safetensors")));
    try (PeftAdapter written = PeftAdapter.open(directory)) {
      LoraAdapter lora = written.toLoraAdapter(model.shape());
      assertThat(lora.modules()).hasSize(modules);
      Map<String, double[][]> actual = new LinkedHashMap<>();
      deltas(lora, model.shape(), actual);
      expected.forEach(
          (key, delta) ->
              Deltas.requireEqual(key, Objects.requireNonNull(actual.get(key), key), delta));
      assertThat(summary.pairs()).isEqualTo(written.entries().size() + modules);
    }
  }

  private static void deltas(LoraAdapter lora, MoeModel model, Map<String, double[][]> deltas) {
    for (int layer : model.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < model.experts(); e += 2) {
          deltas.put(
              "%d|%s|%d".formatted(layer, projection, e),
              Deltas.of(
                  lora.slices(layer, projection, e),
                  model.outputWidth(projection),
                  model.inputWidth(projection)));
        }
      }
    }
  }

  private static LoraSlice slice(int first, int out, int in, float scale, int salt) {
    float[] a = new float[2 * in];
    float[] b = new float[out * 2];
    for (int i = 0; i < a.length; i++) {
      a[i] = salt + i;
    }
    for (int i = 0; i < b.length; i++) {
      b[i] = salt - i;
    }
    return new LoraSlice(first, Matrix.ofFloats(2, in, a), Matrix.ofFloats(out, 2, b), scale);
  }

  /** Experts of one parameter with scales of their own: all but the most usual are multiplied. */
  @Test
  void scalesThatDifferWithinAParameterAreMultipliedIntoB() throws IOException {
    MoeModel model = new MoeModel(3, 5, 3, GateUp.UP_ONLY, List.of(7));
    LoraAdapter lora =
        LoraAdapter.builder("x")
            .add(7, Projection.DOWN, 0, slice(0, 3, 5, 0.25f, 1))
            .add(7, Projection.DOWN, 1, slice(0, 3, 5, 4, 2))
            .add(7, Projection.DOWN, 2, slice(0, 3, 5, 4, 3))
            .build();
    PeftExport.Summary summary =
        new PeftExport(model, Target.FUSED, DType.F32, "m.layers.%d.experts")
            .write(lora, "base", directory);
    assertThat(summary.multiplied()).isEqualTo(1);
    try (PeftAdapter written = PeftAdapter.open(directory)) {
      assertThat(written.baseModel()).isEqualTo("base");
      LoraAdapter read = written.toLoraAdapter(model);
      LoraSlice first = read.slices(7, Projection.DOWN, 0).getFirst();
      assertThat(first.scale()).isEqualTo(4);
      assertThat(first.b().get(2, 1)).isEqualTo((1 - 5) / 16f);
      assertThat(read.slices(7, Projection.DOWN, 2).getFirst().b().get(2, 1)).isEqualTo(3 - 5);
    }
  }

  @ParameterizedTest
  @EnumSource
  void narrowerTypesRound(DType type) throws IOException {
    MoeModel model = new MoeModel(3, 5, 1, GateUp.UP_ONLY, List.of(7));
    LoraAdapter lora =
        LoraAdapter.builder("x").add(7, Projection.DOWN, 0, slice(0, 3, 5, 1, 4097)).build();
    new PeftExport(model, Target.PER_EXPERT, type, "m.layers.%d.experts")
        .write(lora, null, directory);
    try (PeftAdapter written = PeftAdapter.open(directory)) {
      assertThat(written.entries().getFirst().type()).isEqualTo(type);
      float a = written.toLoraAdapter(model).slices(7, Projection.DOWN, 0).getFirst().a().get(0, 0);
      assertThat(a).isEqualTo(type == DType.F32 ? 4097 : 4096);
    }
  }

  @Test
  void thePathMustTellTheLayer() {
    MoeModel model = new MoeModel(3, 5, 1, GateUp.UP_ONLY, List.of(7));
    assertThatThrownBy(() -> new PeftExport(model, Target.FUSED, DType.F32, "m.experts"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("experts must hold %d for the layer, got m.experts");
  }
}
