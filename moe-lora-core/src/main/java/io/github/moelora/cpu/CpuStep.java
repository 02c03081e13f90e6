package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.BackendStep;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;

/**
 * One step on the CPU: three phases (widen x, shrink, expand), each spread over the worker pool.
 */
final class CpuStep implements BackendStep {
  /** Rows of a block where experts see many pairs: a decoded weight then serves so many rows. */
  private static final int LARGE_BLOCK = 32;

  private static final int SMALL_BLOCK = 16;

  /** Tasks per thread, so that threads which finish early find more work. */
  private static final int TASKS_PER_THREAD = 4;

  private final MoeLoraConfig config;
  private final Kernels kernels;
  private final WorkerPool pool;
  private final @Nullable PackedAdapter[] slots;
  private final Arena arena = Arena.ofShared();
  private final Routing.Buffers buffers;
  private final Scratch[] scratch;
  private final int zStride;

  /** Method references made once, so that a run allocates nothing. */
  private final WorkerPool.Job widen = this::widen;

  private final WorkerPool.Job shrink = this::shrink;
  private final WorkerPool.Job expand = this::expand;

  private float[] wideX = {};
  private float[] z = {};

  // the run under way
  private @Nullable Routing routing;
  private @Nullable ProjectionCall call;
  private @Nullable Matrix x;
  private @Nullable Matrix y;
  private int layerIndex;
  private int wideWidth;
  private int xRows;
  private int rowsPerTask;
  private int rankParts;
  private int columnParts;

  /** Memory of one worker. */
  private static final class Scratch {
    final float[] tile;
    final short[] bits;
    final float[] delta = new float[LARGE_BLOCK * Kernels.COLUMN_TILE];
    final int[] xAt = new int[LARGE_BLOCK];
    final int[] zAt = new int[LARGE_BLOCK];
    final int[] pairs = new int[LARGE_BLOCK];

    Scratch(int tileElements) {
      tile = new float[tileElements];
      bits = new short[tileElements];
    }
  }

  CpuStep(MoeLoraConfig config, Kernels kernels, WorkerPool pool, @Nullable PackedAdapter[] slots) {
    this.config = config;
    this.kernels = kernels;
    this.pool = pool;
    this.slots = slots;
    this.zStride = 2 * config.maxRank();
    int maxPairs = config.maxPairs();
    buffers =
        new Routing.Buffers(
            ints(Routing.sortedCapacity(config, LARGE_BLOCK)),
            ints(maxPairs),
            ints(maxPairs),
            ints(Routing.COUNTS),
            ints(maxPairs));
    MoeModel model = config.model();
    int width =
        Math.max(
            PackedAdapter.padded(model.hiddenSize()),
            PackedAdapter.padded(model.intermediateSize()));
    int tile = Math.max(Kernels.RANK_TILE * width, config.maxRank() * Kernels.COLUMN_TILE);
    scratch = new Scratch[pool.threads()];
    for (int i = 0; i < scratch.length; i++) {
      scratch[i] = new Scratch(tile);
    }
  }

  private MemorySegment ints(int count) {
    return arena.allocate(ValueLayout.JAVA_INT, count);
  }

  @Override
  public Routing.Buffers buffers() {
    return buffers;
  }

  @Override
  public int maxBlockSize() {
    return LARGE_BLOCK;
  }

  @Override
  public int blockSize(int activePairs, int groups) {
    if (activePairs == groups) {
      return 1;
    }
    return activePairs < 8L * groups ? SMALL_BLOCK : LARGE_BLOCK;
  }

  @Override
  public void planned(Routing plan) {
    routing = plan;
    int zLength = Math.multiplyExact(plan.numTokensPostPadded(), zStride);
    if (z.length < zLength) {
      z = new float[zLength];
    }
  }

  @Override
  public void run(ProjectionCall newCall, Matrix newX, Matrix newY) {
    Routing plan = plan();
    call = newCall;
    x = newX;
    y = newY;
    MoeModel model = config.model();
    layerIndex = model.layerIndex(newCall.layer());
    wideWidth = PackedAdapter.padded(model.inputWidth(newCall.projection()));
    int blocks = newCall.add() ? plan.activeBlocks() : plan.allBlocks();
    int wanted = TASKS_PER_THREAD * pool.threads();
    if (plan.activeBlocks() > 0) {
      xRows = newCall.pairRows() ? plan.pairs() : plan.tokens();
      rowsPerTask = Math.ceilDiv(xRows, wanted);
      int length = Math.multiplyExact(xRows, wideWidth);
      if (wideX.length < length) {
        wideX = new float[length];
      }
      pool.run(Math.ceilDiv(xRows, rowsPerTask), widen);
      rankParts = parts(plan.activeBlocks(), wanted, Math.ceilDiv(zStride, Kernels.RANK_TILE));
      pool.run(plan.activeBlocks() * rankParts, shrink);
    }
    if (blocks > 0) {
      int tiles = Math.ceilDiv(model.outputWidth(newCall.projection()), Kernels.COLUMN_TILE);
      columnParts = parts(blocks, wanted, tiles);
      pool.run(blocks * columnParts, expand);
    }
    x = null;
    y = null;
  }

  private static int parts(int blocks, int wanted, int most) {
    return Math.clamp(Math.ceilDiv(wanted, blocks), 1, most);
  }

  /** Task: some rows of x to float32, padded with zeros. */
  private void widen(int task, int worker) {
    Matrix source = x();
    DType type = source.type();
    int first = task * rowsPerTask;
    int end = Math.min(first + rowsPerTask, xRows);
    for (int row = first; row < end; row++) {
      int at = row * wideWidth;
      long from = source.index(row, 0);
      for (int h = 0; h < source.columns(); h++) {
        wideX[at + h] = type.get(source.data(), from + h);
      }
      for (int h = source.columns(); h < wideWidth; h++) {
        wideX[at + h] = 0;
      }
    }
  }

  /**
   * Task: z of one block and one part of its ranks. Tiles are dealt round robin: parts of a small
   * rank stay empty.
   */
  private void shrink(int task, int worker) {
    Routing plan = plan();
    int block = task / rankParts;
    int part = task - block * rankParts;
    PackedAdapter adapter = adapter(plan.blockAdapter(block));
    Scratch mine = scratch[worker];
    int rows = gatherRows(plan, block, mine);
    int zFrom = 0;
    int tile = 0;
    for (PackedAdapter.Slice slice :
        adapter.slices(layerIndex, projection(), plan.blockExpert(block))) {
      for (int r = 0; r < slice.rank(); r += Kernels.RANK_TILE, tile++) {
        if (tile % rankParts == part) {
          int ranks = Math.min(Kernels.RANK_TILE, slice.rank() - r);
          long from = slice.a() + (long) r * wideWidth;
          kernels.decode(
              config.weightType(),
              adapter.weights(),
              from,
              ranks * wideWidth,
              mine.tile,
              mine.bits);
          kernels.shrink(
              mine.tile,
              ranks,
              wideWidth,
              wideX,
              mine.xAt,
              rows,
              z,
              mine.zAt,
              zFrom + r,
              slice.scale());
        }
      }
      zFrom += slice.rank();
    }
  }

  /** Task: y of one block and one part of its columns. */
  private void expand(int task, int worker) {
    Routing plan = plan();
    int block = task / columnParts;
    int part = task - block * columnParts;
    Scratch mine = scratch[worker];
    int rows = gatherRows(plan, block, mine);
    int width = config.model().outputWidth(projection());
    // parts are cut at multiples of a tile
    int tiles = Math.ceilDiv(width, Kernels.COLUMN_TILE);
    int firstColumn = (int) ((long) tiles * part / columnParts) * Kernels.COLUMN_TILE;
    int endColumn =
        Math.min(width, (int) ((long) tiles * (part + 1) / columnParts) * Kernels.COLUMN_TILE);
    int slot = plan.blockAdapter(block);
    PackedAdapter adapter = slot < 0 ? null : adapter(slot);
    PackedAdapter.Slice[] slices =
        adapter == null
            ? PackedAdapter.Slice.NONE
            : adapter.slices(layerIndex, projection(), plan.blockExpert(block));
    if (!call().add()) {
      zeroUncovered(slices, mine, rows, firstColumn, endColumn);
    }
    if (adapter == null) {
      return;
    }
    int zFrom = 0;
    for (PackedAdapter.Slice slice : slices) {
      // a tile of a slice belongs to the part in which it begins
      int skipped = Math.max(0, firstColumn - slice.firstColumn());
      int column = Math.ceilDiv(skipped, Kernels.COLUMN_TILE) * Kernels.COLUMN_TILE;
      for (;
          column < slice.columns() && slice.firstColumn() + column < endColumn;
          column += Kernels.COLUMN_TILE) {
        expandTile(adapter, slice, column, zFrom, rows, mine);
      }
      zFrom += slice.rank();
    }
  }

  private void expandTile(
      PackedAdapter adapter,
      PackedAdapter.Slice slice,
      int column,
      int zFrom,
      int rows,
      Scratch mine) {
    int columns = Math.min(Kernels.COLUMN_TILE, slice.columns() - column);
    int panels = Math.ceilDiv(columns, Kernels.LANES);
    int rank = slice.rank();
    long from = slice.b() + (long) column * rank;
    kernels.decode(
        config.weightType(),
        adapter.weights(),
        from,
        panels * rank * Kernels.LANES,
        mine.tile,
        mine.bits);
    kernels.expand(mine.tile, panels, rank, z, mine.zAt, zFrom, rows, mine.delta);
    Matrix target = y();
    int yColumn = call().columnOffset() + slice.firstColumn() + column;
    for (int m = 0; m < rows; m++) {
      int pair = mine.pairs[m];
      float weight = call().routedWeight() ? plan().routingWeight(pair) : 1;
      long at = target.index(pair, yColumn);
      int deltaAt = m * Kernels.COLUMN_TILE;
      if (!call().add()) {
        zero(target, at, columns);
      }
      switch (target.type()) {
        case F32 -> kernels.addF32(target.data(), at, mine.delta, deltaAt, columns, weight);
        case BF16 -> kernels.addBf16(target.data(), at, mine.delta, deltaAt, columns, weight);
        case F16 ->
            PlainKernels.add(DType.F16, target.data(), at, mine.delta, deltaAt, columns, weight);
      }
    }
  }

  /**
   * Zeroes the columns in {@code [from, end)} that no slice covers; slices are in ascending order.
   */
  private void zeroUncovered(
      PackedAdapter.Slice[] slices, Scratch mine, int rows, int from, int end) {
    int at = from;
    for (PackedAdapter.Slice slice : slices) {
      zeroColumns(mine, rows, at, Math.min(end, slice.firstColumn()));
      at = Math.max(at, slice.endColumn());
    }
    zeroColumns(mine, rows, at, end);
  }

  private void zeroColumns(Scratch mine, int rows, int from, int end) {
    Matrix target = y();
    for (int m = 0; m < rows && from < end; m++) {
      zero(target, target.index(mine.pairs[m], call().columnOffset() + from), end - from);
    }
  }

  private static void zero(Matrix target, long at, int columns) {
    long bytes = target.type().bytes();
    target.data().asSlice(at * bytes, columns * bytes).fill((byte) 0);
  }

  /**
   * Lists the pairs of a block and where their rows of x and z begin; padding only stands at the
   * end.
   */
  private int gatherRows(Routing plan, int block, Scratch mine) {
    int blockSize = plan.blockSize();
    int position = block * blockSize;
    int rows = 0;
    while (rows < blockSize && plan.sortedTokenId(position + rows) < plan.pairs()) {
      int pair = plan.sortedTokenId(position + rows);
      mine.pairs[rows] = pair;
      mine.xAt[rows] = (call().pairRows() ? pair : pair / config.expertsPerToken()) * wideWidth;
      mine.zAt[rows] = (position + rows) * zStride;
      rows++;
    }
    return rows;
  }

  private PackedAdapter adapter(int slot) {
    PackedAdapter adapter = slots[slot];
    if (adapter == null) {
      throw new IllegalStateException("slot %d is empty".formatted(slot));
    }
    return adapter;
  }

  private Projection projection() {
    return call().projection();
  }

  private Routing plan() {
    return required(routing);
  }

  private ProjectionCall call() {
    return required(call);
  }

  private Matrix x() {
    return required(x);
  }

  private Matrix y() {
    return required(y);
  }

  private static <T> T required(@Nullable T value) {
    if (value == null) {
      throw new IllegalStateException("no run is under way");
    }
    return value;
  }

  @Override
  public void close() {
    arena.close();
  }
}
