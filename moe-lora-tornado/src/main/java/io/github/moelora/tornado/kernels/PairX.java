package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PairMode;
import uk.ac.manchester.tornado.api.types.BFloat16;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Stages of {@link PairKernels}: a segment of H of a row of x on its way to local memory. */
final class PairX {
  /** Elements of a segment; a thread copies every {@link PairKernels#THREADS}-th. */
  static final int FLOATS = 2048;

  /** Elements that a thread copies. */
  static final int EACH = FLOATS / PairKernels.THREADS;

  private PairX() {}

  /** Reads a thread's elements, 0 beyond H: in float32, or in words of two bfloat16. */
  static void readWords(
      FloatArray x, IntArray words, float[] own, int[] item, int first, int tid, int mode) {
    for (int i = 0; i < EACH; i++) {
      int h = first + tid + i * PairKernels.THREADS;
      int at = item[PairItem.X] + Math.min(h, item[PairItem.WIDTH] - 1);
      float element;
      if (PairMode.has(mode, PairMode.NARROW_X)) {
        element = BFloat16.bf16ToFloat((short) (words.get(at >> 1) >>> ((at & 1) << 4)));
      } else {
        element = x.get(at);
      }
      own[i] = h < item[PairItem.WIDTH] ? element : 0.0f;
    }
  }

  /** {@link #readWords} of float32 or float16. */
  static void readHalves(
      FloatArray x, HalfFloatArray halves, float[] own, int[] item, int first, int tid, int mode) {
    for (int i = 0; i < EACH; i++) {
      int h = first + tid + i * PairKernels.THREADS;
      int at = item[PairItem.X] + Math.min(h, item[PairItem.WIDTH] - 1);
      float element;
      if (PairMode.has(mode, PairMode.NARROW_X)) {
        element = halves.get(at).getFloat32();
      } else {
        element = x.get(at);
      }
      own[i] = h < item[PairItem.WIDTH] ? element : 0.0f;
    }
  }
}
