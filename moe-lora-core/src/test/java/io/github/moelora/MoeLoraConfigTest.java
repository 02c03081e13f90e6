package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MoeLoraConfigTest {
  private static final MoeModel MODEL = new MoeModel(8, 4, 6, GateUp.HALVES, List.of(0));

  @Test
  void whatIsNotSaidHasTheDocumentedValue() {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 3, 2);
    assertThat(config.model()).isEqualTo(MODEL);
    assertThat(config.slots()).isEqualTo(3);
    assertThat(config.expertsPerToken()).isEqualTo(2);
    assertThat(config.maxTokens()).isEqualTo(4096);
    assertThat(config.maxPairs()).isEqualTo(8192);
    assertThat(config.maxRank()).isEqualTo(64);
    assertThat(config.weightType()).isEqualTo(DType.F32);
    assertThat(config.expertMap().localExperts()).isEqualTo(6);
  }

  @Test
  void eachChangeLeavesTheRest() {
    ExpertMap map = ExpertMap.of(0, -1, -1, -1, -1, 1);
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 3, 2)
            .withMaxTokens(7)
            .withMaxRank(9)
            .withWeightType(DType.BF16)
            .withExpertMap(map);
    assertThat(config).isEqualTo(new MoeLoraConfig(MODEL, 3, 2, 7, 9, DType.BF16, map));
    assertThat(config.withMaxTokens(8).withMaxTokens(7)).isEqualTo(config);
  }

  /** Ranks up to 512 are taken (vLLM #55158 refused 256), larger ones are not. */
  @Test
  void rank512IsTaken_vllm55158() {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 1, 1);
    assertThat(config.withMaxRank(512).maxRank()).isEqualTo(512);
    assertThat(config.withMaxRank(1).maxRank()).isEqualTo(1);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> config.withMaxRank(513))
        .withMessage("maxRank must be in [1, 513), got 513");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> config.withMaxRank(0))
        .withMessage("maxRank must be in [1, 513), got 0");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "0 | 1 | 1 | slots must be in [1, 65536), got 0",
        "65536 | 1 | 1 | slots must be in [1, 65536), got 65536",
        "1 | 0 | 1 | expertsPerToken must be in [1, 7), got 0",
        "1 | 7 | 1 | expertsPerToken must be in [1, 7), got 7",
        "1 | 2 | 0 | maxTokens must be in [1, 268435457), got 0",
        "1 | 2 | 268435457 | maxTokens must be in [1, 268435457), got 268435457",
      })
  void valuesOutOfRangeAreRefused(int slots, int k, int maxTokens, String message) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> MoeLoraConfig.of(MODEL, slots, k).withMaxTokens(maxTokens))
        .withMessage(message);
  }

  @Test
  void limitsAreTaken() {
    assertThatNoException()
        .isThrownBy(() -> MoeLoraConfig.of(MODEL, 65535, 6).withMaxTokens((1 << 29) / 6));
    assertThat(MoeLoraConfig.of(MODEL, 1, 2).withMaxTokens(1 << 28).maxPairs()).isEqualTo(1 << 29);
  }

  @Test
  void theExpertMapMustBeOfTheModel() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> MoeLoraConfig.of(MODEL, 1, 1).withExpertMap(ExpertMap.identity(5)))
        .withMessage("expertMap.experts must be 6 as in the model, got 5");
  }

  @Test
  void slotsTimesExpertsIsLimited() {
    MoeModel many = new MoeModel(1, 1, 1 << 14, GateUp.HALVES, List.of(0));
    assertThatNoException().isThrownBy(() -> MoeLoraConfig.of(many, (1 << 14) - 1, 1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> MoeLoraConfig.of(many, 1 << 14, 1))
        .withMessage("slots * experts must be in [1, 268435456), got 268435456");
  }
}
