package io.github.moelora.cache;

import io.github.moelora.LoraAdapter;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Adapter directories. The weights are copied out of the mapped file: a file that is written over
 * later would change or end them otherwise. A file that changes while it is read is read again.
 */
final class DirectorySource implements AdapterSource {
  private static final List<String> FILES =
      List.of("adapter_config.json", "adapter_model.safetensors");

  /** A writer that is not done after so many reads should have written elsewhere and renamed. */
  private static final int ATTEMPTS = 3;

  private final @Nullable Path root;
  private final Function<PeftAdapter, LoraAdapter> part;

  /**
   * @param root folder that names are below of; null for any path
   * @param part makes the adapter of an open file
   */
  DirectorySource(@Nullable Path root, Function<PeftAdapter, LoraAdapter> part) {
    this.root = root;
    this.part = part;
  }

  /** State of one file; the key, such as the inode, tells a renamed file of the same time. */
  private record FileState(FileTime modified, long bytes, @Nullable Object key) {
    static FileState of(Path file) throws IOException {
      BasicFileAttributes attributes = Files.readAttributes(file, BasicFileAttributes.class);
      return new FileState(attributes.lastModifiedTime(), attributes.size(), attributes.fileKey());
    }
  }

  private record Version(FileState config, FileState weights) {}

  @Override
  public Object version(String name) throws IOException {
    return version(directory(name));
  }

  private static Version version(Path directory) throws IOException {
    return new Version(
        FileState.of(directory.resolve(FILES.getFirst())),
        FileState.of(directory.resolve(FILES.getLast())));
  }

  private Path directory(String name) throws IOException {
    Path directory = Path.of(name);
    if (root == null) {
      return directory;
    }
    Path real = root.resolve(directory).toRealPath();
    if (!real.startsWith(root.toRealPath())) {
      throw new IOException("name must be a path below %s, got %s".formatted(root, name));
    }
    return real;
  }

  @Override
  public LoraAdapter read(String name, Arena arena) throws IOException {
    Path directory = directory(name);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      Version before = version(directory);
      LoraAdapter adapter;
      try (PeftAdapter file = PeftAdapter.open(directory)) {
        adapter = part.apply(file).copyTo(arena);
      }
      if (version(directory).equals(before)) {
        return adapter;
      }
    }
    throw new IOException(
        "%s must not change while it is read, but did %d times".formatted(directory, ATTEMPTS));
  }
}
