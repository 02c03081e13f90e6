package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.json.Json;
import io.github.moelora.safetensors.SafeTensorsFile;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Reads the JSON files of an adapter or a model. */
final class ConfigText {
  private ConfigText() {}

  /**
   * Reads a file that holds one object.
   *
   * @throws AdapterFormatException if it is no regular file, too large or not such JSON
   * @throws IOException naming the file, if it cannot be read
   */
  static Map<String, @Nullable Object> read(Path path, long maxBytes) throws IOException {
    SafeTensorsFile.requireRegularFile(path);
    byte[] bytes = bytes(path, maxBytes);
    try {
      return Json.object(new ByteArrayInputStream(bytes));
    } catch (IOException e) {
      throw new AdapterFormatException(
          path,
          null,
          "the file must be a JSON object in UTF-8 without duplicate keys",
          Json.explain(e));
    }
  }

  private static byte[] bytes(Path path, long maxBytes) throws IOException {
    try {
      long size = Files.size(path);
      if (size > maxBytes) {
        throw new AdapterFormatException(
            path, null, "the file must have at most %d bytes".formatted(maxBytes), size);
      }
      return Files.readAllBytes(path);
    } catch (FileSystemException e) {
      // names the file already
      throw e;
    } catch (IOException e) {
      throw new IOException("%s cannot be read: %s".formatted(path, e.getMessage()), e);
    }
  }
}
