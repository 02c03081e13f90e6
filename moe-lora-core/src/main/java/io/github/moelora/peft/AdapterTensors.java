package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.safetensors.SafeTensorsFile;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The tensors of an adapter: of one file, or of the shards that an index names. */
final class AdapterTensors implements AutoCloseable {
  private static final String FILE = "adapter_model.safetensors";
  private static final String INDEX = "adapter_model.safetensors.index.json";
  private static final long MAX_INDEX_BYTES = 256 << 20;
  private static final int MAX_SHARDS = 4096;

  private final Path path;
  private final List<SafeTensorsFile> files;
  private final SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();

  /** Files of tensors that are not in {@link #path}. */
  private final Map<String, Path> paths = new HashMap<>();

  private AdapterTensors(Path path, List<SafeTensorsFile> files) {
    this.path = path;
    this.files = files;
  }

  /**
   * Maps the file or files of a directory.
   *
   * @throws AdapterFormatException if there are none, or one breaks a rule of its format
   * @throws IOException if one cannot be read
   */
  static AdapterTensors open(Path directory) throws IOException {
    Path single = directory.resolve(FILE);
    Path index = directory.resolve(INDEX);
    if (!Files.exists(single) && Files.isRegularFile(index)) {
      return sharded(directory, index);
    }
    if (!Files.exists(single)) {
      OtherFiles.requireNone(directory, single);
    }
    SafeTensorsFile file = SafeTensorsFile.open(single);
    AdapterTensors opened = new AdapterTensors(single, List.of(file));
    opened.tensors.putAll(file.tensors());
    return opened;
  }

  private static AdapterTensors sharded(Path directory, Path index) throws IOException {
    Map<String, String> shardOf = readIndex(index);
    Set<String> names = new LinkedHashSet<>(shardOf.values());
    if (names.size() > MAX_SHARDS) {
      throw new AdapterFormatException(
          index, null, "weight_map must name at most %d files".formatted(MAX_SHARDS), names.size());
    }
    AdapterTensors opened = new AdapterTensors(index, new ArrayList<>());
    boolean complete = false;
    try {
      for (String name : names) {
        opened.add(SafeTensorsFile.open(directory.resolve(name)), name, shardOf);
      }
      opened.requireAll(shardOf);
      complete = true;
      return opened;
    } finally {
      if (!complete) {
        opened.close();
      }
    }
  }

  private static Map<String, String> readIndex(Path index) throws IOException {
    Object map = ConfigText.read(index, MAX_INDEX_BYTES).get("weight_map");
    if (!(map instanceof Map<?, ?> entries)) {
      throw new AdapterFormatException(
          index, null, "weight_map must be an object of file names", map);
    }
    Map<String, String> shardOf = new LinkedHashMap<>();
    entries.forEach(
        (tensor, file) -> {
          boolean plain =
              file instanceof String name
                  && name.endsWith(".safetensors")
                  && name.chars().noneMatch(c -> c == '/' || c == '\\' || c < ' ');
          if (!plain) {
            throw new AdapterFormatException(
                index,
                (String) tensor,
                "its file must be a safetensors file beside the index",
                file);
          }
          shardOf.put((String) tensor, (String) file);
        });
    return shardOf;
  }

  private void add(SafeTensorsFile shard, String name, Map<String, String> shardOf) {
    files.add(shard);
    for (Tensor tensor : shard.tensors().values()) {
      if (!name.equals(shardOf.get(tensor.name()))) {
        throw new AdapterFormatException(
            shard.path(),
            tensor.name(),
            "the index must name this file for the tensor",
            shardOf.get(tensor.name()));
      }
      tensors.put(tensor.name(), tensor);
      paths.put(tensor.name(), shard.path());
    }
  }

  private void requireAll(Map<String, String> shardOf) {
    shardOf.forEach(
        (tensor, file) -> {
          if (!tensors.containsKey(tensor)) {
            throw new AdapterFormatException(
                path, tensor, "the file that the index names must hold the tensor", file);
          }
        });
  }

  /** The file, or the index of the shards. */
  Path path() {
    return path;
  }

  /** The file of a tensor; {@link #path} where none is named. */
  Path path(@Nullable String tensor) {
    return tensor == null ? path : paths.getOrDefault(tensor, path);
  }

  AdapterFormatException fault(@Nullable String tensor, String rule, @Nullable Object value) {
    return new AdapterFormatException(path(tensor), tensor, rule, value);
  }

  /** All tensors by name, file by file in the order of their bytes. */
  SequencedMap<String, Tensor> tensors() {
    return tensors;
  }

  /**
   * Checks that no file is shorter than when it was mapped.
   *
   * @throws AdapterFormatException naming the file that is
   */
  void requireUnchanged() {
    files.forEach(SafeTensorsFile::requireUnchanged);
  }

  @Override
  public void close() {
    files.forEach(SafeTensorsFile::close);
  }
}
