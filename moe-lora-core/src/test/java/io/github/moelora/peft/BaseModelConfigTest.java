package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.GateUp;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Configs in the shapes of several families. */
final class BaseModelConfigTest {
  @TempDir private Path directory;

  private BaseModelConfig read(String json) throws IOException {
    return BaseModelConfig.read(Files.writeString(directory.resolve("config.json"), json));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{'model_type':'qwen3_moe','hidden_size':8,'intermediate_size':99,'moe_intermediate_size':6,'num_experts':4,'num_experts_per_tok':2}"
            + " | HALVES",
        "{'model_type':'mixtral','hidden_size':8,'intermediate_size':6,'num_local_experts':4,"
            + "'num_experts_per_tok':2} | HALVES",
        "{'model_type':'gpt_oss','hidden_size':8,'intermediate_size':6,'num_local_experts':4,"
            + "'num_experts_per_tok':2} | INTERLEAVED",
        "{'model_type':'nemotron_h','hidden_size':8,'moe_intermediate_size':6,'n_routed_experts':4,"
            + "'num_experts_per_tok':2} | UP_ONLY",
        "{'model_type':'dbrx','d_model':8,'ffn_config':{'ffn_hidden_size':6,'moe_num_experts':4,"
            + "'moe_top_k':2}} | HALVES",
        "{'model_type':'ernie4_5_vl_moe','hidden_size':1,'text_config':{'hidden_size':8,"
            + "'moe_intermediate_size':[6,3],'moe_num_experts':[4,4],'moe_k':2}} | HALVES",
        "{'model_type':'longcat_flash','hidden_size':8,'expert_ffn_hidden_size':6,"
            + "'n_routed_experts':4,'moe_topk':2} | HALVES",
        "{'model_type':'qwen3_omni_moe','thinker_config':{'text_config':{'hidden_size':8,"
            + "'moe_intermediate_size':6,'num_experts':4,'num_experts_per_tok':2}}} | HALVES",
      })
  void factsAreFoundUnderTheFamiliesNames(String json, GateUp gateUp) throws IOException {
    BaseModelConfig config = read(json.replace('\'', '"'));
    assertThat(config.hints()).isEqualTo(new ModelHints(8, 6, 4, gateUp, null));
    assertThat(config.expertsPerToken()).isEqualTo(2);
    assertThat(json).contains("'" + config.modelType() + "'");
  }

  @Test
  void aModelWithoutExpertsIsRefused() {
    assertThatThrownBy(() -> read("{\"hidden_size\": 8}"))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("config.json: the config must be of a model with experts");
  }
}
