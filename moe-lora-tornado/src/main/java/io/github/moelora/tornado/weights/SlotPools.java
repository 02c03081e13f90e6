package io.github.moelora.tornado.weights;

import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.layout.SliceTable;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The pools of one site and its table, which change together: a slot's old weights and entries stay
 * until the new ones are settled, where the pools have room for both. Not thread-safe.
 */
public final class SlotPools {
  /** Ints of a pool in {@link #range} and {@link #moves}. */
  static final int INTS = 2;

  /**
   * A pool.
   *
   * @param bytes of an element
   * @param staged most elements of a piece
   * @param fields of the table that hold offsets in this pool
   */
  record Part(SlotPool pool, int bytes, int staged, int... fields) {}

  private final WeightSite site;
  private final SliceTable table;
  private final Part[] parts;

  /** Per pool, where in it the staged elements belong and how many there are. */
  private final IntArray range;

  /**
   * Per pool, what is staged on the device first: from where in the pool, and how many elements.
   */
  private final IntArray moves;

  private final IntArray nowhere;
  private final SliceTable.Saved saved;
  private final int[] nothing;
  private int changed = -1;
  private boolean keeps;

  SlotPools(WeightSite site, SliceTable table, Part... parts) {
    this.site = site;
    this.table = table;
    this.parts = parts;
    range = HostPins.ints(INTS * parts.length);
    moves = HostPins.ints(INTS * parts.length);
    nowhere = new IntArray(INTS * parts.length);
    range.init(0);
    moves.init(0);
    nowhere.init(0);
    saved = table.newSaved();
    nothing = new int[parts.length];
  }

  /** What the small arrays of so many pools take on the device. */
  static DeviceBytes bytes(int parts) {
    DeviceBytes one = DeviceBytes.array((long) INTS * parts, Integer.BYTES);
    return one.plus(one).plus(one);
  }

  IntArray range() {
    return range;
  }

  /** A range of no elements, in the order of {@link #range}. */
  IntArray nowhere() {
    return nowhere;
  }

  IntArray moves() {
    return moves;
  }

  /** Refuses weights that do not fit beside what other slots hold or were promised. */
  void requireRoom(int slot, ProjectionWeights.Packed packed) {
    int[] elements = packed.elements();
    for (int i = 0; i < parts.length; i++) {
      long room = parts[i].pool().room(slot);
      if (elements[i] > room) {
        throw new IllegalStateException(
            ("adapter %s must fit into the pool of %s beside those in other slots: it needs %d"
                    + " bytes, and %d of %d are left for slot %d; unload a slot, or open the"
                    + " instance with more ranks in MoeLoraConfig.withPool")
                .formatted(
                    packed.adapter(),
                    site.label(),
                    (long) parts[i].bytes() * elements[i],
                    parts[i].bytes() * room,
                    (long) parts[i].bytes() * parts[i].pool().size(),
                    slot));
      }
    }
  }

  /** Notes what a slot will hold, null for nothing. */
  void promise(int slot, int @Nullable [] elements) {
    for (int i = 0; i < parts.length; i++) {
      parts[i].pool().promise(slot, elements == null ? 0 : elements[i]);
    }
  }

  /** Gives up what a slot has, before others change, too. */
  void release(int slot) {
    for (Part part : parts) {
      part.pool().release(slot);
    }
  }

  /** Begins a change of a slot. */
  void begin(int slot, int[] elements) {
    keeps = true;
    for (int i = 0; i < parts.length; i++) {
      keeps &= parts[i].pool().hasRoomBeside(elements[i]);
    }
    changed = slot;
    table.save(slot, saved);
    for (int i = 0; i < parts.length; i++) {
      parts[i].pool().begin(slot, elements[i], keeps);
    }
  }

  /** Begins and stages a change after which a slot is empty. */
  void stageEmpty(int slot) {
    begin(slot, nothing);
    next();
    for (int e = 0; e < site.config().expertMap().localExperts(); e++) {
      table.clear(slot, e);
    }
    table.updateSummary();
  }

  /** Goes on to the next piece of each pool and writes {@link #range} and {@link #moves}. */
  void next() {
    for (int i = 0; i < parts.length; i++) {
      SlotPool pool = parts[i].pool();
      pool.next(parts[i].staged());
      if (pool.movedBy() > 0) {
        rebase(parts[i]);
      }
      range.set(INTS * i, pool.to());
      range.set(INTS * i + 1, pool.pieceCount());
      moves.set(INTS * i, pool.from());
      moves.set(INTS * i + 1, pool.isMove() ? pool.pieceCount() : 0);
    }
  }

  private void rebase(Part part) {
    int slot = part.pool().movedSlot();
    for (int field : part.fields()) {
      if (slot == table.slots()) {
        saved.rebase(field, -part.pool().movedBy());
      } else {
        table.rebase(slot, field, -part.pool().movedBy());
      }
    }
  }

  /** Elements of the piece that the host sends. */
  int sentCount(int part) {
    SlotPool pool = parts[part].pool();
    return pool.isMove() ? 0 : pool.pieceCount();
  }

  /** Where they begin in what the host sends. */
  int sentFrom(int part) {
    return parts[part].pool().from();
  }

  /** Whether the pieces are the last ones. */
  boolean isLast() {
    for (Part part : parts) {
      if (!part.pool().isLast()) {
        return false;
      }
    }
    return true;
  }

  /** Whether a piece comes from a pool itself. */
  boolean isMoving() {
    for (Part part : parts) {
      if (part.pool().isMove()) {
        return true;
      }
    }
    return false;
  }

  int offset(int part, int slot) {
    return parts[part].pool().offset(slot);
  }

  /** Gives up what the changed slot had before. */
  void settle() {
    for (Part part : parts) {
      part.pool().settle();
    }
    changed = -1;
  }

  /**
   * Gives the changed slot back what it had, if it was kept; the upload then needs to store the
   * table alone. Without a change, does nothing.
   *
   * @return whether it was kept
   */
  boolean revert() {
    if (changed < 0) {
      return true;
    }
    range.init(0);
    moves.init(0);
    if (!keeps || isMoving()) {
      return false;
    }
    for (Part part : parts) {
      part.pool().revert();
    }
    table.restore(changed, saved);
    table.updateSummary();
    changed = -1;
    return true;
  }
}
