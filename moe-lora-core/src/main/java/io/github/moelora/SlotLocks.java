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
 *
 * <p>Unlocking needs some stack. A thread that has less left than that is refused the lock ({@link
 * StackOverflowError}), since it would keep it for good.
 */
final class SlotLocks {
  /**
   * Frames of {@link #requireStack}: some 60 bytes each once compiled, 200 before. An unlock that
   * wakes the next thread needs some 20 frames.
   */
  private static final int STACK_FRAMES = 64;

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

  /** Keeps newStep and close out; returns a stamp for {@link #unlockShared}. */
  long lockShared() {
    requireStack();
    return whole.readLock();
  }

  void unlockShared(long stamp) {
    whole.unlockRead(stamp);
  }

  /** Keeps everything out; returns a stamp for {@link #unlockAlone}. */
  long lockAlone() {
    requireStack();
    return whole.writeLock();
  }

  void unlockAlone(long stamp) {
    whole.unlockWrite(stamp);
  }

  /**
   * Locks for a run.
   *
   * @param slots in, the first {@code count} are the slots that the plan names, ascending
   * @param stamps out, for {@link #unlockRun}; at least {@code count + 1}
   */
  void lockRun(int[] slots, int count, long[] stamps) {
    requireStack();
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
    requireStack();
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

  private static void requireStack() {
    if (depth(STACK_FRAMES, 1, 2, 3, 4, 5) == 0) {
      throw new AssertionError("depth counts up");
    }
  }

  /** The arguments are used after the call, so that compiled frames hold them, too. */
  private static long depth(int frames, long a, long b, long c, long d, long e) {
    if (frames == 0) {
      return 1;
    }
    long deeper = depth(frames - 1, b + 1, c + 1, d + 1, e + 1, a + 1);
    return (deeper + (a ^ frames) + (b ^ c) + (d ^ e)) | 1;
  }
}
