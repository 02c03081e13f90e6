package io.github.moelora.gguf;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.testkit.Golden;
import io.github.moelora.testkit.Tensors;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** The same deltas from a PEFT adapter and from the GGUF file made of it. */
final class GgufGoldenTest {
  @TempDir private Path directory;

  private Path file() {
    return directory.resolve("adapter.gguf");
  }

  /**
   * As llama.cpp's converter does it: the experts' pairs stacked, the alpha of the config. It has
   * no rsLoRA and no patterns, and takes no fused pairs.
   */
  @ParameterizedTest
  @CsvSource({
    "qwen3moe, per_expert_r4, 8, gate_proj, up_proj, down_proj, mlp",
    "qwen3moe, per_expert_down_only_r4, 16, gate_proj, up_proj, down_proj, mlp",
    "qwen3moe_square, per_expert_r8, 16, gate_proj, up_proj, down_proj, mlp",
    "mixtral, per_expert_r4, 16, w1, w3, w2, block_sparse_moe",
    "mixtral, per_expert_w2_only_r8, 8, w1, w3, w2, block_sparse_moe"
  })
  void whatTheConverterMakesHasTheSameDeltas(
      String golden, String name, float alpha, String gate, String up, String down, String module)
      throws IOException {
    Golden.Model model =
        Golden.models().stream().filter(m -> m.name().equals(golden)).findFirst().orElseThrow();
    Path peft = model.directory().resolve(name);
    Tensors tensors = Tensors.read(peft.resolve("adapter_model.safetensors"));
    GgufBytes bytes = new GgufBytes().adapter("llama").float32("adapter.lora.alpha", alpha);
    Map<String, String> parts =
        Map.of(gate, "ffn_gate_exps", up, "ffn_up_exps", down, "ffn_down_exps");
    for (int layer : model.shape().layers()) {
      parts.forEach(
          (from, to) -> {
            String prefix = "base_model.model.model.layers.%d.%s.experts.".formatted(layer, module);
            String weight = "blk.%d.%s.weight.".formatted(layer, to);
            stack(tensors, prefix, from + ".lora_A.weight", bytes, weight + "lora_a");
            stack(tensors, prefix, from + ".lora_B.weight", bytes, weight + "lora_b");
          });
    }
    bytes.write(file());
    try (PeftAdapter expected = PeftAdapter.open(peft);
        GgufAdapter actual = GgufAdapter.open(file())) {
      assertThat(actual.entries()).isNotEmpty();
      assertSame(
          actual.toLoraAdapter(model.shape()), expected.toLoraAdapter(model.shape()), model, 0);
    }
  }

  private static void stack(
      Tensors tensors, String prefix, String suffix, GgufBytes bytes, String name) {
    if (!tensors.all().containsKey(prefix + "0." + suffix)) {
      return;
    }
    byte[] all = new byte[0];
    int[] shape = {};
    int experts = 0;
    while (tensors.all().containsKey(prefix + experts + "." + suffix)) {
      Tensors.Tensor one = tensors.get(prefix + experts + "." + suffix);
      all = GgufBytes.join(all, one.bytes());
      shape = one.shape();
      experts++;
    }
    bytes.tensor(name, GgufBytes.F32, new long[] {shape[1], shape[0], experts}, all);
  }

  static Stream<Arguments> adapters() {
    return Golden.adapters().map(each -> Arguments.of(each.model(), each.name()));
  }

  /** rsLoRA, patterns, 16-bit weights, experts left out: every golden adapter. */
  @ParameterizedTest
  @MethodSource("adapters")
  void whatIsExportedHasTheSameDeltas(Golden.Model model, String name) throws IOException {
    try (PeftAdapter peft = PeftAdapter.open(model.directory().resolve(name))) {
      LoraAdapter expected = peft.toLoraAdapter(model.shape());
      new GgufExport("qwen3moe").write(expected, model.shape(), file());
      NaiveGguf naive = new NaiveGguf(file());
      for (int layer : model.shape().layers()) {
        assertNaive(naive, expected, model.shape(), layer);
      }
      try (GgufAdapter file = GgufAdapter.open(file())) {
        // a rounding of alpha, of alpha / R and of a B that was multiplied
        assertSame(file.toLoraAdapter(model.shape()), expected, model, 3);
      }
    }
  }

  private static void assertSame(
      LoraAdapter actual, LoraAdapter expected, Golden.Model model, int roundings) {
    for (int layer : model.shape().layers()) {
      for (Projection projection : Projection.values()) {
        double magnitude = Deltas.magnitude(expected, model.shape(), layer, projection);
        for (int e = 0; e < model.shape().experts(); e++) {
          Deltas.assertSame(
              Deltas.of(actual, model.shape(), layer, projection, e),
              Deltas.of(expected, model.shape(), layer, projection, e),
              magnitude,
              roundings,
              "layer %d, %s, expert %d".formatted(layer, projection, e));
        }
      }
    }
  }

  private static void assertNaive(
      NaiveGguf naive, LoraAdapter expected, MoeModel model, int layer) {
    assertThat(model.gateUp()).isEqualTo(GateUp.HALVES);
    int half = model.intermediateSize();
    String weight = "blk." + layer + ".ffn_%s_exps.weight";
    double gateUp = Deltas.magnitude(expected, model, layer, Projection.GATE_UP);
    double down = Deltas.magnitude(expected, model, layer, Projection.DOWN);
    for (int e = 0; e < model.experts(); e++) {
      double[][] first = Deltas.of(expected, model, layer, Projection.GATE_UP, e);
      double[][] last = Deltas.of(expected, model, layer, Projection.DOWN, e);
      assertNaive(naive, weight.formatted("gate"), e, Arrays.copyOf(first, half), gateUp);
      assertNaive(
          naive, weight.formatted("up"), e, Arrays.copyOfRange(first, half, 2 * half), gateUp);
      assertNaive(naive, weight.formatted("down"), e, last, down);
    }
  }

  private static void assertNaive(
      NaiveGguf naive, String weight, int expert, double[][] expected, double magnitude) {
    double[][] actual = naive.delta(weight, expert);
    if (actual == null) {
      actual = new double[expected.length][expected[0].length];
    }
    Deltas.assertSame(actual, expected, magnitude, 3, weight + " of expert " + expert);
  }

  /** 16-bit weights that need no factor are written as they are. */
  @ParameterizedTest
  @CsvSource({"fused_bf16_r4, BF16", "fused_fp16_r8, F16"})
  void sixteenBitWeightsKeepTheirBits(String name, DType type) throws IOException {
    Golden.Model model = Golden.models().getFirst();
    try (PeftAdapter peft = PeftAdapter.open(model.directory().resolve(name))) {
      LoraAdapter expected = peft.toLoraAdapter(model.shape());
      GgufExport.Summary summary =
          new GgufExport("qwen3moe")
              .type(type)
              .fusedGateUp(true)
              .write(expected, model.shape(), file());
      assertThat(summary.foldedPairs()).isZero();
      assertThat(summary.pairs()).isEqualTo(4);
      try (GgufAdapter file = GgufAdapter.open(file())) {
        assertSame(file.toLoraAdapter(model.shape()), expected, model, 0);
      }
    }
  }
}
