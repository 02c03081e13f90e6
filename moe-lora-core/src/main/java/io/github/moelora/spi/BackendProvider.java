package io.github.moelora.spi;

import io.github.moelora.MoeLoraConfig;
import java.util.List;

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
   * What {@link MoeLoraConfig#device} can choose from, by index, for people; empty where the
   * backend cannot run. Never throws.
   */
  default List<String> devices() {
    return probe() instanceof Availability.Usable usable ? List.of(usable.device()) : List.of();
  }

  /**
   * Opens the backend on the device that the configuration names, else on its first.
   *
   * @throws IllegalArgumentException if there is no such device
   * @throws IllegalStateException if it is not usable, with reason and remedy
   */
  Backend open(MoeLoraConfig config);
}
