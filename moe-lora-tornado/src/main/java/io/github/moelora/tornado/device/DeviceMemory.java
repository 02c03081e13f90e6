package io.github.moelora.tornado.device;

import java.util.HashMap;
import java.util.Map;
import uk.ac.manchester.tornado.api.common.TornadoDevice;

/**
 * What the instances of this process take of a device's memory, counted before they take it.
 * TornadoVM hands out memory until its limit and fails then, in the middle of a load; what other
 * programs take, nobody tells. Thread-safe; a reservation belongs to one thread at a time.
 */
public final class DeviceMemory implements AutoCloseable {
  /** TornadoVM's limit for each device. */
  static final String LIMIT_PROPERTY = "tornado.device.memory";

  private static final String DEFAULT_LIMIT = "4GB";
  private static final Map<TornadoDevice, Long> TAKEN = new HashMap<>();

  private final TornadoDevice device;
  private long bytes;

  /** Takes nothing yet. */
  public DeviceMemory(TornadoDevice device) {
    this.device = device;
  }

  /**
   * Takes memory.
   *
   * @param total bytes
   * @param largest bytes of the largest array among them
   * @throws IllegalStateException if it is not there; says what is needed, what is left and what to
   *     change
   */
  public void take(long total, long largest) {
    synchronized (TAKEN) {
      long taken = TAKEN.getOrDefault(device, 0L);
      require(
          new Need(total, largest),
          new Limits(
              DeviceTraits.name(device),
              device.getMaxGlobalMemory(),
              parse(System.getProperty(LIMIT_PROPERTY, DEFAULT_LIMIT)),
              device.getMaxAllocMemory()),
          taken);
      TAKEN.put(device, taken + total);
      bytes += total;
    }
  }

  /** Bytes that this reservation holds. */
  public long bytes() {
    return bytes;
  }

  /** Gives back what was taken; a second call does nothing. */
  @Override
  public void close() {
    synchronized (TAKEN) {
      TAKEN.merge(device, -bytes, Long::sum);
      bytes = 0;
    }
  }

  /** What is asked for. */
  record Need(long total, long largest) {}

  /**
   * What a device gives.
   *
   * @param memory bytes that it has
   * @param tornado bytes that TornadoVM hands out
   * @param array an array must have fewer bytes
   */
  record Limits(String name, long memory, long tornado, long array) {}

  /**
   * @param taken bytes that instances have already
   */
  static void require(Need need, Limits limits, long taken) {
    long limit = Math.min(limits.memory(), limits.tornado());
    if (need.total() > limit - taken) {
      String remedy =
          limits.tornado() < limits.memory()
              ? "start the JVM with a larger -D%s, below the device's %d bytes, or open the"
                  .formatted(LIMIT_PROPERTY, limits.memory())
              : "open the";
      throw new IllegalStateException(
          ("the instance needs %d bytes on %s, and %d of the %d that %s are left; %s instance with"
                  + " fewer slots, a smaller MoeLoraConfig.withPool or a smaller maxRank")
              .formatted(
                  need.total(),
                  limits.name(),
                  Math.max(0, limit - taken),
                  limit,
                  limits.tornado() < limits.memory() ? LIMIT_PROPERTY + " allows" : "it has",
                  remedy));
    }
    if (need.largest() >= limits.array()) {
      throw new IllegalStateException(
          ("the instance needs an array of %d bytes on %s, which takes arrays of less than %d; open"
                  + " it with fewer slots, a smaller MoeLoraConfig.withPool or a smaller maxRank")
              .formatted(need.largest(), limits.name(), limits.array()));
    }
  }

  /**
   * Bytes that a size means to TornadoVM: a number, followed by KB, MB, GB, TB, PB or EB or by
   * nothing.
   */
  static long parse(String size) {
    int unit =
        size.endsWith("B") && size.length() > 2
            ? "KMGTPE".indexOf(size.charAt(size.length() - 2))
            : -1;
    try {
      long number = Long.parseLong(unit < 0 ? size : size.substring(0, size.length() - 2));
      return Math.multiplyExact(number, 1L << (10 * (unit + 1)));
    } catch (NumberFormatException | ArithmeticException e) {
      throw new IllegalStateException(
          "-D%s must be a size such as 24GB, got %s".formatted(LIMIT_PROPERTY, size), e);
    }
  }
}
