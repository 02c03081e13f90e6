package io.github.moelora.tornado.emulator;

import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * What {@code ldmatrix} and {@code mma.sync.m16n8k16} do with the registers of a warp's 32 lanes,
 * as the PTX ISA lays the elements out. A register of two 16-bit elements is two elements of a
 * {@code HalfFloat} array, the lower half first; their bits may also be those of a bfloat16.
 */
final class Fragments {
  static final int LANES = 32;
  private static final int M = 16;
  private static final int N = 8;
  private static final int K = 16;

  private Fragments() {}

  /** Byte at which the 8 elements begin that a lane of {@code ldmatrix.x4} points at. */
  static int addressA(int lane) {
    int matrix = lane >> 3;
    return ((matrix & 1) * 8 + (lane & 7)) * 32 + (matrix >> 1) * 16;
  }

  /** Byte at which the 8 elements begin that a lane of {@code ldmatrix.x2} points at. */
  static int addressB(int lane) {
    return (lane & 7) * 16 + ((lane >> 3) & 1) * 128;
  }

  /**
   * {@code ldmatrix.sync.aligned.m8n8}: matrix {@code j} has its rows at the addresses of lanes
   * {@code 8 j} to {@code 8 j + 7}.
   *
   * @param tile an array of int, long, HalfFloat or Half2
   * @param addresses byte of each lane
   * @param registers out, of each lane, two elements for each matrix
   * @param transposed whether a lane gets elements of a column instead of a row
   */
  static void loadMatrices(
      Object tile, int[] addresses, HalfFloat[][] registers, boolean transposed) {
    for (int lane = 0; lane < LANES; lane++) {
      for (int i = 0; i < registers[lane].length; i++) {
        int matrix = i >> 1;
        int along = (lane & 3) * 2 + (i & 1);
        int row = transposed ? along : lane >> 2;
        int column = transposed ? lane >> 2 : along;
        int at = addresses[matrix * 8 + row] + 2 * column;
        registers[lane][i] = new HalfFloat(bits(tile, at));
      }
    }
  }

  /** Size of a tile. */
  static long bytes(Object tile) {
    return switch (tile) {
      case int[] words -> 4L * words.length;
      case long[] longs -> 8L * longs.length;
      case HalfFloat[] halves -> 2L * halves.length;
      case Half2[] pairs -> 4L * pairs.length;
      default -> throw notTile(tile);
    };
  }

  private static short bits(Object tile, int at) {
    return switch (tile) {
      case int[] words -> (short) (words[at >> 2] >>> ((at & 2) * 8));
      case long[] longs -> (short) (longs[at >> 3] >>> ((at & 6) * 8));
      case HalfFloat[] halves -> halves[at >> 1].getHalfFloatValue();
      case Half2[] pairs -> pairs[at >> 2].get((at >> 1) & 1).getHalfFloatValue();
      default -> throw notTile(tile);
    };
  }

  private static IllegalArgumentException notTile(Object tile) {
    return new IllegalArgumentException(
        "tile must be an array of int, long, HalfFloat or Half2, got " + tile.getClass());
  }

  /**
   * {@code d = a * b + c}, all by lane: 8 elements of a, 4 of b, 4 of c and d.
   *
   * @param d out
   */
  static void multiply(
      HalfFloat[][] a, HalfFloat[][] b, float[][] c, float[][] d, boolean bfloat16) {
    float[] rows = new float[M * K];
    float[] columns = new float[N * K];
    for (int lane = 0; lane < LANES; lane++) {
      int group = lane >> 2;
      int within = lane & 3;
      for (int i = 0; i < 8; i++) {
        int row = group + 8 * ((i >> 1) & 1);
        int k = within * 2 + (i & 1) + 8 * (i >> 2);
        rows[row * K + k] = value(a[lane][i], bfloat16);
      }
      for (int i = 0; i < 4; i++) {
        int k = within * 2 + (i & 1) + 8 * (i >> 1);
        columns[group * K + k] = value(b[lane][i], bfloat16);
      }
    }
    for (int lane = 0; lane < LANES; lane++) {
      for (int i = 0; i < 4; i++) {
        float sum = c[lane][i];
        int row = rowOf(lane, i) * K;
        int column = columnOf(lane, i) * K;
        for (int k = 0; k < K; k++) {
          sum += rows[row + k] * columns[column + k];
        }
        d[lane][i] = sum;
      }
    }
  }

  /** Row of element {@code i} of a lane's accumulator. */
  static int rowOf(int lane, int i) {
    return (lane >> 2) + 8 * (i >> 1);
  }

  /** Column of element {@code i} of a lane's accumulator. */
  static int columnOf(int lane, int i) {
    return (lane & 3) * 2 + (i & 1);
  }

  private static float value(HalfFloat element, boolean bfloat16) {
    short bits = element.getHalfFloatValue();
    return bfloat16 ? Float.intBitsToFloat(bits << 16) : Float.float16ToFloat(bits);
  }
}
