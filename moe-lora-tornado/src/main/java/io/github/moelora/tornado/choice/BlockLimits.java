package io.github.moelora.tornado.choice;

import io.github.moelora.DType;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;

/**
 * Pairs of a group, in the mean of a batch, from which on the narrow kernels get larger blocks.
 *
 * @param large for large blocks
 * @param largeOfRanks the same for ranks above 32, whose weights cost more to read again
 * @param largest for the largest blocks
 */
public record BlockLimits(int large, int largeOfRanks, int largest) {

  /** What was measured on devices whose names begin so. */
  private record Row(String device, DType type, BlockLimits limits) {}

  /**
   * Printed by {@code scripts/bench-gpu --tune-table} and logged by {@code tune}; other devices get
   * what the first one has.
   */
  private static final List<Row> TABLE =
      List.of(
          new Row("NVIDIA H100", DType.BF16, new BlockLimits(24, 16, 128)),
          new Row("NVIDIA H100", DType.F16, new BlockLimits(24, 16, 128)),
          new Row("NVIDIA H200", DType.BF16, new BlockLimits(24, 16, 128)),
          new Row("NVIDIA H200", DType.F16, new BlockLimits(90, 16, 128)));

  /**
   * The limits as a line of the table.
   *
   * @param device its name without the driver's
   */
  public String row(String device, DType type) {
    return "new Row(\"%s\", DType.%s, new BlockLimits(%d, %d, %d))"
        .formatted(device, type, large, largeOfRanks, largest);
  }

  /**
   * The limits for a device.
   *
   * @param device its name, see {@code DeviceTraits.name}
   * @param type of the weights
   */
  public static BlockLimits of(String device, DType type) {
    return first(row -> device.startsWith(row.device()) && row.type() == type)
        .or(() -> first(row -> row.type() == type))
        .orElse(TABLE.getFirst())
        .limits();
  }

  private static Optional<Row> first(Predicate<Row> wanted) {
    return TABLE.stream().filter(wanted).findFirst();
  }
}
