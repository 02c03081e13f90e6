package io.github.moelora.tornado.step;

import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.List;
import java.util.concurrent.locks.Lock;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Changes a slot in all projections and dense modules, or in none. Used by one thread at a time,
 * but for {@link #loss}.
 *
 * <p>The device is taken for a piece and given back, so that runs of other slots' adapters come
 * between: none waits for more than a piece, an eighth of what a slot may hold there, or for
 * weights that move within a pool, which only the next pieces make whole.
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
  private final Lock turn;
  private volatile @Nullable Throwable loss;

  /**
   * @param store stores what the weights of an index have staged
   * @param turn whoever has it has the device; it must be fair, else no run would get it between
   *     two pieces
   */
  SlotWriter(List<ProjectionWeights> weights, IntConsumer store, Lock turn) {
    this.weights = weights;
    this.store = store;
    this.turn = turn;
  }

  /** Whether a failure comes from more than the Java heap or stack. */
  static boolean isOfDevice(Throwable failure) {
    return !(failure instanceof OutOfMemoryError || failure instanceof StackOverflowError);
  }

  /** The failure of a change that could not be taken back; null without one. */
  @Nullable Throwable loss() {
    return loss;
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
      if (loss == null) {
        takeBack(at, e);
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
      storeInTurn(index, null);
    } else {
      ProjectionWeights.Packed each = packed.get(index);
      each.stage(slot);
      do {
        storeInTurn(index, each);
      } while (each.stageNext());
    }
  }

  /**
   * Stores what is staged, and goes on until no weights are on the move.
   *
   * @param packed has the next pieces; null where nothing moves
   */
  private void storeInTurn(int index, ProjectionWeights.@Nullable Packed packed) {
    ProjectionWeights site = weights.get(index);
    turn.lock();
    try {
      store(index);
      while (packed != null && site.isMoving()) {
        packed.stageNext();
        store(index);
      }
    } catch (RuntimeException | Error e) {
      // before anybody else gets the device
      if (isOfDevice(e) || site.isMoving()) {
        loss = e;
      }
      throw e;
    } finally {
      turn.unlock();
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
  private void takeBack(int last, Throwable failure) {
    try {
      for (int i = 0; i <= last; i++) {
        if (!weights.get(i).stageRevert()) {
          loss = failure;
          return;
        }
        storeInTurn(i, null);
      }
    } catch (RuntimeException | Error _) {
      // the caller gets the first failure
      loss = failure;
    }
  }
}
