package io.github.moelora.tornado;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import java.util.List;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The weights of one projection of one layer, for all slots: a pool on the device with an equal
 * share for each slot, and a table that tells the kernels what lies where.
 *
 * <p>The pool lives on the device alone. A slot changes through a small staging array and a copy
 * kernel, so a swap moves that slot's bytes and no others. Not thread-safe.
 */
final class ProjectionWeights {
  private final MoeLoraConfig config;
  private final int layer;
  private final Projection projection;
  private final int slotElements;
  private final SliceTable table;
  private final FloatArray pool;
  private final FloatArray staging;
  private final IntArray range = new IntArray(2);

  /**
   * @param staging shared by all projections; at least {@link #slotElements} long
   */
  ProjectionWeights(MoeLoraConfig config, int layer, Projection projection, FloatArray staging) {
    this.config = config;
    this.layer = layer;
    this.projection = projection;
    this.slotElements = slotElements(config, projection);
    this.table = new SliceTable(config);
    this.pool = new FloatArray(poolElements(config, projection));
    this.staging = staging;
    range.init(0);
  }

  /**
   * Weights that a slot can hold: two slices of the largest rank for every local expert.
   *
   * @throws IllegalArgumentException if they or the pool of all slots exceed an array of 2^31 - 1
   *     elements
   */
  static int slotElements(MoeLoraConfig config, Projection projection) {
    long expert =
        (long) config.maxRank()
            * (LoraAdapter.MAX_SLICES * config.model().inputWidth(projection)
                + config.model().outputWidth(projection));
    return poolIndex(expert * config.expertMap().localExperts());
  }

  private static int poolElements(MoeLoraConfig config, Projection projection) {
    return poolIndex((long) slotElements(config, projection) * config.slots());
  }

  private static int poolIndex(long elements) {
    if (elements > Integer.MAX_VALUE - 16) {
      throw new IllegalArgumentException(
          "slots * experts * maxRank * widths of one projection must be at most 2^31 - 17 weights,"
              + " got "
              + elements);
    }
    return (int) elements;
  }

  /** Layer index as the model numbers it. */
  int layer() {
    return layer;
  }

  Projection projection() {
    return projection;
  }

  SliceTable table() {
    return table;
  }

  FloatArray pool() {
    return pool;
  }

  /** Name of the task graph that stores a slot. */
  String uploadName() {
    return "upload_%d_%s".formatted(layer, projection);
  }

  /** Graph that stores the staged slot and leaves pool and table on the device. */
  TaskGraph uploadGraph() {
    return new TaskGraph(uploadName())
        .transferToDevice(
            DataTransferMode.EVERY_EXECUTION, staging, range, table.slices(), table.scales())
        .task("store", PortableKernels::storeSlot, staging, range, pool)
        .persistOnDevice(pool, table.slices(), table.scales());
  }

  /** Number of weights of an adapter in this projection. */
  int count(LoraAdapter adapter) {
    int count = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      for (LoraSlice slice : slices(adapter, e)) {
        count += slice.rank() * (slice.a().columns() + slice.columns());
      }
    }
    return count;
  }

  /**
   * Writes an adapter's weights in pool order: of each expert and slice A {@code [R, H]}, then B
   * {@code [O, R]}.
   */
  void pack(LoraAdapter adapter, float[] out) {
    int at = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      for (LoraSlice slice : slices(adapter, e)) {
        at = copy(slice.a(), out, at);
        at = copy(slice.b(), out, at);
      }
    }
  }

  private int copy(Matrix matrix, float[] out, int from) {
    int at = from;
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        out[at++] = Rounding.toType(config.weightType(), matrix.get(i, j));
      }
    }
    return at;
  }

  private List<LoraSlice> slices(LoraAdapter adapter, int localExpert) {
    return adapter.slices(layer, projection, config.expertMap().global(localExpert));
  }

  /** Stages packed weights and the table's new entries; the upload graph then stores them. */
  void stage(int slot, LoraAdapter adapter, float[] packed) {
    for (int i = 0; i < packed.length; i++) {
      staging.set(i, packed[i]);
    }
    int offset = slot * slotElements;
    range.set(0, offset);
    range.set(1, packed.length);
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      offset = table.enter(slot, e, slices(adapter, e), offset);
    }
  }

  /** Stages an empty slot. */
  void stageEmpty(int slot) {
    range.set(1, 0);
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      table.enter(slot, e, List.of(), 0);
    }
  }
}
