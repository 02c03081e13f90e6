package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.testkit.Rounded;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
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

  /** Every finite fp16 and bf16 number, so that no trick of the widening is wrong for one. */
  @ParameterizedTest
  @MethodSource("kernels")
  void everyFiniteWeightIsWidenedExactly(Kernels kernels) {
    for (DType type : new DType[] {DType.F16, DType.BF16}) {
      MemorySegment source = Arena.ofAuto().allocate(1 << 17);
      for (int bits = 0; bits < 1 << 16; bits++) {
        source.setAtIndex(ValueLayout.JAVA_SHORT, bits, (short) bits);
      }
      float[] out = new float[Kernels.LANES];
      int[] start = {0};
      for (int at = 0; at < 1 << 16; at += Kernels.LANES) {
        // added to negative zero, each number stays as it is
        Arrays.fill(out, -0f);
        Product product = new Product(new float[] {1}, type);
        product.endRow = 1;
        product.depth = 1;
        product.weights = source;
        product.at = at;
        product.width = Kernels.LANES;
        product.out = out;
        product.outAt = start;
        product.add = true;
        kernels.multiply(product);
        for (int c = 0; c < Kernels.LANES; c++) {
          float expected = type.get(source, at + c);
          if (Float.isFinite(expected)) {
            assertThat(out[c]).as("%x", at + c).isEqualTo(Float.valueOf(expected));
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void rowsAreWidenedExactly(Kernels kernels) {
    for (DType type : DType.values()) {
      for (int count = 0; count <= 2 * Kernels.LANES + 3; count++) {
        for (Place place : Place.values()) {
          float[] values = gaussians(2 + count);
          MemorySegment x = place.memory(type, values.length);
          MemorySegment.copy(stored(type, values), 0, x, 0, x.byteSize());
          float[] out = nans(count + 4);
          kernels.widenRow(taken(type, x), 2, count, out, 3);
          for (int i = 0; i < out.length; i++) {
            double expected =
                i < 3 || i >= 3 + count ? Double.NaN : rounded(values[2 + i - 3], type);
            assertThat((double) out[i]).as("%s", place).isEqualTo(Double.valueOf(expected));
          }
        }
      }
    }
  }

  /** Where x and y may lie. */
  private enum Place {
    NATIVE,
    ARRAY,
    /** From the second element of an array on. */
    PART_OF_ARRAY,
    /** An array of its type, but not at a whole element. */
    BETWEEN_ELEMENTS,
    BYTES,
    PART_OF_BYTES,
    OTHER_ARRAY;

    MemorySegment memory(DType type, int elements) {
      long bytes = (long) elements * type.bytes();
      return switch (this) {
        case NATIVE -> Arena.ofAuto().allocate(Math.max(bytes, 1)).asSlice(0, bytes);
        case ARRAY -> array(type, elements);
        case PART_OF_ARRAY -> array(type, elements + 2).asSlice(type.bytes(), bytes);
        case BETWEEN_ELEMENTS -> array(type, elements + 2).asSlice(1, bytes);
        case BYTES -> MemorySegment.ofArray(new byte[(int) bytes]);
        case PART_OF_BYTES -> MemorySegment.ofArray(new byte[(int) bytes + 9]).asSlice(3, bytes);
        case OTHER_ARRAY -> MemorySegment.ofArray(new long[elements]).asSlice(0, bytes);
      };
    }

    private static MemorySegment array(DType type, int elements) {
      return type == DType.F32
          ? MemorySegment.ofArray(new float[elements])
          : MemorySegment.ofArray(new short[elements]);
    }
  }

  private static RowMemory taken(DType type, MemorySegment data) {
    RowMemory memory = new RowMemory(true);
    memory.take(Matrix.of(data, type, 1, (int) (data.byteSize() / type.bytes())));
    return memory;
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void multiplyIsASumOfProducts(Kernels kernels) {
    int width = 0;
    for (DType type : DType.values()) {
      for (int panels = 1; panels <= 2; panels++) {
        for (int depth : new int[] {1, 2, 3, 7, 16, 129}) {
          for (int rows = 1; rows <= 19; rows++) {
            width = width % Kernels.LANES + 1;
            checkMultiply(kernels, type, panels, depth, width, rows, rows / 4, rows % 2 == 0);
            checkMultiply(kernels, type, panels, depth, Kernels.LANES, rows, 0, false);
          }
        }
      }
    }
  }

  private void checkMultiply(
      Kernels kernels,
      DType type,
      int panels,
      int depth,
      int width,
      int endRow,
      int row,
      boolean add) {
    int outFrom = 2;
    int outStride = 2 * Kernels.LANES + 5;
    int at = 16;
    // in each of the four stripes, the second panel is one row behind the first one
    int at2 = at + (depth + 3) / 4 * width + width;
    int stripe = 2 * (at2 - at) + 1;
    float[] weights = gaussians(at + 4 * stripe + Kernels.LANES);
    for (int i = 0; i < weights.length; i++) {
      weights[i] = (float) rounded(weights[i], type);
    }
    float[] in = nans((endRow - row) * Kernels.IN_STRIDE);
    for (int m = 0; m < endRow - row; m++) {
      System.arraycopy(gaussians(depth), 0, in, m * Kernels.IN_STRIDE, depth);
    }
    float[] out = add ? gaussians(endRow * outStride) : nans(endRow * outStride);
    float[] before = out.clone();
    int[] outAt = new int[endRow];
    for (int m = 0; m < endRow; m++) {
      outAt[m] = (endRow - 1 - m) * outStride;
    }
    Product product = new Product(in, type);
    product.row = row;
    product.endRow = endRow;
    product.depth = depth;
    product.weights = stored(type, weights);
    product.at = at;
    product.at2 = at2;
    product.width = width;
    product.stripe = stripe;
    product.out = out;
    product.outAt = outAt;
    product.outFrom = outFrom;
    product.add = add;
    if (panels == 1) {
      kernels.multiply(product);
    } else {
      kernels.multiplyTwo(product);
    }
    // the next product finds what it left alone
    assertThat(product.at).isEqualTo(at);
    assertThat(product.outFrom).isEqualTo(outFrom);
    boolean[] written = new boolean[out.length];
    for (int m = row; m < endRow; m++) {
      for (int c = 0; c < panels * Kernels.LANES; c++) {
        int to = outAt[m] + outFrom + c;
        written[to] = true;
        double sum = add ? before[to] : 0;
        double magnitude = Math.abs(sum);
        for (int k = 0; k < depth; k++) {
          int from = (c < Kernels.LANES ? at : at2) + k / 4 * width + k % 4 * stripe;
          double term =
              (double) in[(m - row) * Kernels.IN_STRIDE + k] * weights[from + c % Kernels.LANES];
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
    for (DType type : DType.values()) {
      for (int count = 0; count <= 2 * Kernels.LANES + 3; count++) {
        for (Place place : Place.values()) {
          checkAdd(kernels, type, count, place);
        }
      }
    }
  }

  /** Adds rows 1 and 2 of three, which stand in other orders in delta and in y. */
  private void checkAdd(Kernels kernels, DType type, int count, Place place) {
    int stride = count + 5;
    int yFrom = 2;
    float[] factors = {Float.NaN, -0.375f, 1};
    int[] deltaAt = {2 * stride, 3, stride};
    long[] yAt = {0, stride, 2L * stride};
    float[] delta = gaussians(3 * stride);
    MemorySegment y = place.memory(type, 3 * stride);
    float[] expected = gaussians(3 * stride);
    for (int i = 0; i < expected.length; i++) {
      type.set(y, i, expected[i]);
      expected[i] = type.get(y, i);
    }
    for (int m = 1; m < 3; m++) {
      for (int i = 0; i < count; i++) {
        int to = (int) yAt[m] + yFrom + i;
        float sum = expected[to] + factors[m] * delta[deltaAt[m] + i];
        expected[to] = (float) rounded(sum, type);
      }
    }
    RowMemory target = taken(type, y);
    for (int m = 1; m < 3; m++) {
      kernels.add(target, yAt[m] + yFrom, delta, deltaAt[m], count, factors[m]);
    }
    for (int i = 0; i < expected.length; i++) {
      assertThat(type.get(y, i)).as("%s", place).isEqualTo(Float.valueOf(expected[i]));
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
    for (Place place : Place.values()) {
      MemorySegment y = place.memory(DType.BF16, count);
      kernels.add(taken(DType.BF16, y), 0, delta, 0, count, 1);
      for (int i = 0; i < count; i++) {
        assertThat((double) DType.BF16.get(y, i))
            .as("%s %x", place, patterns[i])
            .isEqualTo(Double.valueOf(Rounded.nearest(0f + delta[i], DType.BF16)));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kernels")
  void saysWhatItIs(Kernels kernels) {
    assertThat(kernels.description()).matches("plain Java|Vector API, (128|256|512) bits");
  }

  /** The build runs this class once more with narrower vectors, see its pom. */
  @Test
  void vectorsAreNoWiderThanTheBuildAsks() {
    int most = Integer.getInteger("moelora.test.maxVectorBits", 512);
    Matcher bits = Pattern.compile("\\d+").matcher(new VectorKernels().description());
    assertThat(bits.find()).isTrue();
    assertThat(Integer.parseInt(bits.group())).isLessThanOrEqualTo(most);
  }
}
