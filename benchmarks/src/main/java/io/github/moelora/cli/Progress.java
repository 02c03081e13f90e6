package io.github.moelora.cli;

import java.io.Console;
import java.io.PrintWriter;
import java.util.Objects;

/** A progress bar on a terminal; nothing where there is none. */
final class Progress {
  private static final int WIDTH = 30;

  private final PrintWriter err;
  private final int total;
  private final boolean terminal;
  private int done;

  Progress(PrintWriter err, int total) {
    this.err = err;
    this.total = total;
    Console console = System.console();
    this.terminal = Objects.nonNull(console) && console.isTerminal();
  }

  void advance(int count) {
    done += count;
  }

  void show(String what) {
    if (terminal) {
      int filled = WIDTH * done / Math.max(1, total);
      err.printf(
          "\r\033[K[%s%s] %d/%d %s",
          "#".repeat(filled), ".".repeat(WIDTH - filled), done, total, what);
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
