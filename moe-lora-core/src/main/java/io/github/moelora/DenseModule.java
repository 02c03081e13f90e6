package io.github.moelora;

import java.util.List;

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
 */
public record DenseModule(String name, int inputWidth, int outputWidth) {

  /** Stands for the number of the layer in {@link #inLayers}. */
  private static final String LAYER = "*";

  /**
   * @throws IllegalArgumentException if the name is blank, begins or ends with a dot, or a width is
   *     below 1
   */
  public DenseModule {
    if (name.isBlank() || name.startsWith(".") || name.endsWith(".")) {
      throw new IllegalArgumentException(
          "name must be the path of a module, got \"%s\"".formatted(name));
    }
    Checks.atLeast("inputWidth", inputWidth, 1);
    Checks.inRange("outputWidth", outputWidth, 1, Integer.MAX_VALUE / 2);
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
