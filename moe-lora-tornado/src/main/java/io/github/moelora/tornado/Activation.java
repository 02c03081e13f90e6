package io.github.moelora.tornado;

import io.github.moelora.tornado.kernels.PairKernels;

/**
 * What stands between an expert's first projection and its second one; {@code g} is a gate column,
 * {@code u} the up column that belongs to it.
 */
public enum Activation {
  /** {@code silu(g) * u} (Qwen, Mixtral, DeepSeek). */
  SWIGLU,
  /** {@code gelu(g) * u} with the tanh form of gelu (Gemma, Grok). */
  GEGLU,
  /** {@code max(u, 0)^2}, without a gate (Nemotron-H). */
  RELU2,
  /**
   * {@code g' * sigmoid(1.702 g') * (u' + 1)} with {@code g'} at most 7 and {@code u'} in {@code
   * [-7, 7]} (gpt-oss).
   */
  CLAMPED_SWIGLU;

  /** As the kernels number them. */
  int number() {
    return switch (this) {
      case SWIGLU -> PairKernels.SWIGLU;
      case GEGLU -> PairKernels.GEGLU;
      case RELU2 -> PairKernels.RELU2;
      case CLAMPED_SWIGLU -> PairKernels.CLAMPED_SWIGLU;
    };
  }

  /** Whether there is a gate. */
  public boolean gated() {
    return this != RELU2;
  }
}
