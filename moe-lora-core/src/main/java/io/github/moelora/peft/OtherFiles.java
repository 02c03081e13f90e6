package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** What lies in a folder in which a file of a PEFT adapter is missing. */
final class OtherFiles {
  private OtherFiles() {}

  /** Says what to do where weights lie under another name. */
  static void requireNone(Path directory, Path missing) throws IOException {
    for (String name : names(directory)) {
      String remedy = remedy(name);
      if (!remedy.isEmpty()) {
        throw new AdapterFormatException(
            missing, null, "it must be a regular file (%s)".formatted(remedy), "no such file");
      }
    }
  }

  private static String remedy(String name) {
    if (name.equals("adapter_model.bin")) {
      return "adapter_model.bin lies beside it, which can run code when it is read and is not read:"
          + " load the adapter with PEFT and save it with save_pretrained, which writes"
          + " safetensors";
    }
    if (name.equals("adapters.safetensors")) {
      return "adapters.safetensors lies beside it, so this is an adapter of mlx-lm, not of PEFT:"
          + " convert it to PEFT's names and layout";
    }
    if (name.matches("adapter_model-\\d+-of-\\d+\\.safetensors")) {
      return name
          + " lies beside it: a sharded adapter needs its adapter_model.safetensors.index.json";
    }
    if (name.endsWith(".gguf")) {
      return name + " lies beside it: give that file's name to read a GGUF adapter";
    }
    return "";
  }

  /** Names the folder of an adapter that PEFT saved under a name of its own. */
  static void requireNoSubfolder(Path directory, Path missing) throws IOException {
    if (Files.exists(missing)) {
      return;
    }
    List<String> found =
        names(directory).stream()
            .filter(
                name ->
                    Files.isRegularFile(directory.resolve(name, missing.getFileName().toString())))
            .toList();
    if (!found.isEmpty()) {
      throw new AdapterFormatException(
          missing,
          null,
          "it must be a regular file (the folder holds adapters in folders of their own, as PEFT"
              + " saves an adapter with a name: give %s)"
                  .formatted(directory.resolve(found.getFirst())),
          "no such file, but " + String.join(", ", found));
    }
    requireNone(directory, missing);
  }

  private static List<String> names(Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      return List.of();
    }
    try (Stream<Path> paths = Files.list(directory)) {
      return paths.map(path -> String.valueOf(path.getFileName())).sorted().toList();
    }
  }
}
