package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.cli.golden.GoldenModelTest;
import io.github.moelora.cli.golden.GoldenWriter;
import io.github.moelora.cli.golden.GoldenWriter.Adapter;
import io.github.moelora.cli.golden.GoldenWriter.Layout;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code moe-lora verify} as a command. */
final class VerifyCommandTest {
  /** The data that core's tests carry, made by PEFT. */
  static final Path GOLDEN = Path.of("..", "moe-lora-core", "src", "test", "resources", "golden");

  @TempDir private Path directory;

  private static GoldenWriter writer() {
    long seed = new Random().nextLong();
    System.out.println("seed " + seed);
    return new GoldenWriter(GoldenModelTest.FAMILIES.getFirst(), seed)
        .add(new Adapter("fused", Layout.FUSED))
        .add(new Adapter("per_expert", Layout.PER_EXPERT));
  }

  @Test
  void aFolderOfGoldenFoldersIsReplayedWhole() {
    CommandRun run = CommandRun.of("verify", GOLDEN);
    assertThat(run.out()).contains("42 cases, 0 missed");
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.line("worst error / bound")).startsWith("directory  ");
    for (String name : List.of("hostile ", "mixtral ", "qwen3moe ", "qwen3moe_square ")) {
      assertThat(run.line(name)).startsWith(name).contains(" ok ");
    }
    assertThat(run.line("nan_weights")).contains("ok", "element [0,0] must be finite");
  }

  @Test
  void theTableIsAlsoWrittenAsJson() throws IOException {
    Path json = directory.resolve("verify.json");
    GoldenWriter writer = writer();
    writer.golden().values("layers.0.delta_down.fused")[0] += 1;
    CommandRun run =
        CommandRun.of("verify", writer.write(directory.resolve("family")), "--json", json);
    assertThat(run.exitCode()).isEqualTo(1);
    JsonNode cases = Output.json().readTree(json.toFile());
    assertThat(cases).hasSize(3);
    assertThat(cases.get(0).path("directory").asText()).isEqualTo("family");
    assertThat(cases.get(0).path("name").asText()).isEqualTo("fused");
    assertThat(cases.get(0).path("worst").asDouble()).isGreaterThan(1);
    assertThat(cases.get(1).path("worst").asDouble()).isBetween(0.0, 1.0);
    assertThat(cases.get(1).path("note").asText()).startsWith("f32 weights, deltas");
  }

  @Test
  void theFolderMayBeGivenInAnyWay() throws IOException {
    Path family = writer().write(directory.resolve("family"));
    for (Path path : List.of(family.resolve("."), family.resolve("fused").resolve(".."))) {
      CommandRun run = CommandRun.of("verify", path);
      assertThat(run.exitCode()).isZero();
      assertThat(run.line("per_expert")).startsWith("family ");
    }
  }

  /** One of the two has nothing wrong with it. */
  @Test
  void aDamagedAdapterThatIsAcceptedIsAMiss() throws IOException {
    GoldenWriter writer = writer();
    writer.write(directory.resolve("family"));
    Path hostile = directory.resolve("hostile");
    writer.adapter("fused").write(hostile.resolve("sound").resolve("adapter_model.safetensors"));
    Output.writeJson(
        hostile.resolve("sound").resolve("adapter_config.json"), writer.config("fused"));
    Files.createDirectories(hostile.resolve("empty"));
    Output.writeJson(
        hostile.resolve("manifest.json"),
        Map.of(
            "base_model",
            "family",
            "cases",
            List.of(Map.of("name", "sound"), Map.of("name", "empty"))));
    CommandRun run = CommandRun.of("verify", hostile.resolve("."));
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.line(" sound ")).contains(" - ", "MISS", "was accepted");
    assertThat(run.line(" empty ")).contains(" ok ", "it must be a regular file, got no such file");
    assertThat(run.out()).contains("2 cases, 1 missed");
  }

  @Test
  void damagedAdaptersNeedTheirModelBesideThem() throws IOException {
    Output.writeJson(
        directory.resolve("manifest.json"), Map.of("base_model", "nowhere", "cases", List.of()));
    CommandRun run = CommandRun.of("verify", directory);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .contains("the base model of " + directory, "nowhere, got nothing there")
        .hasLineCount(1);
  }

  private static void requireUnusable(CommandRun run, String... message) {
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).startsWith("moe-lora: ").contains(message).hasLineCount(1);
    assertThat(run.out()).isEmpty();
  }

  @Test
  void aFolderWithoutGoldenDataIsUnusable() throws IOException {
    requireUnusable(
        CommandRun.of("verify", directory), "GOLDEN_DIR must hold manifest.json", "got");
    requireUnusable(
        CommandRun.of("verify", directory.resolve("nowhere")),
        "GOLDEN_DIR must hold manifest.json");
    Files.writeString(directory.resolve("manifest.json"), "{}");
    requireUnusable(CommandRun.of("verify", directory), "must have adapters or cases, got neither");
    Files.writeString(directory.resolve("manifest.json"), "{\"adapters\": []}");
    requireUnusable(CommandRun.of("verify", directory), "golden.safetensors", "no such file");
    writer().write(directory);
    Files.writeString(directory.resolve("manifest.json"), "{\"adapters\": []}");
    requireUnusable(CommandRun.of("verify", directory), "must have moe_layers and adapters");
    Files.writeString(directory.resolve("manifest.json"), "{");
    requireUnusable(
        CommandRun.of("verify", directory),
        "manifest.json must be JSON, got an error in line 1, column 2");
  }

  @Test
  void aBackendThatIsNotThereIsUnusable() throws IOException {
    CommandRun run = CommandRun.of("verify", writer().write(directory), "--backend", "abacus");
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("abacus").hasLineCount(1);
  }

  @Test
  void theDirectoryMustBeGiven() {
    CommandRun run = CommandRun.of("verify");
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .contains("Missing required parameter: 'GOLDEN_DIR'", "Try 'moe-lora verify --help'");
  }

  @Test
  void helpTellsHowToUseIt() {
    CommandRun run = CommandRun.of("verify", "--help");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("Usage: moe-lora verify", "--backend=NAME", "--json=FILE");
  }
}
