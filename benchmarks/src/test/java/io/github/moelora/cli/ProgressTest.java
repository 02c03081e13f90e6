package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;

final class ProgressTest {
  private static final String PROPERTY = "moelora.terminal";

  private final StringWriter err = new StringWriter();

  private Progress progress(boolean terminal, int width) {
    System.setProperty(PROPERTY, String.valueOf(terminal));
    CommandLine commandLine = new CommandLine(new MoeLoraCli());
    commandLine.setErr(new PrintWriter(err, true));
    commandLine.setUsageHelpWidth(width);
    return new Progress(commandLine, 4);
  }

  @AfterEach
  void forgetTerminal() {
    System.clearProperty(PROPERTY);
  }

  @Test
  void theBarFillsAndGoes() {
    Progress progress = progress(true, 80);
    progress.show("first");
    progress.advance(2);
    progress.show("second");
    progress.clear();
    assertThat(err.toString())
        .isEqualTo(
            "\r\033[K[..............................] 0/4 first"
                + "\r\033[K[###############...............] 2/4 second"
                + "\r\033[K");
  }

  @Test
  void aNarrowTerminalCutsTheLine() {
    progress(true, 60).show("a".repeat(100));
    assertThat(err.toString()).startsWith("\r\033[K[").hasSize("\r\033[K".length() + 59);
  }

  @Test
  void nothingIsWrittenElsewhere() {
    Progress progress = progress(false, 80);
    progress.show("first");
    progress.clear();
    assertThat(err.toString()).isEmpty();
  }
}
