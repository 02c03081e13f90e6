package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.cli.golden.TensorFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class InspectCommandTest {
  private static final Path GOLDEN = VerifyCommandTest.GOLDEN;

  @TempDir private Path directory;

  @Test
  void aFusedAdapterIsShownByLayerAndProjection() {
    CommandRun run = CommandRun.of("inspect", GOLDEN.resolve("qwen3moe/fused_rank_pattern"));
    assertThat(run.exitCode()).isZero();
    assertThat(run.err()).isEmpty();
    assertThat(run.out().lines())
        .containsExactly(
            "fused_rank_pattern: fused layout, PEFT 0.21.0",
            "layer  projection  experts  rank  scale  type     bytes",
            "    0  gate_up         0-5     4    2.5  F32   15.0 KiB",
            "    0  down            0-5     6    2.5  F32   15.8 KiB",
            "    1  gate_up         0-5     4    2.5  F32   15.0 KiB",
            "    1  down            0-5     6    2.5  F32   15.8 KiB");
  }

  @Test
  void expertsAreShownAsRanges() {
    CommandRun run =
        CommandRun.of(
            "inspect", GOLDEN.resolve("qwen3moe/per_expert_partial_mixed_rank"), "--experts", 6);
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("per-expert layout").contains(" 1,5 ").contains(" 3 ");
    assertThat(
            CommandRun.of("inspect", GOLDEN.resolve("mixtral/per_expert_w2_only_r8"))
                .line(" down "))
        .contains(" 0-3 ");
  }

  /** What `run` could not use is shown, but not as if it were fine. */
  @Test
  void aFileThatRunCannotUseHasRunsExitCode() {
    Path folder = GOLDEN.resolve("qwen3moe/per_expert_partial_mixed_rank");
    CommandRun run = CommandRun.of("inspect", folder);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.out()).contains("per-expert layout");
    assertThat(run.err()).contains("experts must be given", "--experts");
    assertThat(CommandRun.of("inspect", GOLDEN.resolve("hostile/nan_weights")).out())
        .contains("refused: ", "element [0,0] must be finite");
    assertThat(CommandRun.of("inspect", GOLDEN.resolve("hostile/nan_weights")).exitCode())
        .isEqualTo(1);
  }

  @Test
  void otherModulesAreSummedUp() {
    CommandRun run = CommandRun.of("inspect", GOLDEN.resolve("qwen3moe/fused_plus_attention_r4"));
    assertThat(run.exitCode()).isZero();
    assertThat(run.out().lines())
        .endsWith(
            "other modules                    count  rank  scale  type    bytes",
            "model.layers.N.self_attn.q_proj      2     4    2.0  F32   4.0 KiB",
            "model.layers.N.self_attn.v_proj      2     4    2.0  F32   3.0 KiB");
  }

  /** No backend takes it, so it must not pass for usable; no message names the slots' own limit. */
  @Test
  void aRankThatNoSlotHoldsIsRefused() throws IOException {
    for (int rank : new int[] {512, 513}) {
      TensorFile file = new TensorFile();
      String module = "base_model.model.model.layers.0.mlp.experts.0.";
      for (String name : List.of("gate_proj", "up_proj", "down_proj")) {
        boolean down = name.equals("down_proj");
        file.add(module + name + ".lora_A.weight", "F32", rank, down ? 3 : 4);
        file.add(module + name + ".lora_B.weight", "F32", down ? 4 : 3, rank);
      }
      file.write(directory.resolve("adapter_model.safetensors"));
      Output.writeJson(
          directory.resolve("adapter_config.json"),
          Map.of("peft_type", "LORA", "r", rank, "lora_alpha", 1));
      CommandRun inspect = CommandRun.of("inspect", directory);
      if (rank == 512) {
        assertThat(inspect.exitCode()).isZero();
      } else {
        CommandRun run =
            CommandRun.of("run", "--adapter", "a=" + directory, "--experts-per-token", 1);
        String message =
            directory.resolve("adapter_model.safetensors")
                + ": the rank of an expert or linear layer must be in [1, 512], got 513";
        assertThat(inspect.exitCode()).isEqualTo(1);
        assertThat(inspect.out()).endsWith("refused: " + message + "\n");
        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).endsWith("moe-lora: " + message + "\n");
      }
    }
  }

  /** Eight experts of rank 1 whose config says 4: two of rank 4 is only what the config makes. */
  @Test
  void anUnknownNumberOfExpertsIsNotShownAsAFact() throws IOException {
    TensorFile file = new TensorFile();
    String module = "base_model.model.model.layers.0.mlp.experts.";
    file.add(module + "base_layer.lora_A.weight", "F32", 8, 8);
    file.add(module + "base_layer.lora_B.weight", "F32", 12, 8);
    file.add(module + "lora_A.weight", "F32", 8, 6);
    file.add(module + "lora_B.weight", "F32", 8, 8);
    file.write(directory.resolve("adapter_model.safetensors"));
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("peft_type", "LORA");
    config.put("r", 4);
    config.put("lora_alpha", 4);
    config.put("target_parameters", List.of("experts.gate_up_proj", "experts.down_proj"));
    Output.writeJson(directory.resolve("adapter_config.json"), config);
    String note = "note: no version of PEFT is recorded: experts and ranks are shown as";
    CommandRun run = CommandRun.of("inspect", directory);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.out()).contains(note);
    assertThat(run.err()).contains("experts must be given");
    config.put("peft_version", "0.21.0");
    Output.writeJson(directory.resolve("adapter_config.json"), config);
    assertThat(CommandRun.of("inspect", directory).out()).doesNotContain("note: ");
  }

  /** Hundreds of names with the same form are one line. */
  @Test
  void tensorsThatAreLeftOutAreSummedUp() throws IOException {
    TensorFile file = new TensorFile();
    for (int layer = 0; layer < 300; layer++) {
      file.add("base_model.model.model.layers.%d.norm.weight".formatted(layer), "F32", 1, 1);
    }
    file.write(directory.resolve("adapter_model.safetensors"));
    Output.writeJson(
        directory.resolve("adapter_config.json"),
        Map.of("peft_type", "LORA", "r", 1, "lora_alpha", 1));
    assertThat(CommandRun.of("inspect", directory).exitCode()).isEqualTo(1);
    CommandRun run = CommandRun.of("inspect", directory, "--layout", "unsupported=leave-out");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out())
        .contains("left out: 300 tensors")
        .contains("  300 x base_model.model.model.layers.N.norm.weight")
        .contains("warning: the adapter holds no pair at all")
        .hasLineCount(6);
  }

  @Test
  void aRefusedAdapterIsToldWhy() {
    CommandRun run = CommandRun.of("inspect", GOLDEN.resolve("hostile/rank_mismatch_per_expert"));
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.out())
        .startsWith("refused: ")
        .contains(
            "adapter_model.safetensors: tensor base_model.model.model.layers.0.mlp.experts.0",
            "shape[0] must be 2, the rank in the config, got 8")
        .hasLineCount(1);
  }

  @Test
  void theTableIsAlsoWrittenAsJson() throws IOException {
    Path json = directory.resolve("inspect.json");
    assertThat(
            CommandRun.of("inspect", GOLDEN.resolve("qwen3moe/fused_bf16_r4"), "--json", json)
                .exitCode())
        .isZero();
    JsonNode document = Output.json().readTree(json.toFile());
    assertThat(document.path("name").asText()).isEqualTo("fused_bf16_r4");
    assertThat(document.path("layout").asText()).isEqualTo("FUSED");
    assertThat(document.path("peft_version").asText()).isEqualTo("0.21.0");
    assertThat(document.path("pairs")).hasSize(4);
    JsonNode first = document.path("pairs").get(0);
    assertThat(first.path("layer").asInt(-1)).isZero();
    assertThat(first.path("projection").asText()).isEqualTo("gate_up");
    assertThat(first.path("experts").asText()).isEqualTo("0-5");
    assertThat(first.path("rank").asInt()).isEqualTo(4);
    assertThat(first.path("scale").asDouble()).isEqualTo(2);
    assertThat(first.path("type").asText()).isEqualTo("BF16");
    assertThat(first.path("bytes").asLong()).isEqualTo(2 * (24 * 64 + 96 * 24));
    assertThat(document.path("ignored_tensors")).isEmpty();
    assertThat(document.path("notes")).isEmpty();
  }

  /** What a file says must not steer the terminal. */
  @Test
  void notesAndNamesArePrintable() throws IOException {
    TensorFile file = new TensorFile();
    file.add("head\\u001b[31m.lora_A.weight", "F32", 1, 1);
    file.write(directory.resolve("adapter_model.safetensors"));
    Path config = directory.resolve("adapter_config.json");
    Map<String, Object> options =
        Map.of("peft_type", "LORA", "r", 1, "lora_alpha", 1, "new_option", "\u001b[2J\u202e");
    Output.writeJson(config, options);
    CommandRun refused = CommandRun.of("inspect", directory);
    assertThat(refused.exitCode()).isEqualTo(1);
    assertThat(refused.out())
        .contains("tensor head\uFFFD[31m.lora_A.weight: a name must hold printable ASCII")
        .doesNotContain("\u001b");
    new TensorFile().write(directory.resolve("adapter_model.safetensors"));
    CommandRun run = CommandRun.of("inspect", directory);
    assertThat(run.exitCode()).isZero();
    assertThat(run.out())
        .contains("note: option new_option is not known and has no effect: \uFFFD[2J\uFFFD")
        .doesNotContain("\u001b");
  }

  @Test
  void aFolderThatIsNotThereIsUnusable() throws IOException {
    CommandRun run = CommandRun.of("inspect", directory.resolve("nowhere"));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .contains("ADAPTER must be a folder with adapter_config.json, or a GGUF file, got ")
        .hasLineCount(1);
    Path file = Files.createFile(directory.resolve("file"));
    assertThat(CommandRun.of("inspect", file).exitCode()).isEqualTo(1);
    CommandRun empty = CommandRun.of("inspect", directory);
    assertThat(empty.exitCode()).isEqualTo(1);
    assertThat(empty.out()).contains("adapter_config.json: it must be a regular file, got no such");
  }

  @Test
  void helpTellsHowToUseIt() {
    CommandRun run = CommandRun.of("inspect", "--help");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("Usage: moe-lora inspect", "ADAPTER", "--json=FILE");
  }
}
