package io.github.moelora.spi;

import io.github.moelora.MoeLoraConfig;

/**
 * Service that offers a backend; found with {@link java.util.ServiceLoader}. Safe for use by
 * several threads.
 */
public interface BackendProvider {

  /** Short lower-case name by which users ask for this backend, such as {@code cpu}. */
  String name();

  /** Finds out whether the backend can run here; never throws and leaves nothing open. */
  Availability probe();

  /**
   * Opens the backend.
   *
   * @throws IllegalStateException if it is not usable, with reason and remedy
   */
  Backend open(MoeLoraConfig config);
}
