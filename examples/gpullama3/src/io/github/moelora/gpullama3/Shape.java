package io.github.moelora.gpullama3;

import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import java.util.stream.IntStream;

/**
 * Sizes of a Qwen2-MoE model.
 *
 * @param hidden width {@code H}, a multiple of 128
 * @param inner width {@code I} of a routed expert, a multiple of 32
 * @param shared width of the shared expert, a multiple of 32
 * @param context most tokens of a request
 */
record Shape(
    int layers,
    int hidden,
    int heads,
    int kvHeads,
    int experts,
    int perToken,
    int inner,
    int shared,
    int vocabulary,
    int context) {

  /** Small enough for a float64 model in plain loops. */
  static final Shape TINY = new Shape(3, 256, 4, 2, 12, 3, 96, 160, 384, 64);

  /** Qwen1.5-MoE-A2.7B, but for its vocabulary of 151936. */
  static final Shape FULL = new Shape(24, 2048, 16, 16, 60, 4, 1408, 5632, 32768, 512);

  /** Half of its layers, which a share hardly depends on: half the memory, and half the time. */
  static final Shape HALF = new Shape(12, 2048, 16, 16, 60, 4, 1408, 5632, 32768, 512);

  /** The model that a command line names. */
  static Shape named(String name) {
    return switch (name) {
      case "tiny" -> TINY;
      case "full" -> FULL;
      case "half" -> HALF;
      default ->
          throw new IllegalArgumentException("shape must be tiny, half or full, got " + name);
    };
  }

  /** Elements of a head. */
  int headSize() {
    return hidden / heads;
  }

  /** Elements of a token's keys. */
  int kvWidth() {
    return headSize() * kvHeads;
  }

  /** What moe-lora must know of it. */
  MoeModel moeModel() {
    return new MoeModel(
        hidden, inner, experts, GateUp.HALVES, IntStream.range(0, layers).boxed().toList());
  }
}
