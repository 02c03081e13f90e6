package io.github.moelora;

/** The two projections of an expert that adapters change. */
public enum Projection {
  /**
   * Gate and up, or up alone where the experts have no gate: {@code hiddenSize} in, {@code 2 * I}
   * or {@code I} columns out.
   */
  GATE_UP,
  /** Down: {@code I} in, {@code hiddenSize} columns out. */
  DOWN
}
