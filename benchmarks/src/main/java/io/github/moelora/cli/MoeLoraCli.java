package io.github.moelora.cli;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import io.github.moelora.peft.AdapterFormatException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.NoSuchFileException;
import org.slf4j.LoggerFactory;
import picocli.AutoComplete;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;

/** Entry point and what all subcommands share: exit codes, messages, verbosity. */
@Command(
    name = "moe-lora",
    mixinStandardHelpOptions = true,
    version = "moe-lora 0.1.0-SNAPSHOT",
    description = "Runs many LoRA adapters at once inside Mixture-of-Experts layers.",
    subcommands = {
      RunCommand.class,
      InspectCommand.class,
      VerifyCommand.class,
      DevicesCommand.class,
      BenchCommand.class,
      PlotCommand.class,
      AutoComplete.GenerateCompletion.class,
      CommandLine.HelpCommand.class
    },
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      "0:success",
      "1:a check failed",
      "2:wrong usage or unusable input",
      "3:unexpected failure"
    })
public final class MoeLoraCli implements Runnable {
  /** A check failed: a result out of bound, an adapter refused. */
  static final int CHECK_FAILED = 1;

  /** Wrong usage, or a file, backend or device that cannot be used. */
  static final int BAD_INPUT = 2;

  /** A fault of the program. */
  static final int UNEXPECTED = 3;

  @Option(
      names = "--debug",
      scope = ScopeType.INHERIT,
      description = "Show stack traces and all log messages.")
  private boolean debug;

  @Option(
      names = {"-v", "--verbose"},
      scope = ScopeType.INHERIT,
      description = "Show messages about backend and device.")
  private boolean verbose;

  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  MoeLoraCli() {}

  /** Runs a command and ends the JVM with its exit code. */
  public static void main(String[] args) {
    System.exit(newCommandLine().execute(args));
  }

  static CommandLine newCommandLine() {
    MoeLoraCli cli = new MoeLoraCli();
    CommandLine commandLine = new CommandLine(cli);
    commandLine.setCaseInsensitiveEnumValuesAllowed(true);
    commandLine.setUsageHelpAutoWidth(true);
    commandLine.setExecutionStrategy(
        parsed -> {
          cli.setLogLevel();
          return new CommandLine.RunLast().execute(parsed);
        });
    commandLine.setExecutionExceptionHandler((e, command, parsed) -> cli.report(e, command));
    return commandLine;
  }

  private void setLogLevel() {
    Level level = debug ? Level.DEBUG : verbose ? Level.INFO : Level.WARN;
    if (LoggerFactory.getLogger(org.slf4j.Logger.ROOT_LOGGER_NAME) instanceof Logger root) {
      root.setLevel(level);
    }
  }

  private int report(Exception e, CommandLine command) {
    PrintWriter err = command.getErr();
    if (debug) {
      e.printStackTrace(err);
    }
    boolean input =
        e instanceof IllegalArgumentException
            || e instanceof IllegalStateException
            || e instanceof IOException
            || e instanceof AdapterFormatException;
    String message =
        switch (e) {
          case NoSuchFileException missing -> "no such file: " + missing.getMessage();
          case FileNotFoundException missing -> "no such file: " + missing.getMessage();
          default -> input ? String.valueOf(e.getMessage()) : e + " (--debug shows where)";
        };
    err.println("moe-lora: " + message);
    err.flush();
    return input ? BAD_INPUT : UNEXPECTED;
  }

  @Override
  public void run() {
    throw new CommandLine.ParameterException(spec.commandLine(), "a command must be given");
  }
}
