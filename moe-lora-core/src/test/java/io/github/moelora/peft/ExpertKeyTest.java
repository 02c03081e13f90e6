package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.peft.ExpertKey.Form;
import io.github.moelora.peft.ExpertKey.UnreadableException;
import io.github.moelora.peft.PeftAdapter.Linear;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

final class ExpertKeyTest {
  private static ExpertKey parse(String name) throws UnreadableException {
    return Objects.requireNonNull(ExpertKey.parse(name), name);
  }

  /** Names as the models of today have them. */
  @ParameterizedTest
  @CsvSource({
    // Qwen2-MoE, Qwen3-MoE, OLMoE, DeepSeek-V3, GLM-4 MoE, Kimi
    "base_model.model.model.layers.7.mlp.experts.63.gate_proj, 7, 63, GATE",
    "base_model.model.model.layers.7.mlp.experts.63.up_proj, 7, 63, UP",
    "base_model.model.model.layers.7.mlp.experts.63.down_proj, 7, 63, DOWN",
    // Mixtral, Phi-3.5-MoE, MiniMax
    "base_model.model.model.layers.0.block_sparse_moe.experts.7.w1, 0, 7, GATE",
    "base_model.model.model.layers.0.block_sparse_moe.experts.7.w3, 0, 7, UP",
    "base_model.model.model.layers.0.block_sparse_moe.experts.7.w2, 0, 7, DOWN",
    // Nemotron-H
    "base_model.model.backbone.layers.1.mixer.experts.0.up_proj, 1, 0, UP",
    "base_model.model.backbone.layers.1.mixer.experts.0.down_proj, 1, 0, DOWN",
    // multimodal models
    "base_model.model.model.language_model.layers.47.mlp.experts.127.up_proj, 47, 127, UP",
    "base_model.model.language_model.model.layers.3.mlp.experts.2.up_proj, 3, 2, UP",
    // an index that is not the layer's, and a model without layers by that name
    "base_model.model.stages.2.layers.9.mlp.experts.1.up_proj, 9, 1, UP",
    "base_model.model.transformer.h.5.mlp.experts.1.up_proj, 5, 1, UP",
    "base_model.model.transformer.blocks.5.ffn.experts.1.w1, 5, 1, GATE",
    // gpt-oss taken apart
    "base_model.model.model.layers.3.mlp.experts.gate_up_projs.4, 3, 4, GATE_UP",
    "base_model.model.model.layers.3.mlp.experts.down_projs.4, 3, 4, DOWN",
    "base_model.model.model.layers.3.mlp.experts.4.gate_up_proj, 3, 4, GATE_UP",
    // LFM2-MoE, Jamba; no prefix at all
    "model.layers.3.feed_forward.experts.4.w3, 3, 4, UP",
    "layers.3.mlp.experts.4.down_proj, 3, 4, DOWN",
  })
  void aNameOfOneExpert(String module, int layer, int expert, Linear linear)
      throws UnreadableException {
    for (int half = 0; half < 2; half++) {
      ExpertKey key = parse(module + (half == 0 ? ".lora_A.weight" : ".lora_B.weight"));
      assertThat(key.layer()).isEqualTo(layer);
      assertThat(key.expert()).isEqualTo(expert);
      assertThat(key.linear()).isEqualTo(linear);
      assertThat(key.half()).isEqualTo(half);
      assertThat(key.adapter()).isEmpty();
      assertThat(key.module()).isEqualTo(module.replace("base_model.model.", ""));
      assertThat(key.experts()).endsWith(".experts");
      assertThat(key.module()).startsWith(key.experts() + ".");
    }
  }

  @ParameterizedTest
  @CsvSource({
    "base_model.model.model.layers.7.mlp.experts, 0",
    "base_model.model.model.layers.7.mlp.experts.base_layer, 1",
    "base_model.model.model.layers.7.mlp.experts.base_layer.base_layer, 2",
    "base_model.model.model.language_model.layers.7.feed_forward.experts.base_layer, 1",
  })
  void aNameOfAllExperts(String module, int depth) throws UnreadableException {
    ExpertKey key = parse(module + ".lora_B.weight");
    assertThat(key.layer()).isEqualTo(7);
    assertThat(key.expert()).isEqualTo(-1);
    assertThat(key.linear()).isNull();
    assertThat(key.depth()).isEqualTo(depth);
    assertThat(key.half()).isEqualTo(1);
    assertThat(key.experts()).endsWith(".experts");
  }

  /** Linear layers of all experts under names of their own. */
  @ParameterizedTest
  @CsvSource({
    "model.layers.7.mlp.experts.gate_up_proj, GATE_UP",
    "model.layers.7.mlp.experts.down_proj, DOWN",
    "model.layers.7.mlp.experts.w1, GATE",
    "model.layers.7.mlp.experts.w3, UP",
    "model.layers.7.mlp.experts.w2, DOWN",
    "model.layers.7.mlp.experts.fc1, GATE_UP",
    "model.layers.7.mlp.experts.fc2, DOWN",
    "model.layers.7.mlp.input_linear, GATE_UP",
    "model.layers.7.mlp.output_linear, DOWN",
    "model.layers.7.moe.input_linear, GATE_UP",
  })
  void aNameOfALinearLayerOfAllExperts(String module, Linear linear) throws UnreadableException {
    ExpertKey key = parse("base_model.model." + module + ".lora_B.weight");
    assertThat(key.form()).isEqualTo(Form.OWN);
    assertThat(key.linear()).isEqualTo(linear);
    assertThat(key.module()).isEqualTo(module);
    assertThat(key.expert()).isEqualTo(-1);
    assertThat(key.layer()).isEqualTo(7);
  }

  @ParameterizedTest
  @CsvSource({
    "lora_gate_and_up_A, GATE_UP, 0",
    "lora_gate_and_up_B, GATE_UP, 1",
    "lora_down_A, DOWN, 0",
    "lora_down_B, DOWN, 1"
  })
  void theOldNamesOfAutomodel(String name, Linear linear, int half) throws UnreadableException {
    ExpertKey key = parse("base_model.model.model.layers.7.mlp.experts." + name);
    assertThat(key.form()).isEqualTo(Form.AUTOMODEL);
    assertThat(key.linear()).isEqualTo(linear);
    assertThat(key.half()).isEqualTo(half);
    assertThat(key.experts()).isEqualTo("model.layers.7.mlp.experts");
  }

  @Test
  void theStackedMatricesOfDbrx() throws UnreadableException {
    ExpertKey key =
        parse("base_model.model.transformer.blocks.5.ffn.experts.mlp.base_layer.lora_A.weight");
    assertThat(key.form()).isEqualTo(Form.NESTED_STACK);
    assertThat(key.experts()).isEqualTo("transformer.blocks.5.ffn.experts.mlp");
    assertThat(key.depth()).isEqualTo(1);
    assertThat(key.layer()).isEqualTo(5);
  }

  @Test
  void anEarlyGemma4HasItsExpertsInMoe() throws UnreadableException {
    ExpertKey key = parse("model.language_model.layers.3.moe.base_layer.lora_A.weight");
    assertThat(key.form()).isEqualTo(Form.NESTED);
    assertThat(key.experts()).isEqualTo("model.language_model.layers.3.moe");
    assertThat(ExpertKey.parse("model.layers.3.moe.router.lora_A.weight")).isNull();
  }

  /** Wrappers may stand anywhere in a name. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "_orig_mod.base_model.model.model.layers.7.mlp.experts.3.w1",
        "base_model.model._orig_mod.model.layers.7.mlp.experts.3.w1",
        "base_model.model.model.layers.7._orig_mod.mlp.experts.3.w1",
        "base_model.model.model.layers.7._checkpoint_wrapped_module.mlp.experts.3.w1",
        "base_model.model.model.layers.7.mlp.experts._checkpoint_wrapped_module.3.w1",
        "base_model.model.model.layers.7.mlp.experts.3._orig_mod.w1",
        "base_model.model.model.layers.7.mlp.experts.3.w1._orig_mod",
        "module.base_model.model.model.layers.7.mlp.experts.3.w1",
        "_fsdp_wrapped_module.base_model.model.module.model.layers.7.mlp.experts.3.w1",
        "module._orig_mod.model.layers.7._fsdp_wrapped_module._checkpoint_wrapped_module.mlp"
            + ".experts.3.w1",
      })
  void wrappersAreTakenOff(String module) throws UnreadableException {
    ExpertKey key = parse(module + ".lora_A.weight");
    assertThat(key.module()).isEqualTo("model.layers.7.mlp.experts.3.w1");
    assertThat(key.layer()).isEqualTo(7);
    assertThat(key.expert()).isEqualTo(3);
    assertThat(parse(module + ".lora_B.default.weight").adapter()).isEqualTo("default");
  }

  @Test
  void theParametersOfGraniteMoe() throws UnreadableException {
    String block = "model.layers.7.block_sparse_moe";
    ExpertKey first = parse("base_model.model." + block + ".input_linear.lora_A.weight");
    assertThat(first)
        .isEqualTo(
            new ExpertKey(
                block, block + ".input_linear", 7, -1, Linear.GATE_UP, Form.OWN, 0, 0, ""));
    ExpertKey second = parse(block + ".output_linear.lora_B.default.weight");
    assertThat(second)
        .isEqualTo(
            new ExpertKey(
                block, block + ".output_linear", 7, -1, Linear.DOWN, Form.OWN, 0, 1, "default"));
  }

  @Test
  void theNameOfTheAdapterMayBeThere() throws UnreadableException {
    assertThat(parse("m.layers.0.experts.1.w1.lora_A.default.weight").adapter())
        .isEqualTo("default");
    assertThat(parse("m.layers.0.experts.lora_B.mine.weight").adapter()).isEqualTo("mine");
    assertThat(parse("m.layers.0.experts.lora_B.weight").adapter()).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.gate.lora_A.weight",
        "base_model.model.model.layers.0.mlp.shared_expert.up_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.shared_experts.up_proj.lora_B.weight",
        "base_model.model.model.layers.0.mlp.experts_x.up_proj.lora_B.weight",
        "base_model.model.model.layers.0.shared_mlp.input_linear.lora_A.weight",
        "base_model.model.model.layers.0.xblock_sparse_moe.input_linear.lora_A.weight",
        "base_model.model.lm_head.weight",
        "base_model.model.model.layers.0.self_attention.experts.input_linear.lora_A.weight",
        "",
        ".",
        "expertsx",
      })
  void otherNamesAreNotOfRoutedExperts(String name) throws UnreadableException {
    assertThat(ExpertKey.parse(name)).isNull();
  }

  @ParameterizedTest
  @CsvSource({
    "experts, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.gate_up_proj, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.weight, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.lora_A, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.lora_A.bias, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.1.w1.lora_magnitude_vector.weight, must be lora_A.weight or lora_B",
    "m.layers.0.experts.1.w1.lora_A.a.b.weight, must be lora_A.weight or lora_B.weight",
    "m.layers.0.lora_A.experts.weight, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.1.w4.lora_A.weight, must be gate_proj",
    "m.layers.0.experts.wi.1.lora_A.weight, must be gate_proj",
    "m.layers.0.experts.wi.lora_A.weight, after experts must stand",
    "m.layers.0.experts.mlp.x.lora_A.weight, after experts must stand",
    "m.layers.0.experts.lora_gate_A, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.lora_down_C, must be lora_A.weight or lora_B.weight",
    "m.layers.0.experts.base_layer.x.lora_A.weight, after experts must stand",
    "m.layers.0.experts.1.w1.base_layer.lora_A.weight, after experts must stand",
    "m.layers.0.experts.1234567.w1.lora_A.weight, after experts must stand",
    "m.layers.0.experts.-1.w1.lora_A.weight, after experts must stand",
    "m.layers.0.experts.1x.w1.lora_A.weight, after experts must stand",
    "m.layers.experts.1.w1.lora_A.weight, must tell one layer number",
    "experts.1.w1.lora_A.weight, must tell one layer number",
    "m.0.block.1.experts.1.w1.lora_A.weight, must tell one layer number",
    "m.layers.0.layers.1.experts.1.w1.lora_A.weight, must tell one layer number",
    "m.layers.1234567.experts.1.w1.lora_A.weight, must tell one layer number",
    "m..layers.0.experts.1.w1.lora_A.weight, none empty",
    ".m.layers.0.experts.1.w1.lora_A.weight, none empty",
    "m.layers.0.experts.1.w1.lora_A.weight., none empty",
    "'m.layers.0.experts.1.w 1.lora_A.weight', printable ASCII",
    "m.layers.0.experts.1.wé.lora_A.weight, printable ASCII",
    "m.block_sparse_moe.input_linear.lora_A.weight, must tell one layer number",
    "m.layers.0.block_sparse_moe.input_linear.lora_A.bias, must be lora_A.weight or lora_B",
  })
  void namesOfRoutedExpertsThatCannotBeReadAreRefused(String name, String rule) {
    assertThatThrownBy(() -> ExpertKey.parse(name))
        .isInstanceOf(UnreadableException.class)
        .hasMessageContaining(rule);
  }

  @Test
  void namesAreBounded() throws UnreadableException {
    String name = "m.layers.0.experts.1.w1.lora_A.weight";
    String longest = "x".repeat(1024 - name.length() - 1) + "." + name;
    assertThat(parse(longest).expert()).isEqualTo(1);
    assertThatThrownBy(() -> ExpertKey.parse("x" + longest))
        .isInstanceOf(UnreadableException.class)
        .hasMessageContaining("at most 1024 characters");
    String deepest = "x.".repeat(32 - 8) + name;
    assertThat(parse(deepest).layer()).isZero();
    assertThatThrownBy(() -> ExpertKey.parse("x." + deepest))
        .isInstanceOf(UnreadableException.class)
        .hasMessageContaining("at most 32 parts");
  }

  @Test
  void sixDigitsAreTheMost() throws UnreadableException {
    assertThat(parse("m.layers.999999.experts.123456.w1.lora_A.weight"))
        .extracting(ExpertKey::layer, ExpertKey::expert)
        .containsExactly(999_999, 123_456);
  }
}
