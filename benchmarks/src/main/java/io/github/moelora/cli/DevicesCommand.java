package io.github.moelora.cli;

import io.github.moelora.Backends;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.BackendProvider;
import java.io.PrintWriter;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** {@code moe-lora devices}. */
@Command(
    name = "devices",
    mixinStandardHelpOptions = true,
    description = "Lists the backends: usable with their device, or why not and what to do.")
final class DevicesCommand implements Callable<Integer> {
  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    TextTable table =
        new TextTable("backend", "usable", "priority", "device, or reason and remedy");
    boolean tornado = false;
    for (BackendProvider provider : Backends.all()) {
      tornado |= provider.name().equals("tornado");
      switch (provider.probe()) {
        case Availability.Usable usable ->
            table.row(provider.name(), "yes", usable.priority(), usable.device());
        case Availability.Unusable unusable ->
            table.row(provider.name(), "no", "-", unusable.reason() + "; " + unusable.remedy());
      }
    }
    if (!tornado) {
      table.row(
          "tornado",
          "no",
          "-",
          "not on the class path; start with scripts/tornado-run and an SDK in TORNADOVM_HOME");
    }
    table.print(out);
    out.flush();
    return 0;
  }
}
