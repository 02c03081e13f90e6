package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * Writes matrices as panels and looks for NaN and infinity in the same pass. A tile of up to {@link
 * Kernels#LANES} rows and {@link #TILE_COLUMNS} columns is copied to the heap, where it stays in
 * the first-level cache, turned there, and copied to its place in each stripe, one piece of memory.
 *
 * <p>Has buffers of its own, so each thread needs one.
 */
final class PanelPacker {
  /** A multiple of {@link #QUAD}; with four bytes an element both buffers take 32 KiB. */
  private static final int TILE_COLUMNS = 256;

  /** 16-bit elements of a word, and stripes: a turned word is a part of a row of one stripe. */
  private static final int QUAD = 4;

  private static final boolean LITTLE = ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN;
  private static final long LOW_SHORTS = 0x0000ffff_0000ffffL;
  private static final long LOW_INT = 0xffffffffL;

  private final DType type;

  /** Rows of 16-bit elements, one behind the other, each filled up with zeros to whole words. */
  private final long[] words = new long[Kernels.LANES * TILE_COLUMNS / QUAD];

  /** The same turned, stripe by stripe. */
  private final long[] turnedWords = new long[words.length];

  private final float[] floats = new float[Kernels.LANES * TILE_COLUMNS];
  private final float[] turnedFloats = new float[floats.length];
  private final short[] shorts = new short[floats.length];
  private final MemorySegment wordBytes = MemorySegment.ofArray(words);

  /**
   * Makes the buffers.
   *
   * @param type of the panels' elements
   */
  PanelPacker(DType type) {
    this.type = type;
  }

  /**
   * Writes column {@code k} of a matrix as row {@code k} of panels. Columns of panels beyond the
   * matrix's rows become zeros.
   *
   * @param source in, {@code [rows, depth]} with {@code rows} up to the panels' columns
   * @param panels where the elements belong
   * @param to out, memory of the panels
   * @return whether every element is finite
   */
  boolean pack(Matrix source, PackedAdapter.Panels panels, MemorySegment to) {
    boolean sameBits = LITTLE && source.type() == type && type.bytes() == Short.BYTES;
    boolean finite = true;
    for (int panel = 0; panel < panels.count(); panel++) {
      boolean asWords = sameBits && source.hasContiguousRows() && panels.width(panel) % QUAD == 0;
      for (int k = 0; k < panels.depth(); k += TILE_COLUMNS) {
        Tile tile = Tile.of(source, panels, panel, k);
        finite &= asWords ? packWords(source, tile, to) : packFloats(source, tile, to);
      }
    }
    return finite;
  }

  /**
   * What is turned at a time.
   *
   * @param row first row of the source
   * @param rows rows that the source has
   * @param width rows with those of padding
   * @param column first column of the source
   * @param columns number of columns
   * @param at element of the first stripe at which the tile belongs
   * @param stripe elements from one stripe to the next
   * @param stripes stripes that the panels have
   */
  private record Tile(
      int row, int rows, int width, int column, int columns, long at, long stripe, int stripes) {

    static Tile of(Matrix source, PackedAdapter.Panels panels, int panel, int column) {
      int row = panel * Kernels.LANES;
      int width = panels.width(panel);
      return new Tile(
          row,
          Math.min(width, source.rows() - row),
          width,
          column,
          Math.min(TILE_COLUMNS, panels.depth() - column),
          panels.row(panel, column),
          panels.stripe(),
          Math.min(panels.depth(), Kernels.STRIPES));
    }

    /** Rows of a stripe; the last one of some is of padding where they do not come out even. */
    int quads() {
      return Math.ceilDiv(columns, QUAD);
    }
  }

  private boolean packWords(Matrix source, Tile tile, MemorySegment to) {
    int quads = tile.quads();
    copyWords(source, tile, quads);
    boolean finite = turnWords(words, turnedWords, quads, tile.width() / QUAD, type);
    int count = quads * tile.width() / QUAD;
    for (int s = 0; s < tile.stripes(); s++) {
      long byteAt = (tile.at() + s * tile.stripe()) * Short.BYTES;
      MemorySegment.copy(
          turnedWords, s * count, to, ValueLayout.JAVA_LONG_UNALIGNED, byteAt, count);
    }
    return finite;
  }

  private void copyWords(Matrix source, Tile tile, int quads) {
    long rowBytes = (long) tile.columns() * Short.BYTES;
    long paddedBytes = (long) quads * Long.BYTES;
    Arrays.fill(words, tile.rows() * quads, tile.width() * quads, 0);
    if (rowBytes == paddedBytes && source.rowStride() == tile.columns()) {
      long from = source.index(tile.row(), tile.column()) * Short.BYTES;
      MemorySegment.copy(source.data(), from, wordBytes, 0, tile.rows() * rowBytes);
      return;
    }
    for (int i = 0; i < tile.rows(); i++) {
      long from = source.index(tile.row() + i, tile.column()) * Short.BYTES;
      words[(i + 1) * quads - 1] = 0;
      MemorySegment.copy(source.data(), from, wordBytes, i * paddedBytes, rowBytes);
    }
  }

  /**
   * Turns squares of four by four elements. An element is not finite exactly if its exponent bits
   * are all ones, that is, if adding one at the lowest of them carries into the sign bit.
   *
   * @param in in, {@code [groups * 4, quads]} words of four elements of a row
   * @param out out, {@code [4, quads, groups]} words of four elements of a column
   * @return whether every element is finite
   */
  private static boolean turnWords(long[] in, long[] out, int quads, int groups, DType type) {
    long exponent = type == DType.BF16 ? 0x7f80_7f80_7f80_7f80L : 0x7c00_7c00_7c00_7c00L;
    long one = exponent & ~(exponent << 1);
    long carries = 0;
    int stripe = quads * groups;
    for (int g = 0; g < groups; g++) {
      int from = QUAD * g * quads;
      int to = g;
      for (int j = from; j < from + quads; j++, to += groups) {
        long a = in[j];
        long b = in[j + quads];
        long c = in[j + 2 * quads];
        long d = in[j + 3 * quads];
        carries |= ((a & exponent) + one) | ((b & exponent) + one);
        carries |= ((c & exponent) + one) | ((d & exponent) + one);
        long evenAb = (a & LOW_SHORTS) | ((b & LOW_SHORTS) << 16);
        long oddAb = ((a >>> 16) & LOW_SHORTS) | (b & ~LOW_SHORTS);
        long evenCd = (c & LOW_SHORTS) | ((d & LOW_SHORTS) << 16);
        long oddCd = ((c >>> 16) & LOW_SHORTS) | (d & ~LOW_SHORTS);
        out[to] = (evenAb & LOW_INT) | (evenCd << 32);
        out[to + stripe] = (oddAb & LOW_INT) | (oddCd << 32);
        out[to + 2 * stripe] = (evenAb >>> 32) | (evenCd & ~LOW_INT);
        out[to + 3 * stripe] = (oddAb >>> 32) | (oddCd & ~LOW_INT);
      }
    }
    return (carries & 0x8000_8000_8000_8000L) == 0;
  }

  private boolean packFloats(Matrix source, Tile tile, MemorySegment to) {
    int columns = tile.columns();
    for (int i = 0; i < tile.rows(); i++) {
      widen(source, tile.row() + i, tile.column(), columns, i * columns);
    }
    Arrays.fill(floats, tile.rows() * columns, tile.width() * columns, 0);
    int max = 0;
    for (int i = 0; i < tile.rows() * columns; i++) {
      max = Math.max(max, Float.floatToRawIntBits(floats[i]) & 0x7fff_ffff);
    }
    int count = tile.quads() * tile.width();
    turnFloats(tile, count);
    for (int s = 0; s < tile.stripes(); s++) {
      // the last row of a stripe that has one less holds what an earlier tile left
      int used = Math.ceilDiv(columns - s, Kernels.STRIPES) * tile.width();
      store(s * count, used, to, tile.at() + s * tile.stripe());
    }
    return max < 0x7f80_0000;
  }

  private void widen(Matrix source, int row, int column, int count, int at) {
    MemorySegment data = source.data();
    long from = source.index(row, column);
    if (!source.hasContiguousRows()) {
      for (int j = 0; j < count; j++) {
        floats[at + j] = source.type().get(data, from + j * source.columnStride());
      }
    } else if (source.type() == DType.F32) {
      MemorySegment.copy(
          data, ValueLayout.JAVA_FLOAT_UNALIGNED, from * Float.BYTES, floats, at, count);
    } else {
      MemorySegment.copy(
          data, ValueLayout.JAVA_SHORT_UNALIGNED, from * Short.BYTES, shorts, 0, count);
      for (int j = 0; j < count; j++) {
        floats[at + j] =
            source.type() == DType.BF16
                ? DType.bf16ToFloat(shorts[j])
                : Float.float16ToFloat(shorts[j]);
      }
    }
  }

  private void turnFloats(Tile tile, int stripe) {
    int columns = tile.columns();
    int width = tile.width();
    for (int k = 0; k < columns; k++) {
      int to = k % Kernels.STRIPES * stripe + k / Kernels.STRIPES * width;
      for (int i = 0; i < width; i++) {
        turnedFloats[to + i] = floats[i * columns + k];
      }
    }
  }

  /** Rounds elements to the panels' type and copies them to memory. */
  private void store(int from, int count, MemorySegment to, long at) {
    if (type == DType.F32) {
      MemorySegment.copy(
          turnedFloats, from, to, ValueLayout.JAVA_FLOAT_UNALIGNED, at * Float.BYTES, count);
      return;
    }
    for (int i = 0; i < count; i++) {
      float value = turnedFloats[from + i];
      shorts[i] = type == DType.BF16 ? DType.floatToBf16(value) : Float.floatToFloat16(value);
    }
    MemorySegment.copy(shorts, 0, to, ValueLayout.JAVA_SHORT_UNALIGNED, at * Short.BYTES, count);
  }
}
