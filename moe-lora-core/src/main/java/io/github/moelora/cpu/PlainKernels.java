package io.github.moelora.cpu;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;

/** Kernels in plain Java, for a JVM without {@code jdk.incubator.vector}. */
final class PlainKernels extends Kernels {
  @Override
  String description() {
    return "plain Java";
  }

  @Override
  void widenRowBf16(MemorySegment source, long from, int count, float[] out, int at) {
    for (int i = 0; i < count; i++) {
      out[at + i] = DType.BF16.get(source, from + i);
    }
  }

  @Override
  void multiply(
      int row,
      int endRow,
      int depth,
      float[] in,
      DType type,
      MemorySegment panel,
      long at,
      int width,
      long stripe,
      float[] out,
      int[] outAt,
      int outFrom,
      boolean add) {
    for (int m = row; m < endRow; m++) {
      int to = outAt[m] + outFrom;
      if (!add) {
        for (int c = 0; c < LANES; c++) {
          out[to + c] = 0;
        }
      }
      for (int k = 0; k < depth; k++) {
        float factor = in[(m - row) * IN_STRIDE + k];
        long panelRow = at + rowOffset(k, width, stripe);
        for (int c = 0; c < LANES; c++) {
          out[to + c] += factor * type.get(panel, panelRow + c);
        }
      }
    }
  }

  @Override
  void addF32(MemorySegment y, long at, float[] delta, int from, int count, float factor) {
    addPlain(DType.F32, y, at, delta, from, count, factor);
  }

  @Override
  void addBf16(MemorySegment y, long at, float[] delta, int from, int count, float factor) {
    addPlain(DType.BF16, y, at, delta, from, count, factor);
  }

  static void addPlain(
      DType type, MemorySegment y, long at, float[] delta, int from, int count, float factor) {
    for (int i = 0; i < count; i++) {
      type.set(y, at + i, type.get(y, at + i) + factor * delta[from + i]);
    }
  }
}
