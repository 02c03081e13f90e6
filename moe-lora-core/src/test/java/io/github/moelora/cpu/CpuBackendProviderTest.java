package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.spi.Availability;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CpuBackendProviderTest {
  private static final MoeLoraConfig CONFIG =
      MoeLoraConfig.of(new MoeModel(2, 2, 1, GateUp.HALVES, List.of(0)), 1, 1).withMaxTokens(1);

  private final CpuBackendProvider provider = new CpuBackendProvider();

  @AfterEach
  void clearProperties() {
    System.clearProperty(CpuBackendProvider.THREADS_PROPERTY);
    System.clearProperty(CpuBackendProvider.VECTOR_PROPERTY);
  }

  @Test
  void isUsableWithTheLowestPriority() {
    int processors = Runtime.getRuntime().availableProcessors();
    assertThat(provider.probe())
        .isInstanceOfSatisfying(
            Availability.Usable.class,
            usable -> {
              assertThat(usable.priority()).isZero();
              assertThat(usable.device()).matches("CPU, %d threads, .+".formatted(processors));
            });
    assertThat(provider.name()).isEqualTo("cpu");
  }

  @ParameterizedTest
  @ValueSource(strings = {"1", "3", "1024"})
  void threadsAreThoseOfTheProperty(String threads) {
    System.setProperty(CpuBackendProvider.THREADS_PROPERTY, threads);
    assertThat(provider.probe())
        .isInstanceOfSatisfying(
            Availability.Usable.class,
            usable -> assertThat(usable.device()).startsWith("CPU, " + threads + " threads, "));
  }

  @Test
  void theBackendHasTheThreadsOfTheProperty() {
    System.setProperty(CpuBackendProvider.THREADS_PROPERTY, "3");
    try (MoeLora lora = MoeLora.open(CONFIG, provider)) {
      assertThat(lora.device()).startsWith("CPU, 3 threads, ");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"0", "1025", "-1", "two", "", "99999999999"})
  void aWrongNumberOfThreadsIsToldNotThrown(String threads) {
    System.setProperty(CpuBackendProvider.THREADS_PROPERTY, threads);
    String reason = "system property moelora.cpu.threads must be in [1, 1024], got " + threads;
    String remedy = "set it to the number of threads, or leave it out to use all processors";
    assertThat(provider.probe()).isEqualTo(new Availability.Unusable(reason, remedy));
    assertThatIllegalStateException()
        .isThrownBy(() -> provider.open(CONFIG))
        .withMessage(reason + ". " + remedy);
    assertThatIllegalStateException()
        .isThrownBy(() -> MoeLora.open(CONFIG, provider))
        .withMessage("backend cpu cannot run: " + reason + ". " + remedy);
  }

  @Test
  void theVectorPropertyIsOnOrOff() {
    for (String value : List.of("on", "off")) {
      System.setProperty(CpuBackendProvider.VECTOR_PROPERTY, value);
      assertThat(provider.probe()).isInstanceOf(Availability.Usable.class);
    }
    System.setProperty(CpuBackendProvider.VECTOR_PROPERTY, "false");
    assertThat(provider.probe())
        .isEqualTo(
            new Availability.Unusable(
                "system property moelora.cpu.vector must be on or off, got false",
                "leave it out to use the Vector API where it is present"));
  }

  @Test
  void plainJavaWhereTheVectorApiIsOffOrAbsent() {
    assertThat(CpuBackendProvider.choose(false, true)).isInstanceOf(VectorKernels.class);
    assertThat(CpuBackendProvider.choose(true, true)).isInstanceOf(PlainKernels.class);
    assertThat(CpuBackendProvider.choose(false, false)).isInstanceOf(PlainKernels.class);
  }
}
