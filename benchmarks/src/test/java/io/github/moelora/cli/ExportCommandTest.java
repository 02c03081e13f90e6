package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.gguf.GgufAdapter;
import io.github.moelora.gguf.GgufModule;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class ExportCommandTest {
  private static final Path GOLDEN = VerifyCommandTest.GOLDEN;
  private static final MoeModel MODEL = new MoeModel(64, 48, 6, GateUp.HALVES, List.of(0, 1));

  @TempDir private Path directory;

  private Path file() {
    return directory.resolve("adapter.gguf");
  }

  @Test
  void aPeftFolderBecomesAGgufFile() throws IOException {
    Path folder = GOLDEN.resolve("qwen3moe/fused_r4");
    CommandRun run =
        CommandRun.of("export", folder, "--gguf", file(), "--architecture", "qwen3moe");
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out().lines()).containsExactly(file() + ": 6 pairs of F32, alpha 8.0, 64.2 KiB");
    try (GgufAdapter written = GgufAdapter.open(file());
        PeftAdapter peft = PeftAdapter.open(folder)) {
      assertThat(written.architecture()).isEqualTo("qwen3moe");
      LoraAdapter expected = peft.toLoraAdapter(MODEL);
      LoraAdapter actual = written.toLoraAdapter(MODEL);
      for (int e = 0; e < 6; e++) {
        LoraSlice down = expected.slices(1, Projection.DOWN, e).getFirst();
        LoraSlice same = actual.slices(1, Projection.DOWN, e).getFirst();
        assertThat(same.scale()).isEqualTo(down.scale());
        for (int o = 0; o < 64; o++) {
          for (int r = 0; r < 4; r++) {
            assertThat(same.b().get(o, r)).isEqualTo(down.b().get(o, r));
          }
        }
      }
    }
  }

  @Test
  void aGgufFileIsWrittenAnewWithAllItHolds() throws IOException {
    Path first = directory.resolve("first.gguf");
    assertThat(
            CommandRun.of(
                    "export",
                    GOLDEN.resolve("qwen3moe/fused_rank_pattern"),
                    "--gguf",
                    first,
                    "--architecture",
                    "qwen3moe",
                    "--fused-gate-up")
                .out())
        .contains("4 pairs of F32", "note: B of 2 pairs was multiplied");
    CommandRun run = CommandRun.of("export", first, "--gguf", file(), "--type", "bf16");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("6 pairs of BF16");
    try (GgufAdapter written = GgufAdapter.open(file())) {
      assertThat(written.architecture()).isEqualTo("qwen3moe");
      assertThat(written.entries()).hasSize(6);
      assertThat(written.otherModules()).extracting(GgufModule::name).isEmpty();
    }
  }

  @Test
  void whatIsLeftOutIsTold() {
    CommandRun run =
        CommandRun.of(
            "export",
            GOLDEN.resolve("qwen3moe/fused_plus_attention_r4"),
            "--gguf",
            file(),
            "--architecture",
            "qwen3moe");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("note: 4 modules are not routed experts and were left out");
  }

  @Test
  void sizesThatTheAdapterDoesNotShowAreGiven() {
    Path folder = GOLDEN.resolve("qwen3moe/per_expert_partial_mixed_rank");
    CommandRun refused =
        CommandRun.of("export", folder, "--gguf", file(), "--architecture", "qwen3moe");
    assertThat(refused.exitCode()).isEqualTo(2);
    assertThat(refused.err()).contains("experts must be given");
    assertThat(file()).doesNotExist();
    CommandRun run =
        CommandRun.of(
            "export", folder, "--gguf", file(), "--architecture", "qwen3moe", "--experts", "6");
    assertThat(run.exitCode()).isZero();
    assertThat(file()).exists();
  }

  @Test
  void wrongUsageIsTold() throws IOException {
    Path folder = GOLDEN.resolve("qwen3moe/fused_r4");
    CommandRun run = CommandRun.of("export", folder, "--gguf", file());
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("--architecture must be given");
    assertThat(CommandRun.of("export", folder).err()).contains("--gguf");
    CommandRun hostile =
        CommandRun.of(
            "export",
            GOLDEN.resolve("hostile/truncated"),
            "--gguf",
            file(),
            "--architecture",
            "qwen3moe");
    assertThat(hostile.exitCode()).isEqualTo(1);
    assertThat(hostile.out()).startsWith("refused: ");
    Files.writeString(file(), "no GGUF");
    CommandRun same = CommandRun.of("export", file(), "--gguf", file());
    assertThat(same.exitCode()).isEqualTo(2);
    assertThat(same.err()).contains("--gguf must be another file than the adapter");
    CommandRun other = CommandRun.of("export", file(), "--gguf", directory.resolve("x.gguf"));
    assertThat(other.exitCode()).isEqualTo(1);
    assertThat(other.out()).contains("a GGUF file must begin with GGUF");
  }

  /** Any layout becomes the canonical one of either kind, with its modules outside the experts. */
  @Test
  void aPeftFolderBecomesOneOfAnotherLayout() throws IOException {
    Path source = GOLDEN.resolve("qwen3moe/fused_plus_attention_r4");
    Path single = directory.resolve("single");
    Path fused = directory.resolve("fused");
    CommandRun run = CommandRun.of("export", source, "--to", "per-expert", "--out", single);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).startsWith(single + ": 40 pairs of F32, ");
    assertThat(CommandRun.of("export", single, "--to", "fused", "--out", fused).exitCode())
        .isZero();
    for (Path folder : List.of(single, fused)) {
      assertThat(CommandRun.of("run", "--adapter", "a=" + folder).exitCode()).isZero();
    }
    try (PeftAdapter written = PeftAdapter.open(fused);
        PeftAdapter peft = PeftAdapter.open(source)) {
      assertThat(written.layout()).isEqualTo(PeftAdapter.Layout.FUSED);
      LoraAdapter expected = peft.toLoraAdapter(MODEL);
      LoraAdapter actual = written.toLoraAdapter(MODEL);
      assertThat(actual.modules()).isEqualTo(expected.modules());
      LoraSlice down = expected.slices(1, Projection.DOWN, 5).getFirst();
      LoraSlice same = actual.slices(1, Projection.DOWN, 5).getFirst();
      assertThat(same.scale()).isEqualTo(down.scale());
      assertThat(same.a().get(3, 47)).isEqualTo(down.a().get(3, 47));
    }
  }

  @Test
  void aGgufFileBecomesAPeftFolder() throws IOException {
    Path folder = directory.resolve("peft");
    Path source = GOLDEN.resolve("qwen3moe/fused_r4");
    CommandRun.of("export", source, "--gguf", file(), "--architecture", "qwen3moe");
    CommandRun run =
        CommandRun.of("export", file(), "--to", "fused", "--out", folder, "--type", "bf16");
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    try (PeftAdapter written = PeftAdapter.open(folder)) {
      assertThat(written.entries()).hasSize(4);
      assertThat(written.toLoraAdapter(MODEL).layers()).containsExactly(0, 1);
    }
  }

  @Test
  void whatToWriteMustBeSaidOnce() {
    Path source = GOLDEN.resolve("qwen3moe/fused_r4");
    for (Object[] options :
        new Object[][] {
          {},
          {"--to", "fused"},
          {"--out", directory},
          {"--to", "fused", "--out", directory, "--gguf", file()},
          {"--to", "sideways", "--out", directory},
        }) {
      Object[] words = new Object[2 + options.length];
      words[0] = "export";
      words[1] = source;
      System.arraycopy(options, 0, words, 2, options.length);
      CommandRun run = CommandRun.of(words);
      assertThat(run.exitCode()).isEqualTo(2);
      assertThat(run.err())
          .containsAnyOf("either --to and --out or --gguf", "--to must be")
          .doesNotContain("null");
    }
  }
}
