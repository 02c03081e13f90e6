package io.github.moelora.tornado.emulator;

/** A kernel did what a device does not define, such as a barrier that not all threads reach. */
public final class EmulationError extends AssertionError {
  private static final long serialVersionUID = 1;

  public EmulationError(String message) {
    super(message);
  }
}
