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
 * <p>Pieces of weights, of an eighth of what a slot may hold at a site, go to the device beside the
 * runs of other slots' adapters. The device is taken, so that a run waits, only for the table of a
 * site, once its weights are there, and for weights that move within a pool, which only the next
 * pieces make whole.
 *
 * <p>The new weights lie beside the old ones until all projections have them, where the pools have
 * room for both; so a change that fails is taken back by the tables alone. Storing what is staged
 * may be repeated, and is where the Java heap has no room for what TornadoVM wants.
 */
final class SlotWriter {
  /** How often a store is tried. */
  private static final int TRIES = 3;

  private final List<ProjectionWeights> weights;
  private final Stores stores;
  private final Lock turn;
  private volatile @Nullable Throwable loss;

  /** Brings to the device what the weights of an index have. */
  interface Stores {

    /** The staged piece; may be called beside runs. */
    void piece(int index);

    /** The table; called by who has the device. */
    void table(int index);
  }

  /**
   * @param turn whoever has it has the device; it must be fair, else no load would get it between
   *     two runs
   */
  SlotWriter(List<ProjectionWeights> weights, Stores stores, Lock turn) {
    this.weights = weights;
    this.stores = stores;
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
    } else {
      ProjectionWeights.Packed each = packed.get(index);
      each.stage(slot);
      do {
        storePiece(index, each);
      } while (each.stageNext());
    }
    storeTable(index);
  }

  private void storePiece(int index, ProjectionWeights.Packed packed) {
    if (weights.get(index).isMoving()) {
      move(index, packed);
    }
    try {
      store(stores::piece, index);
    } catch (RuntimeException | Error e) {
      noteLoss(e);
      throw e;
    }
  }

  /** Stores pieces until no weights are on the move and the table tells where they are. */
  private void move(int index, ProjectionWeights.Packed packed) {
    turn.lock();
    try {
      DeviceRecords.hold(
          () -> {
            do {
              store(stores::piece, index);
              packed.stageNext();
            } while (weights.get(index).isMoving());
            store(stores::table, index);
          });
    } catch (RuntimeException | Error e) {
      // before anybody else gets the device
      loss = e;
      throw e;
    } finally {
      turn.unlock();
    }
  }

  private void storeTable(int index) {
    turn.lock();
    try {
      DeviceRecords.hold(() -> store(stores::table, index));
    } catch (RuntimeException | Error e) {
      noteLoss(e);
      throw e;
    } finally {
      turn.unlock();
    }
  }

  private void noteLoss(Throwable failure) {
    if (isOfDevice(failure)) {
      loss = failure;
    }
  }

  private static void store(IntConsumer store, int index) {
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
        storeTable(i);
      }
    } catch (RuntimeException | Error _) {
      // the caller gets the first failure
      loss = failure;
    }
  }
}
