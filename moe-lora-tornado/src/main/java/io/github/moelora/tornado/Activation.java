package io.github.moelora.tornado;

import io.github.moelora.tornado.kernels.PairKernels;

/**
 * What stands between an expert's first projection and its second one; {@code g} is a gate column,
 * {@code u} the up column that belongs to it.
 */
public enum Activation {
  /** {@code silu(g) * u} (Qwen, Mixtral, DeepSeek). */
  SWIGLU(PairKernels.SWIGLU),
  /** {@code gelu(g) * u} with the tanh form of gelu (Gemma, Grok). */
  GEGLU(PairKernels.GEGLU),
  /** {@code max(u, 0)^2}, without a gate (Nemotron-H). */
  RELU2(PairKernels.RELU2),
  /**
   * {@code g' * sigmoid(1.702 g') * (u' + 1)} with {@code g'} at most 7 and {@code u'} in {@code
   * [-7, 7]} (gpt-oss).
   */
  CLAMPED_SWIGLU(PairKernels.CLAMPED_SWIGLU);

  private final int code;

  Activation(int code) {
    this.code = code;
  }

  /** What the kernels call it. */
  int code() {
    return code;
  }

  /** Whether there is a gate. */
  public boolean gated() {
    return this != RELU2;
  }
}
