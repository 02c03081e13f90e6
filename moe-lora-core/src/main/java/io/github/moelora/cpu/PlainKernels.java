package io.github.moelora.cpu;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Kernels in plain Java, for a JVM without {@code jdk.incubator.vector}. */
final class PlainKernels extends Kernels {
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

  @Override
  String description() {
    return "plain Java";
  }

  @Override
  void widenPanelBf16(
      MemorySegment source, long from, int depth, int width, MemorySegment panel, long at) {
    widenPanelPlain(DType.BF16, source, from, depth, width, panel, at);
  }

  @Override
  void widenPanelF16(
      MemorySegment source, long from, int depth, int width, MemorySegment panel, long at) {
    widenPanelPlain(DType.F16, source, from, depth, width, panel, at);
  }

  private static void widenPanelPlain(
      DType type,
      MemorySegment source,
      long from,
      int depth,
      int width,
      MemorySegment panel,
      long at) {
    for (int k = 0; k < depth; k++) {
      for (int c = 0; c < LANES; c++) {
        panel.set(
            FLOAT,
            (at + (long) k * LANES + c) * Float.BYTES,
            type.get(source, from + (long) k * width + c));
      }
    }
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
      int[] inAt,
      int inFrom,
      MemorySegment panel,
      long at,
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
        float factor = in[inAt[m] + inFrom + k];
        long panelRow = (at + (long) k * LANES) * Float.BYTES;
        for (int c = 0; c < LANES; c++) {
          out[to + c] += factor * panel.get(FLOAT, panelRow + (long) c * Float.BYTES);
        }
      }
    }
  }

  @Override
  void addF32(MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    addPlain(DType.F32, y, at, delta, from, count, weight);
  }

  @Override
  void addBf16(MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    addPlain(DType.BF16, y, at, delta, from, count, weight);
  }

  static void addPlain(
      DType type, MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    for (int i = 0; i < count; i++) {
      type.set(y, at + i, type.get(y, at + i) + weight * delta[from + i]);
    }
  }
}
