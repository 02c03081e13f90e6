package io.github.moelora.cpu;

import static java.nio.ByteOrder.LITTLE_ENDIAN;

import io.github.moelora.DType;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Kernels on the Vector API.
 *
 * <p>Products keep eight rows times two panels in registers: ten loads serve sixteen fused
 * multiply-adds. They are spelled out, because the compiler keeps vectors in registers only as
 * local variables. So is the choice between the types of weights: in a method of its own, which is
 * large once it is compiled for two of them, it would no longer be inlined and take three times as
 * long. Where the next rows of the four stripes begin goes round in {@code r0} to {@code r3}, which
 * costs less than {@link #rowOffset}.
 *
 * <p>So there are eight near-copies of one loop, kept by hand: a generator of them would be longer
 * than what it saves, and whatever is changed in one belongs into all. Each takes the columns of
 * one vector from {@code column} on and copies what it needs of the {@link Product} to local
 * variables, which the loop then keeps in registers:
 *
 * <table>
 *   <caption>The products, and the vectors that each keeps in registers</caption>
 *   <tr><th>method<th>rows<th>panels<th>sums<th>weights<th>taken
 *   <tr><td>multiply1<td>1<td>1<td>1<td>1<td>for the row that is left
 *   <tr><td>multiply2<td>2<td>1<td>2<td>1<td>for two rows that are left
 *   <tr><td>multiply4<td>4<td>1<td>4<td>1<td>for four rows that are left
 *   <tr><td>multiply8<td>8<td>1<td>8<td>1<td>on vectors of 512 bits
 *   <tr><td>multiplyTwo1<td>1<td>2<td>2<td>2<td>for the row that is left
 *   <tr><td>multiplyTwo2<td>2<td>2<td>4<td>2<td>for two rows that are left
 *   <tr><td>multiplyTwo4<td>4<td>2<td>8<td>2<td>for four rows that are left
 *   <tr><td>multiplyTwo8<td>8<td>2<td>16<td>2<td>on vectors of 512 bits
 * </table>
 */
final class VectorKernels extends Kernels {
  private static final VectorSpecies<Float> F = species();
  private static final VectorSpecies<Integer> I = VectorSpecies.of(int.class, F.vectorShape());
  private static final VectorSpecies<Short> S =
      VectorSpecies.of(short.class, VectorShape.forBitSize(F.vectorBitSize() / 2));
  private static final VectorSpecies<Byte> B = VectorSpecies.of(byte.class, S.vectorShape());
  private static final VectorSpecies<Byte> WHOLE_B = VectorSpecies.of(byte.class, F.vectorShape());
  private static final int W = F.length();

  /** With 16 registers, as vectors of less than 512 bits often have, eight rows do not fit. */
  private static final boolean EIGHT_ROWS = W == LANES;

  /** The preferred shape, within the limits of a panel and of a short vector of half its size. */
  private static VectorSpecies<Float> species() {
    VectorSpecies<Float> preferred = FloatVector.SPECIES_PREFERRED;
    return preferred.length() > LANES ? FloatVector.SPECIES_512 : preferred;
  }

  @Override
  String description() {
    return "Vector API, " + F.vectorBitSize() + " bits";
  }

  @Override
  boolean wantArrays() {
    return true;
  }

  /**
   * There are products of one, two, four and eight rows: rows of padding that make one product of
   * what would be two or three cost less.
   */
  @Override
  int paddedRows(int rows) {
    int rest = rows % ROWS;
    if (rest <= 2) {
      return rows;
    }
    return rows - rest + (rest <= 4 ? 4 : ROWS);
  }

  @Override
  void widenRowBf16(RowMemory x, long from, int count, float[] out, int at) {
    int vectors = count - count % W;
    switch (x.kind()) {
      case SHORTS -> widen(x.shorts(), x.indexOf(from), vectors, out, at);
      case BYTES -> widen(x.bytes(), x.indexOf(from), vectors, out, at);
      case SEGMENT, FLOATS -> widen(x.data(), from, vectors, out, at);
    }
    for (int i = vectors; i < count; i++) {
      out[at + i] = DType.BF16.get(x.data(), from + i);
    }
  }

  private static void widen(MemorySegment x, long from, int count, float[] out, int at) {
    for (int i = 0; i < count; i += W) {
      loadBf16(x, from + i).intoArray(out, at + i);
    }
  }

  private static void widen(short[] x, int from, int count, float[] out, int at) {
    for (int i = 0; i < count; i += W) {
      widened(ShortVector.fromArray(S, x, from + i)).intoArray(out, at + i);
    }
  }

  private static void widen(byte[] x, int from, int count, float[] out, int at) {
    for (int i = 0; i < count; i += W) {
      widened(loadShorts(x, from + 2 * i)).intoArray(out, at + i);
    }
  }

  private static FloatVector loadF32(MemorySegment data, long index) {
    return FloatVector.fromMemorySegment(F, data, index * Float.BYTES, LITTLE_ENDIAN);
  }

  private static ShortVector loadShorts(MemorySegment data, long index) {
    return ShortVector.fromMemorySegment(S, data, index * Short.BYTES, LITTLE_ENDIAN);
  }

  private static ShortVector loadShorts(byte[] data, int index) {
    return ByteVector.fromArray(B, data, index).reinterpretAsShorts();
  }

  private static FloatVector loadBf16(MemorySegment data, long index) {
    return widened(loadShorts(data, index));
  }

  /** Of bfloat16. */
  private static FloatVector widened(ShortVector bf16) {
    IntVector bits = (IntVector) bf16.convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0);
    return bits.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
  }

  /**
   * Sign, exponent and fraction moved into place make a float32 that is too small by 2^112,
   * subnormal values included. Between sign and exponent are three copies of the sign to clear.
   */
  private static FloatVector loadF16(MemorySegment data, long index) {
    IntVector bits = (IntVector) loadShorts(data, index).convertShape(VectorOperators.S2I, I, 0);
    return bits.lanewise(VectorOperators.LSHL, 13)
        .and(0x8fffffff)
        .reinterpretAsFloats()
        .mul(0x1p112f);
  }

  /** What is not bfloat16. */
  private static FloatVector loadOther(DType type, MemorySegment data, long index) {
    return type == DType.F32 ? loadF32(data, index) : loadF16(data, index);
  }

  @Override
  void multiply(Product p) {
    for (int c = 0; c < LANES; c += W) {
      int m = p.row;
      for (; EIGHT_ROWS && m + 8 <= p.endRow; m += 8) {
        multiply8(p, m, c);
      }
      for (; m + 4 <= p.endRow; m += 4) {
        multiply4(p, m, c);
      }
      for (; m + 2 <= p.endRow; m += 2) {
        multiply2(p, m, c);
      }
      for (; m < p.endRow; m++) {
        multiply1(p, m, c);
      }
    }
  }

  @Override
  void multiplyTwo(Product p) {
    for (int c = 0; c < LANES; c += W) {
      int m = p.row;
      for (; EIGHT_ROWS && m + 8 <= p.endRow; m += 8) {
        multiplyTwo8(p, m, c);
      }
      for (; m + 4 <= p.endRow; m += 4) {
        multiplyTwo4(p, m, c);
      }
      for (; m + 2 <= p.endRow; m += 2) {
        multiplyTwo2(p, m, c);
      }
      for (; m < p.endRow; m++) {
        multiplyTwo1(p, m, c);
      }
    }
  }

  private static FloatVector start(float[] out, int at, boolean add) {
    return add ? FloatVector.fromArray(F, out, at) : FloatVector.zero(F);
  }

  private static void multiply1(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      s0 = v.fma(FloatVector.broadcast(F, in[k]), s0);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
  }

  private static void multiply2(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    int o1 = outAt[m + 1] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    FloatVector s1 = start(out, o1, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      s0 = v.fma(FloatVector.broadcast(F, in[k]), s0);
      s1 = v.fma(FloatVector.broadcast(F, in[k + IN_STRIDE]), s1);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
    s1.intoArray(out, o1);
  }

  private static void multiply4(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    int o1 = outAt[m + 1] + outFrom;
    int o2 = outAt[m + 2] + outFrom;
    int o3 = outAt[m + 3] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    FloatVector s1 = start(out, o1, p.add);
    FloatVector s2 = start(out, o2, p.add);
    FloatVector s3 = start(out, o3, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      s0 = v.fma(FloatVector.broadcast(F, in[k]), s0);
      s1 = v.fma(FloatVector.broadcast(F, in[k + IN_STRIDE]), s1);
      s2 = v.fma(FloatVector.broadcast(F, in[k + 2 * IN_STRIDE]), s2);
      s3 = v.fma(FloatVector.broadcast(F, in[k + 3 * IN_STRIDE]), s3);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
    s1.intoArray(out, o1);
    s2.intoArray(out, o2);
    s3.intoArray(out, o3);
  }

  private static void multiply8(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    int o1 = outAt[m + 1] + outFrom;
    int o2 = outAt[m + 2] + outFrom;
    int o3 = outAt[m + 3] + outFrom;
    int o4 = outAt[m + 4] + outFrom;
    int o5 = outAt[m + 5] + outFrom;
    int o6 = outAt[m + 6] + outFrom;
    int o7 = outAt[m + 7] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    FloatVector s1 = start(out, o1, p.add);
    FloatVector s2 = start(out, o2, p.add);
    FloatVector s3 = start(out, o3, p.add);
    FloatVector s4 = start(out, o4, p.add);
    FloatVector s5 = start(out, o5, p.add);
    FloatVector s6 = start(out, o6, p.add);
    FloatVector s7 = start(out, o7, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      s0 = v.fma(FloatVector.broadcast(F, in[k]), s0);
      s1 = v.fma(FloatVector.broadcast(F, in[k + IN_STRIDE]), s1);
      s2 = v.fma(FloatVector.broadcast(F, in[k + 2 * IN_STRIDE]), s2);
      s3 = v.fma(FloatVector.broadcast(F, in[k + 3 * IN_STRIDE]), s3);
      s4 = v.fma(FloatVector.broadcast(F, in[k + 4 * IN_STRIDE]), s4);
      s5 = v.fma(FloatVector.broadcast(F, in[k + 5 * IN_STRIDE]), s5);
      s6 = v.fma(FloatVector.broadcast(F, in[k + 6 * IN_STRIDE]), s6);
      s7 = v.fma(FloatVector.broadcast(F, in[k + 7 * IN_STRIDE]), s7);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
    s1.intoArray(out, o1);
    s2.intoArray(out, o2);
    s3.intoArray(out, o3);
    s4.intoArray(out, o4);
    s5.intoArray(out, o5);
    s6.intoArray(out, o6);
    s7.intoArray(out, o7);
  }

  private static void multiplyTwo1(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    long at2 = p.at2 + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    FloatVector t0 = start(out, o0 + LANES, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      FloatVector w = bf16 ? loadBf16(panel, at2 + r0) : loadOther(type, panel, at2 + r0);
      FloatVector x0 = FloatVector.broadcast(F, in[k]);
      s0 = v.fma(x0, s0);
      t0 = w.fma(x0, t0);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
    t0.intoArray(out, o0 + LANES);
  }

  private static void multiplyTwo2(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    long at2 = p.at2 + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    int o1 = outAt[m + 1] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    FloatVector s1 = start(out, o1, p.add);
    FloatVector t0 = start(out, o0 + LANES, p.add);
    FloatVector t1 = start(out, o1 + LANES, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      FloatVector w = bf16 ? loadBf16(panel, at2 + r0) : loadOther(type, panel, at2 + r0);
      FloatVector x0 = FloatVector.broadcast(F, in[k]);
      s0 = v.fma(x0, s0);
      t0 = w.fma(x0, t0);
      FloatVector x1 = FloatVector.broadcast(F, in[k + IN_STRIDE]);
      s1 = v.fma(x1, s1);
      t1 = w.fma(x1, t1);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
    s1.intoArray(out, o1);
    t0.intoArray(out, o0 + LANES);
    t1.intoArray(out, o1 + LANES);
  }

  private static void multiplyTwo4(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    long at2 = p.at2 + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    int o1 = outAt[m + 1] + outFrom;
    int o2 = outAt[m + 2] + outFrom;
    int o3 = outAt[m + 3] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    FloatVector s1 = start(out, o1, p.add);
    FloatVector s2 = start(out, o2, p.add);
    FloatVector s3 = start(out, o3, p.add);
    FloatVector t0 = start(out, o0 + LANES, p.add);
    FloatVector t1 = start(out, o1 + LANES, p.add);
    FloatVector t2 = start(out, o2 + LANES, p.add);
    FloatVector t3 = start(out, o3 + LANES, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      FloatVector w = bf16 ? loadBf16(panel, at2 + r0) : loadOther(type, panel, at2 + r0);
      FloatVector x0 = FloatVector.broadcast(F, in[k]);
      s0 = v.fma(x0, s0);
      t0 = w.fma(x0, t0);
      FloatVector x1 = FloatVector.broadcast(F, in[k + IN_STRIDE]);
      s1 = v.fma(x1, s1);
      t1 = w.fma(x1, t1);
      FloatVector x2 = FloatVector.broadcast(F, in[k + 2 * IN_STRIDE]);
      s2 = v.fma(x2, s2);
      t2 = w.fma(x2, t2);
      FloatVector x3 = FloatVector.broadcast(F, in[k + 3 * IN_STRIDE]);
      s3 = v.fma(x3, s3);
      t3 = w.fma(x3, t3);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
    s1.intoArray(out, o1);
    s2.intoArray(out, o2);
    s3.intoArray(out, o3);
    t0.intoArray(out, o0 + LANES);
    t1.intoArray(out, o1 + LANES);
    t2.intoArray(out, o2 + LANES);
    t3.intoArray(out, o3 + LANES);
  }

  private static void multiplyTwo8(Product p, int m, int column) {
    float[] in = p.in;
    DType type = p.type;
    MemorySegment panel = p.weights;
    long at = p.at + column;
    long at2 = p.at2 + column;
    int width = p.width;
    long stripe = p.stripe;
    float[] out = p.out;
    int[] outAt = p.outAt;
    int outFrom = p.outFrom + column;
    int o0 = outAt[m] + outFrom;
    int o1 = outAt[m + 1] + outFrom;
    int o2 = outAt[m + 2] + outFrom;
    int o3 = outAt[m + 3] + outFrom;
    int o4 = outAt[m + 4] + outFrom;
    int o5 = outAt[m + 5] + outFrom;
    int o6 = outAt[m + 6] + outFrom;
    int o7 = outAt[m + 7] + outFrom;
    FloatVector s0 = start(out, o0, p.add);
    FloatVector s1 = start(out, o1, p.add);
    FloatVector s2 = start(out, o2, p.add);
    FloatVector s3 = start(out, o3, p.add);
    FloatVector s4 = start(out, o4, p.add);
    FloatVector s5 = start(out, o5, p.add);
    FloatVector s6 = start(out, o6, p.add);
    FloatVector s7 = start(out, o7, p.add);
    FloatVector t0 = start(out, o0 + LANES, p.add);
    FloatVector t1 = start(out, o1 + LANES, p.add);
    FloatVector t2 = start(out, o2 + LANES, p.add);
    FloatVector t3 = start(out, o3 + LANES, p.add);
    FloatVector t4 = start(out, o4 + LANES, p.add);
    FloatVector t5 = start(out, o5 + LANES, p.add);
    FloatVector t6 = start(out, o6 + LANES, p.add);
    FloatVector t7 = start(out, o7 + LANES, p.add);
    boolean bf16 = type == DType.BF16;
    long r0 = 0;
    long r1 = stripe;
    long r2 = 2 * stripe;
    long r3 = 3 * stripe;
    int first = (m - p.row) * IN_STRIDE;
    int end = first + p.depth;
    for (int k = first; k < end; k++) {
      FloatVector v = bf16 ? loadBf16(panel, at + r0) : loadOther(type, panel, at + r0);
      FloatVector w = bf16 ? loadBf16(panel, at2 + r0) : loadOther(type, panel, at2 + r0);
      FloatVector x0 = FloatVector.broadcast(F, in[k]);
      s0 = v.fma(x0, s0);
      t0 = w.fma(x0, t0);
      FloatVector x1 = FloatVector.broadcast(F, in[k + IN_STRIDE]);
      s1 = v.fma(x1, s1);
      t1 = w.fma(x1, t1);
      FloatVector x2 = FloatVector.broadcast(F, in[k + 2 * IN_STRIDE]);
      s2 = v.fma(x2, s2);
      t2 = w.fma(x2, t2);
      FloatVector x3 = FloatVector.broadcast(F, in[k + 3 * IN_STRIDE]);
      s3 = v.fma(x3, s3);
      t3 = w.fma(x3, t3);
      FloatVector x4 = FloatVector.broadcast(F, in[k + 4 * IN_STRIDE]);
      s4 = v.fma(x4, s4);
      t4 = w.fma(x4, t4);
      FloatVector x5 = FloatVector.broadcast(F, in[k + 5 * IN_STRIDE]);
      s5 = v.fma(x5, s5);
      t5 = w.fma(x5, t5);
      FloatVector x6 = FloatVector.broadcast(F, in[k + 6 * IN_STRIDE]);
      s6 = v.fma(x6, s6);
      t6 = w.fma(x6, t6);
      FloatVector x7 = FloatVector.broadcast(F, in[k + 7 * IN_STRIDE]);
      s7 = v.fma(x7, s7);
      t7 = w.fma(x7, t7);
      long next = r0 + width;
      r0 = r1;
      r1 = r2;
      r2 = r3;
      r3 = next;
    }
    s0.intoArray(out, o0);
    s1.intoArray(out, o1);
    s2.intoArray(out, o2);
    s3.intoArray(out, o3);
    s4.intoArray(out, o4);
    s5.intoArray(out, o5);
    s6.intoArray(out, o6);
    s7.intoArray(out, o7);
    t0.intoArray(out, o0 + LANES);
    t1.intoArray(out, o1 + LANES);
    t2.intoArray(out, o2 + LANES);
    t3.intoArray(out, o3 + LANES);
    t4.intoArray(out, o4 + LANES);
    t5.intoArray(out, o5 + LANES);
    t6.intoArray(out, o6 + LANES);
    t7.intoArray(out, o7 + LANES);
  }

  @Override
  void addF32(RowMemory y, long at, float[] delta, int from, int count, float factor) {
    int vectors = count - count % W;
    switch (y.kind()) {
      case FLOATS -> addF32(y.floats(), y.indexOf(at), delta, from, vectors, factor);
      case BYTES -> addF32(y.bytes(), y.indexOf(at), delta, from, vectors, factor);
      case SEGMENT, SHORTS -> addF32(y.data(), at, delta, from, vectors, factor);
    }
    PlainKernels.addPlain(y, at + vectors, delta, from + vectors, count - vectors, factor);
  }

  private static void addF32(
      MemorySegment y, long at, float[] delta, int from, int count, float factor) {
    FloatVector factors = FloatVector.broadcast(F, factor);
    for (int i = 0; i < count; i += W) {
      sum(loadF32(y, at + i), factors, delta, from + i)
          .intoMemorySegment(y, (at + i) * Float.BYTES, LITTLE_ENDIAN);
    }
  }

  private static void addF32(float[] y, int at, float[] delta, int from, int count, float factor) {
    FloatVector factors = FloatVector.broadcast(F, factor);
    for (int i = 0; i < count; i += W) {
      sum(FloatVector.fromArray(F, y, at + i), factors, delta, from + i).intoArray(y, at + i);
    }
  }

  private static void addF32(byte[] y, int at, float[] delta, int from, int count, float factor) {
    FloatVector factors = FloatVector.broadcast(F, factor);
    for (int i = 0; i < count; i += W) {
      int first = at + i * Float.BYTES;
      FloatVector old = ByteVector.fromArray(WHOLE_B, y, first).reinterpretAsFloats();
      sum(old, factors, delta, from + i).reinterpretAsBytes().intoArray(y, first);
    }
  }

  /** The vector of y that a vector of deltas makes of the old one. */
  private static FloatVector sum(FloatVector old, FloatVector factors, float[] delta, int from) {
    return FloatVector.fromArray(F, delta, from).mul(factors).add(old);
  }

  @Override
  void addBf16(RowMemory y, long at, float[] delta, int from, int count, float factor) {
    int vectors = count - count % W;
    switch (y.kind()) {
      case SHORTS -> addBf16(y.shorts(), y.indexOf(at), delta, from, vectors, factor);
      case BYTES -> addBf16(y.bytes(), y.indexOf(at), delta, from, vectors, factor);
      case SEGMENT, FLOATS -> addBf16(y.data(), at, delta, from, vectors, factor);
    }
    PlainKernels.addPlain(y, at + vectors, delta, from + vectors, count - vectors, factor);
  }

  private static void addBf16(
      MemorySegment y, long at, float[] delta, int from, int count, float factor) {
    FloatVector factors = FloatVector.broadcast(F, factor);
    for (int i = 0; i < count; i += W) {
      rounded(sum(loadBf16(y, at + i), factors, delta, from + i))
          .intoMemorySegment(y, (at + i) * Short.BYTES, LITTLE_ENDIAN);
    }
  }

  private static void addBf16(short[] y, int at, float[] delta, int from, int count, float factor) {
    FloatVector factors = FloatVector.broadcast(F, factor);
    for (int i = 0; i < count; i += W) {
      FloatVector old = widened(ShortVector.fromArray(S, y, at + i));
      rounded(sum(old, factors, delta, from + i)).intoArray(y, at + i);
    }
  }

  private static void addBf16(byte[] y, int at, float[] delta, int from, int count, float factor) {
    FloatVector factors = FloatVector.broadcast(F, factor);
    for (int i = 0; i < count; i += W) {
      int first = at + i * Short.BYTES;
      FloatVector old = widened(loadShorts(y, first));
      rounded(sum(old, factors, delta, from + i)).reinterpretAsBytes().intoArray(y, first);
    }
  }

  /** To bfloat16, to nearest even. */
  private static ShortVector rounded(FloatVector sum) {
    IntVector bits = sum.reinterpretAsInts();
    IntVector odd = bits.lanewise(VectorOperators.LSHR, 16).and(1);
    IntVector rounded = bits.add(0x7fff).add(odd).lanewise(VectorOperators.LSHR, 16);
    // a NaN whose payload sits in the low bits would round to infinity
    rounded =
        rounded.blend(
            bits.lanewise(VectorOperators.LSHR, 16).or(0x40),
            sum.test(VectorOperators.IS_NAN).cast(I));
    return (ShortVector) rounded.convertShape(VectorOperators.I2S, S, 0);
  }
}
