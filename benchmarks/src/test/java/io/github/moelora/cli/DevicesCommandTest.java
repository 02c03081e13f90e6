package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class DevicesCommandTest {
  @TempDir private Path directory;

  @Test
  void usableBackendsAreListedWithTheirDevice() {
    CommandRun run = CommandRun.of("devices");
    assertThat(run.exitCode()).isZero();
    assertThat(run.err()).isEmpty();
    assertThat(run.line("cpu "))
        .matches("cpu +yes +0 +0 +CPU, %d threads, Vector API, \\d+ bits".formatted(processors()));
    assertThat(run.line("wrong ")).matches("wrong +yes +-1 +0 +wrong device");
  }

  private static int processors() {
    return Runtime.getRuntime().availableProcessors();
  }

  @Test
  void othersAreListedWithReasonAndRemedy() {
    CommandRun run = CommandRun.of("devices");
    assertThat(run.line("missing ")).matches("missing +no +- +- +-");
    assertThat(run.out().lines())
        .contains(
            "missing: there is no device; plug one in",
            "tornado: not on the class path; install a TornadoVM SDK, name it in TORNADOVM_HOME and"
                + " start with scripts/tornado-run");
  }

  @Test
  void jsonHoldsTheList() throws IOException {
    Path file = directory.resolve("devices.json");
    assertThat(CommandRun.of("devices", "--json", file).exitCode()).isZero();
    JsonNode list = Output.json().readTree(file.toFile());
    assertThat(list.findValuesAsText("backend"))
        .containsExactly("cpu", "crashing", "missing", "tunable", "wrong", "tornado");
    assertThat(list.get(0).path("usable").asBoolean()).isTrue();
    assertThat(list.get(0).path("device").asText()).startsWith("CPU, ");
    assertThat(list.get(0).path("devices").size()).isEqualTo(1);
    assertThat(list.get(2).path("usable").asBoolean()).isFalse();
    assertThat(list.get(2).path("reason").asText()).isEqualTo("there is no device");
    assertThat(list.get(2).path("remedy").asText()).isEqualTo("plug one in");
  }
}
