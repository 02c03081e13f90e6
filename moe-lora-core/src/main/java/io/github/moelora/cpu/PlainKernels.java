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
  void widenRowBf16(RowMemory x, long from, int count, float[] out, int at) {
    for (int i = 0; i < count; i++) {
      out[at + i] = DType.BF16.get(x.data(), from + i);
    }
  }

  @Override
  void multiply(Product p) {
    for (int m = p.row; m < p.endRow; m++) {
      int to = p.outAt[m] + p.outFrom;
      if (!p.add) {
        for (int c = 0; c < LANES; c++) {
          p.out[to + c] = 0;
        }
      }
      for (int k = 0; k < p.depth; k++) {
        float factor = p.in[(m - p.row) * IN_STRIDE + k];
        long panelRow = p.at + rowOffset(k, p.width, p.stripe);
        for (int c = 0; c < LANES; c++) {
          p.out[to + c] += factor * p.type.get(p.weights, panelRow + c);
        }
      }
    }
  }

  @Override
  void addF32(RowMemory y, long at, float[] delta, int from, int count, float factor) {
    addPlain(y, at, delta, from, count, factor);
  }

  @Override
  void addBf16(RowMemory y, long at, float[] delta, int from, int count, float factor) {
    addPlain(y, at, delta, from, count, factor);
  }

  static void addPlain(RowMemory y, long at, float[] delta, int from, int count, float factor) {
    DType type = y.type();
    MemorySegment data = y.data();
    for (int i = 0; i < count; i++) {
      type.set(data, at + i, type.get(data, at + i) + factor * delta[from + i]);
    }
  }
}
