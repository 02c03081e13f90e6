package io.github.moelora.cpu;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Kernels in plain Java, for a JVM without {@code jdk.incubator.vector}. */
final class PlainKernels extends Kernels {

  @Override
  String description() {
    return "plain Java";
  }

  @Override
  void decodeBf16(MemorySegment weights, long from, int count, float[] out) {
    for (int i = 0; i < count; i++) {
      out[i] =
          DType.bf16ToFloat(
              weights.get(ValueLayout.JAVA_SHORT_UNALIGNED, (from + i) * Short.BYTES));
    }
  }

  @Override
  void shrink(
      float[] a,
      int ranks,
      int width,
      float[] x,
      int[] xAt,
      int rows,
      float[] z,
      int[] zAt,
      int zFrom,
      float scale) {
    for (int m = 0; m < rows; m++) {
      for (int j = 0; j < ranks; j++) {
        z[zAt[m] + zFrom + j] = scale * dot(a, j * width, x, xAt[m], width);
      }
    }
  }

  /** Eight partial sums, so that additions need not wait for each other. */
  private static float dot(float[] a, int aAt, float[] x, int xAt, int width) {
    float s0 = 0;
    float s1 = 0;
    float s2 = 0;
    float s3 = 0;
    float s4 = 0;
    float s5 = 0;
    float s6 = 0;
    float s7 = 0;
    for (int h = 0; h < width; h += 8) {
      s0 += a[aAt + h] * x[xAt + h];
      s1 += a[aAt + h + 1] * x[xAt + h + 1];
      s2 += a[aAt + h + 2] * x[xAt + h + 2];
      s3 += a[aAt + h + 3] * x[xAt + h + 3];
      s4 += a[aAt + h + 4] * x[xAt + h + 4];
      s5 += a[aAt + h + 5] * x[xAt + h + 5];
      s6 += a[aAt + h + 6] * x[xAt + h + 6];
      s7 += a[aAt + h + 7] * x[xAt + h + 7];
    }
    return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7));
  }

  @Override
  void expand(
      float[] b, int panels, int rank, float[] z, int[] zAt, int zFrom, int rows, float[] out) {
    for (int m = 0; m < rows; m++) {
      for (int panel = 0; panel < panels; panel++) {
        int to = m * COLUMN_TILE + panel * LANES;
        for (int c = 0; c < LANES; c++) {
          out[to + c] = 0;
        }
        for (int r = 0; r < rank; r++) {
          float factor = z[zAt[m] + zFrom + r];
          int at = (panel * rank + r) * LANES;
          for (int c = 0; c < LANES; c++) {
            out[to + c] += b[at + c] * factor;
          }
        }
      }
    }
  }

  @Override
  void addF32(MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    add(DType.F32, y, at, delta, from, count, weight);
  }

  @Override
  void addBf16(MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    add(DType.BF16, y, at, delta, from, count, weight);
  }

  static void add(
      DType type, MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    for (int i = 0; i < count; i++) {
      type.set(y, at + i, type.get(y, at + i) + weight * delta[from + i]);
    }
  }
}
