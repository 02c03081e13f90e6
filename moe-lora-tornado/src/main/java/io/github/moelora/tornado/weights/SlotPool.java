package io.github.moelora.tornado.weights;

import java.util.Arrays;

/**
 * Which part of a pool each slot has, and the pieces in which weights get there.
 *
 * <p>Each slot has one range of the pool, as long as its adapter needs. New weights take the first
 * gap that holds them; if none does although enough is free, ranges move towards the front until
 * there is one. A piece of a move is no longer than the gap before it, so its source is whole until
 * the next one: a piece may be repeated after a failure. Allocates nothing after construction. Not
 * thread-safe.
 */
final class SlotPool {
  private final int size;

  /** The range that a slot had before the change; one more than the slots. */
  private final int kept;

  private final int[] offsets;
  private final int[] sizes;

  /** Ranges by offset, of which the first {@code count} are valid; none is empty. */
  private final int[] order;

  private int count;

  /** What slots will hold when all changes have been staged. */
  private final int[] promised;

  private long promisedTotal;

  private int changed = -1;
  private boolean placed;
  private int wanted;
  private int sent;

  private boolean isMove;
  private int from;
  private int to;
  private int pieceCount;

  /** Elements of the range that moves that have moved. */
  private int moved;

  private int moving = -1;
  private int movedSlot;
  private int movedBy;

  /**
   * @param size elements
   */
  SlotPool(int slots, int size) {
    this.size = size;
    kept = slots;
    offsets = new int[slots + 1];
    sizes = new int[slots + 1];
    order = new int[slots + 1];
    promised = new int[slots];
  }

  /** Elements of the pool. */
  int size() {
    return size;
  }

  // ---- what slots are promised ----

  /** Elements that no other slot has or was promised. */
  long room(int slot) {
    return size - promisedTotal + promised[slot];
  }

  /** Promises a slot so many elements in place of what it had. */
  void promise(int slot, int elements) {
    promisedTotal += elements - promised[slot];
    promised[slot] = elements;
  }

  // ---- a change of a slot ----

  /** Whether new weights fit while all that is there stays. */
  boolean hasRoomBeside(int elements) {
    int used = 0;
    for (int i = 0; i < count; i++) {
      used += sizes[order[i]] * (order[i] == kept ? 0 : 1);
    }
    return size - used >= elements;
  }

  /** Gives up what a slot has, before others change, too. */
  void release(int slot) {
    settle();
    remove(slot);
  }

  /**
   * Begins to put {@code elements} into a slot, which the pool has room for.
   *
   * @param keep whether what the slot had stays until {@link #settle}
   */
  void begin(int slot, int elements, boolean keep) {
    settle();
    changed = slot;
    wanted = elements;
    sent = 0;
    placed = false;
    moving = -1;
    moved = 0;
    pieceCount = 0;
    isMove = false;
    if (keep && sizes[slot] > 0) {
      replace(slot, kept);
    } else {
      remove(slot);
    }
  }

  /** Goes on to the next piece, of at most {@code most} elements; the last one has been stored. */
  void next(int most) {
    movedBy = 0;
    finishMove();
    if (!placed) {
      int at = wanted == 0 ? 0 : firstGap();
      if (at < 0) {
        move(most);
        return;
      }
      insert(changed, at, wanted);
      placed = true;
    }
    isMove = false;
    from = sent;
    to = offsets[changed] + sent;
    pieceCount = Math.min(most, wanted - sent);
    sent += pieceCount;
  }

  /** Whether the piece is the last one. */
  boolean isLast() {
    return placed && sent == wanted;
  }

  /** Leaves what was placed where it is, and gives up what the slot had before. */
  void settle() {
    remove(kept);
    changed = -1;
  }

  /** Gives the changed slot back what it had. */
  void revert() {
    remove(changed);
    if (sizes[kept] > 0) {
      replace(kept, changed);
    }
    changed = -1;
  }

  // ---- the piece ----

  /** Whether the piece comes from the pool itself, not from the host. */
  boolean isMove() {
    return isMove;
  }

  /** Where the piece begins, in the pool or in what the host sends. */
  int from() {
    return from;
  }

  /** Where in the pool it goes. */
  int to() {
    return to;
  }

  int pieceCount() {
    return pieceCount;
  }

  /** By how much the last {@link #next} has found a range moved to the front; 0 for none. */
  int movedBy() {
    return movedBy;
  }

  /**
   * The slot of that range, or the number of slots where it is what the changed slot had before.
   */
  int movedSlot() {
    return movedSlot;
  }

  /** Where a slot's range begins. */
  int offset(int slot) {
    return offsets[slot];
  }

  private void move(int most) {
    if (moving < 0 || moved == sizes[moving]) {
      moving = firstBehindGap();
      moved = 0;
    }
    int end = endBefore(moving);
    isMove = true;
    from = offsets[moving] + moved;
    to = end + moved;
    pieceCount = Math.min(Math.min(most, offsets[moving] - end), sizes[moving] - moved);
  }

  private void finishMove() {
    if (!isMove) {
      return;
    }
    isMove = false;
    moved += pieceCount;
    if (moved == sizes[moving]) {
      int end = endBefore(moving);
      movedSlot = moving;
      movedBy = offsets[moving] - end;
      offsets[moving] = end;
    }
  }

  /** Start of the first gap that holds the new weights, -1 without one or amid a move. */
  private int firstGap() {
    if (moving >= 0 && moved < sizes[moving]) {
      return -1;
    }
    int end = 0;
    for (int i = 0; i < count; i++) {
      if (offsets[order[i]] - end >= wanted) {
        return end;
      }
      end = offsets[order[i]] + sizes[order[i]];
    }
    return size - end >= wanted ? end : -1;
  }

  private int firstBehindGap() {
    int end = 0;
    for (int i = 0; i < count; i++) {
      if (offsets[order[i]] > end) {
        return order[i];
      }
      end = offsets[order[i]] + sizes[order[i]];
    }
    throw new IllegalStateException("a pool without gaps has no room for %d".formatted(wanted));
  }

  private int endBefore(int range) {
    int i = position(range);
    return i == 0 ? 0 : offsets[order[i - 1]] + sizes[order[i - 1]];
  }

  private int position(int range) {
    int i = 0;
    while (order[i] != range) {
      i++;
    }
    return i;
  }

  private void insert(int range, int offset, int elements) {
    offsets[range] = offset;
    sizes[range] = elements;
    if (elements == 0) {
      return;
    }
    int i = 0;
    while (i < count && offsets[order[i]] < offset) {
      i++;
    }
    System.arraycopy(order, i, order, i + 1, count - i);
    order[i] = range;
    count++;
  }

  private void remove(int range) {
    if (sizes[range] > 0) {
      int i = position(range);
      System.arraycopy(order, i + 1, order, i, count - i - 1);
      count--;
      sizes[range] = 0;
    }
    offsets[range] = 0;
  }

  /** Lets another number stand for a range. */
  private void replace(int range, int by) {
    order[position(range)] = by;
    offsets[by] = offsets[range];
    sizes[by] = sizes[range];
    offsets[range] = 0;
    sizes[range] = 0;
  }

  @Override
  public String toString() {
    return "offsets %s, sizes %s".formatted(Arrays.toString(offsets), Arrays.toString(sizes));
  }
}
