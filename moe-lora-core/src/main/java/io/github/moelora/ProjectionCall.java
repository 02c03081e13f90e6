package io.github.moelora;

import java.util.Objects;

/**
 * What one {@link Step#run} computes. Made once, used at every step.
 *
 * @param module position in {@link MoeModel#dense}, or {@link #EXPERTS}; a dense module is a layer
 *     with one expert and one choice, so its {@code layer} is 0 and its {@code projection} {@link
 *     Projection#GATE_UP}, and its pairs are the tokens
 * @param layer layer index as the model numbers it
 * @param projection which projection
 * @param pairRows whether {@code x} has one row per pair ({@code [P, H]}) instead of one per token
 *     ({@code [T, H]})
 * @param routedWeight whether a pair's delta is multiplied by its routing weight
 * @param add whether the delta is added to {@code y}; otherwise {@code y} becomes the delta alone,
 *     zero where a pair has none
 * @param columnOffset column of {@code y} at which the projection's first column stands, at least 0
 */
public record ProjectionCall(
    int module,
    int layer,
    Projection projection,
    boolean pairRows,
    boolean routedWeight,
    boolean add,
    int columnOffset) {

  /** The {@code module} of calls on routed experts. */
  public static final int EXPERTS = -1;

  /**
   * @throws IllegalArgumentException if a number is out of its range, or a call on a dense module
   *     asks for a layer, another projection or routing weights
   */
  public ProjectionCall {
    Checks.atLeast("module", module, EXPERTS);
    Checks.atLeast("layer", layer, 0);
    Objects.requireNonNull(projection, "projection must not be null");
    Checks.atLeast("columnOffset", columnOffset, 0);
    if (module >= 0 && (layer != 0 || projection != Projection.GATE_UP || routedWeight)) {
      throw new IllegalArgumentException(
          "a dense module must have layer 0, GATE_UP and no routed weight, got layer %d, %s, %s"
              .formatted(layer, projection, routedWeight ? "a routed weight" : "none"));
    }
  }

  /** A call on routed experts. */
  public ProjectionCall(
      int layer,
      Projection projection,
      boolean pairRows,
      boolean routedWeight,
      boolean add,
      int columnOffset) {
    this(EXPERTS, layer, projection, pairRows, routedWeight, add, columnOffset);
  }

  /**
   * A linear layer outside the routed experts: a row of {@code x} and of {@code y} per token, added
   * in place.
   *
   * @param module position in {@link MoeModel#dense}, as {@link MoeModel#denseIndex} gives it
   */
  public static ProjectionCall dense(int module) {
    Checks.atLeast("module", module, 0);
    return new ProjectionCall(module, 0, Projection.GATE_UP, false, false, true, 0);
  }

  /** Whether the call is on a linear layer outside the routed experts. */
  public boolean isDense() {
    return module != EXPERTS;
  }

  /** Gate and up before the activation: a row per token, added in place, no routing weight. */
  public static ProjectionCall gateUp(int layer) {
    return new ProjectionCall(layer, Projection.GATE_UP, false, false, true, 0);
  }

  /** Down after the activation: a row per pair, added in place, times the routing weight. */
  public static ProjectionCall down(int layer) {
    return new ProjectionCall(layer, Projection.DOWN, true, true, true, 0);
  }

  public ProjectionCall withPairRows(boolean perPair) {
    return new ProjectionCall(module, layer, projection, perPair, routedWeight, add, columnOffset);
  }

  public ProjectionCall withRoutedWeight(boolean weighted) {
    return new ProjectionCall(module, layer, projection, pairRows, weighted, add, columnOffset);
  }

  /** The same call with {@code y} becoming the delta alone. */
  public ProjectionCall deltaOnly() {
    return new ProjectionCall(
        module, layer, projection, pairRows, routedWeight, false, columnOffset);
  }

  public ProjectionCall withColumnOffset(int offset) {
    return new ProjectionCall(module, layer, projection, pairRows, routedWeight, add, offset);
  }
}
