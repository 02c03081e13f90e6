package io.github.moelora.cli;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.core.JacksonException;
import io.github.moelora.AdapterFormatException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.util.Locale;
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
    versionProvider = MoeLoraCli.Version.class,
    description = "Runs many LoRA adapters at once inside Mixture-of-Experts layers.",
    subcommands = {
      RunCommand.class,
      InspectCommand.class,
      ExportCommand.class,
      VerifyCommand.class,
      DevicesCommand.class,
      BenchCommand.class,
      TuneCommand.class,
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

  /** Version of the jar that the classes come from, and of the JVM. */
  static final class Version implements CommandLine.IVersionProvider {
    @Override
    public String[] getVersion() {
      String version = MoeLoraCli.class.getPackage().getImplementationVersion();
      return new String[] {
        "moe-lora %s (Java %s)"
            .formatted(version == null ? "development build" : version, Runtime.version())
      };
    }
  }

  /** Runs a command and ends the JVM with its exit code. */
  public static void main(String[] args) {
    // numbers look the same everywhere
    Locale.setDefault(Locale.ROOT);
    System.exit(execute(newCommandLine(), args));
  }

  static int execute(CommandLine commandLine, String... args) {
    try {
      return commandLine.execute(args);
    } catch (OutOfMemoryError e) {
      commandLine
          .getErr()
          .printf(
              "moe-lora: not enough memory: %s; take a smaller case, or a larger heap with"
                  + " JAVA_OPTS=-Xmx...%n",
              e.getMessage());
      commandLine.getErr().flush();
      return BAD_INPUT;
    }
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
    commandLine.setParameterExceptionHandler((e, args) -> reportUsage(e));
    commandLine.setExecutionExceptionHandler((e, command, parsed) -> cli.report(e, command));
    return commandLine;
  }

  private void setLogLevel() {
    Level level = debug ? Level.DEBUG : verbose ? Level.INFO : Level.WARN;
    if (LoggerFactory.getLogger(org.slf4j.Logger.ROOT_LOGGER_NAME) instanceof Logger root) {
      root.setLevel(level);
    }
  }

  private static int reportUsage(CommandLine.ParameterException e) {
    CommandLine command = e.getCommandLine();
    PrintWriter err = command.getErr();
    if (e instanceof CommandLine.UnmatchedArgumentException unmatched
        && command.getParent() == null
        && !unmatched.isUnknownOption()) {
      err.printf(
          "moe-lora: the command must be one of %s, got %s%n",
          String.join(", ", command.getSubcommands().keySet()),
          unmatched.getUnmatched().getFirst());
    } else {
      err.println("moe-lora: " + e.getMessage());
      CommandLine.UnmatchedArgumentException.printSuggestions(e, err);
    }
    err.printf("Try '%s --help'.%n", command.getCommandSpec().qualifiedName());
    err.flush();
    return BAD_INPUT;
  }

  private int report(Exception e, CommandLine command) {
    PrintWriter err = command.getErr();
    if (debug) {
      e.printStackTrace(err);
    }
    Exception cause =
        e instanceof UncheckedIOException && e.getCause() instanceof IOException io ? io : e;
    boolean input =
        cause instanceof IllegalArgumentException
            || cause instanceof IllegalStateException
            || cause instanceof IOException
            || cause instanceof AdapterFormatException;
    err.println(
        "moe-lora: " + (input ? sentence(cause) : cause + " (--debug shows where it happened)"));
    err.flush();
    if (cause instanceof AdapterFormatException && command.getCommand() instanceof RunCommand) {
      // as inspect says of the same file
      return CHECK_FAILED;
    }
    return input ? BAD_INPUT : UNEXPECTED;
  }

  /** What went wrong, with the file's name: the messages of file exceptions are the bare name. */
  private static String sentence(Exception e) {
    return switch (e) {
      case NoSuchFileException missing -> "no such file or folder: " + missing.getFile();
      case FileNotFoundException missing -> "cannot be read: " + missing.getMessage();
      case AccessDeniedException denied -> "permission denied: " + denied.getFile();
      case NotDirectoryException file -> "not a folder: " + file.getFile();
      case JacksonException json -> "not the expected JSON: " + json.getOriginalMessage();
      default -> String.valueOf(e.getMessage());
    };
  }

  @Override
  public void run() {
    throw new CommandLine.ParameterException(spec.commandLine(), "a command must be given");
  }
}
