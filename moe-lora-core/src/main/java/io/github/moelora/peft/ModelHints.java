package io.github.moelora.peft;

import io.github.moelora.GateUp;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What is known of a model from elsewhere; null is unknown.
 *
 * @param hiddenSize width of the residual stream
 * @param intermediateSize width {@code I} of an expert's activation
 * @param experts number {@code E} of routed experts
 * @param gateUp column order of the first projection
 * @param layers indices of the layers that hold experts, ascending
 */
public record ModelHints(
    @Nullable Integer hiddenSize,
    @Nullable Integer intermediateSize,
    @Nullable Integer experts,
    @Nullable GateUp gateUp,
    @Nullable List<Integer> layers) {

  /** Nothing is known. */
  public static final ModelHints NONE = new ModelHints(null, null, null, null, null);
}
