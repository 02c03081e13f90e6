package io.github.moelora.tornado;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * The engine's activations of one projection, on the device when its graph runs.
 *
 * <p>Either both are float32 in {@code FloatArray}s, on every device. Or, on devices with tensor
 * cores, both are of the config's 16-bit weight type, or x is and y is float32: {@code x} in a
 * {@code HalfFloatArray} that holds the bits, {@code y} in a {@code HalfFloatArray} for float16 and
 * in an {@code IntArray} of two elements a word, the first one lower, for bfloat16.
 *
 * @param x in, {@code [T, H]}, or {@code [P, H]} for a call with a row per pair
 * @param y in and out, {@code [P, yWidth]}, or {@code [T, yWidth]} for {@link
 *     EngineTasks#appendCombined}
 * @param yWidth columns of a row of {@code y}, at least the call's column offset and output width
 */
public record EngineArrays(TornadoNativeArray x, TornadoNativeArray y, int yWidth) {

  /** Whether x is of 16 bits. */
  boolean isNarrowX() {
    return !(x instanceof FloatArray);
  }

  /** Whether y is of 16 bits. */
  boolean isNarrowY() {
    return !(y instanceof FloatArray);
  }

  /**
   * Checks types and sizes for a call.
   *
   * @throws IllegalArgumentException naming the first rule that is broken
   */
  void requireFit(ProjectionWeights weights, ProjectionCall call, int maxTokens) {
    requireTypes(weights);
    long pairs = (long) maxTokens * weights.config().expertsPerToken();
    requireColumns(weights, call);
    requireRows(weights, call, maxTokens, pairs);
  }

  /**
   * The same for a call that adds up the pairs of a token.
   *
   * @throws IllegalArgumentException naming the first rule that is broken
   */
  void requireCombined(ProjectionWeights weights, ProjectionCall call, int maxTokens) {
    requireTypes(weights);
    requireColumns(weights, call);
    requireRows(weights, call, maxTokens, maxTokens);
  }

  /**
   * Refuses a y of 16 bits.
   *
   * @param what the message names
   */
  void requireWideY(String what) {
    if (isNarrowY()) {
      throw new IllegalArgumentException(
          "%s must be a FloatArray, got %s".formatted(what, y.getClass().getSimpleName()));
    }
  }

  /**
   * Checks what an activation writes.
   *
   * @throws IllegalArgumentException if it is neither of y's type nor a 16-bit x, or too small
   */
  void requireOut(TornadoNativeArray out, long elements) {
    boolean asX = isNarrowY() && out instanceof HalfFloatArray;
    if (!asX && !out.getClass().equals(y.getClass())) {
      throw new IllegalArgumentException(
          "out must be of the type of y, %s, got %s"
              .formatted(y.getClass().getSimpleName(), out.getClass().getSimpleName()));
    }
    requireAtLeast("out", out, elements);
  }

  private void requireRows(
      ProjectionWeights weights, ProjectionCall call, int maxTokens, long yRows) {
    MoeLoraConfig config = weights.config();
    long pairs = (long) maxTokens * config.expertsPerToken();
    requireAtLeast(
        "x",
        x,
        (call.pairRows() ? pairs : maxTokens) * config.model().inputWidth(call.projection()));
    requireAtLeast("y", y, yRows * yWidth);
  }

  private void requireColumns(ProjectionWeights weights, ProjectionCall call) {
    MoeModel model = weights.config().model();
    // in int64: a column offset near 2^31 must not wrap to one that fits
    long needed = (long) call.columnOffset() + model.outputWidth(call.projection());
    if (yWidth < needed) {
      throw new IllegalArgumentException(
          "yWidth must be at least columnOffset + output width = %d, got %d"
              .formatted(needed, yWidth));
    }
    if (isNarrowY() && (yWidth % 4 != 0 || call.columnOffset() % 4 != 0)) {
      throw new IllegalArgumentException(
          "yWidth and columnOffset of a 16-bit y must be multiples of 4, got %d and %d"
              .formatted(yWidth, call.columnOffset()));
    }
  }

  private void requireTypes(ProjectionWeights weights) {
    boolean packed = weights instanceof PackedWeights;
    boolean bf16 = weights.config().weightType() == DType.BF16;
    boolean fits = x instanceof FloatArray && y instanceof FloatArray;
    if (packed && x instanceof HalfFloatArray) {
      fits =
          y instanceof FloatArray || (bf16 ? y instanceof IntArray : y instanceof HalfFloatArray);
    }
    if (!fits) {
      throw new IllegalArgumentException(
          "x and y must be FloatArrays%s, got %s and %s"
              .formatted(
                  packed
                      ? ", or HalfFloatArray and %s or FloatArray"
                          .formatted(bf16 ? "IntArray" : "HalfFloatArray")
                      : " for these weights on this device",
                  x.getClass().getSimpleName(),
                  y.getClass().getSimpleName()));
    }
  }

  /** Refuses an array of fewer elements. */
  static void requireAtLeast(String name, TornadoNativeArray array, long elements) {
    long has = array instanceof IntArray ? 2L * array.getSize() : array.getSize();
    if (has < elements) {
      throw new IllegalArgumentException(
          "%s must hold at least %d elements, got %d".formatted(name, elements, has));
    }
  }
}
