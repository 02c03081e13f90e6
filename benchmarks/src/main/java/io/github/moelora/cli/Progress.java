package io.github.moelora.cli;

import java.io.Console;
import java.io.PrintWriter;
import java.util.Objects;
import picocli.CommandLine;

/** A progress bar on a terminal; nothing where there is none. */
final class Progress {
  /** Set by the launcher, whose filter stands between standard error and the terminal. */
  private static final String TERMINAL_PROPERTY = "moelora.terminal";

  private static final int BAR_WIDTH = 30;

  private final PrintWriter err;
  private final int total;
  private final boolean terminal;
  private final int width;
  private int done;

  Progress(CommandLine commandLine, int total) {
    this.err = commandLine.getErr();
    this.total = total;
    this.terminal = isTerminal();
    this.width = terminal ? commandLine.getUsageHelpWidth() : 0;
  }

  private static boolean isTerminal() {
    String property = System.getProperty(TERMINAL_PROPERTY);
    if (property != null) {
      return Boolean.parseBoolean(property);
    }
    Console console = System.console();
    return Objects.nonNull(console)
        && console.isTerminal()
        && !"dumb".equals(System.getenv("TERM"));
  }

  void advance(int count) {
    done += count;
  }

  void show(String what) {
    if (terminal) {
      int filled = BAR_WIDTH * done / Math.max(1, total);
      String line =
          "[%s%s] %d/%d %s"
              .formatted("#".repeat(filled), ".".repeat(BAR_WIDTH - filled), done, total, what);
      // a line that wraps could not be erased
      err.print("\r\033[K" + line.substring(0, Math.min(line.length(), width - 1)));
      err.flush();
    }
  }

  void clear() {
    if (terminal) {
      err.print("\r\033[K");
      err.flush();
    }
  }
}
