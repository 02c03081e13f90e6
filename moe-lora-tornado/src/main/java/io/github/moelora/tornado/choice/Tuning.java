package io.github.moelora.tornado.choice;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Choices of the backend that were measured on a device for a shape, in place of the built-in ones.
 *
 * @param device name of the device, see {@code DeviceTraits.name}
 * @param shape the shape
 * @param targetItems items that the one-shot kernel cuts columns for, by the rows of its blocks
 *     less one; 0 is the built-in number
 * @param rules the first that takes a batch decides; a batch that none takes gets the built-in
 *     choice
 */
public record Tuning(String device, Shape shape, List<Integer> targetItems, List<Rule> rules) {
  /** Names a file of {@link TuningFile}. */
  public static final String PROPERTY = "moelora.tuning";

  private static final Logger LOG = LoggerFactory.getLogger(Tuning.class);

  /**
   * What the fastest choice depends on beside the device.
   *
   * @param hiddenSize width of the residual stream
   * @param intermediateSize {@code I}
   * @param experts {@code E}
   * @param expertsPerToken {@code K}
   * @param gateUp columns of the first projection
   * @param maxRank largest rank
   * @param weights type of the weights
   */
  public record Shape(
      int hiddenSize,
      int intermediateSize,
      int experts,
      int expertsPerToken,
      GateUp gateUp,
      int maxRank,
      DType weights) {

    public static Shape of(MoeLoraConfig config) {
      MoeModel model = config.model();
      return new Shape(
          model.hiddenSize(),
          model.intermediateSize(),
          model.experts(),
          config.expertsPerToken(),
          model.gateUp(),
          config.maxRank(),
          config.weightType());
    }
  }

  /**
   * Block size of some batches.
   *
   * @param maxActivePairs takes batches of up to so many pairs with work
   * @param maxPairsPerGroup takes batches of up to so many pairs per (adapter, expert) in the mean;
   *     infinite for all
   * @param blockSize rows of a block
   */
  public record Rule(int maxActivePairs, double maxPairsPerGroup, int blockSize) {

    boolean takes(int activePairs, int groups) {
      return activePairs <= maxActivePairs
          && (maxPairsPerGroup == Double.POSITIVE_INFINITY
              || activePairs <= maxPairsPerGroup * groups);
    }
  }

  public Tuning {
    targetItems = List.copyOf(targetItems);
    rules = List.copyOf(rules);
  }

  /**
   * The choices that {@link #PROPERTY} names, if they are for this device and shape; the log tells
   * which ones are taken.
   *
   * @return null for the built-in ones
   * @throws IllegalArgumentException if the file cannot be read or is damaged
   */
  public static @Nullable Tuning find(MoeLoraConfig config, String device, boolean packed) {
    String property = System.getProperty(PROPERTY);
    if (property == null) {
      LOG.info("block sizes: built in");
      return null;
    }
    Path file = Path.of(property);
    Tuning tuning = TuningFile.read(file);
    if (!tuning.device.equals(device)) {
      LOG.info("block sizes: built in; {} is for device {}, not {}", file, tuning.device, device);
      return null;
    }
    Shape shape = Shape.of(config);
    if (!tuning.shape.equals(shape)) {
      LOG.info("block sizes: built in; {} is for {}, not {}", file, tuning.shape, shape);
      return null;
    }
    TuningFile.requireBlockSizes(file, tuning, BlockChoice.blockSizes(config, packed));
    LOG.info("block sizes: {}", file);
    return tuning;
  }

  /** Rows of a block, or 0 for the built-in choice. Allocates nothing. */
  public int blockSize(int activePairs, int groups) {
    for (int i = 0; i < rules.size(); i++) {
      if (rules.get(i).takes(activePairs, groups)) {
        return rules.get(i).blockSize();
      }
    }
    return 0;
  }

  /**
   * The kernel with the measured number of items.
   *
   * @param tuning null for the built-in number
   */
  public static OneShotTiling withTargetItems(OneShotTiling tiling, @Nullable Tuning tuning) {
    int items = tuning == null ? 0 : tuning.targetItems.get(tiling.rows() - 1);
    return items == 0 ? tiling : tiling.withTargetItems(items);
  }
}
