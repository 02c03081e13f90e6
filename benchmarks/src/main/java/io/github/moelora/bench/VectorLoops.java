package io.github.moelora.bench;

import static java.nio.ByteOrder.LITTLE_ENDIAN;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Loops that do nothing but what they measure; loaded only where the Vector API is present. */
final class VectorLoops {
  /** Sums of {@link #fma}: enough to hide the latency of two units, few enough for 16 registers. */
  static final int SUMS = 10;

  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Long> L = LongVector.SPECIES_PREFERRED;

  private VectorLoops() {}

  /** Floating-point operations of one turn of {@link #fma}: a multiplication and an addition. */
  static long flopsPerTurn() {
    return 2L * SUMS * F.length();
  }

  /**
   * Bitwise or of all bytes, whose number is a multiple of 512. Reads eight parts side by side,
   * each with a hardware prefetcher of its own.
   */
  static long read(MemorySegment memory) {
    long part = memory.byteSize() / 8;
    LongVector s0 = LongVector.zero(L);
    LongVector s1 = s0;
    LongVector s2 = s0;
    LongVector s3 = s0;
    LongVector s4 = s0;
    LongVector s5 = s0;
    LongVector s6 = s0;
    LongVector s7 = s0;
    for (long i = 0; i < part; i += L.vectorByteSize()) {
      s0 = s0.or(load(memory, i));
      s1 = s1.or(load(memory, i + part));
      s2 = s2.or(load(memory, i + 2 * part));
      s3 = s3.or(load(memory, i + 3 * part));
      s4 = s4.or(load(memory, i + 4 * part));
      s5 = s5.or(load(memory, i + 5 * part));
      s6 = s6.or(load(memory, i + 6 * part));
      s7 = s7.or(load(memory, i + 7 * part));
    }
    LongVector low = s0.or(s1).or(s2.or(s3));
    return low.or(s4.or(s5).or(s6.or(s7))).reduceLanes(VectorOperators.OR);
  }

  private static LongVector load(MemorySegment memory, long at) {
    return LongVector.fromMemorySegment(L, memory, at, LITTLE_ENDIAN);
  }

  /** {@link #SUMS} independent chains of fused multiply-adds, all in registers. */
  static float fma(int turns, float start) {
    FloatVector x = FloatVector.broadcast(F, start);
    FloatVector half = FloatVector.broadcast(F, 0.5f);
    FloatVector s0 = x;
    FloatVector s1 = x;
    FloatVector s2 = x;
    FloatVector s3 = x;
    FloatVector s4 = x;
    FloatVector s5 = x;
    FloatVector s6 = x;
    FloatVector s7 = x;
    FloatVector s8 = x;
    FloatVector s9 = x;
    for (int i = 0; i < turns; i++) {
      s0 = s0.fma(half, x);
      s1 = s1.fma(half, x);
      s2 = s2.fma(half, x);
      s3 = s3.fma(half, x);
      s4 = s4.fma(half, x);
      s5 = s5.fma(half, x);
      s6 = s6.fma(half, x);
      s7 = s7.fma(half, x);
      s8 = s8.fma(half, x);
      s9 = s9.fma(half, x);
    }
    FloatVector low = s0.add(s1).add(s2).add(s3).add(s4);
    return low.add(s5).add(s6).add(s7).add(s8).add(s9).lane(0);
  }
}
