package io.github.moelora.tornado.emulator;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import java.util.Random;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/** The emulated tensor cores: a product against float64, and the layouts of the PTX ISA. */
@Tag("emulated")
class MatrixOperationsTest {
  /** Floats from where {@code mmaStore} begins to the first element of a device array. */
  private static final int SHIFT =
      (int) TornadoNativeArray.ARRAY_HEADER / Float.BYTES - LocalTiles.HEADER;

  private static final int M = 32;
  private static final int N = 16;
  private static final int K = 48;

  /** Four warps, each with a tile of 16 x 8; operands are staged 16 of K at a time. */
  private static void multiply(
      KernelContext ctx, IntArray a, IntArray b, FloatArray c, boolean bfloat16) {
    int[] aTiles = ctx.allocateIntLocalArray(M * 16 / 2);
    int[] bTiles = ctx.allocateIntLocalArray(N * 16 / 2);
    int tid = ctx.localIdx;
    int warp = tid / 32;
    float[] sum = ctx.mmaFragment(0.0f);
    for (int step = 0; step < K / 16; step++) {
      ctx.localBarrier();
      for (int i = tid; i < M * 8; i += 128) {
        aTiles[i] = a.get(i / 8 * (K / 2) + step * 8 + i % 8);
      }
      // two tiles of 16 x 8, each with rows of 4 words
      for (int i = tid; i < N * 8; i += 128) {
        int tile = i / 64;
        int row = i % 64 / 4;
        bTiles[i] = b.get((step * 16 + row) * (N / 2) + tile * 4 + i % 4);
      }
      ctx.localBarrier();
      HalfFloat[] fragA = ctx.mmaLoadA(aTiles, 16, warp / 2 * 512);
      HalfFloat[] fragB = ctx.mmaLoadB(bTiles, 16, warp % 2 * 256);
      sum =
          bfloat16
              ? ctx.mmaBF16(fragA, fragB, sum, MMAShape.M16N8K16)
              : ctx.mma(fragA, fragB, sum, MMAShape.M16N8K16);
    }
    ctx.mmaStore(sum, c, warp / 2 * 16, SHIFT + warp % 2 * 8, N);
  }

  @ParameterizedTest
  @EnumSource(names = {"F16", "BF16"})
  void productEqualsFloat64(DType type) {
    long seed = new Random().nextLong();
    System.out.println("seed " + seed);
    Random random = new Random(seed);
    double[][] a = new double[M][K];
    double[][] b = new double[K][N];
    IntArray packedA = pack(a, type, random);
    IntArray packedB = pack(b, type, random);
    FloatArray c = new FloatArray(M * N);
    c.init(Float.NaN);
    Emulator.launch(1, 128, seed, ctx -> multiply(ctx, packedA, packedB, c, type == DType.BF16));
    for (int i = 0; i < M; i++) {
      for (int j = 0; j < N; j++) {
        double sum = 0;
        double magnitude = 0;
        for (int k = 0; k < K; k++) {
          sum += a[i][k] * b[k][j];
          magnitude += Math.abs(a[i][k] * b[k][j]);
        }
        assertThat(Math.abs(c.get(i * N + j) - sum))
            .as("c[%d,%d]", i, j)
            .isLessThanOrEqualTo(K * 0x1p-24 * magnitude);
      }
    }
  }

  /** Fills a matrix with values of the type, and returns it row by row, two to a word. */
  private static IntArray pack(double[][] matrix, DType type, Random random) {
    int columns = matrix[0].length;
    IntArray packed = new IntArray(matrix.length * columns / 2);
    packed.init(0);
    for (int i = 0; i < matrix.length; i++) {
      for (int j = 0; j < columns; j++) {
        float value = (float) random.nextGaussian();
        short bits = type == DType.F16 ? Float.floatToFloat16(value) : DType.floatToBf16(value);
        matrix[i][j] = type == DType.F16 ? Float.float16ToFloat(bits) : DType.bf16ToFloat(bits);
        int word = (i * columns + j) / 2;
        packed.set(word, packed.get(word) | (bits & 0xffff) << (j % 2 * 16));
      }
    }
    return packed;
  }

  /** PTX ISA, fragments of mma.m16n8k16 with 16-bit elements: matrix A. */
  @Test
  void laneHoldsElementsOfA() {
    HalfFloat[][] fragments = new HalfFloat[32][];
    loadNumbered(128, (ctx, tile) -> fragments[ctx.localIdx] = ctx.mmaLoadA(tile, 16));
    for (int lane = 0; lane < 32; lane++) {
      int groupId = lane >> 2;
      int threadInGroup = lane % 4;
      for (int i = 0; i < 8; i++) {
        int row = i < 2 || (i >= 4 && i < 6) ? groupId : groupId + 8;
        int column = threadInGroup * 2 + (i & 1) + (i >= 4 ? 8 : 0);
        assertThat(fragments[lane][i].getHalfFloatValue())
            .as("lane %d, a%d", lane, i)
            .isEqualTo((short) (row * 16 + column));
      }
    }
  }

  /** PTX ISA, fragments of mma.m16n8k16 with 16-bit elements: matrix B. */
  @Test
  void laneHoldsElementsOfB() {
    HalfFloat[][] fragments = new HalfFloat[32][];
    loadNumbered(64, (ctx, tile) -> fragments[ctx.localIdx] = ctx.mmaLoadB(tile, 16));
    for (int lane = 0; lane < 32; lane++) {
      int groupId = lane >> 2;
      int threadInGroup = lane % 4;
      for (int i = 0; i < 4; i++) {
        int row = threadInGroup * 2 + (i & 1) + (i >= 2 ? 8 : 0);
        assertThat(fragments[lane][i].getHalfFloatValue())
            .as("lane %d, b%d", lane, i)
            .isEqualTo((short) (row * 8 + groupId));
      }
    }
  }

  /** A tile whose 16-bit elements are their own indices. */
  private static void loadNumbered(int words, BiConsumer<KernelContext, int[]> load) {
    Emulator.launch(
        1,
        32,
        1,
        ctx -> {
          int[] tile = ctx.allocateIntLocalArray(words);
          for (int i = ctx.localIdx; i < words; i += 32) {
            tile[i] = 2 * i | (2 * i + 1) << 16;
          }
          ctx.localBarrier();
          load.accept(ctx, tile);
        });
  }

  /**
   * PTX ISA, fragments of mma.m16n8k16: the accumulators C and D. TornadoVM counts from the header
   * of a Java array, not from that of a device array.
   */
  @Test
  void laneStoresItsAccumulators() {
    FloatArray c = new FloatArray(20 * 12);
    c.init(Float.NaN);
    Emulator.launch(
        1, 32, 1, ctx -> ctx.mmaStore(ctx.mmaFragment(ctx.localIdx), c, 3, SHIFT + 2, 12));
    for (int lane = 0; lane < 32; lane++) {
      int groupId = lane >> 2;
      int threadInGroup = lane % 4;
      for (int i = 0; i < 4; i++) {
        int row = i < 2 ? groupId : groupId + 8;
        int column = threadInGroup * 2 + (i & 1);
        assertThat(c.get((3 + row) * 12 + 2 + column)).as("lane %d, c%d", lane, i).isEqualTo(lane);
      }
    }
  }

  @Test
  void localArrayStandsInForADeviceArray() {
    float[] stored = new float[LocalTiles.HEADER + 16 * 8];
    Emulator.launch(
        1,
        32,
        1,
        ctx -> {
          float[] local = ctx.allocateFloatLocalArray(stored.length);
          ctx.mmaStore(
              ctx.mmaFragment(ctx.localIdx),
              (FloatArray) LocalTiles.standIn(local, FloatArray.class),
              0,
              0,
              8);
          ctx.localBarrier();
          System.arraycopy(local, 0, stored, 0, stored.length);
        });
    for (int i = 0; i < stored.length; i++) {
      int element = i - LocalTiles.HEADER;
      float lane = element / 8 % 8 * 4 + element % 8 / 2;
      assertThat(stored[i])
          .as("float %d", i)
          .isEqualTo(Float.valueOf(element < 0 ? Float.NaN : lane));
    }
  }

  @Test
  void localArrayOfHalvesIsATile() {
    HalfFloat[][] fragments = new HalfFloat[32][];
    HalfFloat[][] fragmentsOfPairs = new HalfFloat[32][];
    Emulator.launch(
        1,
        32,
        1,
        ctx -> {
          HalfFloat[] halves = ctx.allocateHalfFloatLocalArray(128);
          Half2[] pairs = ctx.allocateHalf2LocalArray(64);
          for (int i = ctx.localIdx; i < 64; i += 32) {
            halves[2 * i] = new HalfFloat((short) (2 * i));
            halves[2 * i + 1] = new HalfFloat((short) (2 * i + 1));
            pairs[i] = new Half2(halves[2 * i], halves[2 * i + 1]);
          }
          ctx.localBarrier();
          fragments[ctx.localIdx] =
              ctx.mmaLoadB((int[]) LocalTiles.standIn(halves, int[].class), 16);
          fragmentsOfPairs[ctx.localIdx] =
              ctx.mmaLoadB((int[]) LocalTiles.standIn(pairs, int[].class), 16);
        });
    HalfFloat[][] expected = new HalfFloat[32][];
    loadNumbered(64, (ctx, tile) -> expected[ctx.localIdx] = ctx.mmaLoadB(tile, 16));
    for (int lane = 0; lane < 32; lane++) {
      for (int i = 0; i < 4; i++) {
        short bits = expected[lane][i].getHalfFloatValue();
        assertThat(fragments[lane][i].getHalfFloatValue()).isEqualTo(bits);
        assertThat(fragmentsOfPairs[lane][i].getHalfFloatValue()).isEqualTo(bits);
      }
    }
  }
}
