package io.github.moelora;

/**
 * A step was run after an adapter slot that its plan uses had been loaded, unloaded, enabled or
 * disabled; plan again.
 */
public final class StalePlanException extends IllegalStateException {
  private static final long serialVersionUID = 1;

  StalePlanException(int slot) {
    super(
        "adapter slot %d changed after the step was planned; call plan again before run"
            .formatted(slot));
  }
}
