package io.github.moelora.cli;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;

/** A backend with a fault of its own: it cannot be opened. */
public final class CrashingBackend implements BackendProvider {
  @Override
  public String name() {
    return "crashing";
  }

  @Override
  public Availability probe() {
    return new Availability.Usable("crashing device", -2);
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    throw new UnsupportedOperationException("a fault of the backend");
  }
}
