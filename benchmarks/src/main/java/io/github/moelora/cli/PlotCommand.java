package io.github.moelora.cli;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code moe-lora plot}. */
@Command(
    name = "plot",
    mixinStandardHelpOptions = true,
    description = "Draws the results that moe-lora bench wrote with --json.")
final class PlotCommand implements Callable<Integer> {
  @Parameters(paramLabel = "JSON", description = "File written by moe-lora bench --json.")
  private Path json = Path.of("");

  @Option(
      names = {"-o", "--output"},
      required = true,
      paramLabel = "FILE",
      description = "PNG file to write.")
  private Path output = Path.of("");

  @Override
  public Integer call() throws IOException {
    Output.requireWritable("--output", output);
    JsonNode document = Output.json().readTree(Files.readAllBytes(json));
    if (!document.path("cells").isArray()) {
      throw new IllegalArgumentException(
          "%s must hold a list named cells, as moe-lora bench writes it".formatted(json));
    }
    List<BenchCommand.Cell> cells = new ArrayList<>();
    for (JsonNode cell : document.path("cells")) {
      cells.add(Output.json().treeToValue(cell, BenchCommand.Cell.class));
    }
    TimePlot.write(output, cells, document.path("device").asText());
    return 0;
  }
}
