package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class TuneCommandTest {
  @TempDir private Path directory;

  private CommandRun tune(Path out, Object... args) {
    Object[] fixed = {
      "tune",
      "--shape",
      "32,16,4,2",
      "--rank",
      4,
      "--max-tokens",
      5,
      "--adapters",
      "1,3",
      "--out",
      out
    };
    Object[] words = new Object[fixed.length + args.length];
    System.arraycopy(fixed, 0, words, 0, fixed.length);
    System.arraycopy(args, 0, words, fixed.length, args.length);
    return CommandRun.of(words);
  }

  @Test
  void climbsTheLadderAndWritesTheFile() throws IOException {
    Path out = directory.resolve("tuning.json");
    Path json = directory.resolve("times.json");
    CommandRun run = tune(out, "--json", json);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    assertThat(run.out().lines()).first().isEqualTo("tunable device");
    // 1, 2, 4 and 5 tokens with 1 and 3 adapters
    assertThat(run.out().lines().filter(line -> line.contains("a: "))).hasSize(8);
    // 2 pairs, each a group of its own
    assertThat(run.out().lines().skip(2).findFirst().orElse("").split("[: ,]+", -1))
        .containsExactly(
            "", "1", "1", "2", "2", "a", "2.00", "a", "2.00", "a", "2.00", "b", "4.00");
    assertThat(run.out())
        .endsWith("wrote %s; the backend reads it with --read tuning.json%n".formatted(out));
    assertThat(out).content().startsWith("MoeModel[hiddenSize=32,").endsWith(", 3 slots");

    JsonNode batches = Output.json().readTree(json.toFile()).path("batches");
    assertThat(batches.findValuesAsText("tokens"))
        .containsExactly("1", "1", "2", "2", "4", "4", "5", "5");
    assertThat(batches.findValuesAsText("adapters"))
        .containsExactly("1", "3", "1", "3", "1", "3", "1", "3");
    assertThat(batches.findValuesAsText("active_pairs"))
        .containsExactly("2", "2", "4", "4", "8", "8", "10", "10");
  }

  @Test
  void aPresetGivesTheShape() {
    Path out = directory.resolve("preset.json");
    CommandRun run =
        CommandRun.of("tune", "--preset", "olmoe", "--max-tokens", 1, "--rank", 2, "--out", out);
    assertThat(run.exitCode()).isZero();
    assertThat(out).content().startsWith("MoeModel[hiddenSize=2048, intermediateSize=1024,");
  }

  @Test
  void theSameSeedRoutesTheSame() {
    String first = tune(directory.resolve("first"), "--seed", 7).out();
    String again = tune(directory.resolve("first"), "--seed", 7).out();
    assertThat(again).isEqualTo(first);
  }

  @Test
  void theCpuHasNothingToTune() {
    Path out = directory.resolve("none.json");
    CommandRun run = tune(out, "--backend", "cpu");
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .isEqualTo(
            "moe-lora: backend cpu has nothing to tune: it makes no choice by device and shape\n");
    assertThat(Files.exists(out)).isFalse();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "--out x --max-tokens 0 | --max-tokens must be at least 1, got 0",
        "--out x --adapters 2,0 | --adapters must be at least 1, got 0",
        "--out x --shape 8,8,8 | --shape must be 4 numbers, got [8, 8, 8]",
        "--out x --shape 8,8,2,3 | expertsPerToken must be in [1, 3), got 3",
        "--out x --rank 513 | maxRank must be in [1, 513), got 513",
        "--out x --backend abacus | --backend must be one of cpu, crashing, missing, tunable,"
            + " wrong, got abacus",
        "--out x --preset gpt-2 | --preset must be one of qwen3-30b-a3b, mixtral-8x7b,"
            + " deepseek-v3, gpt-oss-20b, olmoe, got gpt-2",
        "--out /nowhere/x | --out must lie in an existing folder, got /nowhere/x",
      })
  void wrongUsageIsToldInASentence(String args, String message) {
    CommandRun run = CommandRun.of((Object[]) ("tune " + args).split(" ", -1));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).isEqualTo("moe-lora: " + message + "\n");
  }

  @Test
  void theFileMustBeNamed() {
    CommandRun run = CommandRun.of("tune");
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).startsWith("moe-lora: Missing required option: '--out=FILE'");
  }
}
