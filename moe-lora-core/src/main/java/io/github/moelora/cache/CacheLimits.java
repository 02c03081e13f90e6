package io.github.moelora.cache;

import java.time.Duration;
import java.util.Objects;

/**
 * Limits of an {@link AdapterCache}. Start with {@link #of} and change what differs.
 *
 * @param hostBytes most bytes of adapters kept in host memory besides those in slots, at least 0;
 *     adapters on their way into a slot come on top, at most {@code readers} of them
 * @param readers most adapters that are read at once, or wait read for a slot, in {@code [1, 64]};
 *     as many are packed into slots at once
 * @param maxWaiting most requests that wait at once, at least 1; a further one is refused
 * @param maxWait longest time that a request waits unless it names its own, positive
 * @param maxPassed most leases of adapters in slots that are granted while an adapter waits for a
 *     slot, at least 1; then the least recently used slot takes no new leases, so that it becomes
 *     free for the one that waits
 */
public record CacheLimits(
    long hostBytes, int readers, int maxWaiting, Duration maxWait, int maxPassed) {

  /**
   * @throws IllegalArgumentException if a value is outside its range
   */
  public CacheLimits {
    Objects.requireNonNull(maxWait, "maxWait must not be null");
    require("hostBytes", hostBytes, 0, Long.MAX_VALUE);
    require("readers", readers, 1, 64);
    require("maxWaiting", maxWaiting, 1, Integer.MAX_VALUE);
    require("maxPassed", maxPassed, 1, Integer.MAX_VALUE);
    requirePositive("maxWait", maxWait);
  }

  /** Two readers, 1024 waiting requests, 30 seconds, 64 passed. */
  public static CacheLimits of(long hostBytes) {
    return new CacheLimits(hostBytes, 2, 1024, Duration.ofSeconds(30), 64);
  }

  public CacheLimits withReaders(int newReaders) {
    return new CacheLimits(hostBytes, newReaders, maxWaiting, maxWait, maxPassed);
  }

  public CacheLimits withMaxWaiting(int requests) {
    return new CacheLimits(hostBytes, readers, requests, maxWait, maxPassed);
  }

  public CacheLimits withMaxWait(Duration time) {
    return new CacheLimits(hostBytes, readers, maxWaiting, time, maxPassed);
  }

  public CacheLimits withMaxPassed(int leases) {
    return new CacheLimits(hostBytes, readers, maxWaiting, maxWait, leases);
  }

  private static void require(String name, long value, long least, long most) {
    if (value < least || value > most) {
      throw new IllegalArgumentException(
          "%s must be in [%d, %d], got %d".formatted(name, least, most, value));
    }
  }

  static void requirePositive(String name, Duration time) {
    if (time.isNegative() || time.isZero()) {
      throw new IllegalArgumentException(name + " must be positive, got " + time);
    }
  }
}
