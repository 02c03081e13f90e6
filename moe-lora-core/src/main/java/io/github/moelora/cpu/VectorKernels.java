package io.github.moelora.cpu;

import static java.nio.ByteOrder.LITTLE_ENDIAN;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/**
 * Kernels on the Vector API.
 *
 * <p>Each sum of a shrink has one vector accumulator over {@code h} whose lanes are added in order
 * at the end, never with {@code reduceLanes}, whose order is open: interpreter and compiled code
 * would differ in the last bit.
 */
final class VectorKernels extends Kernels {
  private static final VectorSpecies<Float> F = species();
  private static final VectorSpecies<Integer> I = VectorSpecies.of(int.class, F.vectorShape());
  private static final VectorSpecies<Short> S =
      VectorSpecies.of(short.class, VectorShape.forBitSize(F.vectorBitSize() / 2));
  private static final int W = F.length();
  private static final VectorShuffle<Float> ROTATE_8 = rotate(8);
  private static final VectorShuffle<Float> ROTATE_4 = rotate(4);
  private static final VectorShuffle<Float> ROTATE_2 = rotate(2);
  private static final VectorShuffle<Float> ROTATE_1 = rotate(1);

  private static VectorShuffle<Float> rotate(int lanes) {
    return VectorShuffle.fromOp(F, lane -> (lane + lanes) % W);
  }

  /**
   * The preferred shape, within the limits of the packed layout and of a short vector of half its
   * size.
   */
  private static VectorSpecies<Float> species() {
    VectorSpecies<Float> preferred = FloatVector.SPECIES_PREFERRED;
    return preferred.length() > LANES ? FloatVector.SPECIES_512 : preferred;
  }

  @Override
  String description() {
    return "Vector API, " + F.vectorBitSize() + " bits";
  }

  @Override
  void decodeBf16(MemorySegment weights, long from, int count, float[] out) {
    for (int i = 0; i < count; i += W) {
      loadBf16(weights, from + i).intoArray(out, i);
    }
  }

  private static FloatVector loadBf16(MemorySegment data, long index) {
    ShortVector bits = ShortVector.fromMemorySegment(S, data, index * Short.BYTES, LITTLE_ENDIAN);
    IntVector wide = (IntVector) bits.convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0);
    return wide.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
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
    int m = 0;
    if (ranks == RANK_TILE) {
      for (; m + 2 <= rows; m += 2) {
        shrink2x4(a, width, x, xAt, m, z, zAt, zFrom, scale);
      }
      for (; m < rows; m++) {
        shrink1x4(a, width, x, xAt[m], z, zAt[m] + zFrom, scale);
      }
    }
    for (; m < rows; m++) {
      for (int j = 0; j < ranks; j++) {
        FloatVector sum = FloatVector.zero(F);
        for (int h = 0; h < width; h += W) {
          sum =
              FloatVector.fromArray(F, a, j * width + h)
                  .fma(FloatVector.fromArray(F, x, xAt[m] + h), sum);
        }
        z[zAt[m] + zFrom + j] = scale * sumLanes(sum);
      }
    }
  }

  private static void shrink1x4(
      float[] a, int width, float[] x, int xAt, float[] z, int zAt, float scale) {
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = s0;
    FloatVector s2 = s0;
    FloatVector s3 = s0;
    for (int h = 0; h < width; h += W) {
      FloatVector v = FloatVector.fromArray(F, x, xAt + h);
      s0 = FloatVector.fromArray(F, a, h).fma(v, s0);
      s1 = FloatVector.fromArray(F, a, width + h).fma(v, s1);
      s2 = FloatVector.fromArray(F, a, 2 * width + h).fma(v, s2);
      s3 = FloatVector.fromArray(F, a, 3 * width + h).fma(v, s3);
    }
    z[zAt] = scale * sumLanes(s0);
    z[zAt + 1] = scale * sumLanes(s1);
    z[zAt + 2] = scale * sumLanes(s2);
    z[zAt + 3] = scale * sumLanes(s3);
  }

  /**
   * Eight sums: with sixteen the compiler no longer inlines all vector operations, which costs a
   * factor of four.
   */
  private static void shrink2x4(
      float[] a,
      int width,
      float[] x,
      int[] xAt,
      int m,
      float[] z,
      int[] zAt,
      int zFrom,
      float scale) {
    FloatVector s00 = FloatVector.zero(F);
    FloatVector s01 = s00;
    FloatVector s02 = s00;
    FloatVector s03 = s00;
    FloatVector s10 = s00;
    FloatVector s11 = s00;
    FloatVector s12 = s00;
    FloatVector s13 = s00;
    int x0 = xAt[m];
    int x1 = xAt[m + 1];
    for (int h = 0; h < width; h += W) {
      FloatVector v0 = FloatVector.fromArray(F, x, x0 + h);
      FloatVector v1 = FloatVector.fromArray(F, x, x1 + h);
      FloatVector a0 = FloatVector.fromArray(F, a, h);
      s00 = a0.fma(v0, s00);
      s10 = a0.fma(v1, s10);
      FloatVector a1 = FloatVector.fromArray(F, a, width + h);
      s01 = a1.fma(v0, s01);
      s11 = a1.fma(v1, s11);
      FloatVector a2 = FloatVector.fromArray(F, a, 2 * width + h);
      s02 = a2.fma(v0, s02);
      s12 = a2.fma(v1, s12);
      FloatVector a3 = FloatVector.fromArray(F, a, 3 * width + h);
      s03 = a3.fma(v0, s03);
      s13 = a3.fma(v1, s13);
    }
    storeRow(z, zAt[m] + zFrom, scale, s00, s01, s02, s03);
    storeRow(z, zAt[m + 1] + zFrom, scale, s10, s11, s12, s13);
  }

  private static void storeRow(
      float[] z,
      int at,
      float scale,
      FloatVector s0,
      FloatVector s1,
      FloatVector s2,
      FloatVector s3) {
    z[at] = scale * sumLanes(s0);
    z[at + 1] = scale * sumLanes(s1);
    z[at + 2] = scale * sumLanes(s2);
    z[at + 3] = scale * sumLanes(s3);
  }

  /**
   * Adds the lanes as a tree, upper half to lower half, with shuffles that compile to one
   * instruction each.
   */
  private static float sumLanes(FloatVector v) {
    FloatVector sum = v;
    if (W >= 16) {
      sum = sum.add(sum.rearrange(ROTATE_8));
    }
    if (W >= 8) {
      sum = sum.add(sum.rearrange(ROTATE_4));
    }
    if (W >= 4) {
      sum = sum.add(sum.rearrange(ROTATE_2));
    }
    return sum.add(sum.rearrange(ROTATE_1)).lane(0);
  }

  @Override
  void expand(
      float[] b, int panels, int rank, float[] z, int[] zAt, int zFrom, int rows, float[] out) {
    for (int panel = 0; panel < panels; panel++) {
      for (int c = 0; c < LANES; c += W) {
        int at = panel * rank * LANES + c;
        int to = panel * LANES + c;
        int m = 0;
        for (; m + 8 <= rows; m += 8) {
          expand8(b, at, rank, z, zAt, zFrom, m, out, to);
        }
        for (; m + 4 <= rows; m += 4) {
          expand4(b, at, rank, z, zAt, zFrom, m, out, to);
        }
        for (; m < rows; m++) {
          expand1(b, at, rank, z, zAt[m] + zFrom, out, m * COLUMN_TILE + to);
        }
      }
    }
  }

  private static void expand1(
      float[] b, int at, int rank, float[] z, int zAt, float[] out, int to) {
    FloatVector s = FloatVector.zero(F);
    for (int r = 0; r < rank; r++) {
      s = FloatVector.fromArray(F, b, at + r * LANES).fma(FloatVector.broadcast(F, z[zAt + r]), s);
    }
    s.intoArray(out, to);
  }

  private static void expand4(
      float[] b, int at, int rank, float[] z, int[] zAt, int zFrom, int m, float[] out, int to) {
    int z0 = zAt[m] + zFrom;
    int z1 = zAt[m + 1] + zFrom;
    int z2 = zAt[m + 2] + zFrom;
    int z3 = zAt[m + 3] + zFrom;
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = s0;
    FloatVector s2 = s0;
    FloatVector s3 = s0;
    for (int r = 0; r < rank; r++) {
      FloatVector v = FloatVector.fromArray(F, b, at + r * LANES);
      s0 = v.fma(FloatVector.broadcast(F, z[z0 + r]), s0);
      s1 = v.fma(FloatVector.broadcast(F, z[z1 + r]), s1);
      s2 = v.fma(FloatVector.broadcast(F, z[z2 + r]), s2);
      s3 = v.fma(FloatVector.broadcast(F, z[z3 + r]), s3);
    }
    int first = m * COLUMN_TILE + to;
    s0.intoArray(out, first);
    s1.intoArray(out, first + COLUMN_TILE);
    s2.intoArray(out, first + 2 * COLUMN_TILE);
    s3.intoArray(out, first + 3 * COLUMN_TILE);
  }

  private static void expand8(
      float[] b, int at, int rank, float[] z, int[] zAt, int zFrom, int m, float[] out, int to) {
    int z0 = zAt[m] + zFrom;
    int z1 = zAt[m + 1] + zFrom;
    int z2 = zAt[m + 2] + zFrom;
    int z3 = zAt[m + 3] + zFrom;
    int z4 = zAt[m + 4] + zFrom;
    int z5 = zAt[m + 5] + zFrom;
    int z6 = zAt[m + 6] + zFrom;
    int z7 = zAt[m + 7] + zFrom;
    FloatVector s0 = FloatVector.zero(F);
    FloatVector s1 = s0;
    FloatVector s2 = s0;
    FloatVector s3 = s0;
    FloatVector s4 = s0;
    FloatVector s5 = s0;
    FloatVector s6 = s0;
    FloatVector s7 = s0;
    for (int r = 0; r < rank; r++) {
      FloatVector v = FloatVector.fromArray(F, b, at + r * LANES);
      s0 = v.fma(FloatVector.broadcast(F, z[z0 + r]), s0);
      s1 = v.fma(FloatVector.broadcast(F, z[z1 + r]), s1);
      s2 = v.fma(FloatVector.broadcast(F, z[z2 + r]), s2);
      s3 = v.fma(FloatVector.broadcast(F, z[z3 + r]), s3);
      s4 = v.fma(FloatVector.broadcast(F, z[z4 + r]), s4);
      s5 = v.fma(FloatVector.broadcast(F, z[z5 + r]), s5);
      s6 = v.fma(FloatVector.broadcast(F, z[z6 + r]), s6);
      s7 = v.fma(FloatVector.broadcast(F, z[z7 + r]), s7);
    }
    int first = m * COLUMN_TILE + to;
    s0.intoArray(out, first);
    s1.intoArray(out, first + COLUMN_TILE);
    s2.intoArray(out, first + 2 * COLUMN_TILE);
    s3.intoArray(out, first + 3 * COLUMN_TILE);
    s4.intoArray(out, first + 4 * COLUMN_TILE);
    s5.intoArray(out, first + 5 * COLUMN_TILE);
    s6.intoArray(out, first + 6 * COLUMN_TILE);
    s7.intoArray(out, first + 7 * COLUMN_TILE);
  }

  @Override
  void addF32(MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    FloatVector factor = FloatVector.broadcast(F, weight);
    int i = 0;
    for (; i + W <= count; i += W) {
      long offset = (at + i) * Float.BYTES;
      FloatVector old = FloatVector.fromMemorySegment(F, y, offset, LITTLE_ENDIAN);
      FloatVector.fromArray(F, delta, from + i)
          .mul(factor)
          .add(old)
          .intoMemorySegment(y, offset, LITTLE_ENDIAN);
    }
    PlainKernels.add(DType.F32, y, at + i, delta, from + i, count - i, weight);
  }

  @Override
  void addBf16(MemorySegment y, long at, float[] delta, int from, int count, float weight) {
    FloatVector factor = FloatVector.broadcast(F, weight);
    int i = 0;
    for (; i + W <= count; i += W) {
      FloatVector sum =
          FloatVector.fromArray(F, delta, from + i).mul(factor).add(loadBf16(y, at + i));
      IntVector bits = sum.reinterpretAsInts();
      IntVector odd = bits.lanewise(VectorOperators.LSHR, 16).and(1);
      IntVector rounded = bits.add(0x7fff).add(odd).lanewise(VectorOperators.LSHR, 16);
      // a NaN whose payload sits in the low bits would round to infinity
      rounded =
          rounded.blend(
              bits.lanewise(VectorOperators.LSHR, 16).or(0x40),
              sum.test(VectorOperators.IS_NAN).cast(I));
      ((ShortVector) rounded.convertShape(VectorOperators.I2S, S, 0))
          .intoMemorySegment(y, (at + i) * Short.BYTES, LITTLE_ENDIAN);
    }
    PlainKernels.add(DType.BF16, y, at + i, delta, from + i, count - i, weight);
  }
}
