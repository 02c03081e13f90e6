package io.github.moelora.cache;

/**
 * Told what an {@link AdapterCache} does, for metrics. Called without any lock, by the thread that
 * made it happen, so calls of several threads overlap; it should return soon. What it throws is
 * logged and otherwise ignored.
 */
public interface CacheListener {

  /** Does nothing. */
  CacheListener NONE = new CacheListener() {};

  /**
   * A lease was granted.
   *
   * @param hit whether the adapter was in a slot already
   * @param waitNanos time from the request to the lease
   */
  default void acquired(String name, int slot, boolean hit, long waitNanos) {}

  /**
   * An adapter was read from the source into host memory.
   *
   * @param bytes of A and B, as read
   */
  default void read(String name, long bytes, long nanos) {}

  /**
   * An adapter was loaded into a slot.
   *
   * @param bytes of A and B, as read
   */
  default void loaded(String name, int slot, long bytes, long nanos) {}

  /** An adapter left its slot, for another one or because its file has changed. */
  default void evicted(String name, int slot) {}

  /** An adapter could not be read or loaded; so many requests failed with it. */
  default void failed(String name, Throwable cause, int requests) {}

  /** A request was turned away: too many waited, or it waited too long. */
  default void refused(String name) {}
}
