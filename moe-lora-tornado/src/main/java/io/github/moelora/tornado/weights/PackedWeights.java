package io.github.moelora.tornado.weights;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.tornado.device.Rounding;
import io.github.moelora.tornado.kernels.MmaExpand;
import io.github.moelora.tornado.kernels.MmaShrink;
import io.github.moelora.tornado.kernels.PackedLoops;
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

  /**
   * Where a slot's weights wait for the upload; large enough for any projection and dense module,
   * and shared by all.
   */
  public record Staging(LongArray a, LongArray b) {
    public static Staging of(MoeLoraConfig config) {
      int a = 0;
      int b = 0;
      for (Projection projection : Projection.values()) {
        a = Math.max(a, slotA(config, projection));
        b = Math.max(b, slotB(config, projection));
      }
      for (DenseModule module : config.model().dense()) {
        MoeLoraConfig layer = config.ofDense(module);
        a = Math.max(a, slotA(layer, Projection.GATE_UP));
        b = Math.max(b, slotB(layer, Projection.GATE_UP));
      }
      return new Staging(new LongArray(a), new LongArray(b));
    }
  }

  private final WeightSite site;
  private final MoeLoraConfig config;
  private final Projection projection;
  private final int slotA;
  private final int slotB;
  private final SliceTable table;
  private final LongArray poolA;
  private final LongArray poolB;
  private final Staging staging;
  private final IntArray range = new IntArray(4);

  /**
   * @throws IllegalArgumentException if a pool exceeds an array of 2^31 - 17 longs
   */
  public PackedWeights(WeightSite site, Staging staging) {
    this.site = site;
    this.config = site.config();
    this.projection = site.projection();
    this.staging = staging;
    slotA = slotA(config, projection);
    slotB = slotB(config, projection);
    table = new SliceTable(config);
    poolA = new LongArray(PoolSizes.all(config, slotA, MmaShrink.SPARE, PackedLayout.LONG));
    poolB = new LongArray(PoolSizes.all(config, slotB, MmaExpand.SPARE, PackedLayout.LONG));
    range.init(0);
  }

  private PackedWeights(PackedWeights owner) {
    site = owner.site;
    config = owner.config;
    projection = owner.projection;
    slotA = owner.slotA;
    slotB = owner.slotB;
    table = owner.table.handles();
    poolA = new LongArray(1);
    poolB = new LongArray(1);
    staging = owner.staging;
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

  private static int slotA(MoeLoraConfig config, Projection projection) {
    return PoolSizes.slot(
        config,
        PackedLayout.sizeA(SliceTable.maxStack(config), config.model().inputWidth(projection))
            / PackedLayout.LONG,
        PackedLayout.LONG);
  }

  private static int slotB(MoeLoraConfig config, Projection projection) {
    // each slice may end in a partly filled group
    int columns = config.model().outputWidth(projection) + PackedLayout.GROUP;
    return PoolSizes.slot(
        config,
        PackedLayout.sizeB(config.maxRank(), columns) / PackedLayout.LONG,
        PackedLayout.LONG);
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

  /** Where the staged weights belong, as the kernels of {@link #uploadGraph} read it. */
  public IntArray range() {
    return range;
  }

  @Override
  public Object[] resident() {
    return new Object[] {poolA, poolB, table.slices(), table.scales()};
  }

  @Override
  public TaskGraph uploadGraph() {
    return new TaskGraph(uploadName())
        .transferToDevice(
            DataTransferMode.EVERY_EXECUTION,
            staging.a(),
            staging.b(),
            range,
            table.slices(),
            table.scales())
        .task("storeA", PackedLoops::store, staging.a(), range, poolA, 0)
        .task("storeB", PackedLoops::store, staging.b(), range, poolB, 2)
        .persistOnDevice(resident());
  }

  @Override
  public Packed pack(LoraAdapter adapter) {
    int countA = 0;
    int countB = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      List<LoraSlice> list = slices(adapter, e);
      countA += PackedLayout.sizeA(stack(list), inputWidth());
      for (LoraSlice slice : list) {
        countB += PackedLayout.sizeB(slice.rank(), slice.columns());
      }
    }
    short[] a = new short[countA];
    short[] b = new short[countB];
    int atA = 0;
    int atB = 0;
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      List<LoraSlice> list = slices(adapter, e);
      int first = 0;
      for (LoraSlice slice : list) {
        copyA(slice, a, atA, first, PackedLayout.rankTiles(stack(list)));
        copyB(slice, b, atB);
        first += slice.rank();
        atB += PackedLayout.sizeB(slice.rank(), slice.columns());
      }
      atA += PackedLayout.sizeA(stack(list), inputWidth());
    }
    return slot -> stage(slot, adapter, a, b);
  }

  private void copyA(LoraSlice slice, short[] out, int at, int firstRank, int rankTiles) {
    for (int r = 0; r < slice.rank(); r++) {
      for (int h = 0; h < inputWidth(); h++) {
        out[at + PackedLayout.indexA(firstRank + r, h, rankTiles)] =
            Rounding.toBits(config.weightType(), slice.a().get(r, h));
      }
    }
  }

  private void copyB(LoraSlice slice, short[] out, int at) {
    int units = PackedLayout.rankUnits(slice.rank());
    for (int c = 0; c < slice.columns(); c++) {
      for (int r = 0; r < slice.rank(); r++) {
        out[at + PackedLayout.indexB(c, r, units)] =
            Rounding.toBits(config.weightType(), slice.b().get(c, r));
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

  private void stage(int slot, LoraAdapter adapter, short[] a, short[] b) {
    MemorySegment.copy(a, 0, staging.a().getSegment(), ValueLayout.JAVA_SHORT, 0, a.length);
    MemorySegment.copy(b, 0, staging.b().getSegment(), ValueLayout.JAVA_SHORT, 0, b.length);
    int atA = slot * slotA;
    int atB = slot * slotB;
    range.set(0, atA);
    range.set(1, a.length / PackedLayout.LONG);
    range.set(2, atB);
    range.set(3, b.length / PackedLayout.LONG);
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

  @Override
  public void stageEmpty(int slot) {
    range.init(0);
    for (int e = 0; e < config.expertMap().localExperts(); e++) {
      table.clear(slot, e);
    }
    table.updateSummary();
  }
}
