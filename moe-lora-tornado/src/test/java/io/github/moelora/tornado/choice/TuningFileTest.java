package io.github.moelora.tornado.choice;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a tuning file holds, and how a damaged one is refused. */
@Tag("no-device")
class TuningFileTest {
  private static final Tuning TUNING =
      new Tuning(
          "Some GPU, CUDA",
          new Tuning.Shape(2048, 768, 128, 8, GateUp.HALVES, 64, DType.BF16),
          List.of(528, 0),
          List.of(
              new Tuning.Rule(90, Double.POSITIVE_INFINITY, 1),
              new Tuning.Rule(724, 1.625, 2),
              new Tuning.Rule(724, Double.POSITIVE_INFINITY, 16)));

  private static final String TEXT =
      """
      {
        "format": 1,
        "device": "Some GPU, CUDA",
        "shape": {
          "hidden_size": 2048,
          "intermediate_size": 768,
          "experts": 128,
          "experts_per_token": 8,
          "gate_up": "HALVES",
          "max_rank": 64,
          "weights": "BF16"
        },
        "target_items": {"1": 528},
        "rules": [
          {"max_active_pairs": 90, "block_size": 1},
          {"max_active_pairs": 724, "max_pairs_per_group": 1.625, "block_size": 2},
          {"max_active_pairs": 724, "block_size": 16}
        ]
      }
      """;

  @TempDir private Path directory;

  @Test
  void isForPeople() throws IOException {
    Path file = directory.resolve("tuning.json");
    TuningFile.write(file, TUNING);
    assertThat(file).content().isEqualTo(TEXT);
    assertThat(TuningFile.read(file)).isEqualTo(TUNING);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\0',
      value = {
        "\"format\": 1 | \"format\": 2 | format must be 1, got 2",
        "\"format\": 1, | | format must be 1, got nothing",
        "\"Some GPU, CUDA\" | true | device must be a text without control characters, got true",
        "Some GPU | Some\\u001b GPU"
            + " | device must be a text without control characters, got Some? GPU, CUDA",
        "\"hidden_size\": 2048 | \"hidden_size\": 0"
            + " | shape.hidden_size must be a number in [1, 1073741824], got 0",
        "\"experts\": 128 | \"experts\": 1.5 | shape.experts must be an integer, got 1.5",
        "\"experts\": 128, | | shape.experts must be a number in [1, 1073741824], got nothing",
        "\"HALVES\" | \"halves\""
            + " | shape.gate_up must be one of [UP_ONLY, HALVES, INTERLEAVED], got halves",
        "\"BF16\" | 16 | shape.weights must be one of [F16, BF16, F32], got 16",
        "\"max_rank\": 64 | \"max_rank\": 513"
            + " | shape.max_rank must be a number in [1, 512], got 513",
        "{\"1\": 528} | 3 | target_items must be an object, got 3",
        "{\"1\": 528} | {\"1\": 0} | target_items.1 must be a number in [1, 65536], got 0",
        "{\"1\": 528} | {\"3\": 5} | the fields of target_items must be among [1, 2], got 3",
        "90, | 0, | rules[0].max_active_pairs must be a number in [1, 1073741824], got 0",
        "724, \"max | 89, \"max"
            + " | rules[1].max_active_pairs must be a number in [90, 1073741824], got 89",
        "1.625 | 0.5"
            + " | rules[1].max_pairs_per_group must be a number in [1, 1073741824], got 0.5",
        "\"block_size\": 2 | \"block_size\": \"2\""
            + " | rules[1].block_size must be a number in [1, 1073741824], got 2",
        "\"block_size\": 2 | \"rows\": 2 | the fields of rules[1] must be among"
            + " [max_active_pairs, max_pairs_per_group, block_size], got rows",
        "\"rules\": [ | \"rules\": [7, | rules[0] must be an object, got 7",
        "\"rules\" | \"rulez\""
            + " | the fields of the file must be among"
            + " [format, device, shape, target_items, rules], got rulez",
      })
  void aDamagedFieldIsNamed(String from, String to, String message) throws IOException {
    assertThat(TEXT).contains(from);
    Path file = directory.resolve("damaged.json");
    Files.writeString(file, TEXT.replace(from, to == null ? "" : to));
    assertThatThrownBy(() -> TuningFile.read(file))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(file + ": " + message);
  }

  @Test
  void whatIsNotJsonIsRefused() throws IOException {
    Path file = directory.resolve("other");
    Files.writeString(file, "{\"format\": 1,\n oops");
    assertThatThrownBy(() -> TuningFile.read(file))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith(file + " must be JSON: ")
        .hasMessageEndingWith("(line 2, column 2)");
    Files.writeString(file, "[1]");
    assertThatThrownBy(() -> TuningFile.read(file))
        .hasMessage(file + " must be JSON: a JSON object must stand here");
    Files.writeString(file, TEXT + "1");
    assertThatThrownBy(() -> TuningFile.read(file))
        .hasMessage(file + " must be JSON: nothing must follow the JSON object");
    Files.writeString(file, TEXT.replace("\"format\": 1", "\"format\": 1, \"format\": 1"));
    assertThatThrownBy(() -> TuningFile.read(file))
        .hasMessage(file + " must be JSON: the key format twice");
    Files.write(file, new byte[] {'{', (byte) 0xff, '}'});
    assertThatThrownBy(() -> TuningFile.read(file))
        .hasMessage(file + " must be JSON: bytes that are not UTF-8");
    Files.writeString(file, " ".repeat(70_000));
    assertThatThrownBy(() -> TuningFile.read(file))
        .hasMessage(file + " must be at most 65536 bytes, got 70000");
  }

  @Test
  void theFileMustBeThere() {
    Path none = directory.resolve("none.json");
    for (Path file : List.of(none, directory)) {
      assertThatThrownBy(() -> TuningFile.read(file))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("moelora.tuning must name a readable file, got " + file);
    }
  }
}
