package io.github.moelora.tornado.layout;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeLoraConfig;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Where the kernels find the slices of (slot, local expert): for each slice the offsets of A and B
 * in their pool, rank, first column and number of columns. A slice that is not there has rank 0 and
 * no columns, so it costs nothing.
 */
public final class SliceTable {
  public static final int A = 0;
  public static final int B = 1;
  public static final int RANK = 2;
  public static final int FIRST_COLUMN = 3;
  public static final int COLUMNS = 4;

  /** A spare field, of which the table's first one holds the largest sum of ranks of a site. */
  static final int LARGEST_STACK = 5;

  /** A spare field, of which the table's first one holds the most slices of a site, at least 1. */
  public static final int MOST_SLICES = 6;

  /** Ints of one slice; a power of two. */
  public static final int FIELDS = 8;

  /** Ints of one (slot, expert). */
  public static final int INTS = LoraAdapter.MAX_SLICES * FIELDS;

  /** Entries of one slot, put aside. */
  public static final class Saved {
    private final int[] slices;
    private final float[] scales;

    private Saved(int localExperts) {
      slices = new int[localExperts * INTS];
      scales = new float[localExperts * LoraAdapter.MAX_SLICES];
    }

    /**
     * Corrects the offsets of weights that have moved.
     *
     * @param field {@link #A} or {@link #B}
     */
    public void rebase(int field, int by) {
      for (int at = 0; at < slices.length; at += FIELDS) {
        slices[at + field] += slices[at + RANK] > 0 ? by : 0;
      }
    }
  }

  private final int localExperts;
  private final IntArray slices;
  private final FloatArray scales;
  private final FloatArray floats;

  public SliceTable(MoeLoraConfig config) {
    localExperts = config.expertMap().localExperts();
    // one at least, for LARGEST_STACK, where all experts live elsewhere
    int sites = Math.max(1, Math.multiplyExact(config.slots(), localExperts));
    slices = new IntArray(Math.multiplyExact(sites, INTS));
    scales = new FloatArray(Math.multiplyExact(sites, LoraAdapter.MAX_SLICES));
    floats = new FloatArray(Math.toIntExact(FloatTable.size(sites)));
    slices.init(0);
    scales.init(0);
    floats.init(0);
  }

  private SliceTable(int localExperts) {
    this.localExperts = localExperts;
    slices = new IntArray(1);
    scales = new FloatArray(1);
    floats = new FloatArray(1);
  }

  /** See {@link ProjectionWeights#handles}. */
  public SliceTable handles() {
    return new SliceTable(localExperts);
  }

  /** What a table takes on the device, but for {@link #floats}. */
  public static DeviceBytes bytes(MoeLoraConfig config) {
    long sites = Math.max(1, (long) config.slots() * config.expertMap().localExperts());
    return DeviceBytes.array(sites * INTS, Integer.BYTES)
        .plus(DeviceBytes.array(sites * LoraAdapter.MAX_SLICES, Float.BYTES));
  }

  /** Most ranks of all slices of an expert. */
  public static int maxStack(MoeLoraConfig config) {
    return LoraAdapter.MAX_SLICES * config.maxRank();
  }

  public IntArray slices() {
    return slices;
  }

  public FloatArray scales() {
    return scales;
  }

  /** Both in one, for engines' graphs: see {@link FloatTable}. */
  public FloatArray floats() {
    return floats;
  }

  /** Slots of the table. */
  public int slots() {
    return localExperts == 0 ? 0 : slices.getSize() / INTS / localExperts;
  }

  /** Room for {@link #save}. */
  public Saved newSaved() {
    return new Saved(localExperts);
  }

  /** Copies the entries of a slot. */
  public void save(int slot, Saved to) {
    for (int i = 0; i < to.slices.length; i++) {
      to.slices[i] = slices.get(slot * localExperts * INTS + i);
    }
    for (int i = 0; i < to.scales.length; i++) {
      to.scales[i] = scales.get(slot * to.scales.length + i);
    }
  }

  /** Brings back the entries of a slot; {@link #updateSummary} must follow. */
  public void restore(int slot, Saved from) {
    for (int i = 0; i < from.slices.length; i++) {
      slices.set(slot * localExperts * INTS + i, from.slices[i]);
    }
    for (int i = 0; i < from.scales.length; i++) {
      scales.set(slot * from.scales.length + i, from.scales[i]);
    }
    copySlot(slot);
  }

  private void copySlot(int slot) {
    for (int expert = 0; expert < localExperts; expert++) {
      FloatTable.copy(slices, scales, floats, slot * localExperts + expert);
    }
  }

  /**
   * Corrects the offsets of a slot whose weights have moved.
   *
   * @param field {@link #A} or {@link #B}
   */
  public void rebase(int slot, int field, int by) {
    int first = slot * localExperts * INTS;
    for (int at = first; at < first + localExperts * INTS; at += FIELDS) {
      if (slices.get(at + RANK) > 0) {
        slices.set(at + field, slices.get(at + field) + by);
      }
    }
    copySlot(slot);
  }

  /** Removes the slices of one (slot, expert). */
  public void clear(int slot, int expert) {
    int at = (slot * localExperts + expert) * INTS;
    for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
      for (int field = A; field <= COLUMNS; field++) {
        slices.set(at + s * FIELDS + field, 0);
      }
    }
    FloatTable.copy(slices, scales, floats, slot * localExperts + expert);
  }

  /**
   * Enters a slice of one (slot, expert).
   *
   * @param a offset of A in its pool
   * @param b offset of B in its pool
   */
  public void enter(int slot, int expert, int index, LoraSlice slice, int a, int b) {
    int site = slot * localExperts + expert;
    int at = site * INTS + index * FIELDS;
    slices.set(at + A, a);
    slices.set(at + B, b);
    slices.set(at + RANK, slice.rank());
    slices.set(at + FIRST_COLUMN, slice.firstColumn());
    slices.set(at + COLUMNS, slice.columns());
    scales.set(site * LoraAdapter.MAX_SLICES + index, slice.scale());
    FloatTable.copy(slices, scales, floats, site);
  }

  /** Brings {@link #LARGEST_STACK} and {@link #MOST_SLICES} up to date after slots have changed. */
  public void updateSummary() {
    int largest = 0;
    int most = 1;
    for (int at = 0; at < slices.getSize(); at += INTS) {
      largest = Math.max(largest, slices.get(at + RANK) + slices.get(at + FIELDS + RANK));
      most = slices.get(at + FIELDS + RANK) > 0 ? LoraAdapter.MAX_SLICES : most;
    }
    slices.set(LARGEST_STACK, largest);
    slices.set(MOST_SLICES, most);
    floats.set(FloatTable.MOST_SLICES, most);
  }

  int get(int slot, int expert, int slice, int field) {
    return slices.get((slot * localExperts + expert) * INTS + slice * FIELDS + field);
  }
}
