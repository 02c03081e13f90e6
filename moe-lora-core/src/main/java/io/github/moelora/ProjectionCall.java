package io.github.moelora;

import java.util.Objects;

/**
 * What one {@link Step#run} computes.
 *
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
    int layer,
    Projection projection,
    boolean pairRows,
    boolean routedWeight,
    boolean add,
    int columnOffset) {

  public ProjectionCall {
    Checks.atLeast("layer", layer, 0);
    Objects.requireNonNull(projection, "projection must not be null");
    Checks.atLeast("columnOffset", columnOffset, 0);
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
    return new ProjectionCall(layer, projection, perPair, routedWeight, add, columnOffset);
  }

  public ProjectionCall withRoutedWeight(boolean weighted) {
    return new ProjectionCall(layer, projection, pairRows, weighted, add, columnOffset);
  }

  /** The same call with {@code y} becoming the delta alone. */
  public ProjectionCall deltaOnly() {
    return new ProjectionCall(layer, projection, pairRows, routedWeight, false, columnOffset);
  }

  public ProjectionCall withColumnOffset(int offset) {
    return new ProjectionCall(layer, projection, pairRows, routedWeight, add, offset);
  }
}
