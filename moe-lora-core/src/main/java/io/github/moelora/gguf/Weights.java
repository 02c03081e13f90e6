package io.github.moelora.gguf;

import io.github.moelora.DType;
import io.github.moelora.gguf.GgufFile.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Elements of a tensor in a type that the library computes with.
 *
 * @param data the tensor's own bytes, or a copy where it was quantised
 */
record Weights(MemorySegment data, DType type) {
  private static final int BLOCK_ELEMENTS = GgmlType.Q8_0.blockElements();
  private static final int BLOCK_BYTES = GgmlType.Q8_0.blockBytes();

  /**
   * The elements of a tensor of F32, F16, BF16 or Q8_0. Those of Q8_0 become float32, exactly: a
   * scale of 11 bits times a number of 8 fits in 24.
   *
   * @param arena where copies live
   */
  static Weights of(Tensor tensor, Arena arena) {
    DType type = tensor.type().dtype();
    if (type != null) {
      return new Weights(tensor.data(), type);
    }
    long blocks = tensor.data().byteSize() / BLOCK_BYTES;
    MemorySegment data = arena.allocate(blocks * BLOCK_ELEMENTS * Float.BYTES, Float.BYTES);
    for (long block = 0; block < blocks; block++) {
      float scale = scale(tensor, block);
      long from = block * BLOCK_BYTES + Short.BYTES;
      for (int i = 0; i < BLOCK_ELEMENTS; i++) {
        byte quantum = tensor.data().get(ValueLayout.JAVA_BYTE, from + i);
        data.setAtIndex(ValueLayout.JAVA_FLOAT, block * BLOCK_ELEMENTS + i, scale * quantum);
      }
    }
    return new Weights(data, DType.F32);
  }

  private static float scale(Tensor tensor, long block) {
    return Float.float16ToFloat(tensor.data().get(Little.SHORT, block * BLOCK_BYTES));
  }

  /** The first block of a Q8_0 tensor whose scale is NaN or infinite, or -1. */
  static long firstBlockNotFinite(Tensor tensor) {
    long blocks = tensor.data().byteSize() / BLOCK_BYTES;
    for (long block = 0; block < blocks; block++) {
      if (!Float.isFinite(scale(tensor, block))) {
        return block;
      }
    }
    return -1;
  }
}
