package io.github.moelora.tornado.layout;

import io.github.moelora.LoraAdapter;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * What {@link SliceTable} says in two arrays, in one of float32: each array that a task of an
 * engine's graph has costs the engine time on the host whenever the graph runs. An offset is split,
 * since a float holds no more than 24 bits of it.
 */
public final class FloatTable {
  /** Most slices of a site, 0 in a table in which nothing was ever entered. */
  public static final int MOST_SLICES = 0;

  /** Where the first site begins. */
  public static final int FIRST = 8;

  /** Offset of A in its pool: this times {@link #SPLIT}, and the next one. */
  public static final int A = 0;

  /** The same of B. */
  public static final int B = 2;

  public static final int RANK = 4;
  public static final int FIRST_COLUMN = 5;
  public static final int COLUMNS = 6;
  public static final int SCALE = 7;

  /** Floats of one slice. */
  public static final int FIELDS = 8;

  /** Floats of one (slot, expert). */
  public static final int FLOATS = LoraAdapter.MAX_SLICES * FIELDS;

  /** What an offset is split by. */
  public static final int SPLIT = 1 << 10;

  private FloatTable() {}

  /** Floats of a table. */
  static long size(long sites) {
    return FIRST + sites * FLOATS;
  }

  /** Takes over what the other table says of a site. */
  static void copy(IntArray slices, FloatArray scales, FloatArray to, int site) {
    for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
      int from = site * SliceTable.INTS + s * SliceTable.FIELDS;
      int at = FIRST + site * FLOATS + s * FIELDS;
      split(slices.get(from + SliceTable.A), to, at + A);
      split(slices.get(from + SliceTable.B), to, at + B);
      to.set(at + RANK, slices.get(from + SliceTable.RANK));
      to.set(at + FIRST_COLUMN, slices.get(from + SliceTable.FIRST_COLUMN));
      to.set(at + COLUMNS, slices.get(from + SliceTable.COLUMNS));
      to.set(at + SCALE, scales.get(site * LoraAdapter.MAX_SLICES + s));
    }
  }

  private static void split(int offset, FloatArray to, int at) {
    int high = offset / SPLIT;
    to.set(at, high);
    to.set(at + 1, offset - high * SPLIT);
  }
}
