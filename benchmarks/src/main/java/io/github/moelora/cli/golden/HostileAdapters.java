package io.github.moelora.cli.golden;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.AdapterFormatException;
import io.github.moelora.MoeModel;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Damaged adapters: every one must be refused. */
final class HostileAdapters {
  private HostileAdapters() {}

  static List<GoldenCase> replay(Path folder, JsonNode manifest) throws IOException {
    Path base = folder.resolveSibling(manifest.path("base_model").asText());
    if (!Files.isRegularFile(base.resolve("manifest.json"))) {
      throw new IllegalArgumentException(
          "the base model of %s must be in %s, got nothing there".formatted(folder, base));
    }
    MoeModel model;
    try (GoldenModel golden = GoldenModel.open(base, GoldenFolder.manifest(base))) {
      model = golden.model();
    }
    List<GoldenCase> cases = new ArrayList<>();
    for (JsonNode item : manifest.path("cases")) {
      String name = item.path("name").asText();
      cases.add(replay(folder, name, model));
    }
    return cases;
  }

  private static GoldenCase replay(Path folder, String name, MoeModel model) {
    String directory = String.valueOf(folder.getFileName());
    try (PeftAdapter adapter = PeftAdapter.open(folder.resolve(name))) {
      adapter.toLoraAdapter(model);
      return new GoldenCase(directory, name, Double.POSITIVE_INFINITY, "was accepted");
    } catch (AdapterFormatException e) {
      return new GoldenCase(
          directory, name, 0, "refused: %s, got %s".formatted(e.rule(), e.value()));
    } catch (RuntimeException | IOException e) {
      return new GoldenCase(directory, name, Double.POSITIVE_INFINITY, "failed: " + e);
    }
  }
}
