package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link PackedLoops} called as Java. */
@Tag("no-device")
class PackedLoopsTest {

  @ParameterizedTest
  @CsvSource({
    "BF16, 1, 4, 4, 1, 1",
    "F16, 7, 68, 36, 3, 1",
    "BF16, 19, 100, 20, 17, 16",
    "F16, 5, 132, 44, 9, 4",
    "BF16, 6, 36, 12, 257, 1",
    "F16, 5, 12, 20, 320, 4",
    "BF16, 4, 20, 12, 512, 2"
  })
  void matchesTheReference(DType type, int tokens, int hidden, int inner, int rank, int blockSize) {
    LoopProjection.checkCalls(
        "checkPackedLoops",
        new LoopProjection.Shape(type, tokens, hidden, inner, rank),
        blockSize,
        LoopProjection::checkPackedLoops);
  }
}
