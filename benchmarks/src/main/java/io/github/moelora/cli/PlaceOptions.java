package io.github.moelora.cli;

import io.github.moelora.workload.Workload;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where a command computes. */
final class PlaceOptions {
  @Option(
      names = "--backend",
      paramLabel = "NAME",
      description = "Backend, and no other; by default the best usable one that can do it.")
  private @Nullable String backend;

  @Option(
      names = "--device",
      paramLabel = "DEVICE",
      description =
          "Device of the backend: an index that moe-lora devices lists, or a part of a name;"
              + " by default its first.")
  private @Nullable String device;

  /**
   * Refuses a backend that is not there.
   *
   * @throws IllegalArgumentException naming those that are
   */
  void requireKnown() {
    DevicesCommand.requireKnown(backend);
  }

  /** What the user says, null for a default. */
  Workload.Place place() {
    return new Workload.Place(backend, device);
  }
}
