package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.testkit.Golden;
import io.github.moelora.testkit.Mappings;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The damaged golden adapters are refused, each for what was done to it. */
final class HostileGoldenTest {
  private static final String LAYER = "base_model.model.model.layers.0.mlp.experts.";

  /** Every damaged adapter, and what must be said of it. */
  enum Damage {
    CONFIG_NOT_JSON(null, "must be a JSON object", "Unexpected end-of-input"),
    EXTRA_EXPERT(LAYER + "99.gate_proj.lora_A.weight", "its expert must be in [0, 4)", "99"),
    HEADER_LENGTH_HUGE(null, "header length must be in [2, 21016]", "18446744073709551600"),
    HEADER_LENGTH_PAST_END(null, "header length must be in [2, 21016]", "22024"),
    HEADER_LENGTH_SHORT(
        LAYER + "lora_B.weight", "must be a JSON object", "Unexpected end-of-input"),
    MISSING_TENSOR_FUSED(
        LAYER + "lora_B.weight", "both halves of a pair", "only " + LAYER + "lora_A.weight"),
    MISSING_TENSOR_PER_EXPERT(
        LAYER + "3.up_proj.lora_B.weight",
        "both halves of a pair",
        "only " + LAYER + "3.up_proj.lora_A.weight"),
    NAN_WEIGHTS(LAYER + "lora_B.weight", "element [0,0] must be finite", "Infinity"),
    OFFSETS_OUT_OF_RANGE(
        LAYER + "lora_B.weight", "begin <= end <= 20480", "[17180917760, 21475885056]"),
    OFFSETS_OVERLAP(LAYER + "lora_A.weight", "data must begin at byte 4096", "0"),
    RANK_MISMATCH(
        LAYER + "base_layer.lora_A.weight", "shape[0] must be 4 experts * rank 8 = 32", "16"),
    RANK_MISMATCH_PER_EXPERT(
        LAYER + "0.down_proj.lora_A.weight", "shape[0] must be 2, the rank in the config", "8"),
    SHAPE_BYTES_MISMATCH(
        LAYER + "lora_B.weight", "shape [65, 16] of F32 must fill the 4096 bytes", "4160"),
    TRUNCATED(LAYER + "base_layer.lora_B.weight", "begin <= end <= 12070", "[4096, 12288]"),
    TRUNCATED_IN_HEADER(null, "header length must be in [2, 92]", "536"),
    WRONG_EXPERT_COUNT(LAYER + "lora_A.weight", "it must hold 4 experts", "3");

    private final @Nullable String tensor;
    private final String rule;
    private final String value;

    Damage(@Nullable String tensor, String rule, String value) {
      this.tensor = tensor;
      this.rule = rule;
      this.value = value;
    }

    private String directory() {
      return name().toLowerCase(java.util.Locale.ROOT);
    }
  }

  private static void load(Path directory) throws IOException {
    try (PeftAdapter adapter = PeftAdapter.open(directory)) {
      assertThat(adapter.toLoraAdapter(Golden.square().shape())).isNotNull();
    }
  }

  @ParameterizedTest
  @EnumSource
  void isRefusedWithFileTensorRuleAndValue(Damage damage) {
    Path directory =
        Golden.hostile().stream()
            .filter(path -> path.endsWith(damage.directory()))
            .findFirst()
            .orElseThrow();
    AdapterFormatException refusal =
        catchThrowableOfType(AdapterFormatException.class, () -> load(directory));
    Path file =
        directory.resolve(
            damage == Damage.CONFIG_NOT_JSON ? "adapter_config.json" : "adapter_model.safetensors");
    assertThat(refusal.file()).isEqualTo(file);
    assertThat(refusal.tensor()).isEqualTo(damage.tensor);
    assertThat(refusal.rule()).contains(damage.rule);
    assertThat(refusal.value()).contains(damage.value);
    assertThat(refusal)
        .hasMessageContaining(file.toString())
        .hasMessageContaining(damage.tensor == null ? "" : damage.tensor)
        .hasMessageContaining(damage.rule)
        .hasMessageContaining(damage.value);
    assertThat(Mappings.of(file)).isEmpty();
  }

  @Test
  void noDamagedAdapterIsLeftOut() {
    List<String> tested = Arrays.stream(Damage.values()).map(Damage::directory).sorted().toList();
    assertThat(Golden.hostile())
        .map(path -> path.getFileName().toString())
        .containsExactlyElementsOf(tested);
  }
}
