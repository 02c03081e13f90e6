package io.github.moelora.peft;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** A file of an adapter breaks a rule; nothing of it was loaded. */
public final class AdapterFormatException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final transient Path file;
  private final @Nullable String tensor;
  private final String rule;
  private final String value;

  AdapterFormatException(Path file, @Nullable String tensor, String rule, @Nullable Object value) {
    super(
        "%s%s: %s, got %s"
            .formatted(file, tensor == null ? "" : ": tensor " + tensor, rule, value));
    this.file = file;
    this.tensor = tensor;
    this.rule = rule;
    this.value = String.valueOf(value);
  }

  /** The file. */
  public Path file() {
    return file;
  }

  /** Name of the tensor at fault, or null if it is not one tensor's fault. */
  public @Nullable String tensor() {
    return tensor;
  }

  /** What should hold. */
  public String rule() {
    return rule;
  }

  /** What was found. */
  public String value() {
    return value;
  }
}
