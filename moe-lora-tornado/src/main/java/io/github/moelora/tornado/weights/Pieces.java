package io.github.moelora.tornado.weights;

import io.github.moelora.LoraAdapter;

/** An adapter's weights on their way to a slot, piece by piece. */
final class Pieces implements ProjectionWeights.Packed {

  /** What differs from one order of weights to another. */
  interface Order {

    /** Copies the present pieces of all pools to where the upload takes them from. */
    void stagePiece();

    /** Enters all weights into the table, once they have their place in the pools. */
    void enter(int slot);
  }

  private final LoraAdapter adapter;
  private final SlotPools slots;
  private final int[] elements;
  private final Order order;
  private int slot;

  /**
   * @param elements that the weights take in each pool
   */
  Pieces(LoraAdapter adapter, SlotPools slots, int[] elements, Order order) {
    this.adapter = adapter;
    this.slots = slots;
    this.elements = elements;
    this.order = order;
  }

  @Override
  public String adapter() {
    return adapter.name();
  }

  @Override
  public int[] elements() {
    return elements;
  }

  @Override
  public void stage(int intoSlot) {
    slot = intoSlot;
    slots.begin(slot, elements);
    stagePiece();
  }

  @Override
  public boolean stageNext() {
    boolean left = !slots.isLast();
    if (left) {
      stagePiece();
    }
    return left;
  }

  private void stagePiece() {
    slots.next();
    order.stagePiece();
    if (slots.isLast()) {
      order.enter(slot);
    }
  }
}
