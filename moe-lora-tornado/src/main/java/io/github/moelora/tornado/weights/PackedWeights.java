package io.github.moelora.tornado.weights;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.tornado.device.HostPins;
import io.github.moelora.tornado.kernels.MmaExpand;
import io.github.moelora.tornado.kernels.MmaShrink;
import io.github.moelora.tornado.kernels.PackedLoops;
import io.github.moelora.tornado.kernels.PoolMoves;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PoolSizes;
import io.github.moelora.tornado.layout.SliceTable;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Weights for the narrow kernels, in their 16-bit type, in the order of {@link PackedLayout}: a
 * pool of A and one of B.
 *
 * <p>Both are {@code LongArray}s of four elements each, the widest that a kernel can load at once.
 */
public final class PackedWeights implements ProjectionWeights {

  /** Where the next piece of weights waits for the upload. */
  private record Staging(LongArray a, LongArray b) {}

  private final WeightSite site;
  private final MoeLoraConfig config;
  private final Projection projection;
  private final SliceTable table;
  private final LongArray poolA;
  private final LongArray poolB;
  private final Staging staging;
  private final SlotPools slots;

  /**
   * @throws IllegalArgumentException if a pool exceeds an array of 2^31 - 17 longs
   */
  public PackedWeights(WeightSite site) {
    this.site = site;
    config = site.config();
    projection = site.projection();
    table = new SliceTable(config);
    int sizeA = PoolSizes.packedA(config, projection, MmaShrink.SPARE);
    int sizeB = PoolSizes.packedB(config, projection, MmaExpand.SPARE);
    poolA = new LongArray(sizeA);
    poolB = new LongArray(sizeB);
    staging =
        new Staging(HostPins.longs(stagedA(config, sizeA)), HostPins.longs(stagedB(config, sizeB)));
    slots =
        new SlotPools(
            site,
            table,
            part(sizeA - MmaShrink.SPARE, staging.a(), SliceTable.A),
            part(sizeB - MmaExpand.SPARE, staging.b(), SliceTable.B));
  }

  private static int stagedA(MoeLoraConfig config, int size) {
    return PoolSizes.staged(size - MmaShrink.SPARE, config.slots());
  }

  private static int stagedB(MoeLoraConfig config, int size) {
    return PoolSizes.staged(size - MmaExpand.SPARE, config.slots());
  }

  private SlotPools.Part part(int size, LongArray staged, int field) {
    return new SlotPools.Part(
        new SlotPool(config.slots(), size), Long.BYTES, staged.getSize(), field);
  }

  private PackedWeights(PackedWeights owner) {
    site = owner.site;
    config = owner.config;
    projection = owner.projection;
    table = owner.table.handles();
    poolA = new LongArray(1);
    poolB = new LongArray(1);
    staging = owner.staging;
    slots = owner.slots;
  }

  /** What the weights of a site take on the device. */
  public static DeviceBytes bytes(WeightSite site) {
    MoeLoraConfig config = site.config();
    int sizeA = PoolSizes.packedA(config, site.projection(), MmaShrink.SPARE);
    int sizeB = PoolSizes.packedB(config, site.projection(), MmaExpand.SPARE);
    return DeviceBytes.array(sizeA, Long.BYTES)
        .plus(DeviceBytes.array(sizeB, Long.BYTES))
        .plus(DeviceBytes.array(stagedA(site.config(), sizeA), Long.BYTES))
        .plus(DeviceBytes.array(stagedB(site.config(), sizeB), Long.BYTES))
        .plus(SlotPools.bytes(2))
        .plus(DeviceBytes.array(1, Long.BYTES))
        .plus(SliceTable.bytes(config));
  }

  @Override
  public PackedWeights handles() {
    return new PackedWeights(this);
  }

  /** Whether the narrow kernels can take a model's weights: rows of x of whole longs. */
  public static boolean suits(MoeLoraConfig config) {
    return config.weightType() != DType.F32
        && config.model().hiddenSize() % 4 == 0
        && config.model().intermediateSize() % 4 == 0;
  }

  /** An array of {@code elements} 16-bit elements, an even number, as words of two. */
  public static TornadoNativeArray words(DType type, int elements) {
    return type == DType.BF16 ? new IntArray(elements / 2) : new HalfFloatArray(elements);
  }

  @Override
  public WeightSite site() {
    return site;
  }

  @Override
  public SliceTable table() {
    return table;
  }

  /** Type of the weights; 16 bits. */
  public DType type() {
    return config.weightType();
  }

  public LongArray poolA() {
    return poolA;
  }

  public LongArray poolB() {
    return poolB;
  }

  /** Where the next piece of A waits for the upload. */
  public LongArray stagingA() {
    return staging.a();
  }

  /** Where the next piece of B waits for the upload. */
  public LongArray stagingB() {
    return staging.b();
  }

  @Override
  public SlotPools slots() {
    return slots;
  }

  @Override
  public Object[] resident() {
    return new Object[] {poolA, poolB, table.slices(), table.scales()};
  }

  @Override
  public List<TornadoNativeArray> carriers() {
    return List.of(staging.a(), staging.b(), range(), moves());
  }

  @Override
  public Object[] pools() {
    return new Object[] {poolA, poolB};
  }

  @Override
  public TaskGraph uploadGraph() {
    TaskGraph graph =
        new TaskGraph(uploadName())
            .transferToDevice(
                DataTransferMode.EVERY_EXECUTION,
                staging.a(),
                staging.b(),
                range(),
                moves(),
                table.slices(),
                table.scales(),
                table.floats())
            // room alone: the pools live on the device
            .transferToDevice(DataTransferMode.UNDER_DEMAND, poolA, poolB);
    return appendStores(graph).persistOnDevice(resident()).persistOnDevice(table.floats());
  }

  @Override
  public TaskGraph tableGraph() {
    LongArray nothing = new LongArray(1);
    IntArray nowhere = slots.nowhere();
    return new TaskGraph(uploadName())
        .transferToDevice(DataTransferMode.EVERY_EXECUTION, table.slices(), table.scales())
        .transferToDevice(DataTransferMode.FIRST_EXECUTION, nothing, nowhere)
        .transferToDevice(DataTransferMode.UNDER_DEMAND, poolA, poolB)
        // only what tasks take gets room on the device
        .task("roomA", PackedLoops::store, nothing, nowhere, poolA, 0)
        .task("roomB", PackedLoops::store, nothing, nowhere, poolB, SlotPools.INTS)
        .persistOnDevice(resident());
  }

  @Override
  public TaskGraph pieceGraph() {
    return appendStores(
        new TaskGraph(pieceName())
            .transferToDevice(
                DataTransferMode.EVERY_EXECUTION, staging.a(), staging.b(), range(), moves())
            .transferToDevice(DataTransferMode.UNDER_DEMAND, poolA, poolB));
  }

  private TaskGraph appendStores(TaskGraph graph) {
    return graph
        .task("liftA", PoolMoves::lift, poolA, moves(), staging.a(), 0)
        .task("liftB", PoolMoves::lift, poolB, moves(), staging.b(), SlotPools.INTS)
        .task("storeA", PackedLoops::store, staging.a(), range(), poolA, 0)
        .task("storeB", PackedLoops::store, staging.b(), range(), poolB, SlotPools.INTS);
  }

  @Override
  public Packed pack(LoraAdapter adapter) {
    int countA = 0;
    int countB = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      List<LoraSlice> list = slices(adapter, e);
      countA = Math.addExact(countA, PackedLayout.sizeA(stack(list), inputWidth()));
      for (LoraSlice slice : list) {
        countB = Math.addExact(countB, PackedLayout.sizeB(slice.rank(), slice.columns()));
      }
    }
    short[] a = new short[countA];
    short[] b = new short[countB];
    int atA = 0;
    int atB = 0;
    BitReader reader = new BitReader(config.weightType());
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      List<LoraSlice> list = slices(adapter, e);
      int first = 0;
      for (LoraSlice slice : list) {
        int tiles = PackedLayout.rankTiles(stack(list));
        copyA(slice.a(), reader.read(slice.a()), a, atA, first, tiles);
        copyB(slice.b(), reader.read(slice.b()), b, atB);
        first += slice.rank();
        atB += PackedLayout.sizeB(slice.rank(), slice.columns());
      }
      atA += PackedLayout.sizeA(stack(list), inputWidth());
    }
    int[] elements = {a.length / PackedLayout.LONG, b.length / PackedLayout.LONG};
    return new Pieces(adapter, slots, elements, order(adapter, a, b));
  }

  /** Puts the ranks of a slice into stacked A, from {@code firstRank} on. */
  private static void copyA(Matrix a, short[] bits, short[] out, int at, int firstRank, int tiles) {
    int width = a.columns();
    for (int r = 0; r < a.rows(); r++) {
      for (int h = 0; h < width; h += PackedLayout.TILE_WIDTH) {
        // elements of a rank lie at even distances within a tile
        int to = at + PackedLayout.indexA(firstRank + r, h, tiles);
        int count = Math.min(PackedLayout.TILE_WIDTH, width - h);
        for (int i = 0; i < count; i++) {
          out[to + i * PackedLayout.TILE_RANKS] = bits[r * width + h + i];
        }
      }
    }
  }

  private static void copyB(Matrix b, short[] bits, short[] out, int at) {
    int ranks = b.columns();
    int units = PackedLayout.rankUnits(ranks);
    for (int c = 0; c < b.rows(); c++) {
      for (int r = 0; r < ranks; r += PackedLayout.UNIT) {
        // the same within a unit
        int to = at + PackedLayout.indexB(c, r, units);
        int count = Math.min(PackedLayout.UNIT, ranks - r);
        for (int i = 0; i < count; i++) {
          out[to + i * PackedLayout.UNIT] = bits[c * ranks + r + i];
        }
      }
    }
  }

  private int inputWidth() {
    return config.model().inputWidth(projection);
  }

  private static int stack(List<LoraSlice> list) {
    int ranks = 0;
    for (LoraSlice slice : list) {
      ranks += slice.rank();
    }
    return ranks;
  }

  private List<LoraSlice> slices(LoraAdapter adapter, int localExpert) {
    return site.slices(adapter, localExpert);
  }

  private Pieces.Order order(LoraAdapter adapter, short[] a, short[] b) {
    return new Pieces.Order() {
      @Override
      public void stagePiece() {
        copy(a, 0, staging.a());
        copy(b, 1, staging.b());
      }

      @Override
      public void enter(int slot) {
        PackedWeights.this.enter(slot, adapter);
      }
    };
  }

  private void copy(short[] weights, int part, LongArray to) {
    int count = slots.sentCount(part);
    if (count > 0) {
      MemorySegment.copy(
          weights,
          slots.sentFrom(part) * PackedLayout.LONG,
          to.getSegment(),
          ValueLayout.JAVA_SHORT,
          0,
          count * PackedLayout.LONG);
    }
  }

  private void enter(int slot, LoraAdapter adapter) {
    int atA = slots.offset(0, slot);
    int atB = slots.offset(1, slot);
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      table.clear(slot, e);
      List<LoraSlice> list = slices(adapter, e);
      for (int s = 0; s < list.size(); s++) {
        LoraSlice slice = list.get(s);
        table.enter(slot, e, s, slice, atA, atB);
        atB += PackedLayout.sizeB(slice.rank(), slice.columns()) / PackedLayout.LONG;
      }
      atA += PackedLayout.sizeA(stack(list), inputWidth()) / PackedLayout.LONG;
    }
    table.updateSummary();
  }
}
