package io.github.moelora.tornado.weights;

import io.github.moelora.DenseModule;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.tornado.device.Rounding;
import io.github.moelora.tornado.kernels.FloatLoops;
import io.github.moelora.tornado.layout.PoolSizes;
import io.github.moelora.tornado.layout.SliceTable;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Weights for the plain loops, as float32: of each expert and slice A {@code [R, H]}, then B {@code
 * [O, R]}.
 */
public final class FloatWeights implements ProjectionWeights {
  /**
   * Most elements of the staging array, 16 MiB: TornadoVM transfers whole arrays, so a large one
   * would make small adapters dear.
   */
  public static final int STAGED = 1 << 22;

  private final WeightSite site;
  private final MoeLoraConfig config;
  private final Projection projection;
  private final int slotElements;
  private final SliceTable table;
  private final FloatArray pool;
  private final FloatArray staging;
  private final IntArray range = new IntArray(2);

  /**
   * @param staging of {@link #newStaging}, shared by all
   * @throws IllegalArgumentException if the pool exceeds an array of 2^31 - 1 elements
   */
  public FloatWeights(WeightSite site, FloatArray staging) {
    this.site = site;
    this.config = site.config();
    this.projection = site.projection();
    this.slotElements = slotElements(config, projection);
    this.table = new SliceTable(config);
    this.pool = new FloatArray(PoolSizes.all(config, slotElements, 0, 1));
    this.staging = staging;
    range.init(0);
  }

  private FloatWeights(FloatWeights owner) {
    site = owner.site;
    config = owner.config;
    projection = owner.projection;
    slotElements = owner.slotElements;
    table = owner.table.handles();
    pool = new FloatArray(1);
    staging = owner.staging;
  }

  @Override
  public FloatWeights handles() {
    return new FloatWeights(this);
  }

  /** Staging array for any projection and dense module. */
  public static FloatArray newStaging(MoeLoraConfig config) {
    int elements = 0;
    for (Projection projection : Projection.values()) {
      elements = Math.max(elements, slotElements(config, projection));
    }
    for (DenseModule module : config.model().dense()) {
      elements = Math.max(elements, slotElements(config.ofDense(module), Projection.GATE_UP));
    }
    return new FloatArray(Math.min(elements, STAGED));
  }

  /** Weights that a slot can hold: two slices of the largest rank for every local expert. */
  private static int slotElements(MoeLoraConfig config, Projection projection) {
    long expert =
        (long) config.maxRank()
            * (LoraAdapter.MAX_SLICES * config.model().inputWidth(projection)
                + config.model().outputWidth(projection));
    return PoolSizes.slot(config, expert, 1);
  }

  @Override
  public WeightSite site() {
    return site;
  }

  @Override
  public SliceTable table() {
    return table;
  }

  public FloatArray pool() {
    return pool;
  }

  /** Where the staged weights belong, as the kernel of {@link #uploadGraph} reads it. */
  public IntArray range() {
    return range;
  }

  @Override
  public Object[] resident() {
    return new Object[] {pool, table.slices(), table.scales()};
  }

  @Override
  public TaskGraph uploadGraph() {
    return new TaskGraph(uploadName())
        .transferToDevice(
            DataTransferMode.EVERY_EXECUTION, staging, range, table.slices(), table.scales())
        .task("store", FloatLoops::storeSlot, staging, range, pool)
        .persistOnDevice(resident());
  }

  @Override
  public Packed pack(LoraAdapter adapter) {
    int count = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      for (LoraSlice slice : slices(adapter, e)) {
        count += slice.rank() * (slice.a().columns() + slice.columns());
      }
    }
    float[] packed = new float[count];
    int at = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      for (LoraSlice slice : slices(adapter, e)) {
        at = copy(slice.a(), packed, at);
        at = copy(slice.b(), packed, at);
      }
    }
    return new Packed() {
      private int slot;
      private int next;

      @Override
      public void stage(int intoSlot) {
        slot = intoSlot;
        enter(slot, adapter);
        next = stagePart(slot, packed, 0);
      }

      @Override
      public boolean stageNext() {
        boolean left = next < packed.length;
        if (left) {
          next = stagePart(slot, packed, next);
        }
        return left;
      }
    };
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
    return site.slices(adapter, localExpert);
  }

  /** Stages as much as fits, and returns where the rest begins. */
  private int stagePart(int slot, float[] packed, int from) {
    int count = Math.min(staging.getSize(), packed.length - from);
    MemorySegment.copy(packed, from, staging.getSegment(), ValueLayout.JAVA_FLOAT, 0, count);
    range.set(0, slot * slotElements + from);
    range.set(1, count);
    return from + count;
  }

  private void enter(int slot, LoraAdapter adapter) {
    int at = slot * slotElements;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      table.clear(slot, e);
      List<LoraSlice> list = slices(adapter, e);
      for (int s = 0; s < list.size(); s++) {
        LoraSlice slice = list.get(s);
        int b = at + slice.rank() * slice.a().columns();
        table.enter(slot, e, s, slice, at, b);
        at = b + slice.rank() * slice.columns();
      }
    }
    table.updateSummary();
  }

  @Override
  public void stageEmpty(int slot) {
    range.set(1, 0);
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      table.clear(slot, e);
    }
    table.updateSummary();
  }
}
