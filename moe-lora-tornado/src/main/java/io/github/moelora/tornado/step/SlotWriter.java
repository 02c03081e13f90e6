package io.github.moelora.tornado.step;

import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.List;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Changes a slot in all projections and dense modules, or in none. Not thread-safe.
 *
 * <p>The new weights lie beside the old ones until all projections have them, where the pools have
 * room for both; so a change that fails is taken back by the tables alone. Storing what is staged
 * may be repeated, and is where the Java heap has no room for what TornadoVM wants.
 */
final class SlotWriter {
  /** How often a store is tried. */
  private static final int TRIES = 3;

  private final List<ProjectionWeights> weights;
  private final IntConsumer store;
  private boolean lost;

  /**
   * @param store stores what the weights of an index have staged
   */
  SlotWriter(List<ProjectionWeights> weights, IntConsumer store) {
    this.weights = weights;
    this.store = store;
  }

  /** Whether a failure comes from more than the Java heap or stack. */
  static boolean isOfDevice(Throwable failure) {
    return !(failure instanceof OutOfMemoryError || failure instanceof StackOverflowError);
  }

  /** Whether a change failed and could not be taken back. */
  boolean hasLost() {
    return lost;
  }

  /**
   * Changes a slot.
   *
   * @param packed in the order of the weights, or empty to empty the slot
   */
  void change(int slot, List<ProjectionWeights.Packed> packed) {
    int at = 0;
    try {
      while (at < weights.size()) {
        change(at, slot, packed);
        at++;
      }
    } catch (RuntimeException | Error e) {
      if (isOfDevice(e)) {
        lost = true;
      } else {
        takeBack(at);
      }
      throw e;
    }
    for (int i = 0; i < weights.size(); i++) {
      weights.get(i).settle();
    }
  }

  private void change(int index, int slot, List<ProjectionWeights.Packed> packed) {
    if (packed.isEmpty()) {
      weights.get(index).stageEmpty(slot);
      store(index);
    } else {
      ProjectionWeights.Packed each = packed.get(index);
      each.stage(slot);
      do {
        store(index);
      } while (each.stageNext());
    }
  }

  private void store(int index) {
    @Nullable OutOfMemoryError last = null;
    for (int i = 0; i < TRIES; i++) {
      try {
        store.accept(index);
        return;
      } catch (OutOfMemoryError e) {
        last = e;
      }
    }
    if (last != null) {
      throw last;
    }
  }

  /** Brings back what the slot had in the first projections up to {@code last}. */
  private void takeBack(int last) {
    try {
      for (int i = 0; i <= last; i++) {
        if (!weights.get(i).stageRevert()) {
          lost = true;
          return;
        }
        store(i);
      }
    } catch (RuntimeException | Error _) {
      // the caller gets the first failure
      lost = true;
    }
  }
}
