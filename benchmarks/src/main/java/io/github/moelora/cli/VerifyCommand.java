package io.github.moelora.cli;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code moe-lora verify GOLDEN_DIR}. */
@Command(
    name = "verify",
    mixinStandardHelpOptions = true,
    description = {
      "Replays golden data and compares every result.",
      "GOLDEN_DIR holds a manifest.json of a model with its adapters, of vLLM's kernel cases or of"
          + " damaged adapters, or folders that do."
    })
final class VerifyCommand implements Callable<Integer> {
  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Parameters(paramLabel = "GOLDEN_DIR", description = "Folder with golden data.")
  private Path directory = Path.of("");

  @Option(
      names = "--backend",
      paramLabel = "NAME",
      description = "Backend that computes; by default the best usable one.")
  private @Nullable String backend;

  @Option(names = "--json", paramLabel = "FILE", description = "Also write the table as JSON.")
  private @Nullable Path json;

  /**
   * A row of the table.
   *
   * @param worst worst error over its bound; infinite where there is nothing to measure and it went
   *     wrong
   * @param note what was compared, or what went wrong
   */
  record Case(String directory, String name, double worst, String note) {
    boolean passed() {
      return worst <= 1;
    }
  }

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    DevicesCommand.requireKnown(backend);
    Output.requireWritable("--json", json);
    List<Case> cases = new ArrayList<>();
    for (Path folder : folders()) {
      cases.addAll(replay(folder));
    }
    TextTable table = new TextTable("directory", "case", "worst error / bound", "result", "note");
    for (Case item : cases) {
      String worst = Double.isInfinite(item.worst()) ? "-" : Output.format("%.3f", item.worst());
      table.row(item.directory(), item.name(), worst, item.passed() ? "ok" : "MISS", item.note());
    }
    table.print(out);
    long missed = cases.stream().filter(item -> !item.passed()).count();
    out.printf("%d cases, %d missed%n", cases.size(), missed);
    out.flush();
    if (json != null) {
      Output.writeJson(json, cases);
    }
    return missed == 0 ? 0 : MoeLoraCli.CHECK_FAILED;
  }

  private List<Path> folders() throws IOException {
    if (Files.isRegularFile(directory.resolve("manifest.json"))) {
      return List.of(directory);
    }
    List<Path> found = new ArrayList<>();
    if (Files.isDirectory(directory)) {
      try (var children = Files.list(directory)) {
        children
            .filter(child -> Files.isRegularFile(child.resolve("manifest.json")))
            .sorted()
            .forEach(found::add);
      }
    }
    if (found.isEmpty()) {
      throw new IllegalArgumentException(
          "GOLDEN_DIR must hold manifest.json or folders that hold one, got " + directory);
    }
    return found;
  }

  /** The folder by its absolute path, so that it has a name and siblings. */
  private List<Case> replay(Path given) throws IOException {
    Path folder = given.toAbsolutePath().normalize();
    JsonNode manifest = manifest(folder);
    if (manifest.has("adapters")) {
      try (GoldenModel model = GoldenModel.open(folder, manifest)) {
        return model.replay(backend);
      }
    }
    if (manifest.has("base_model")) {
      return HostileAdapters.replay(folder, manifest);
    }
    if (manifest.has("cases")) {
      return KernelCases.replay(folder, manifest, backend);
    }
    throw new IllegalArgumentException(
        "%s must have adapters or cases, got neither".formatted(folder.resolve("manifest.json")));
  }

  static JsonNode manifest(Path folder) throws IOException {
    Path path = folder.resolve("manifest.json");
    try {
      return Output.json().readTree(path.toFile());
    } catch (JsonProcessingException e) {
      JsonLocation at = e.getLocation();
      throw new IllegalArgumentException(
          "%s must be JSON, got an error in line %d, column %d"
              .formatted(path, at.getLineNr(), at.getColumnNr()),
          e);
    }
  }
}
