package io.github.moelora.cache;

/** An adapter could not be read or loaded; the cause says why. The next acquire tries again. */
public final class AdapterLoadException extends RuntimeException {
  private static final long serialVersionUID = 1;

  AdapterLoadException(String name, Throwable cause) {
    super("adapter %s could not be loaded: %s".formatted(name, cause), cause);
  }
}
