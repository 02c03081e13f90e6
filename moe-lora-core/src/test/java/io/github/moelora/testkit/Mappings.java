package io.github.moelora.testkit;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** What this process has mapped, as Linux tells; elsewhere nothing. */
public final class Mappings {
  private static final Path MAPS = Path.of("/proc/self/maps");

  private Mappings() {}

  public static boolean areKnown() {
    return Files.isReadable(MAPS);
  }

  /** Mappings of a file. */
  public static List<String> of(Path file) {
    if (!areKnown()) {
      return List.of();
    }
    try (Stream<String> lines = Files.lines(MAPS)) {
      return lines.filter(line -> line.endsWith(file.toString())).toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
