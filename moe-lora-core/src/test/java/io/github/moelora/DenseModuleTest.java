package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.github.moelora.DenseModule.Split;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class DenseModuleTest {

  @Test
  void oneNameInSeveralLayers() {
    assertThat(DenseModule.inLayers("model.layers.*.self_attn.q_proj", List.of(0, 31), 5, 7))
        .containsExactly(
            new DenseModule("model.layers.0.self_attn.q_proj", 5, 7),
            new DenseModule("model.layers.31.self_attn.q_proj", 5, 7));
  }

  @ParameterizedTest
  @ValueSource(strings = {"model.norm", "model.layers.*.experts.*.up_proj"})
  void aPatternHasOnePlaceForTheLayer(String pattern) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> DenseModule.inLayers(pattern, List.of(0), 1, 1))
        .withMessage("pattern must have one * for the layer, got \"%s\"", pattern);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", " ", ".q_proj", "self_attn."})
  void whatIsNoPathIsRefused(String name) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new DenseModule(name, 1, 1))
        .withMessage("name must be the path of a module, got \"%s\"", name);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "0 | 1 | NONE | inputWidth must be in [1, 1073741823), got 0",
        "1073741823 | 1 | NONE | inputWidth must be in [1, 1073741823), got 1073741823",
        "1 | 0 | NONE | outputWidth must be in [1, 1073741823), got 0",
        "1 | 1073741823 | NONE | outputWidth must be in [1, 1073741823), got 1073741823",
        "1 | 3 | OUTPUT_HALVES | outputWidth must be even to be split in halves, got 3"
      })
  void widthsOutOfRangeAreRefused(int in, int out, Split split, String message) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new DenseModule("m", in, out, split))
        .withMessage(message);
  }

  @Test
  void theModelFindsItsModules() {
    MoeModel model =
        new MoeModel(4, 3, 2, GateUp.HALVES, List.of(0))
            .withDense(List.of(new DenseModule("layers.1.q_proj", 4, 6)))
            .withDense(List.of(new DenseModule("lm_head", 4, 9), new DenseModule("head", 4, 10)));
    assertThat(model.dense()).extracting(DenseModule::outputWidth).containsExactly(6, 9, 10);
    assertThat(model.denseIndex("layers.1.q_proj")).isZero();
    assertThat(model.denseIndex("lm_head")).isEqualTo(1);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.denseIndex("layers.11.q_proj"))
        .withMessage("name must be one of the model's 3 dense modules, got layers.11.q_proj");
    ProjectionCall head = ProjectionCall.dense(1);
    assertThat(model.inputWidth(head)).isEqualTo(4);
    assertThat(model.outputWidth(head)).isEqualTo(9);
    assertThat(model.inputWidth(ProjectionCall.down(0))).isEqualTo(3);
    assertThat(model.outputWidth(ProjectionCall.gateUp(0))).isEqualTo(6);
  }

  @ParameterizedTest
  @CsvSource({
    "layers.1.q_proj, layers.1.q_proj",
    "model.layers.1.q_proj, layers.1.q_proj",
    "model.language_model.layers.1.q_proj, layers.1.q_proj",
    // whole parts of the path alone
    "sublayers.1.q_proj, sublayers.1.q_proj",
    "layers.11.q_proj, layers.11.q_proj",
    ".layers.1.q_proj, .layers.1.q_proj",
    "q_proj, q_proj",
    // the longest
    "vision.head, vision.head",
    "text.vision.head, vision.head",
    "text.head, head",
  })
  void filesMayCallAModuleByALongerPath(String path, String name) {
    MoeModel model =
        new MoeModel(4, 3, 2, GateUp.HALVES, List.of(0))
            .withDense(
                List.of(
                    new DenseModule("head", 4, 4),
                    new DenseModule("vision.head", 4, 4),
                    new DenseModule("layers.1.q_proj", 4, 4)));
    assertThat(model.denseName(path)).isEqualTo(name);
  }

  @Test
  void aNameIsListedOnce() {
    List<DenseModule> twice = List.of(new DenseModule("a.b", 1, 2), new DenseModule("a.b", 1, 3));
    MoeModel model = new MoeModel(1, 1, 1, GateUp.HALVES, List.of(0));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.withDense(twice))
        .withMessage("dense must have each name once, got a.b twice");
  }

  @Test
  void aBackendSeesALayerOfOneExpert() {
    MoeModel model = new MoeModel(4, 3, 5, GateUp.HALVES, List.of(2));
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 7, 2)
            .withMaxTokens(9)
            .withMaxRank(12)
            .withWeightType(DType.BF16)
            .withExpertMap(ExpertMap.of(-1, 0, -1, -1, -1));
    MoeLoraConfig layer = config.ofDense(new DenseModule("q", 11, 13));
    assertThat(layer.model()).isEqualTo(new MoeModel(11, 13, 1, GateUp.UP_ONLY, List.of(0)));
    assertThat(layer.slots()).isEqualTo(7);
    assertThat(layer.expertsPerToken()).isEqualTo(1);
    assertThat(layer.maxTokens()).isEqualTo(9);
    assertThat(layer.maxRank()).isEqualTo(12);
    assertThat(layer.weightType()).isEqualTo(DType.BF16);
    assertThat(layer.expertMap().localExperts()).isEqualTo(1);
  }
}
