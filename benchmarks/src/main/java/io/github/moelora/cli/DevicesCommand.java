package io.github.moelora.cli;

import io.github.moelora.Backends;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.BackendProvider;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code moe-lora devices}. */
@Command(
    name = "devices",
    mixinStandardHelpOptions = true,
    description = "Lists the backends: usable with their devices, or why not and what to do.")
final class DevicesCommand implements Callable<Integer> {
  private static final String TORNADO = "tornado";
  private static final String NO_TORNADO = "not on the class path";
  private static final String TORNADO_REMEDY =
      "install a TornadoVM SDK, name it in TORNADOVM_HOME and start with scripts/tornado-run";

  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Option(names = "--json", paramLabel = "FILE", description = "Also write the list as JSON.")
  private @Nullable Path json;

  /**
   * A backend.
   *
   * @param device what it runs on unless told otherwise, if usable
   * @param devices what {@code --device} chooses from, by index
   * @param reason why not, if not
   * @param remedy what to do about it, if not usable
   */
  private record Device(
      String backend,
      boolean usable,
      @Nullable Integer priority,
      @Nullable String device,
      List<String> devices,
      @Nullable String reason,
      @Nullable String remedy) {

    static Device of(BackendProvider provider) {
      return switch (provider.probe()) {
        case Availability.Usable usable ->
            new Device(
                provider.name(),
                true,
                usable.priority(),
                usable.device(),
                provider.devices(),
                null,
                null);
        case Availability.Unusable unusable ->
            unusable(provider.name(), unusable.reason(), unusable.remedy());
      };
    }

    static Device unusable(String backend, String reason, String remedy) {
      return new Device(backend, false, null, null, List.of(), reason, remedy);
    }
  }

  /**
   * Checks the name that an option gave, so that a missing TornadoVM is told with its remedy.
   *
   * @param backend may be null: the best usable one
   */
  static void requireKnown(@Nullable String backend) {
    List<String> names = Backends.all().stream().map(BackendProvider::name).toList();
    if (backend == null || names.contains(backend)) {
      return;
    }
    throw new IllegalArgumentException(
        backend.equals(TORNADO)
            ? "--backend tornado is %s: %s".formatted(NO_TORNADO, TORNADO_REMEDY)
            : "--backend must be one of %s, got %s".formatted(String.join(", ", names), backend));
  }

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    Output.requireWritable("--json", json);
    List<Device> devices = new ArrayList<>();
    Backends.all().forEach(provider -> devices.add(Device.of(provider)));
    if (devices.stream().noneMatch(device -> device.backend().equals(TORNADO))) {
      devices.add(Device.unusable(TORNADO, NO_TORNADO, TORNADO_REMEDY));
    }
    TextTable table = new TextTable("backend", "usable", "priority", "index", "device");
    for (Device device : devices) {
      if (device.devices().isEmpty()) {
        table.row(device.backend(), "no", "-", "-", "-");
      }
      for (int i = 0; i < device.devices().size(); i++) {
        table.row(
            device.backend(), "yes", String.valueOf(device.priority()), i, device.devices().get(i));
      }
    }
    table.print(out);
    for (Device device : devices) {
      if (!device.usable()) {
        out.printf("%s: %s; %s%n", device.backend(), device.reason(), device.remedy());
      }
    }
    out.flush();
    if (json != null) {
      Output.writeJson(json, devices);
    }
    return 0;
  }
}
