package io.github.moelora;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** A file of an adapter breaks a rule; nothing of it was loaded. */
public final class AdapterFormatException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** A hostile name or value must not flood a log. */
  private static final int MAX_SHOWN = 300;

  private final transient Path file;
  private final @Nullable String tensor;
  private final String rule;
  private final String value;

  /**
   * A message of file, tensor, rule and value; names and values from the file are made printable.
   *
   * @param tensor name as the file has it, or null if it is not one tensor's fault
   * @param rule what should hold
   * @param value what was found
   */
  public AdapterFormatException(
      Path file, @Nullable String tensor, String rule, @Nullable Object value) {
    super(
        "%s%s: %s, got %s"
            .formatted(
                file,
                tensor == null ? "" : ": tensor " + printable(tensor),
                printable(rule),
                printable(String.valueOf(value))));
    this.file = file;
    this.tensor = tensor;
    this.rule = printable(rule);
    this.value = printable(String.valueOf(value));
  }

  /**
   * A text from a hostile file as messages may show it.
   *
   * @return the text, shortened, and without what could steer a terminal or fake a line of a log
   */
  public static String printable(String text) {
    StringBuilder shown = new StringBuilder();
    text.codePoints()
        .limit(MAX_SHOWN)
        .forEach(
            c ->
                shown.appendCodePoint(
                    Character.isISOControl(c) || Character.getType(c) == Character.FORMAT
                        ? '\uFFFD'
                        : c));
    return text.codePointCount(0, text.length()) > MAX_SHOWN ? shown + "..." : shown.toString();
  }

  /** The file. */
  public Path file() {
    return file;
  }

  /** Name of the tensor at fault as the file has it, or null if it is not one tensor's fault. */
  public @Nullable String tensor() {
    return tensor;
  }

  /** What should hold. */
  public String rule() {
    return rule;
  }

  /** What was found, shortened and without control characters. */
  public String value() {
    return value;
  }
}
