package io.github.moelora.spi;

import io.github.moelora.LoraAdapter;

/**
 * Computes projections with the adapters in its slots. Arguments are already validated by {@link
 * io.github.moelora.MoeLora}, which also makes sure that no {@link BackendStep#run} of a plan that
 * names a slot overlaps a {@link PreparedAdapter#commit} or {@link #unload} of that slot, nor of
 * any slot unless {@link #changesBesideRuns}.
 */
public interface Backend extends AutoCloseable {

  /** One line for people: device and limits. */
  String device();

  /**
   * Whether commits and unloads of a slot may overlap runs of plans that do not name it, and each
   * other for different slots. Then a load waits for no run while its slot is idle.
   */
  default boolean changesBesideRuns() {
    return false;
  }

  /**
   * Whether {@link #prepare} refuses weights that are not finite, with {@link
   * LoraAdapter#notFinite}. Otherwise {@link io.github.moelora.MoeLora} reads all weights before,
   * unless that has been done.
   */
  default boolean findsNonFinite() {
    return false;
  }

  /**
   * Packs an adapter for a slot without any effect on runs, which may go on meanwhile. After a
   * failure nothing is left of it.
   *
   * @param slot in {@code [0, L)}
   */
  PreparedAdapter prepare(int slot, LoraAdapter adapter);

  /** Empties a slot. */
  void unload(int slot);

  /** Makes the buffers of a step. */
  BackendStep newStep();

  /** Frees all memory; steps are closed first. */
  @Override
  void close();

  /** A packed adapter; either committed or closed without effect. */
  interface PreparedAdapter extends AutoCloseable {

    /** Puts the adapter into its slot in place of what was there. Does not fail half-way. */
    void commit();

    /** Gives up the packed copy if it was not committed. */
    @Override
    void close();
  }
}
