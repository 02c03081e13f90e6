package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.peft.PeftVersion.Era;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

final class PeftVersionTest {

  @ParameterizedTest
  @CsvSource({
    "0.4.0, POSITIONAL",
    "0.17.1, POSITIONAL",
    "0.18.0, POSITIONAL",
    "0.18.0.rc0, POSITIONAL",
    "0.18.1, POSITIONAL",
    "0.18, POSITIONAL",
    "0.18.1.dev0, POSITIONAL",
    "0.18.2.dev0, MIXED",
    "0.18.2, MIXED",
    "0.19.0, MIXED",
    "0.19, MIXED",
    "0.19.0.rc0, MIXED",
    "0.19.1.dev0, MIXED",
    "0.19.1rc1, MIXED",
    "0.19.1, ORIENTED",
    "0.19.1.post1, ORIENTED",
    "0.19.1+cu128, ORIENTED",
    "0.19.2.dev0, ORIENTED",
    "0.20.0, ORIENTED",
    "0.20.1.dev0, ORIENTED",
    "0.21.0, ORIENTED",
    "1.0, ORIENTED",
    "1.0.0, ORIENTED",
    "10.0.0a1, ORIENTED",
  })
  void theVersionTellsTheEra(String text, Era era) {
    PeftVersion version = Objects.requireNonNull(PeftVersion.parse(text));
    assertThat(version.era()).isEqualTo(era);
    assertThat(version).hasToString(text);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", "x", "1", "1.", ".1", "v0.18.0", " 0.18.0", "0.1234567", "unrecorded"})
  void otherTextsAreNoVersions(String text) {
    assertThat(PeftVersion.parse(text)).isNull();
  }

  @ParameterizedTest
  @CsvSource({
    "0.18.0, false",
    "0.19.9, false",
    "0.20.0, true",
    "0.20.1.dev0, true",
    "0.20, true",
    "1.0, true"
  })
  void layersAreRightFrom020On(String text, boolean right) {
    assertThat(Objects.requireNonNull(PeftVersion.parse(text)).takesLayersRight()).isEqualTo(right);
  }

  /** PEFT records its version from 0.18.0 on. */
  @Test
  void unrecordedIsOld() {
    PeftVersion version = PeftVersion.unrecorded();
    assertThat(version.era()).isEqualTo(Era.POSITIONAL);
    assertThat(version.takesLayersRight()).isFalse();
    assertThat(version).hasToString("unrecorded");
  }
}
