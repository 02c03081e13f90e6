package io.github.moelora.tornado.weights;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.TaskGraph;

/**
 * The weights of one projection of one layer, or of one dense module, for all slots: a pool on the
 * device with an equal share for each slot, and a table that tells the kernels what lies where.
 *
 * <p>The pool lives on the device alone. A slot changes through a staging array and a copy kernel,
 * so a swap moves that slot's weights and no others. Not thread-safe.
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

  /** Name of the task graph that stores a slot. */
  default String uploadName() {
    return "upload_" + site().name();
  }

  /** Graph that stores the staged slot and leaves {@link #resident} on the device. */
  TaskGraph uploadGraph();

  /** Arrays that stay on the device from graph to graph. */
  Object[] resident();

  /**
   * Stand-ins for {@link #resident} in graphs that do not own the memory: arrays of one element
   * that are mapped to the real ones on the device. A graph that held the real ones would reserve
   * their memory once more.
   */
  ProjectionWeights handles();

  /** Converts an adapter's weights to the order of the pool, without any effect on the device. */
  Packed pack(LoraAdapter adapter);

  /** Stages an empty slot. */
  void stageEmpty(int slot);

  /** Weights in the order of the pool. */
  interface Packed {

    /** Stages the weights and the table's new entries; the upload graph then stores them. */
    void stage(int slot);

    /**
     * Stages what did not fit into the staging array, after the upload graph has stored what was
     * there.
     *
     * @return false if nothing was left
     */
    default boolean stageNext() {
      return false;
    }
  }
}
