package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class RunCommandTest {
  private static final String HOME_PROPERTY = "moelora.home";
  private static final Path PROJECT = Path.of("..").toAbsolutePath().normalize();
  private static final Path EXAMPLES = PROJECT.resolve("examples/adapters");

  @TempDir private Path directory;

  @BeforeAll
  static void tellHome() {
    System.setProperty(HOME_PROPERTY, PROJECT.toString());
  }

  @AfterAll
  static void forgetHome() {
    System.clearProperty(HOME_PROPERTY);
  }

  private JsonNode json(Object... args) throws IOException {
    Path file = directory.resolve("run.json");
    List<Object> words = new ArrayList<>(List.of("run", "--json", file));
    words.addAll(List.of(args));
    CommandRun run = CommandRun.of(words.toArray());
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    return Output.json().readTree(file.toFile());
  }

  @Test
  void theExamplesPassTheirCheck() {
    CommandRun run = CommandRun.of("run");
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.line("backend")).startsWith("backend cpu on CPU, ");
    assertThat(run.line("model"))
        .endsWith("hidden 64, intermediate 48, 6 experts, 2 per token, layers [0, 1]");
    assertThat(run.line("adapter 1"))
        .isEqualTo(
            "adapter 1 fused_r8_rslora: rank 8, "
                + EXAMPLES.resolve("fused_r8_rslora/adapter_model.safetensors"));
    assertThat(run.line("worst error / bound")).contains("layer", "projection", "pairs", "blocks");
    assertThat(run.out().lines().filter(line -> line.contains("gate/up"))).hasSize(2);
    assertThat(run.out().lines().filter(line -> line.contains("down"))).hasSize(2);
    assertThat(run.out())
        .endsWith(
            "PASS: every element is within its bound of a float64 reference that reads the same"
                + " adapters\n");
  }

  @Test
  void jsonHoldsTheTable() throws IOException {
    JsonNode document = json("--tokens", 13, "--seed", 5);
    assertThat(document.path("backend").asText()).isEqualTo("cpu");
    assertThat(document.path("tokens").asInt()).isEqualTo(13);
    assertThat(document.path("seed").asLong()).isEqualTo(5);
    assertThat(document.path("passed").asBoolean()).isTrue();
    assertThat(document.path("adapters")).hasSize(3);
    assertThat(document.path("rows")).hasSize(4);
    for (JsonNode row : document.path("rows")) {
      assertThat(row.path("pairs").asInt()).isEqualTo(26);
      // 3 of 4 tokens have an adapter, and a block holds at least one pair
      assertThat(row.path("blocks").asInt()).isBetween(1, 20);
      assertThat(row.path("micros").asDouble()).isPositive();
      assertThat(row.path("gigabytes_per_second").asDouble()).isPositive();
      assertThat(row.path("worst").asDouble()).isBetween(0.0, 1.0).isNotZero();
    }
    assertThat(document.path("rows").get(2).path("layer").asInt()).isEqualTo(1);
    assertThat(document.path("rows").get(2).path("projection").asText()).isEqualTo("gate/up");
  }

  @Test
  void theSeedDecides() throws IOException {
    List<Double> first = worst(json("--tokens", 9, "--seed", 3));
    assertThat(worst(json("--tokens", 9, "--seed", 3))).isEqualTo(first);
    assertThat(worst(json("--tokens", 9, "--seed", 4))).isNotEqualTo(first);
  }

  private static List<Double> worst(JsonNode document) {
    return document.path("rows").findValues("worst").stream().map(JsonNode::asDouble).toList();
  }

  @ParameterizedTest
  @CsvSource({"F16, F16", "bf16, F32", "F32, BF16"})
  void everyTypePasses(String weights, String activations) throws IOException {
    JsonNode document = json("--tokens", 7, "--weights", weights, "--activations", activations);
    assertThat(document.path("weights").asText()).isEqualToIgnoringCase(weights);
    assertThat(document.path("passed").asBoolean()).isTrue();
  }

  @Test
  void adaptersAreTakenByName() throws IOException {
    JsonNode document =
        json(
            "--adapter",
            "one=" + EXAMPLES.resolve("fused_r4"),
            "--adapter",
            "two=" + EXAMPLES.resolve("per_expert_r4"),
            "--tokens",
            1,
            "--experts-per-token",
            6,
            "--backend",
            "cpu");
    assertThat(document.path("adapters")).hasSize(2);
    assertThat(document.path("adapters").get(1).asText()).isEqualTo("two");
    assertThat(document.path("rows").get(0).path("pairs").asInt()).isEqualTo(6);
  }

  @Test
  void aWrongResultFails() {
    CommandRun run = CommandRun.of("run", "--backend", "wrong", "--tokens", 3);
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.out())
        .endsWith("FAIL: an element is outside its bound of a float64 reference\n");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "--tokens 0 | --tokens must be at least 1, got 0",
        "--tokens x | Invalid value for option '--tokens': 'x' is not an int",
        "--experts 0 | --experts must be at least 1, got 0",
        "--experts-per-token 0 | --experts-per-token must be at least 1, got 0",
        "--experts-per-token 7 | --experts-per-token must be at most the number of experts 6, got"
            + " 7",
        "--backend abacus | --backend must be one of cpu, crashing, missing, tunable, wrong, got"
            + " abacus",
        "--backend missing | backend missing cannot run: there is no device. plug one in",
        "--backend tornado | --backend tornado is not on the class path: install a TornadoVM SDK,"
            + " name it in TORNADOVM_HOME and start with scripts/tornado-run",
        "--weights f8 | Invalid value for option '--weights': expected one of [F16, BF16, F32]"
            + " (case-insensitive) but was 'f8'",
        "--adapter x | Invalid value for option '--adapter' (NAME=ADAPTER): must be NAME=ADAPTER,"
            + " got x",
        "--adapter =x | Invalid value for option '--adapter' (NAME=ADAPTER): must be NAME=ADAPTER,"
            + " got =x",
        "--adapter a= | Invalid value for option '--adapter' (NAME=ADAPTER): must be NAME=ADAPTER,"
            + " got a=",
        "--adapter a=b --adapter a=c | --adapter must have a different name each time, got a twice",
        "--adapter a=/nowhere | --adapter must be a folder with adapter_config.json, or a GGUF"
            + " file, got /nowhere",
        "--json /nowhere/x | --json must lie in an existing folder, got /nowhere/x",
        "--json / | --json must be a file, got folder /",
      })
  void wrongUsageIsToldInASentence(String args, String message) {
    CommandRun run = CommandRun.of((Object[]) ("run " + args).split(" ", -1));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.out()).isEmpty();
    assertThat(run.err().lines().findFirst()).contains("moe-lora: " + message);
    assertThat(run.err().lines().skip(1)).allMatch("Try 'moe-lora run --help'."::equals);
  }

  @Test
  void withoutExamplesAnAdapterMustBeGiven() {
    System.setProperty(HOME_PROPERTY, directory.toString());
    try {
      CommandRun run = CommandRun.of("run");
      assertThat(run.exitCode()).isEqualTo(2);
      assertThat(run.err()).startsWith("moe-lora: --adapter must be given, since no examples lie");
    } finally {
      tellHome();
    }
  }

  @Test
  void adaptersOfDifferentModelsAreRefused() throws IOException {
    Path other = VerifyCommandTest.GOLDEN.resolve("mixtral/fused_r8");
    assertThat(Files.isDirectory(other)).isTrue();
    CommandRun run =
        CommandRun.of(
            "run", "--adapter", "a=" + EXAMPLES.resolve("fused_r4"), "--adapter", "b=" + other);
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.out()).isEmpty();
    assertThat(run.err()).startsWith("moe-lora: ").hasLineCount(1);
  }

  /** The same layers and modules whoever tells the model's facts; warnings come first. */
  @Test
  void theBaseModelsConfigAnswersWhatAdaptersLeaveOpen() throws IOException {
    Path partial = VerifyCommandTest.GOLDEN.resolve("qwen3moe/per_expert_partial_mixed_rank");
    String adapter = "partial=" + partial;
    CommandRun unknown = CommandRun.of("run", "--adapter", adapter);
    assertThat(unknown.exitCode()).isEqualTo(2);
    assertThat(unknown.err()).contains("experts must be given", "--experts", "--base-config");
    Path config = directory.resolve("config.json");
    Output.writeJson(
        config,
        java.util.Map.of(
            "model_type", "qwen3_moe",
            "hidden_size", 64,
            "moe_intermediate_size", 48,
            "num_experts", 6,
            "num_experts_per_tok", 3));
    CommandRun run = CommandRun.of("run", "--adapter", adapter, "--base-config", config);
    assertThat(run.exitCode()).isZero();
    assertThat(run.line("model")).contains("6 experts, 3 per token");
    assertThat(run.err()).contains("warning: adapter partial: ", "experts have no tensor at all");
    assertThat(CommandRun.of("run", "--adapter", adapter, "--experts", 6).exitCode()).isZero();
    assertThat(
            CommandRun.of("run", "--adapter", adapter, "--base-config", config, "--hidden", 32)
                .exitCode())
        .isEqualTo(1);
  }

  /** An adapter is run whole: attention beside the experts. */
  @Test
  void modulesOutsideTheExpertsAreRunToo() {
    Path folder = VerifyCommandTest.GOLDEN.resolve("qwen3moe/fused_plus_attention_r4");
    CommandRun run = CommandRun.of("run", "--adapter", "a=" + folder, "--tokens", 5);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out().lines().filter(line -> line.contains("self_attn."))).hasSize(4);
    assertThat(run.line("model.layers.0.self_attn.q_proj")).startsWith("    -  ");
  }

  @ParameterizedTest
  @CsvSource({
    "columns=sideways, '[grouped, rank-major], got sideways'",
    "orientation=up, '[projection, swapped]'",
    "nesting=none, '[registered, reversed]'",
    "zero-experts=x, at most six digits",
    "unsupported=keep, '[leave-out]'",
    "colour=red, the keys columns",
    "columns, 'must be KEY=VALUE, got columns'",
    "'nesting=reversed,Nesting=registered', 'nesting must have one value, got reversed and"
        + " registered'",
  })
  void aLayoutMustBeKnown(String layout, String message) {
    CommandRun run = CommandRun.of("run", "--layout", layout);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("--layout", message);
  }

  /** What the file does not say, the user may. */
  @Test
  void aLayoutIsTaken() {
    String adapter = "a=" + EXAMPLES.resolve("fused_r4");
    CommandRun run =
        CommandRun.of(
            "run",
            "--adapter",
            adapter,
            "--layout",
            "columns=grouped,orientation=projection,nesting=registered,zero-experts=0",
            "--layout",
            "experts=mlp.experts,unsupported=leave-out");
    assertThat(run.exitCode()).isZero();
    assertThat(
            CommandRun.of("run", "--adapter", adapter, "--layout", "nesting=reversed").exitCode())
        .isEqualTo(1);
  }
}
