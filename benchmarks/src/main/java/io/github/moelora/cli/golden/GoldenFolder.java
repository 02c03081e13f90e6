package io.github.moelora.cli.golden;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.moelora.workload.Workload.Place;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** A folder of golden data: its manifest tells which kind it holds. */
public final class GoldenFolder {
  private static final ObjectMapper JSON = new ObjectMapper();

  private GoldenFolder() {}

  /**
   * Replays all cases of a folder.
   *
   * @param given a folder that holds {@code manifest.json}
   * @param place backend and device that compute
   * @throws IllegalArgumentException if the manifest is not JSON or of no known kind
   */
  public static List<GoldenCase> replay(Path given, Place place) throws IOException {
    // by its absolute path, so that it has a name and siblings
    Path folder = given.toAbsolutePath().normalize();
    JsonNode manifest = manifest(folder);
    if (manifest.has("adapters")) {
      try (GoldenModel model = GoldenModel.open(folder, manifest)) {
        return model.replay(place);
      }
    }
    if (manifest.has("base_model")) {
      return HostileAdapters.replay(folder, manifest);
    }
    if (manifest.has("cases")) {
      return KernelCases.replay(folder, manifest, place);
    }
    throw new IllegalArgumentException(
        "%s must have adapters or cases, got neither".formatted(folder.resolve("manifest.json")));
  }

  static JsonNode manifest(Path folder) throws IOException {
    Path path = folder.resolve("manifest.json");
    try {
      return JSON.readTree(path.toFile());
    } catch (JsonProcessingException e) {
      JsonLocation at = e.getLocation();
      throw new IllegalArgumentException(
          "%s must be JSON, got an error in line %d, column %d"
              .formatted(path, at.getLineNr(), at.getColumnNr()),
          e);
    }
  }
}
