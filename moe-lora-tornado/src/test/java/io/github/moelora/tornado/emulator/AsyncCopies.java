package io.github.moelora.tornado.emulator;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * The asynchronous copies of a thread. A copy lands as late as it may: when its thread waits for
 * the group. Until then the destination is poisoned, because it may land as early as it is issued.
 */
final class AsyncCopies {
  private record Copy(int[] tile, int index, int word) {}

  private List<Copy> open = new ArrayList<>();
  private final Deque<List<Copy>> groups = new ArrayDeque<>();

  void issue(int[] tile, int index, int word) {
    tile[index] = LocalMemory.POISON;
    open.add(new Copy(tile, index, word));
  }

  void commit() {
    groups.add(open);
    open = new ArrayList<>();
  }

  /** Waits until at most {@code pending} groups are on their way. */
  void await(int pending) {
    while (groups.size() > pending) {
      for (Copy copy : groups.remove()) {
        copy.tile[copy.index] = copy.word;
      }
    }
  }
}
