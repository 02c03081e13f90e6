package io.github.moelora;

/** How the first projection of an expert arranges its output columns. */
public enum GateUp {
  /** No gate: the projection is {@code up} alone, {@code I} columns wide (Nemotron-H). */
  UP_ONLY,
  /** {@code I} gate columns, then {@code I} up columns (Qwen3-MoE, Mixtral, DeepSeek-V3). */
  HALVES,
  /** Even columns gate, odd columns up (gpt-oss). */
  INTERLEAVED;

  /** Whether the expert has a gate, so that the projection is {@code 2 * I} columns wide. */
  public boolean gated() {
    return this != UP_ONLY;
  }
}
