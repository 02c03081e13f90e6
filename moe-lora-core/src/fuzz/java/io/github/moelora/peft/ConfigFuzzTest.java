package io.github.moelora.peft;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import com.code_intelligence.jazzer.junit.FuzzTest;
import io.github.moelora.AdapterFormatException;
import io.github.moelora.testkit.Choices;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;

/** Any {@code adapter_config.json} is read or refused. */
final class ConfigFuzzTest {
  private static final String SOUND =
      """
      {"peft_type":"LORA","peft_version":"0.21.0","r":4,"lora_alpha":8.5,"use_rslora":false,
      "rank_pattern":{".*\\\\.down_proj":2},"alpha_pattern":{"experts.1.up_proj":3},
      "target_modules":["gate_proj","up_proj"],"exclude_modules":"(?:.*\\\\.)?experts\\\\.[5-7].*",
      "target_parameters":["mlp.experts.gate_up_proj"],"layers_to_transform":[0,1],
      "layers_pattern":null,"bias":"none","init_lora_weights":true,"lora_B_layout":"rank_major",
      "modules_to_save":null,"base_model_name_or_path":"a/b","auto_mapping":null,"loftq_config":{}}
      """;

  private static final List<String> MODULES =
      List.of(
          "model.layers.0.mlp.experts.1.up_proj",
          "model.layers.1.mlp.experts.5.down_proj",
          "model.layers.1.mlp.experts.gate_up_proj",
          "up_proj",
          "");

  @TempDir private Path directory;

  @FuzzTest
  void isReadOrRefused(FuzzedDataProvider data) throws Exception {
    Choices choices = new Choices(data);
    Path path = directory.resolve("adapter_config.json");
    Files.write(
        path,
        choices.rarely(20)
            ? choices.rest()
            : choices.mutated(SOUND).getBytes(StandardCharsets.UTF_8));
    try {
      use(AdapterConfig.read(path));
    } catch (AdapterFormatException e) {
      require(e.file().equals(path), "the refusal names the file");
      require(!e.rule().isEmpty(), "the refusal names the rule");
      require(String.valueOf(e.getMessage()).length() < 2000, "the message is short");
    }
  }

  private static void use(AdapterConfig config) throws IOException {
    for (String module : MODULES) {
      require(config.rank(module) >= 1, "a rank is positive");
      require(Float.isFinite(config.scale(module)), "a scale is finite");
      config.targetsModule(module);
      config.excludesModule(module);
      config.targetsParameter(module);
      config.targetedParameter(module);
    }
    for (String note : config.notes()) {
      require(note.chars().noneMatch(Character::isISOControl), "notes are printable");
    }
  }

  private static void require(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }
}
