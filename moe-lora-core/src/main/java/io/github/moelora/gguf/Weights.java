package io.github.moelora.gguf;

import io.github.moelora.DType;
import io.github.moelora.gguf.GgufFile.Tensor;
import io.github.moelora.safetensors.FiniteScan;
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
   * The elements of one expert in a tensor of F32, F16, BF16 or Q8_0. Those of Q8_0 become float32,
   * exactly: a scale of 11 bits times a number of 8 fits in 24.
   *
   * @param expert in {@code [0, experts)}
   * @param experts number of experts that the tensor holds
   * @param arena where copies live
   */
  static Weights of(Tensor tensor, int expert, int experts, Arena arena) {
    long bytes = tensor.data().byteSize() / experts;
    MemorySegment stored = tensor.data().asSlice(expert * bytes, bytes);
    DType type = tensor.type().dtype();
    if (type != null) {
      return new Weights(stored, type);
    }
    long blocks = bytes / BLOCK_BYTES;
    MemorySegment data = arena.allocate(blocks * BLOCK_ELEMENTS * Float.BYTES, Float.BYTES);
    for (long block = 0; block < blocks; block++) {
      float scale = scale(stored, block);
      long from = block * BLOCK_BYTES + Short.BYTES;
      for (int i = 0; i < BLOCK_ELEMENTS; i++) {
        byte quantum = stored.get(ValueLayout.JAVA_BYTE, from + i);
        data.setAtIndex(ValueLayout.JAVA_FLOAT, block * BLOCK_ELEMENTS + i, scale * quantum);
      }
    }
    return new Weights(data, DType.F32);
  }

  private static float scale(MemorySegment blocks, long block) {
    return Float.float16ToFloat(blocks.get(Little.SHORT, block * BLOCK_BYTES));
  }

  /**
   * The first element of a tensor that is NaN or infinite, or for Q8_0 of a block of them; or -1.
   */
  static long firstNonFinite(Tensor tensor) {
    DType type = tensor.type().dtype();
    if (type != null) {
      return FiniteScan.firstNonFinite(tensor.data(), type);
    }
    long blocks = tensor.data().byteSize() / BLOCK_BYTES;
    for (long block = 0; block < blocks; block++) {
      if (!Float.isFinite(scale(tensor.data(), block))) {
        return block * BLOCK_ELEMENTS;
      }
    }
    return -1;
  }
}
