package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

final class MoeLoraCliTest {

  @ParameterizedTest
  @ValueSource(strings = {"run", "inspect", "verify", "devices", "bench", "tune", "plot"})
  void everyCommandHasHelp(String name) {
    CommandRun run = CommandRun.of(name, "--help");
    assertThat(run.exitCode()).isZero();
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).startsWith("Usage: moe-lora " + name + " [-hvV]").contains("--json");
    assertThat(CommandRun.of("help", name).out()).isEqualTo(run.out());
    assertThat(CommandRun.of("--help").out()).contains("\n  " + name + " ");
  }

  @Test
  void helpTellsTheExitCodes() {
    assertThat(CommandRun.of("--help").out())
        .contains("0   success", "1   a check failed", "2   wrong usage or unusable input");
  }

  @Test
  void theVersionNamesTheJvmToo() {
    CommandRun run = CommandRun.of("--version");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out())
        .startsWith("moe-lora ")
        .endsWith(" (Java %s)%n".formatted(Runtime.version()));
  }

  @Test
  void aCommandMustBeGiven() {
    CommandRun run = CommandRun.of();
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).isEqualTo("moe-lora: a command must be given\nTry 'moe-lora --help'.\n");
  }

  @Test
  void anUnknownCommandIsToldTheOthers() {
    CommandRun run = CommandRun.of("rnu");
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .startsWith(
            "moe-lora: the command must be one of run, inspect, export, verify, devices, bench,")
        .contains(", got rnu\n");
  }

  @Test
  void anUnknownOptionIsToldTheLikeliest() {
    CommandRun run = CommandRun.of("run", "--toknes=3");
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .startsWith("moe-lora: Unknown option: '--toknes=3'\n")
        .contains("--tokens")
        .endsWith("Try 'moe-lora run --help'.\n");
  }

  @Test
  void aFaultOfTheProgramHasItsOwnExitCode() {
    String[] words = {"bench", "--backend", "crashing", "--bandwidth", "10"};
    CommandRun run = CommandRun.of((Object[]) words);
    assertThat(run.exitCode()).isEqualTo(3);
    assertThat(run.err())
        .isEqualTo(
            "moe-lora: java.lang.UnsupportedOperationException: a fault of the backend (--debug"
                + " shows where it happened)\n");
    CommandRun debug =
        CommandRun.of("bench", "--debug", "--backend", "crashing", "--bandwidth", "10");
    assertThat(debug.err()).contains("at io.github.moelora.cli.CrashingBackend.open(");
  }

  @Test
  void lackOfMemoryIsToldWithItsRemedy() {
    StringWriter err = new StringWriter();
    CommandLine commandLine = new CommandLine(new Greedy());
    commandLine.setErr(new PrintWriter(err, true));
    assertThat(MoeLoraCli.execute(commandLine)).isEqualTo(2);
    assertThat(err.toString())
        .isEqualTo(
            "moe-lora: not enough memory: too much; take a smaller case, or a larger heap with"
                + " JAVA_OPTS=-Xmx...\n");
  }

  /** The launcher ends as the program does: 2 for a backend that cannot be used. */
  @Test
  void withoutAnSdkTheLauncherSaysSo(@TempDir Path home) throws Exception {
    Path launcher = Path.of("..", "scripts", "tornado-run").toAbsolutePath().normalize();
    ProcessBuilder builder = new ProcessBuilder("bash", launcher.toString(), "devices");
    builder.environment().put("HOME", home.toString());
    builder.environment().put("TORNADOVM_HOME", home.resolve("none").toString());
    builder.environment().put("JAVA_HOME", System.getProperty("java.home"));
    Path err = home.resolve("err");
    Process process =
        builder.redirectOutput(home.resolve("out").toFile()).redirectError(err.toFile()).start();
    assertThat(process.waitFor()).isEqualTo(2);
    assertThat(home.resolve("out")).isEmptyFile();
    assertThat(Files.readString(err)).startsWith("No TornadoVM SDK found: ").hasLineCount(1);
  }

  @CommandLine.Command
  private static final class Greedy implements Runnable {
    @Override
    public void run() {
      throw new OutOfMemoryError("too much");
    }
  }
}
