package io.github.moelora.tornado.weights;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.device.Rounding;
import io.github.moelora.tornado.kernels.FloatLoops;
import io.github.moelora.tornado.kernels.PoolMoves;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.layout.PoolSizes;
import io.github.moelora.tornado.layout.SliceTable;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Weights for the plain loops, as float32: of each expert and slice A {@code [R, H]}, then B {@code
 * [O, R]}.
 */
public final class FloatWeights implements ProjectionWeights {
  private final WeightSite site;
  private final MoeLoraConfig config;
  private final SliceTable table;
  private final FloatArray pool;
  private final FloatArray staging;
  private final SlotPools slots;

  /**
   * @throws IllegalArgumentException if the pool exceeds an array of 2^31 - 1 elements
   */
  public FloatWeights(WeightSite site) {
    this.site = site;
    config = site.config();
    table = new SliceTable(config);
    int size = PoolSizes.floats(config, site.projection());
    pool = new FloatArray(size);
    staging = HostPins.floats(PoolSizes.staged(size, config.slots()));
    slots =
        new SlotPools(
            site,
            table,
            new SlotPools.Part(
                new SlotPool(config.slots(), size),
                Float.BYTES,
                staging.getSize(),
                SliceTable.A,
                SliceTable.B));
  }

  private FloatWeights(FloatWeights owner) {
    site = owner.site;
    config = owner.config;
    table = owner.table.handles();
    pool = new FloatArray(1);
    staging = owner.staging;
    slots = owner.slots;
  }

  @Override
  public FloatWeights handles() {
    return new FloatWeights(this);
  }

  /** What the weights of a site take on the device. */
  public static DeviceBytes bytes(WeightSite site) {
    int size = PoolSizes.floats(site.config(), site.projection());
    return DeviceBytes.array(size, Float.BYTES)
        .plus(DeviceBytes.array(PoolSizes.staged(size, site.config().slots()), Float.BYTES))
        .plus(SlotPools.bytes(1))
        .plus(DeviceBytes.array(1, Float.BYTES))
        .plus(SliceTable.bytes(site.config()));
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

  /** Where the next piece of weights waits for the upload. */
  public FloatArray staging() {
    return staging;
  }

  @Override
  public SlotPools slots() {
    return slots;
  }

  @Override
  public Object[] resident() {
    return new Object[] {pool, table.slices(), table.scales()};
  }

  @Override
  public List<TornadoNativeArray> carriers() {
    return List.of(staging, range(), moves());
  }

  @Override
  public Object[] pools() {
    return new Object[] {pool};
  }

  @Override
  public TaskGraph uploadGraph() {
    TaskGraph graph =
        new TaskGraph(uploadName())
            .transferToDevice(
                DataTransferMode.EVERY_EXECUTION,
                staging,
                range(),
                moves(),
                table.slices(),
                table.scales(),
                table.floats())
            // room alone: the pool lives on the device
            .transferToDevice(DataTransferMode.UNDER_DEMAND, pool);
    return appendStores(graph).persistOnDevice(resident()).persistOnDevice(table.floats());
  }

  @Override
  public TaskGraph tableGraph() {
    FloatArray nothing = new FloatArray(1);
    IntArray nowhere = slots.nowhere();
    return new TaskGraph(uploadName())
        .transferToDevice(DataTransferMode.EVERY_EXECUTION, table.slices(), table.scales())
        .transferToDevice(DataTransferMode.FIRST_EXECUTION, nothing, nowhere)
        .transferToDevice(DataTransferMode.UNDER_DEMAND, pool)
        // only what tasks take gets room on the device
        .task("room", FloatLoops::storeSlot, nothing, nowhere, pool)
        .persistOnDevice(resident());
  }

  @Override
  public TaskGraph pieceGraph() {
    return appendStores(
        new TaskGraph(pieceName())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, staging, range(), moves())
            .transferToDevice(DataTransferMode.UNDER_DEMAND, pool));
  }

  private TaskGraph appendStores(TaskGraph graph) {
    return graph
        .task("lift", PoolMoves::liftFloats, pool, moves(), staging)
        .task("store", FloatLoops::storeSlot, staging, range(), pool);
  }

  @Override
  public Packed pack(LoraAdapter adapter) {
    int count = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      for (LoraSlice slice : slices(adapter, e)) {
        int widths = Math.addExact(slice.a().columns(), slice.columns());
        count = Math.addExact(count, Math.multiplyExact(slice.rank(), widths));
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
    return new Pieces(adapter, slots, new int[] {packed.length}, order(adapter, packed));
  }

  private Pieces.Order order(LoraAdapter adapter, float[] packed) {
    return new Pieces.Order() {
      @Override
      public void stagePiece() {
        MemorySegment.copy(
            packed,
            slots.sentCount(0) > 0 ? slots.sentFrom(0) : 0,
            staging.getSegment(),
            ValueLayout.JAVA_FLOAT,
            0,
            slots.sentCount(0));
      }

      @Override
      public void enter(int slot) {
        FloatWeights.this.enter(slot, adapter);
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

  private void enter(int slot, LoraAdapter adapter) {
    int at = slots.offset(0, slot);
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
}
