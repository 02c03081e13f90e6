package io.github.moelora;

/**
 * The locks of a {@link MoeLora}: runs share, a change of a slot excludes the runs whose plans name
 * that slot.
 *
 * <p>Where the backend cannot have a change beside runs of other slots, one lock does for all: a
 * change then waits for every run under way. Where it can, each slot has a lock of its own, so that
 * a load waits for nothing while its slot is idle. Runs take the locks of their slots by ascending
 * number and a change takes only one, so none waits in a circle; both share the lock of the whole,
 * which newStep and close have alone.
 */
final class SlotLocks {
  private final SlotLock whole = new SlotLock();
  private final SlotLock[] each;

  /**
   * @param apart whether each slot has a lock of its own
   */
  SlotLocks(int slots, boolean apart) {
    each = new SlotLock[apart ? slots : 0];
    for (int slot = 0; slot < each.length; slot++) {
      each[slot] = new SlotLock();
    }
  }

  /** Stamps of a change. */
  record Change(int slot, long wholeStamp, long slotStamp) {}

  /** The lock of everything: shared by plans, held alone by newStep and close. */
  SlotLock whole() {
    return whole;
  }

  /**
   * Locks for a run.
   *
   * @param slots in, the first {@code count} are the slots that the plan names, ascending
   * @param stamps out, for {@link #unlockRun}; at least {@code count + 1}
   */
  void lockRun(int[] slots, int count, long[] stamps) {
    stamps[0] = whole.readLock();
    if (each.length > 0) {
      for (int i = 0; i < count; i++) {
        stamps[i + 1] = each[slots[i]].readLock();
      }
    }
  }

  void unlockRun(int[] slots, int count, long[] stamps) {
    if (each.length > 0) {
      for (int i = count - 1; i >= 0; i--) {
        each[slots[i]].unlockRead(stamps[i + 1]);
      }
    }
    whole.unlockRead(stamps[0]);
  }

  /** Locks a slot for a change of it. */
  Change lockChange(int slot) {
    if (each.length == 0) {
      return new Change(slot, whole.writeLock(), 0);
    }
    long wholeStamp = whole.readLock();
    return new Change(slot, wholeStamp, each[slot].writeLock());
  }

  void unlockChange(Change change) {
    if (each.length == 0) {
      whole.unlockWrite(change.wholeStamp());
    } else {
      each[change.slot()].unlockWrite(change.slotStamp());
      whole.unlockRead(change.wholeStamp());
    }
  }
}
