package io.github.moelora.tornado;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeLoraConfig;
import java.util.List;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Where the kernels find the slices of (slot, local expert): for each slice the offsets of A and B
 * in the pool, rank, first column and number of columns. A slice that is not there has rank 0 and
 * no columns, so it costs nothing.
 */
final class SliceTable {
  static final int A = 0;
  static final int B = 1;
  static final int RANK = 2;
  static final int FIRST_COLUMN = 3;
  static final int COLUMNS = 4;

  /** Ints of one slice; a power of two. */
  static final int FIELDS = 8;

  /** Ints of one (slot, expert). */
  static final int INTS = LoraAdapter.MAX_SLICES * FIELDS;

  private final int localExperts;
  private final IntArray slices;
  private final FloatArray scales;

  SliceTable(MoeLoraConfig config) {
    localExperts = config.expertMap().localExperts();
    int sites = Math.multiplyExact(config.slots(), localExperts);
    slices = new IntArray(Math.multiplyExact(sites, INTS));
    scales = new FloatArray(Math.multiplyExact(sites, LoraAdapter.MAX_SLICES));
    slices.init(0);
    scales.init(0);
  }

  /** Floats of a row of {@code z}: the ranks of all slices of an expert. */
  static int zStride(MoeLoraConfig config) {
    return LoraAdapter.MAX_SLICES * config.maxRank();
  }

  IntArray slices() {
    return slices;
  }

  FloatArray scales() {
    return scales;
  }

  /** Enters the slices of one (slot, expert) and returns the pool offset after them. */
  int enter(int slot, int expert, List<LoraSlice> list, int offset) {
    int site = slot * localExperts + expert;
    int at = offset;
    for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
      int field = site * INTS + s * FIELDS;
      if (s >= list.size()) {
        for (int i = 0; i < FIELDS; i++) {
          slices.set(field + i, 0);
        }
        continue;
      }
      LoraSlice slice = list.get(s);
      slices.set(field + A, at);
      at += slice.rank() * slice.a().columns();
      slices.set(field + B, at);
      at += slice.rank() * slice.columns();
      slices.set(field + RANK, slice.rank());
      slices.set(field + FIRST_COLUMN, slice.firstColumn());
      slices.set(field + COLUMNS, slice.columns());
      scales.set(site * LoraAdapter.MAX_SLICES + s, slice.scale());
    }
    return at;
  }

  int get(int slot, int expert, int slice, int field) {
    return slices.get((slot * localExperts + expert) * INTS + slice * FIELDS + field);
  }
}
