package io.github.moelora.bench.gpu;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.github.moelora.cli.CommandRun;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;

/** {@code moe-lora tune} from end to end on the TornadoVM device, then a command with its file. */
@Tag("tornado")
final class TuneOnDeviceTest {
  @TempDir private Path directory;

  private final ListAppender<ILoggingEvent> log = new ListAppender<>();
  private final Logger logger =
      (Logger) LoggerFactory.getLogger("io.github.moelora.tornado.choice.Tuning");

  @BeforeEach
  void listen() {
    logger.setLevel(Level.INFO);
    log.start();
    logger.addAppender(log);
  }

  @AfterEach
  void leaveNothing() {
    System.clearProperty("moelora.tuning");
    logger.detachAppender(log);
    logger.setLevel(null);
  }

  private static List<String> run(Object... args) {
    CommandRun run = CommandRun.of(args);
    assertThat(run.err()).isEmpty();
    assertThat(run.exitCode()).isZero();
    return run.out().lines().toList();
  }

  @Test
  void measuresAndWritesAFileThatTheBackendTakes() {
    Path file = directory.resolve("tuning.json");
    Object[] tune = {
      "tune",
      "--backend",
      "tornado",
      "--shape",
      "64,48,6,2",
      "--rank",
      4,
      "--max-tokens",
      6,
      "--adapters",
      "1,2",
      "--weights",
      "F32",
      "--out",
      file
    };
    List<String> lines = run(tune);
    assertThat(lines.getFirst()).contains("TornadoVM");
    // the title, 1, 2, 4 and 6 tokens with 1 and 2 adapters, the file
    assertThat(lines).hasSize(11);
    assertThat(lines.getLast()).endsWith("-Dmoelora.tuning=" + file);
    assertThat(file)
        .content()
        .startsWith("{\n  \"format\": 1,\n  \"device\": \"")
        .contains("\"hidden_size\": 64,", "\"max_active_pairs\": 12");

    System.setProperty("moelora.tuning", file.toString());
    Path adapter = Path.of("..", "examples", "adapters", "fused_r4");
    lines =
        run(
            "run",
            "--backend",
            "tornado",
            "--weights",
            "F32",
            "--tokens",
            6,
            "--adapter",
            "a=" + adapter);
    assertThat(lines.getLast())
        .startsWith("PASS: every element is within its bound of a float64 reference");
    assertThat(log.list.stream().map(ILoggingEvent::getFormattedMessage))
        .containsExactly("block sizes: " + file);
  }
}
