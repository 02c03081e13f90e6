package io.github.moelora.cli;

import java.io.PrintWriter;
import java.io.StringWriter;
import picocli.CommandLine;

/**
 * What a command did.
 *
 * @param exitCode its exit code
 * @param out what it printed to standard output
 * @param err what it printed to standard error
 */
public record CommandRun(int exitCode, String out, String err) {

  /** Runs a command, each argument a word. */
  public static CommandRun of(Object... args) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    CommandLine commandLine = MoeLoraCli.newCommandLine();
    commandLine.setOut(new PrintWriter(out, true));
    commandLine.setErr(new PrintWriter(err, true));
    String[] words = new String[args.length];
    for (int i = 0; i < args.length; i++) {
      words[i] = args[i].toString();
    }
    int exitCode = commandLine.execute(words);
    return new CommandRun(exitCode, out.toString(), err.toString());
  }

  /** The printed line that holds a text; the empty string if there is none. */
  public String line(String text) {
    return out.lines().filter(line -> line.contains(text)).findFirst().orElse("");
  }
}
