package io.github.moelora;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The largest magnitude of all weights of an adapter, read once in the order in which memory has
 * them. Memory is usually a mapped file, whose pages come from the disk in that order, and a fused
 * B is one piece of memory that all experts' views share with gaps between their elements.
 *
 * <p>Magnitudes are compared as integers: without its sign bit a float of any of the three types
 * grows with its bits, and those of infinity and NaN are the largest.
 */
final class WeightScan {
  /** Bytes that are copied to the heap at a time: they stay in the first-level cache. */
  private static final int CHUNK_BYTES = 16 << 10;

  /** Bytes that one task scans. */
  private static final long TASK_BYTES = 4 << 20;

  /** A contiguous piece of memory. */
  private record Piece(MemorySegment data, DType type) {}

  private WeightScan() {}

  /**
   * Scans.
   *
   * @return NaN if an element of a matrix is not finite
   */
  static float maxMagnitude(List<Matrix> matrices) {
    List<Matrix> scattered = new ArrayList<>();
    List<Piece> pieces = pieces(matrices, scattered);
    pieces.sort(Comparator.comparingLong(piece -> piece.data().address()));
    Thread other = new Thread(() -> {});
    boolean shared = matrices.stream().allMatch(m -> m.data().isAccessibleBy(other));
    Stream<Piece> large = shared ? pieces.parallelStream() : pieces.stream();
    Stream<Matrix> small = shared ? scattered.parallelStream() : scattered.stream();
    // Math.max answers NaN if one of its arguments is
    float contiguous = large.map(WeightScan::scan).reduce(0f, Math::max);
    return Math.max(contiguous, small.map(WeightScan::scan).reduce(0f, Math::max));
  }

  /** Memory that the matrices cover without gaps; the others go to {@code scattered}. */
  private static List<Piece> pieces(List<Matrix> matrices, List<Matrix> scattered) {
    Map<MemorySegment, Set<Matrix>> strided = new HashMap<>();
    List<Piece> pieces = new ArrayList<>();
    for (Matrix matrix : new LinkedHashSet<>(matrices)) {
      if (isContiguous(matrix)) {
        int bytes = matrix.type().bytes();
        long size = (long) matrix.rows() * matrix.columns() * bytes;
        split(matrix.data().asSlice(matrix.offset() * bytes, size), matrix.type(), pieces);
      } else {
        strided.computeIfAbsent(matrix.data(), data -> new LinkedHashSet<>()).add(matrix);
      }
    }
    strided.forEach(
        (data, views) -> {
          DType type = views.iterator().next().type();
          long covered = 0;
          for (Matrix view : views) {
            covered += view.type() == type ? (long) view.rows() * view.columns() : 0;
          }
          // distinct views of one file's tensor do not overlap
          if (covered * type.bytes() == data.byteSize()) {
            split(data, type, pieces);
          } else {
            scattered.addAll(views);
          }
        });
    return pieces;
  }

  private static boolean isContiguous(Matrix matrix) {
    boolean rows = matrix.columnStride() == 1 && matrix.rowStride() == matrix.columns();
    boolean columns = matrix.rowStride() == 1 && matrix.columnStride() == matrix.rows();
    return rows || columns;
  }

  private static void split(MemorySegment data, DType type, List<Piece> pieces) {
    for (long from = 0; from < data.byteSize(); from += TASK_BYTES) {
      long bytes = Math.min(TASK_BYTES, data.byteSize() - from);
      pieces.add(new Piece(data.asSlice(from, bytes), type));
    }
  }

  private static float scan(Piece piece) {
    MemorySegment data = piece.data();
    int[] words = new int[CHUNK_BYTES / Integer.BYTES];
    int max = 0;
    long wholeBytes = data.byteSize() / Integer.BYTES * Integer.BYTES;
    for (long from = 0; from < wholeBytes; from += CHUNK_BYTES) {
      int count = (int) (Math.min(CHUNK_BYTES, wholeBytes - from) / Integer.BYTES);
      MemorySegment.copy(data, ValueLayout.JAVA_INT_UNALIGNED, from, words, 0, count);
      max = Math.max(max, piece.type() == DType.F32 ? max32(words, count) : max16(words, count));
    }
    if (wholeBytes < data.byteSize()) {
      int last = data.get(ValueLayout.JAVA_SHORT_UNALIGNED, wholeBytes) & 0x7fff;
      max = Math.max(max, last);
    }
    return value(max, piece.type());
  }

  private static int max32(int[] words, int count) {
    int max = 0;
    for (int i = 0; i < count; i++) {
      max = Math.max(max, words[i] & 0x7fff_ffff);
    }
    return max;
  }

  private static int max16(int[] words, int count) {
    int low = 0;
    int high = 0;
    for (int i = 0; i < count; i++) {
      low = Math.max(low, words[i] & 0x7fff);
      high = Math.max(high, words[i] >>> 16 & 0x7fff);
    }
    return Math.max(low, high);
  }

  /** The float of a magnitude's bits; NaN for infinity, too. */
  private static float value(int bits, DType type) {
    float value =
        switch (type) {
          case F32 -> Float.intBitsToFloat(bits);
          case F16 -> Float.float16ToFloat((short) bits);
          case BF16 -> Float.intBitsToFloat(bits << 16);
        };
    return Float.isFinite(value) ? value : Float.NaN;
  }

  private static float scan(Matrix matrix) {
    float max = 0;
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        float value = matrix.get(i, j);
        max = Math.max(max, Float.isFinite(value) ? Math.abs(value) : Float.NaN);
      }
    }
    return max;
  }
}
