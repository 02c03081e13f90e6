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
 * <p>Either both are float32 in {@code FloatArray}s, on every device; or both are of the config's
 * 16-bit weight type, on devices with tensor cores: {@code x} in a {@code HalfFloatArray} that
 * holds the bits, {@code y} in a {@code HalfFloatArray} for float16 and in an {@code IntArray} of
 * two elements a word, the first one lower, for bfloat16.
 *
 * @param x in, {@code [T, H]}, or {@code [P, H]} for a call with a row per pair
 * @param y in and out, {@code [P, yWidth]}, or {@code [T, yWidth]} for {@link
 *     EngineTasks#appendCombined}
 * @param yWidth columns of a row of {@code y}, at least the call's column offset and output width
 */
public record EngineArrays(TornadoNativeArray x, TornadoNativeArray y, int yWidth) {

  /**
   * Checks types and sizes for a call.
   *
   * @return whether the narrow kernels take them
   * @throws IllegalArgumentException naming the first rule that is broken
   */
  boolean requireFit(ProjectionWeights weights, ProjectionCall call, int maxTokens) {
    boolean narrow = requireTypes(weights.config(), weights);
    long pairs = (long) maxTokens * weights.config().expertsPerToken();
    requireColumns(weights, call, narrow);
    requireRows(weights, call, maxTokens, pairs);
    return narrow;
  }

  /**
   * The same for a call that adds up the pairs of a token, on float32 arrays.
   *
   * @throws IllegalArgumentException naming the first rule that is broken
   */
  void requireCombined(ProjectionWeights weights, ProjectionCall call, int maxTokens) {
    if (!(x instanceof FloatArray && y instanceof FloatArray)) {
      throw new IllegalArgumentException(
          "x and y of a combined call must be FloatArrays, got %s and %s"
              .formatted(x.getClass().getSimpleName(), y.getClass().getSimpleName()));
    }
    requireColumns(weights, call, false);
    requireRows(weights, call, maxTokens, maxTokens);
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

  private void requireColumns(ProjectionWeights weights, ProjectionCall call, boolean narrow) {
    MoeModel model = weights.config().model();
    // in int64: a column offset near 2^31 must not wrap to one that fits
    long needed = (long) call.columnOffset() + model.outputWidth(call.projection());
    if (yWidth < needed) {
      throw new IllegalArgumentException(
          "yWidth must be at least columnOffset + output width = %d, got %d"
              .formatted(needed, yWidth));
    }
    if (narrow && (yWidth % 4 != 0 || call.columnOffset() % 4 != 0)) {
      throw new IllegalArgumentException(
          "yWidth and columnOffset of 16-bit arrays must be multiples of 4, got %d and %d"
              .formatted(yWidth, call.columnOffset()));
    }
  }

  private boolean requireTypes(MoeLoraConfig config, ProjectionWeights weights) {
    if (x instanceof FloatArray && y instanceof FloatArray) {
      return false;
    }
    boolean packed = weights instanceof PackedWeights;
    boolean bf16 = config.weightType() == DType.BF16;
    if (packed
        && x instanceof HalfFloatArray
        && (bf16 ? y instanceof IntArray : y instanceof HalfFloatArray)) {
      return true;
    }
    throw new IllegalArgumentException(
        "x and y must be FloatArrays%s, got %s and %s"
            .formatted(
                packed
                    ? " or HalfFloatArray and " + (bf16 ? "IntArray" : "HalfFloatArray")
                    : " for these weights on this device",
                x.getClass().getSimpleName(),
                y.getClass().getSimpleName()));
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
