package io.github.moelora.cli.golden;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.cli.CommandRun;
import io.github.moelora.cli.golden.GoldenWriter.Adapter;
import io.github.moelora.cli.golden.GoldenWriter.Experts;
import io.github.moelora.cli.golden.GoldenWriter.Family;
import io.github.moelora.cli.golden.GoldenWriter.Layout;
import io.github.moelora.cli.golden.GoldenWriter.Shared;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import java.util.function.DoubleUnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.MethodSource;

/** {@code moe-lora verify} on model families that are not among the golden ones. */
public final class GoldenModelTest {
  private static final String MODEL = "base_model.model.model.layers.";

  private static final Family QWEN2_MOE =
      new Family(
          "qwen2_moe",
          20,
          13,
          5,
          2,
          7,
          List.of(0, 1),
          Experts.GATED,
          Shared.GATED,
          1,
          MODEL,
          "mlp");

  /** The first layer is dense. */
  private static final Family DEEPSEEK_V3 =
      new Family(
          "deepseek_v3",
          17,
          11,
          8,
          3,
          9,
          List.of(1, 2),
          Experts.GATED,
          Shared.ADDED,
          2.5,
          MODEL,
          "mlp");

  private static final Family OLMOE =
      new Family("olmoe", 16, 8, 16, 4, 5, List.of(0), Experts.GATED, Shared.NONE, 1, MODEL, "mlp");

  /** As the real one, as wide inside as outside. */
  private static final Family GPT_OSS =
      new Family(
          "gpt_oss",
          12,
          12,
          4,
          2,
          11,
          List.of(0, 1),
          Experts.INTERLEAVED,
          Shared.NONE,
          1,
          MODEL,
          "mlp");

  private static final Family GPT_OSS_NARROW =
      new Family(
          "gpt_oss", 14, 9, 4, 2, 6, List.of(3), Experts.INTERLEAVED, Shared.NONE, 1, MODEL, "mlp");

  private static final Family MIXTRAL =
      new Family(
          "mixtral",
          10,
          15,
          4,
          2,
          8,
          List.of(0),
          Experts.GATED,
          Shared.NONE,
          1,
          MODEL,
          "block_sparse_moe");

  private static final Family NEMOTRON_H =
      new Family(
          "nemotron_h",
          13,
          7,
          6,
          2,
          8,
          List.of(1, 4),
          Experts.UP_ONLY,
          Shared.ADDED,
          1,
          "base_model.model.backbone.layers.",
          "mixer");

  private static final Family NESTED =
      new Family(
          "qwen3_vl_moe",
          9,
          6,
          3,
          1,
          4,
          List.of(12),
          Experts.GATED,
          Shared.NONE,
          1,
          "base_model.model.model.language_model.layers.",
          "mlp");

  public static final List<Family> FAMILIES =
      List.of(QWEN2_MOE, DEEPSEEK_V3, OLMOE, GPT_OSS, GPT_OSS_NARROW, MIXTRAL, NEMOTRON_H, NESTED);

  @TempDir private Path directory;

  /** A new seed for each test. */
  private static GoldenWriter writer(Family family) {
    long seed = new Random().nextLong();
    System.out.println("seed " + seed);
    return new GoldenWriter(family, seed);
  }

  private static String firstLinear(Family family) {
    return family.kind() == Experts.UP_ONLY ? "up" : "gate_up";
  }

  private static List<Adapter> adapters(Family family) {
    String first = firstLinear(family);
    int firstLayer = family.layers().getFirst();
    int lastExpert = family.experts() - 1;
    Stream<Adapter> fused =
        Stream.of(
            new Adapter("fused_r4", Layout.FUSED).linears(first, "down"),
            new Adapter("fused_first_only", Layout.FUSED).linears(first),
            new Adapter("fused_down_only", Layout.FUSED).linears("down"),
            new Adapter("fused_bf16", Layout.FUSED).linears(first, "down").dtype("BF16"),
            new Adapter("fused_fp16", Layout.FUSED).linears(first, "down").dtype("F16"),
            new Adapter("fused_one_layer", Layout.FUSED)
                .linears(first, "down")
                .layers(firstLayer)
                .config(
                    "target_parameters",
                    List.of(
                        "layers.%d.%s.experts.%s"
                            .formatted(
                                firstLayer,
                                family.block(),
                                first.equals("up") ? "up_proj" : "gate_up_proj"),
                        "layers.%d.%s.experts.down_proj".formatted(firstLayer, family.block()))),
            new Adapter("fused_rslora", Layout.FUSED)
                .linears(first, "down")
                .config("use_rslora", true)
                .config("r", 9)
                .config("lora_alpha", 3)
                .ranks((layer, linear, expert) -> 9)
                .scales((layer, linear, expert, r) -> 1),
            new Adapter("fused_patterns", Layout.FUSED)
                .linears(first, "down")
                .config("rank_pattern", Map.of("experts.down_proj", 6))
                .config("alpha_pattern", Map.of(".*\\.layers\\.\\d+\\..*down_proj", 1.5))
                .ranks((layer, linear, expert) -> linear.equals("down") ? 6 : 4)
                .scales((layer, linear, expert, r) -> linear.equals("down") ? 0.25 : 2),
            new Adapter("fused_plus_attention", Layout.FUSED)
                .linears(first, "down")
                .stranger(family.prefix() + firstLayer + ".self_attn.q_proj"),
            new Adapter("fused_plus_shared", Layout.FUSED)
                .linears(first, "down")
                .stranger(family.prefix() + firstLayer + ".mlp.shared_expert.up_proj"));
    if (family.kind() == Experts.INTERLEAVED) {
      return fused.toList();
    }
    Layout layout =
        family.block().equals("block_sparse_moe") ? Layout.PER_EXPERT_W : Layout.PER_EXPERT;
    Stream<Adapter> perExpert =
        Stream.of(
            new Adapter("per_expert_r4", layout).linears(first, "down"),
            new Adapter("per_expert_bf16", layout).linears(first, "down").dtype("BF16"),
            new Adapter("per_expert_up_only", layout).linears("up"),
            new Adapter("per_expert_partial", layout)
                .linears("up", "down")
                .experts(0, lastExpert)
                .config("r", 3)
                .config("lora_alpha", 5)
                .config("use_rslora", true)
                .config(
                    "rank_pattern", Map.of("experts\\.%d\\.(up_proj|w3)".formatted(lastExpert), 7))
                .ranks((layer, linear, e) -> linear.equals("up") && e == lastExpert ? 7 : 3)
                .scales((layer, linear, expert, r) -> 5 / Math.sqrt(r)));
    return Stream.concat(fused, perExpert).toList();
  }

  @ParameterizedTest
  @FieldSource("FAMILIES")
  void everyAdapterOfEveryFamilyIsInBound(Family family) throws IOException {
    GoldenWriter writer = writer(family);
    List<Adapter> adapters = adapters(family);
    adapters.forEach(writer::add);
    CommandRun run = CommandRun.of("verify", writer.write(directory.resolve(family.name())));
    assertThat(run.out()).contains("%d cases, 0 missed".formatted(adapters.size() + 1));
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.line("fused_bf16")).contains("bf16 weights");
    assertThat(run.line("fused_fp16")).contains("f16 weights");
    assertThat(run.line("all adapters in one batch")).contains(family.name() + " ").contains("ok");
    if (family.kind() != Experts.UP_ONLY) {
      assertThat(run.line("fused_plus_attention")).contains("routed experts within", ", block");
      assertThat(run.line("fused_plus_shared"))
          .contains("routed experts within")
          .doesNotContain(", block");
    }
  }

  /** PEFT up to 0.18 exchanges in and out of parameters stored {@code [E, out, in]}. */
  @Test
  void oldVersionsOfPeftAreRead() throws IOException {
    GoldenWriter writer = writer(QWEN2_MOE);
    writer.add(new Adapter("both", Layout.FUSED_SWAPPED));
    writer.add(new Adapter("down", Layout.FUSED_SWAPPED).linears("down"));
    writer.add(
        new Adapter("unrecorded", Layout.FUSED_SWAPPED)
            .linears("gate_up")
            .config("peft_version", ""));
    writer.config("unrecorded").remove("peft_version");
    assertThat(CommandRun.of("verify", writer.write(directory)).out())
        .contains("4 cases, 0 missed");
    GoldenWriter stored = writer(GPT_OSS);
    stored.add(new Adapter("down", Layout.FUSED).linears("down").config("peft_version", "0.17.1"));
    assertThat(CommandRun.of("verify", stored.write(directory)).out())
        .contains("2 cases, 0 missed");
  }

  /** All a fault of one adapter alone and of the batch that it is in, or not. */
  static Stream<Arguments> faults() {
    return Stream.of(
        fault("delta of gate and up", true, w -> nudge(w, "delta_gate_up.b")),
        fault("delta of down", true, w -> nudge(w, "delta_down.b")),
        fault("routed output", false, w -> nudge(w, "routed_out64.b")),
        fault("block output", false, w -> nudge(w, "block_out.b")),
        fault("a NaN", true, w -> token1(w, "delta_down.b", value -> Double.NaN)),
        fault("A", true, w -> nudgeAdapter(w, ".base_layer.lora_A.weight")),
        fault("B", true, w -> nudgeAdapter(w, ".lora_B.weight")),
        fault("alpha", true, w -> w.config("b").put("lora_alpha", 8.001)),
        fault("rsLoRA", true, w -> w.config("b").put("use_rslora", true)));
  }

  private static Arguments fault(String what, boolean inBatchToo, Consumer<GoldenWriter> damage) {
    return Arguments.of(what, inBatchToo, damage);
  }

  /** One part in ten thousand of the largest value. */
  private static void nudge(GoldenWriter writer, String tensor) {
    double[] values = writer.golden().values("layers.1." + tensor);
    double step = 1e-4 * Arrays.stream(values).map(Math::abs).max().orElseThrow();
    token1(writer, tensor, value -> value + step);
  }

  /** Alters a value of token 1, which has this adapter in the mixed batch. */
  private static void token1(GoldenWriter writer, String tensor, DoubleUnaryOperator change) {
    double[] values = writer.golden().values("layers.1." + tensor);
    int first = values.length / QWEN2_MOE.tokens();
    values[first] = change.applyAsDouble(values[first]);
  }

  /** Some row or column of every expert, so that one that the batch uses is among them. */
  private static void nudgeAdapter(GoldenWriter writer, String tensor) {
    double[] values = writer.adapter("b").values(MODEL + "1.mlp.experts" + tensor);
    for (int i = 0; i < values.length; i += 3) {
      values[i] += 1.0 / 64;
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("faults")
  void oneAlteredValueIsAMiss(String what, boolean inBatchToo, Consumer<GoldenWriter> damage)
      throws IOException {
    GoldenWriter writer = writer(QWEN2_MOE);
    for (String name : List.of("a", "b", "c")) {
      writer.add(new Adapter(name, Layout.FUSED));
    }
    damage.accept(writer);
    CommandRun run = CommandRun.of("verify", writer.write(directory.resolve("family")));
    assertThat(run.exitCode()).as(what).isEqualTo(1);
    assertThat(run.line(" b  ")).contains("MISS");
    assertThat(run.line(" a  ")).contains(" ok ");
    assertThat(run.line(" c  ")).contains(" ok ");
    assertThat(run.line("all adapters")).contains(inBatchToo ? "MISS" : " ok ");
  }

  @Test
  void alteredBaseWeightsAreAMiss() throws IOException {
    for (String tensor : List.of("gate_up_proj", "down_proj", "gate_up_proj_bias")) {
      GoldenWriter writer = writer(GPT_OSS);
      writer.add(new Adapter("a", Layout.FUSED));
      double[] values = writer.golden().values("layers.0.mlp.experts." + tensor);
      for (int i = 0; i < values.length; i += 5) {
        values[i] += 0.01;
      }
      CommandRun run = CommandRun.of("verify", writer.write(directory));
      assertThat(run.exitCode()).as(tensor).isEqualTo(1);
      assertThat(run.line(" a  ")).contains("MISS");
      assertThat(run.line("all adapters")).contains(" ok ");
    }
  }

  @Test
  void anAdapterThatIsRefusedIsAMissAndTheOthersGoOn() throws IOException {
    GoldenWriter writer = writer(OLMOE);
    writer.add(new Adapter("a", Layout.FUSED)).add(new Adapter("b", Layout.PER_EXPERT));
    writer.adapter("a").remove(MODEL + "0.mlp.experts.lora_B.weight");
    CommandRun run = CommandRun.of("verify", writer.write(directory));
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.line(" a  ")).contains("MISS", "refused: ", "both halves of a pair");
    assertThat(run.line(" b  ")).contains(" ok ");
    assertThat(run.out()).contains("3 cases, 1 missed");
    writer.adapter("b").remove(MODEL + "0.mlp.experts.0.up_proj.lora_B.weight");
    assertThat(CommandRun.of("verify", writer.write(directory)).out())
        .contains("2 cases, 2 missed");
  }

  @Test
  void aMissingTensorIsNamed() throws IOException {
    GoldenWriter writer = writer(OLMOE);
    writer.add(new Adapter("a", Layout.FUSED));
    writer.golden().remove("layers.0.down_in.a");
    CommandRun run = CommandRun.of("verify", writer.write(directory));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .contains("golden.safetensors must hold the tensor layers.0.down_in.a")
        .hasLineCount(1);
  }

  @Test
  void anActivationThatIsNotKnownLeavesTheDeltas() throws IOException {
    GoldenWriter writer = writer(NEMOTRON_H);
    writer.add(new Adapter("a", Layout.FUSED).linears("up", "down"));
    CommandRun run = CommandRun.of("verify", writer.write(directory));
    assertThat(run.exitCode()).isZero();
    assertThat(run.line(" a  ")).endsWith("f32 weights, deltas");
  }
}
