package io.github.moelora.tornado.weights;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.layout.SliceTable;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * The weights of one projection of one layer, or of one dense module, for all slots: pools on the
 * device of which each slot has as much as its adapter needs, and a table that tells the kernels
 * what lies where.
 *
 * <p>The pools live on the device alone. A slot changes through a staging array and a copy kernel,
 * so a swap moves that slot's weights and, only where the free memory is in pieces too small,
 * others' within the pool. What the slot had stays until {@link #settle}, where there is room for
 * both. Not thread-safe.
 */
public sealed interface ProjectionWeights permits FloatWeights, PackedWeights {

  /** Which linear layer they are of. */
  WeightSite site();

  /** What the kernels compute it as: see {@link WeightSite#config}. */
  default MoeLoraConfig config() {
    return site().config();
  }

  /** Layer index as {@link #config} numbers it. */
  default int layer() {
    return site().layer();
  }

  default Projection projection() {
    return site().projection();
  }

  SliceTable table();

  /** The pools, and what each slot has of them. */
  SlotPools slots();

  /** Where the staged weights belong, as the kernels that store it read it. */
  default IntArray range() {
    return slots().range();
  }

  /** What moves within the pools instead, as the kernels that store it read it. */
  default IntArray moves() {
    return slots().moves();
  }

  /** Name of the task graph that stores a slot. */
  default String uploadName() {
    return "upload_" + site().name();
  }

  /** Graph that stores the staged slot and leaves {@link #resident} on the device. */
  TaskGraph uploadGraph();

  /**
   * Graph that brings the table alone to the device and leaves {@link #resident} there, for
   * instances whose pieces come by {@link #pieceGraph}.
   */
  TaskGraph tableGraph();

  /** Name of {@link #pieceGraph}. */
  default String pieceName() {
    return "piece_" + site().name();
  }

  /**
   * Graph that stores the staged piece alone. Called on {@link #handles}, whose {@link #pools} are
   * mapped to the real ones, it may run beside graphs that read other parts of the pools.
   */
  TaskGraph pieceGraph();

  /** Arrays of {@link HostPins} that carry pieces to the device. */
  List<TornadoNativeArray> carriers();

  /** Arrays that stay on the device from graph to graph. */
  Object[] resident();

  /** Those of them that hold weights. */
  Object[] pools();

  /**
   * Stand-ins for {@link #resident} in graphs that do not own the memory: arrays of one element
   * that are mapped to the real ones on the device. A graph that held the real ones would reserve
   * their memory once more.
   */
  ProjectionWeights handles();

  /**
   * Whether what is staged moves weights of a slot within a pool: until the next pieces are stored,
   * too, the table may not tell where they are.
   */
  default boolean isMoving() {
    return slots().isMoving();
  }

  /** Converts an adapter's weights to the order of the pool, without any effect on the device. */
  Packed pack(LoraAdapter adapter);

  /** Stages an empty slot. */
  default void stageEmpty(int slot) {
    slots().stageEmpty(slot);
  }

  /**
   * Refuses weights that do not fit beside what other slots hold or were promised; changes nothing.
   *
   * @throws IllegalStateException with what is needed and what is left
   */
  default void requireRoom(int slot, Packed packed) {
    slots().requireRoom(slot, packed);
  }

  /**
   * Promises a slot the memory for weights, so that others cannot take it.
   *
   * @param packed null to promise it nothing
   */
  default void promise(int slot, @Nullable Packed packed) {
    slots().promise(slot, packed == null ? null : packed.elements());
  }

  /** Gives up what a slot has before several slots change at once; its table stays until staged. */
  default void release(int slot) {
    slots().release(slot);
  }

  /** The slot's change has been stored: gives up what the slot had before. */
  default void settle() {
    slots().settle();
  }

  /**
   * Stages what the slot had before a change that failed; without one, the table alone.
   *
   * @return false if that is lost
   */
  default boolean stageRevert() {
    return slots().revert();
  }

  /** Weights in the order of the pools. */
  interface Packed {

    /** Name of the adapter. */
    String adapter();

    /** Elements that they take in each pool. */
    int[] elements();

    /**
     * Stages the first piece of the weights, which the upload graph then stores. With the last
     * piece, the table gets the slot's new entries.
     */
    void stage(int slot);

    /**
     * Stages the next piece, after the upload graph has stored the last one.
     *
     * @return false if nothing was left
     */
    boolean stageNext();
  }
}
