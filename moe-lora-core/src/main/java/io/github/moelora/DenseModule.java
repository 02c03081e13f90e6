package io.github.moelora;

import java.util.List;
import java.util.Objects;

/**
 * A linear layer outside the routed experts that adapters may change: attention's projections, a
 * shared expert's, the router, a dense MLP's, the head. To an adapter it is a layer with one expert
 * and one choice.
 *
 * @param name its path in the model as adapter files write it, without PEFT's prefixes: {@code
 *     model.layers.3.self_attn.q_proj}; a path that begins later, such as {@code
 *     layers.3.self_attn.q_proj}, finds the module in files of any wrapper
 * @param inputWidth columns of {@code x}, at least 1
 * @param outputWidth columns of {@code y}, at least 1
 * @param split which of its widths {@link Shard}s divide
 */
public record DenseModule(String name, int inputWidth, int outputWidth, Split split) {

  /** What of a linear layer a shard holds. */
  public enum Split {
    /** All of it: every shard computes the same. */
    NONE,
    /** Its share of the output columns (q, k, v, up); the shards' results are concatenated. */
    OUTPUT,
    /** Its share of each half of the output columns (gate and up fused). */
    OUTPUT_HALVES,
    /** Its share of the input columns (o, down); the shards' results are added. */
    INPUT
  }

  /** Stands for the number of the layer in {@link #inLayers}. */
  private static final String LAYER = "*";

  /**
   * @throws IllegalArgumentException if the name is blank, begins or ends with a dot, a width is
   *     below 1, or an odd one is to be split in halves
   */
  public DenseModule {
    Objects.requireNonNull(name, "name must not be null");
    Objects.requireNonNull(split, "split must not be null");
    if (name.isBlank() || name.startsWith(".") || name.endsWith(".")) {
      throw new IllegalArgumentException(
          "name must be the path of a module, got \"%s\"".formatted(name));
    }
    Checks.inRange("inputWidth", inputWidth, 1, Integer.MAX_VALUE / 2);
    Checks.inRange("outputWidth", outputWidth, 1, Integer.MAX_VALUE / 2);
    if (split == Split.OUTPUT_HALVES && outputWidth % 2 != 0) {
      throw new IllegalArgumentException(
          "outputWidth must be even to be split in halves, got " + outputWidth);
    }
  }

  /** A module of which every shard has all. */
  public DenseModule(String name, int inputWidth, int outputWidth) {
    this(name, inputWidth, outputWidth, Split.NONE);
  }

  /** The module as a shard has it. */
  DenseModule shard(Shard shard) {
    return switch (split) {
      case NONE -> this;
      case INPUT ->
          new DenseModule(name, shard.share(name + ": inputWidth", inputWidth), outputWidth, split);
      case OUTPUT ->
          new DenseModule(
              name, inputWidth, shard.share(name + ": outputWidth", outputWidth), split);
      case OUTPUT_HALVES ->
          new DenseModule(
              name,
              inputWidth,
              2 * shard.share(name + ": outputWidth / 2", outputWidth / 2),
              split);
    };
  }

  /**
   * The module of one name in several layers.
   *
   * @param pattern the path with {@code *} for the number of the layer: {@code
   *     model.layers.*.self_attn.q_proj}
   * @param layers numbers of the layers
   * @throws IllegalArgumentException if the pattern has not exactly one {@code *}
   */
  public static List<DenseModule> inLayers(
      String pattern, List<Integer> layers, int inputWidth, int outputWidth) {
    Objects.requireNonNull(pattern, "pattern must not be null");
    Objects.requireNonNull(layers, "layers must not be null");
    int at = pattern.indexOf(LAYER);
    if (at < 0 || at != pattern.lastIndexOf(LAYER)) {
      throw new IllegalArgumentException(
          "pattern must have one * for the layer, got \"%s\"".formatted(pattern));
    }
    return layers.stream()
        .map(layer -> pattern.replace(LAYER, layer.toString()))
        .map(name -> new DenseModule(name, inputWidth, outputWidth))
        .toList();
  }

  /** Whether a path in a file names this module: it is the name, or ends with it at a dot. */
  boolean isNamedBy(String path) {
    int before = path.length() - name.length() - 1;
    return path.equals(name) || (before > 0 && path.charAt(before) == '.' && path.endsWith(name));
  }
}
