package io.github.moelora.cli;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;

/** A backend whose device is not there. */
public final class MissingBackend implements BackendProvider {
  @Override
  public String name() {
    return "missing";
  }

  @Override
  public Availability probe() {
    return new Availability.Unusable("there is no device", "plug one in");
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    throw new IllegalStateException("there is no device");
  }
}
