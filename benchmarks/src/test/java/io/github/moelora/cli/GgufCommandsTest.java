package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.moelora.GateUp;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgufExport;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A GGUF file where a PEFT folder could stand: {@code inspect}, {@code run} and {@code export}. */
final class GgufCommandsTest {
  private static final Path FOLDER = VerifyCommandTest.GOLDEN.resolve("qwen3moe/fused_r4");
  private static final MoeModel MODEL = new MoeModel(64, 48, 6, GateUp.HALVES, List.of(0, 1));

  @TempDir private Path directory;
  private Path file = Path.of("");

  /** The routed experts of a PEFT folder, and one linear layer outside them. */
  @BeforeEach
  void write() throws IOException {
    file = directory.resolve("sql.gguf");
    float[] ones = new float[2 * 64];
    Arrays.fill(ones, 1);
    try (PeftAdapter peft = PeftAdapter.open(FOLDER)) {
      new GgufExport("qwen3moe")
          .module(
              "blk.0.attn_q.weight",
              Matrix.ofFloats(2, 64, ones),
              Matrix.ofFloats(5, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
              2)
          .write(peft.toLoraAdapter(MODEL), MODEL, file);
    }
  }

  @Test
  void inspectShowsIt() throws IOException {
    Path json = directory.resolve("inspect.json");
    CommandRun run = CommandRun.of("inspect", file, "--json", json);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out().lines().findFirst().orElseThrow())
        .isEqualTo("sql: GGUF adapter for qwen3moe, alpha 8.0");
    assertThat(run.line(" down ")).contains(" 0-5 ", " 4 ", " 2.0 ", "F32");
    assertThat(run.line("blk.N.attn_q")).contains(" 1 ", " 2 ", "F32");
    JsonNode document = new ObjectMapper().readTree(Files.readString(json));
    assertThat(document.get("architecture").asText()).isEqualTo("qwen3moe");
    assertThat(document.get("pairs")).hasSize(6);
    assertThat(document.get("other_modules")).hasSize(1);
    assertThat(document.get("ignored_tensors")).isEmpty();
  }

  /** All of it runs, attention included, and is checked. */
  @Test
  void runRunsIt() {
    CommandRun run = CommandRun.of("run", "--adapter", "sql=" + file, "--tokens", 5);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("layers [0, 1]", "adapter 0 sql: rank 4, ", "blk.0.attn_q");
    assertThat(run.out().lines().toList().getLast()).startsWith("PASS");
  }

  /** One of each kind in one batch. */
  @Test
  void runRunsItBesideAPeftFolder() {
    CommandRun run =
        CommandRun.of("run", "--adapter", "a=" + FOLDER, "--adapter", "b=" + file, "--tokens", 6);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("adapter 0 a: ", "adapter 1 b: ", "blk.0.attn_q", "PASS");
    Path other = VerifyCommandTest.GOLDEN.resolve("mixtral/per_expert_w2_only_r8");
    CommandRun refused = CommandRun.of("run", "--adapter", "a=" + other, "--adapter", "b=" + file);
    assertThat(refused.exitCode()).isNotZero();
    assertThat(refused.out() + refused.err()).contains("sql.gguf");
  }

  /** The last bytes of the file are of a weight. */
  @Test
  void whatIsNotFiniteIsRefusedAlike() throws IOException {
    try (RandomAccessFile damaged = new RandomAccessFile(file.toFile(), "rw")) {
      byte[] nan = {0, 0, (byte) 0xc0, 0x7f};
      for (long at = damaged.length() - 64; at < damaged.length(); at += nan.length) {
        damaged.seek(at);
        damaged.write(nan);
      }
    }
    CommandRun inspect = CommandRun.of("inspect", file);
    assertThat(inspect.exitCode()).isEqualTo(1);
    assertThat(inspect.out()).contains("refused: " + file + ": tensor blk.", "must be finite");
    CommandRun run = CommandRun.of("run", "--adapter", "a=" + file);
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.out() + run.err()).contains(file + ": tensor blk.", "must be finite");
  }

  @Test
  void whatIsNeitherIsToldWithWhatToGive() throws IOException {
    Path weights = FOLDER.resolve("adapter_model.safetensors");
    CommandRun run = CommandRun.of("inspect", weights);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .contains("ADAPTER must be a folder with adapter_config.json, or a GGUF file, got ");
    Path text = Files.writeString(directory.resolve("notes.txt"), "no adapter");
    CommandRun other = CommandRun.of("inspect", text);
    assertThat(other.exitCode()).isEqualTo(1);
    assertThat(other.out()).contains("a GGUF file must begin with GGUF");
  }

  /** Back to PEFT: the experts alone, since the names outside them are llama.cpp's. */
  @Test
  void exportWritesItAsAPeftFolder() {
    Path folder = directory.resolve("peft");
    CommandRun run = CommandRun.of("export", file, "--to", "per-expert", "--out", folder);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("blk.0.attn_q");
    CommandRun again = CommandRun.of("run", "--adapter", "a=" + folder, "--tokens", 4);
    assertThat(again.exitCode()).isZero();
  }
}
