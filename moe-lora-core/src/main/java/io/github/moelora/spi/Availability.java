package io.github.moelora.spi;

/** Answer of {@link BackendProvider#probe}. */
public sealed interface Availability {

  /**
   * The backend can run; among usable backends the highest {@code priority} is chosen.
   *
   * @param device what it runs on, for people
   */
  record Usable(String device, int priority) implements Availability {}

  /**
   * The backend cannot run.
   *
   * @param reason what is missing
   * @param remedy what the user can do about it
   */
  record Unusable(String reason, String remedy) implements Availability {}
}
