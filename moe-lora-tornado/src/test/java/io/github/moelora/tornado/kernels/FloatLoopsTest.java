package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link FloatLoops} called as Java; the contract test runs them on the device. */
@Tag("no-device")
class FloatLoopsTest {

  @ParameterizedTest
  @CsvSource({
    "F32, 1, 1, 1, 1, 1",
    "F32, 7, 13, 5, 3, 1",
    "BF16, 19, 32, 17, 9, 16",
    "F16, 5, 31, 8, 16, 4",
    "F32, 6, 13, 5, 257, 1",
    "BF16, 5, 13, 6, 320, 4",
    "F16, 4, 11, 5, 512, 2"
  })
  void matchesTheReference(DType type, int tokens, int hidden, int inner, int rank, int blockSize) {
    for (int products : new int[] {FloatLoops.FEW, FloatLoops.MANY}) {
      LoopProjection.checkCalls(
          "checkFloatLoops",
          new LoopProjection.Shape(type, tokens, hidden, inner, rank),
          blockSize,
          projection -> projection.checkFloatLoops(products));
    }
  }
}
