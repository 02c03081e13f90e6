package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.testkit.Rounded;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Each inner loop, of both kinds, against float64 loops of its definition. */
class KernelsTest {
  private final Random random = new Random(Seeds.of("KernelsTest"));

  static Stream<Kernels> kernels() {
    return Stream.of(new PlainKernels(), new VectorKernels());
  }

  private float[] gaussians(int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  private static float[] nans(int count) {
    float[] values = new float[count];
    Arrays.fill(values, Float.NaN);
    return values;
  }

  private static MemorySegment stored(DType type, float[] values) {
    MemorySegment segment = Arena.ofAuto().allocate((long) values.length * type.bytes(), 64);
    for (int i = 0; i < values.length; i++) {
      type.set(segment, i, values[i]);
    }
    return segment;
  }

  private static double rounded(float value, DType type) {
    return type == DType.F32 ? value : Rounded.nearest(value, type);
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void panelsAreWidenedExactly(Kernels kernels) {
    for (DType type : DType.values()) {
      for (int width = 1; width <= Kernels.LANES; width++) {
        int from = 7;
        int depth = 5;
        int at = 3;
        float[] values = gaussians(from + depth * width + Kernels.LANES);
        // what fp16 cannot hold as a normal number, too
        values[from] = 0x1.8p-20f;
        values[from + width] = -0f;
        float[] panel = nans(at + depth * Kernels.LANES + 1);
        MemorySegment target = stored(DType.F32, panel);
        kernels.widenPanel(type, stored(type, values), from, depth, width, target, at);
        for (int k = 0; k < depth; k++) {
          for (int c = 0; c < width; c++) {
            assertThat((double) DType.F32.get(target, at + k * Kernels.LANES + c))
                .isEqualTo(Double.valueOf(rounded(values[from + k * width + c], type)));
          }
        }
        assertThat(DType.F32.get(target, at - 1)).isNaN();
        assertThat(DType.F32.get(target, at + depth * Kernels.LANES)).isNaN();
      }
    }
  }

  /** Every finite fp16 and bf16 number, so that no trick of the widening is wrong for one. */
  @ParameterizedTest
  @MethodSource("kernels")
  void everyFiniteNumberIsWidenedExactly(Kernels kernels) {
    for (DType type : new DType[] {DType.F16, DType.BF16}) {
      int depth = (1 << 16) / Kernels.LANES;
      MemorySegment source = Arena.ofAuto().allocate(1 << 17);
      for (int bits = 0; bits < 1 << 16; bits++) {
        source.setAtIndex(ValueLayout.JAVA_SHORT, bits, (short) bits);
      }
      MemorySegment panel = Arena.ofAuto().allocate(1 << 18, 64);
      kernels.widenPanel(type, source, 0, depth, Kernels.LANES, panel, 0);
      for (int bits = 0; bits < 1 << 16; bits++) {
        float expected = type.get(source, bits);
        if (Float.isFinite(expected)) {
          assertThat(DType.F32.get(panel, bits)).as("%x", bits).isEqualTo(Float.valueOf(expected));
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void rowsAreWidenedExactly(Kernels kernels) {
    for (DType type : DType.values()) {
      for (int count = 0; count <= 2 * Kernels.LANES + 3; count++) {
        float[] values = gaussians(2 + count);
        float[] out = nans(count + 4);
        kernels.widenRow(type, stored(type, values), 2, count, out, 3);
        for (int i = 0; i < out.length; i++) {
          double expected = i < 3 || i >= 3 + count ? Double.NaN : rounded(values[2 + i - 3], type);
          assertThat((double) out[i]).isEqualTo(Double.valueOf(expected));
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void multiplyIsASumOfProducts(Kernels kernels) {
    for (int panels = 1; panels <= 2; panels++) {
      for (int depth : new int[] {1, 2, 7, 16, 129}) {
        for (int rows = 1; rows <= 19; rows++) {
          checkMultiply(kernels, panels, depth, rows, rows / 4, rows % 2 == 0);
        }
      }
    }
  }

  private void checkMultiply(
      Kernels kernels, int panels, int depth, int endRow, int row, boolean add) {
    int inFrom = 3;
    int inStride = depth + 4;
    int outFrom = 2;
    int outStride = 2 * Kernels.LANES + 5;
    int at = 16;
    // the second panel does not follow the first one
    int at2 = at + (depth + 1) * Kernels.LANES;
    float[] weights = gaussians(at2 + depth * Kernels.LANES);
    float[] in = gaussians(endRow * inStride);
    float[] out = add ? gaussians(endRow * outStride) : nans(endRow * outStride);
    float[] before = out.clone();
    int[] inAt = new int[endRow];
    int[] outAt = new int[endRow];
    for (int m = 0; m < endRow; m++) {
      inAt[m] = (m + 1) % endRow * inStride;
      outAt[m] = (endRow - 1 - m) * outStride;
    }
    MemorySegment panel = stored(DType.F32, weights);
    if (panels == 1) {
      kernels.multiply(row, endRow, depth, in, inAt, inFrom, panel, at, out, outAt, outFrom, add);
    } else {
      kernels.multiplyTwo(
          row, endRow, depth, in, inAt, inFrom, panel, at, at2, out, outAt, outFrom, add);
    }
    boolean[] written = new boolean[out.length];
    for (int m = row; m < endRow; m++) {
      for (int c = 0; c < panels * Kernels.LANES; c++) {
        int to = outAt[m] + outFrom + c;
        written[to] = true;
        double sum = add ? before[to] : 0;
        double magnitude = Math.abs(sum);
        for (int k = 0; k < depth; k++) {
          int from = (c < Kernels.LANES ? at : at2) + k * Kernels.LANES + c % Kernels.LANES;
          double term = (double) in[inAt[m] + inFrom + k] * weights[from];
          sum += term;
          magnitude += Math.abs(term);
        }
        assertThat((double) out[to]).isCloseTo(sum, within((depth + 2) * 0x1p-24 * magnitude));
      }
    }
    for (int i = 0; i < out.length; i++) {
      if (!written[i]) {
        assertThat(out[i]).isEqualTo(Float.valueOf(before[i]));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void addRoundsOnce(Kernels kernels) {
    int from = 3;
    int at = 2;
    for (DType type : DType.values()) {
      for (int count = 0; count <= 2 * Kernels.LANES + 3; count++) {
        float weight = count % 2 == 0 ? 1 : -0.375f;
        float[] delta = gaussians(from + count);
        MemorySegment y = MemorySegment.ofArray(new byte[(at + count + 1) * type.bytes()]);
        float[] old = gaussians(at + count + 1);
        for (int i = 0; i < old.length; i++) {
          type.set(y, i, old[i]);
          old[i] = type.get(y, i);
        }
        kernels.add(type, y, at, delta, from, count, weight);
        for (int i = 0; i < old.length; i++) {
          boolean changed = i >= at && i < at + count;
          float sum = changed ? old[i] + weight * delta[from + i - at] : old[i];
          assertThat((double) type.get(y, i))
              .isEqualTo(type == DType.F32 ? sum : Rounded.nearest(sum, type));
        }
      }
    }
  }

  /** Ties, infinities and NaN in the vector rounding to bfloat16. */
  @ParameterizedTest
  @MethodSource("kernels")
  void bf16SumsRoundLikeSingleOnes(Kernels kernels) {
    int count = Kernels.LANES;
    int[] patterns = {
      0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0xbf808000, 0x7f7fffff, 0x7f800000,
      0xff800000, 0x7fc00000, 0x7f800001, 0xff80ffff, 0x00000000, 0x80000000, 0x00008000,
      0x00018000, 0x7f7f8000
    };
    float[] delta = new float[count];
    for (int i = 0; i < count; i++) {
      delta[i] = Float.intBitsToFloat(patterns[i]);
    }
    MemorySegment y = MemorySegment.ofArray(new byte[count * Short.BYTES]);
    kernels.add(DType.BF16, y, 0, delta, 0, count, 1);
    for (int i = 0; i < count; i++) {
      assertThat((double) DType.BF16.get(y, i))
          .as("%x", patterns[i])
          .isEqualTo(Double.valueOf(Rounded.nearest(0f + delta[i], DType.BF16)));
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void saysWhatItIs(Kernels kernels) {
    assertThat(kernels.description()).matches("plain Java|Vector API, (128|256|512) bits");
  }
}
