package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.Backends;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.BackendProvider;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.NullSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the provider says of device and JVM, and what it refuses. */
class ProviderTest {
  private static final String BAILOUT = "tornado.recover.bailout";
  private static final MoeLoraConfig CONFIG =
      MoeLoraConfig.of(new MoeModel(8, 4, 2, GateUp.HALVES, List.of(0)), 1, 1).withMaxTokens(2);

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Test
  void saysDeviceVersionBackendMemoryAndKernels() {
    Availability answer = new TornadoBackendProvider().probe();
    assertThat(answer).isInstanceOf(Availability.Usable.class);
    String kernels =
        TestDevice.hasTensorCores()
            ? "tensor cores"
            : "portable kernels, no tensor cores \\(TornadoVM's (CUDA|PTX) backend has .+\\)";
    assertThat(((Availability.Usable) answer).device())
        .matches(
            ".+, TornadoVM \\d+\\.\\d+\\S* (OPENCL|CUDA|PTX|SPIRV), \\d+\\.\\d GiB, " + kernels);
    assertThat(((Availability.Usable) answer).priority()).isPositive();
  }

  /** What is not said switches the bailout on. */
  @ParameterizedTest
  @NullSource
  @ValueSource(strings = {"True", "true", "", "no"})
  void refusesToRunWhereAKernelCouldRunAsJava(String value) {
    String before = System.getProperty(BAILOUT);
    try {
      if (value == null) {
        System.clearProperty(BAILOUT);
      } else {
        System.setProperty(BAILOUT, value);
      }
      Availability answer = new TornadoBackendProvider().probe();
      assertThat(answer)
          .isEqualTo(
              new Availability.Unusable(
                  "TornadoVM could silently run a kernel as Java",
                  "start the JVM with -Dtornado.recover.bailout=False"));
      assertThatThrownBy(() -> MoeLora.open(CONFIG, "tornado"))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("start the JVM with -Dtornado.recover.bailout=False");
      assertThatThrownBy(() -> new TornadoBackendProvider().open(CONFIG))
          .isInstanceOf(IllegalStateException.class);
    } finally {
      System.setProperty(BAILOUT, before);
    }
  }

  /** Refused when the instance opens, not when it runs out of an index. */
  @ParameterizedTest
  @EnumSource(DType.class)
  void refusesMoreWeightsThanAnArrayHolds(DType type) {
    MoeModel model = new MoeModel(256, 256, 64, GateUp.HALVES, List.of(0));
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 3000, 2).withMaxRank(256).withWeightType(type).withMaxTokens(1);
    assertThatThrownBy(() -> MoeLora.open(config, "tornado"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith(
            "slots * experts * maxRank * widths of one projection must be at most ")
        .hasMessageEndingWith("with 3000 slots, 64 experts and maxRank 256");
  }

  /** A JVM without any of TornadoVM's flags, its API on the class path. */
  @Test
  void withoutFlagsItSaysHowToStart() throws IOException, InterruptedException {
    assertThat(probeInPlainJvm(entry -> true))
        .contains(
            "tornado: the JVM was started without TornadoVM's flags; start with"
                + " scripts/tornado-run, or with the flags that `tornado --printJavaFlags` prints")
        .contains("best: cpu");
  }

  /** The module's jar alone on the class path of an application that has no TornadoVM. */
  @Test
  void withoutTornadoVmItStillAnswers() throws IOException, InterruptedException {
    assertThat(probeInPlainJvm(entry -> !entry.contains("tornado-api")))
        .contains("tornado: the JVM was started without TornadoVM's flags")
        .contains("best: cpu");
  }

  private static String probeInPlainJvm(Predicate<String> classPathEntry)
      throws IOException, InterruptedException {
    String classPath =
        Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(classPathEntry)
            .collect(Collectors.joining(File.pathSeparator));
    Path java = Path.of(System.getProperty("java.home"), "bin", "java");
    Process process =
        new ProcessBuilder(
                java.toString(),
                "-XX:TieredStopAtLevel=1",
                "--enable-preview",
                "-cp",
                classPath,
                ProbeMain.class.getName())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(output).isZero();
    return output;
  }

  /** Prints what each backend answers, and which one is chosen. */
  static final class ProbeMain {
    private ProbeMain() {}

    public static void main(String[] args) {
      for (BackendProvider provider : Backends.all()) {
        switch (provider.probe()) {
          case Availability.Usable usable ->
              System.out.println(provider.name() + ": " + usable.device());
          case Availability.Unusable unusable ->
              System.out.println(
                  provider.name() + ": " + unusable.reason() + "; " + unusable.remedy());
        }
      }
      try (MoeLora lora = MoeLora.open(CONFIG)) {
        System.out.println("best: " + lora.backendName());
      }
    }
  }
}
