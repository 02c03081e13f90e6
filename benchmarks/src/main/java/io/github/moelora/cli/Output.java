package io.github.moelora.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.github.moelora.Projection;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Numbers and files of the commands' output. */
public final class Output {
  private static final ObjectMapper JSON =
      new ObjectMapper()
          .setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
          .enable(SerializationFeature.INDENT_OUTPUT);

  private Output() {}

  /** Reads and writes the commands' files: names in snake case. */
  public static ObjectMapper json() {
    return JSON;
  }

  /**
   * Checks before long work that its result can be written afterwards.
   *
   * @param option name of the option, for the message
   * @param file may be null: nothing is to be written
   */
  static void requireWritable(String option, @Nullable Path file) {
    if (file == null) {
      return;
    }
    Path folder = file.toAbsolutePath().getParent();
    if (Files.isDirectory(file)) {
      throw new IllegalArgumentException(
          "%s must be a file, got folder %s".formatted(option, file));
    }
    if (!Files.exists(file) && (folder == null || !Files.isDirectory(folder))) {
      throw new IllegalArgumentException(
          "%s must lie in an existing folder, got %s".formatted(option, file));
    }
    if (!Files.isWritable(Files.exists(file) ? file : folder)) {
      throw new IllegalArgumentException("%s must be writable, got %s".formatted(option, file));
    }
  }

  /** A path for people: relative where it lies below the working directory. */
  static Path shortened(Path path) {
    Path here = Path.of("").toAbsolutePath();
    return path.startsWith(here) ? here.relativize(path) : path;
  }

  /** Name of a projection in tables. */
  static String name(Projection projection) {
    return projection == Projection.GATE_UP ? "gate/up" : "down";
  }

  /** Writes a value as JSON, in one piece. */
  public static void writeJson(Path file, Object value) throws IOException {
    Files.writeString(file, JSON.writeValueAsString(value) + "\n");
  }

  /** As {@code String.format}, with a decimal point everywhere. */
  @SuppressWarnings("AnnotateFormatMethod") // would need a dependency for one annotation
  public static String format(String format, Object... args) {
    return String.format(Locale.ROOT, format, args);
  }

  /** A positive number with three significant digits. */
  static String number(double value) {
    if (value == 0) {
      return "0";
    }
    int digits = Math.clamp(2 - (int) Math.floor(Math.log10(Math.abs(value))), 0, 6);
    return format("%." + digits + "f", value);
  }

  /** A text of a file, without what could steer a terminal. */
  static String printable(String text) {
    return text.codePoints()
        .map(c -> Character.isISOControl(c) || Character.getType(c) == Character.FORMAT ? '?' : c)
        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
        .toString();
  }

  static String bytes(double bytes) {
    String[] units = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    double value = bytes;
    while (value >= 1024 && unit < units.length - 1) {
      value /= 1024;
      unit++;
    }
    return format(unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  }
}
