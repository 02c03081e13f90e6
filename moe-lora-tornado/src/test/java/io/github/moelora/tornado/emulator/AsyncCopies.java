package io.github.moelora.tornado.emulator;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * The asynchronous copies of a thread. A copy lands as late as it may: when its thread waits for
 * the group. Until then the destination is poisoned, because it may land as early as it is issued,
 * and no other copy may go there, because which of the two lands last is open.
 */
final class AsyncCopies {
  private record Copy(int[] tile, int index, int word) {}

  private final LocalMemory memory;
  private final Deque<List<Copy>> groups = new ArrayDeque<>();
  private List<Copy> open = new ArrayList<>();

  AsyncCopies(LocalMemory memory) {
    this.memory = memory;
  }

  void issue(int[] tile, int index, int word) {
    memory.copyBegins(tile, index);
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
        memory.copyEnds(copy.tile, copy.index, copy.word);
      }
    }
  }
}
