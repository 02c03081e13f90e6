package io.github.moelora.cli;

import io.github.moelora.cli.golden.GoldenCase;
import io.github.moelora.cli.golden.GoldenFolder;
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

  @CommandLine.Mixin private PlaceOptions placeOptions = new PlaceOptions();

  @Option(names = "--json", paramLabel = "FILE", description = "Also write the table as JSON.")
  private @Nullable Path json;

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    placeOptions.requireKnown();
    Output.requireWritable("--json", json);
    List<GoldenCase> cases = new ArrayList<>();
    for (Path folder : folders()) {
      cases.addAll(GoldenFolder.replay(folder, placeOptions.place()));
    }
    TextTable table = new TextTable("directory", "case", "worst error / bound", "result", "note");
    for (GoldenCase item : cases) {
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
}
