package io.github.moelora.cli;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.MoeModel;
import io.github.moelora.cli.VerifyCommand.Case;
import io.github.moelora.peft.AdapterFormatException;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Damaged adapters: every one must be refused. */
final class HostileAdapters {
  private HostileAdapters() {}

  static List<Case> replay(Path folder, JsonNode manifest) throws IOException {
    Path base = folder.toAbsolutePath().resolveSibling(manifest.path("base_model").asText());
    MoeModel model;
    JsonNode baseManifest = Output.json().readTree(base.resolve("manifest.json").toFile());
    try (GoldenModel golden = GoldenModel.open(base, baseManifest)) {
      model = golden.model();
    }
    List<Case> cases = new ArrayList<>();
    for (JsonNode item : manifest.path("cases")) {
      String name = item.path("name").asText();
      cases.add(replay(folder, name, model));
    }
    return cases;
  }

  private static Case replay(Path folder, String name, MoeModel model) throws IOException {
    String directory = String.valueOf(folder.getFileName());
    try (PeftAdapter adapter = PeftAdapter.open(folder.resolve(name))) {
      adapter.toLoraAdapter(model);
      return new Case(directory, name, Double.POSITIVE_INFINITY, "was accepted");
    } catch (AdapterFormatException e) {
      return new Case(directory, name, 0, "refused: %s, got %s".formatted(e.rule(), e.value()));
    }
  }
}
