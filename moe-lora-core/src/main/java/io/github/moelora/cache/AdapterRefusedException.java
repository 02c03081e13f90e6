package io.github.moelora.cache;

/** A request for an adapter was turned away: too many wait already, or it waited too long. */
public final class AdapterRefusedException extends RuntimeException {
  private static final long serialVersionUID = 1;

  AdapterRefusedException(String message) {
    super(message);
  }
}
