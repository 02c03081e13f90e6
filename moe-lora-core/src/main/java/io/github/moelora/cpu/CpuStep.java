package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
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
 * One step on the CPU: two phases, shrink and expand, each spread over the worker pool.
 *
 * <p>Shrink goes over the columns of x in chunks: the block's rows are widened to float32 in the
 * worker's own memory (which the second-level cache holds), then each pair of A's panels is widened
 * a few rows at a time (which the first-level cache holds) and multiplied with all of them. Expand
 * takes a few panels of B at a time.
 */
final class CpuStep implements BackendStep {
  /** Rows of a block where experts see many pairs: a decoded weight then serves so many rows. */
  private static final int LARGE_BLOCK = 64;

  private static final int SMALL_BLOCK = 16;

  /**
   * Elements of x that are widened at a time, 128 KiB: 512 columns of a large block, but whole rows
   * of a small one, so that a panel of A is read from memory in one go.
   */
  private static final int X_ELEMENTS = 32_768;

  /** Rows of a panel of A that are widened at a time: 16 KiB for two panels. */
  private static final int DEPTH_CHUNK = 128;

  /** Elements of B that are widened at a time, 64 KiB, as long as they make two panels. */
  private static final int TILE_ELEMENTS = 16384;

  /** Most panels of B that are widened at a time; a row of y is then written in runs of 1 KiB. */
  private static final int TILE_PANELS = 32;

  private static final int TILE_COLUMNS = TILE_PANELS * Kernels.LANES;

  /** Rows of y that are computed at a time. */
  private static final int DELTA_ROWS = Kernels.ROWS;

  /** Tasks per thread, so that threads which finish early find more work. */
  private static final int TASKS_PER_THREAD = 4;

  private static final byte[] ZEROS = new byte[1024];

  private final MoeLoraConfig config;
  private final Kernels kernels;
  private final WorkerPool pool;
  private final @Nullable PackedAdapter[] slots;
  private final Arena arena = Arena.ofShared();
  private final Routing.Buffers buffers;
  private final Scratch[] scratch;
  private final int zStride;

  /** Method references made once, so that a run allocates nothing. */
  private final WorkerPool.Job shrink = this::shrink;

  private final WorkerPool.Job expand = this::expand;

  private float[] z = {};

  // the run under way
  private @Nullable Routing routing;
  private @Nullable ProjectionCall call;
  private @Nullable Matrix x;
  private @Nullable Matrix y;
  private int layerIndex;
  private int rankParts;
  private int columnParts;

  /** Memory of one worker. */
  private static final class Scratch {
    /** Panels widened to float32. */
    final MemorySegment panels;

    /** {@code [rows, columns]}, as many columns as there is room for. */
    final float[] x = new float[X_ELEMENTS];

    /** {@code [DELTA_ROWS, TILE_COLUMNS]}. */
    final float[] delta = new float[DELTA_ROWS * TILE_COLUMNS];

    final int[] xAt = new int[LARGE_BLOCK];
    final int[] zAt = new int[LARGE_BLOCK];
    final int[] deltaAt = new int[LARGE_BLOCK];
    final int[] pairs = new int[LARGE_BLOCK];

    Scratch(MemorySegment panels) {
      this.panels = panels;
      for (int m = 0; m < LARGE_BLOCK; m++) {
        deltaAt[m] = m % DELTA_ROWS * TILE_COLUMNS;
      }
    }
  }

  CpuStep(MoeLoraConfig config, Kernels kernels, WorkerPool pool, @Nullable PackedAdapter[] slots) {
    this.config = config;
    this.kernels = kernels;
    this.pool = pool;
    this.slots = slots;
    this.zStride = zStride(config);
    long panelElements =
        Math.max(
            Math.max(2 * DEPTH_CHUNK, 2 * config.maxRank()) * (long) Kernels.LANES, TILE_ELEMENTS);
    scratch = new Scratch[pool.threads()];
    try {
      buffers = Routing.Buffers.allocate(arena, config, LARGE_BLOCK);
      for (int i = 0; i < scratch.length; i++) {
        scratch[i] = new Scratch(arena.allocate(panelElements * Float.BYTES, 64));
      }
    } catch (RuntimeException | Error e) {
      arena.close();
      throw e;
    }
  }

  /**
   * Checks that z of the largest batch fits into one array.
   *
   * @throws IllegalArgumentException with the product that is too large
   */
  static void requireFits(MoeLoraConfig config) {
    long elements = (long) Routing.sortedCapacity(config, LARGE_BLOCK) * zStride(config);
    if (elements > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "padded maxTokens * expertsPerToken * 2 * maxRank must be at most %d, got %d"
              .formatted(Integer.MAX_VALUE, elements));
    }
  }

  /** The ranks of all slices of an expert, in whole panels. */
  private static int zStride(MoeLoraConfig config) {
    return LoraAdapter.MAX_SLICES * PackedAdapter.padded(config.maxRank());
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
    int zLength = plan.numTokensPostPadded() * zStride;
    if (z.length < zLength) {
      z = new float[zLength];
    }
  }

  @Override
  public void run(ProjectionCall newCall, Matrix newX, Matrix newY) {
    Routing plan = plan();
    requireAccess("x", newX);
    requireAccess("y", newY);
    call = newCall;
    x = newX;
    y = newY;
    MoeModel model = config.model();
    layerIndex = model.layerIndex(newCall.layer());
    int blocks = newCall.add() ? plan.activeBlocks() : plan.allBlocks();
    int wanted = TASKS_PER_THREAD * pool.threads();
    if (plan.activeBlocks() > 0) {
      rankParts = parts(plan.activeBlocks(), wanted, zStride / (2 * Kernels.LANES));
      pool.run(plan.activeBlocks() * rankParts, shrink);
    }
    if (blocks > 0) {
      int panels = Math.ceilDiv(model.outputWidth(newCall.projection()), Kernels.LANES);
      columnParts = parts(blocks, wanted, panels);
      pool.run(blocks * columnParts, expand);
    }
    x = null;
    y = null;
  }

  private void requireAccess(String name, Matrix matrix) {
    if (!pool.canAccess(matrix.data())) {
      throw new IllegalArgumentException(
          ("%s.data must be accessible to all threads, as memory of Arena.ofShared() or the heap"
                  + " is, got a confined segment")
              .formatted(name));
    }
  }

  private static int parts(int blocks, int wanted, int most) {
    return Math.clamp(Math.ceilDiv(wanted, blocks), 1, most);
  }

  /**
   * Task: z of one block and one part of its ranks. Pairs of panels are dealt round robin: parts of
   * a small rank stay empty.
   */
  private void shrink(int task, int worker) {
    Routing plan = plan();
    int block = task / rankParts;
    int part = task - block * rankParts;
    PackedAdapter adapter = adapter(plan.blockAdapter(block));
    PackedAdapter.Slice[] slices =
        adapter.slices(layerIndex, projection(), plan.blockExpert(block));
    int panels = 0;
    for (PackedAdapter.Slice slice : slices) {
      panels += slice.rankPanels();
    }
    if (2 * part >= panels) {
      return;
    }
    Scratch mine = scratch[worker];
    int rows = gatherRows(plan, block, mine);
    int width = config.model().inputWidth(projection());
    int endRow = kernels.paddedRows(rows);
    int chunk = X_ELEMENTS / endRow / DEPTH_CHUNK * DEPTH_CHUNK;
    for (int m = 0; m < endRow; m++) {
      mine.xAt[m] = m * chunk;
    }
    for (int first = 0; first < width; first += chunk) {
      int columns = Math.min(chunk, width - first);
      widenRows(mine, rows, first, columns);
      for (int panel = 2 * part; panel < panels; panel += 2 * rankParts) {
        int count = Math.min(2, panels - panel);
        for (int h = 0; h < columns; h += DEPTH_CHUNK) {
          int depth = Math.min(DEPTH_CHUNK, columns - h);
          shrinkPanels(adapter, slices, panel, count, first + h, h, depth, endRow, mine);
        }
      }
    }
    for (int panel = 2 * part; panel < panels; panel += 2 * rankParts) {
      for (int i = panel; i < Math.min(panel + 2, panels); i++) {
        scale(mine, rows, i * Kernels.LANES, slices[sliceOf(slices, i)].scale());
      }
    }
  }

  private void widenRows(Scratch mine, int rows, int first, int columns) {
    Matrix source = x();
    for (int m = 0; m < rows; m++) {
      int row = call().pairRows() ? mine.pairs[m] : mine.pairs[m] / config.expertsPerToken();
      kernels.widenRow(
          source.type(), source.data(), source.index(row, first), columns, mine.x, mine.xAt[m]);
    }
  }

  /** Adds what rows {@code [h, h + depth)} of one or two panels of A contribute to z. */
  private void shrinkPanels(
      PackedAdapter adapter,
      PackedAdapter.Slice[] slices,
      int panel,
      int count,
      int h,
      int xColumn,
      int depth,
      int end,
      Scratch mine) {
    MemorySegment panels = mine.panels;
    long at = loadRankPanel(adapter, slices, panel, h, depth, panels, 0);
    int zFrom = panel * Kernels.LANES;
    if (count == 2) {
      long at2 =
          loadRankPanel(
              adapter, slices, panel + 1, h, depth, panels, (long) DEPTH_CHUNK * Kernels.LANES);
      kernels.multiplyTwo(
          0, end, depth, mine.x, mine.xAt, xColumn, panels, at, at2, z, mine.zAt, zFrom, h > 0);
    } else {
      kernels.multiply(
          0, end, depth, mine.x, mine.xAt, xColumn, panels, at, z, mine.zAt, zFrom, h > 0);
    }
  }

  /** Widens rows of a panel of A, counted over all slices of an expert; returns {@code at}. */
  private long loadRankPanel(
      PackedAdapter adapter,
      PackedAdapter.Slice[] slices,
      int panel,
      int h,
      int depth,
      MemorySegment panels,
      long at) {
    int s = sliceOf(slices, panel);
    int local = s == 0 ? panel : panel - slices[0].rankPanels();
    kernels.widenPanel(
        config.weightType(),
        adapter.weights(),
        slices[s].rankPanel(local, h),
        depth,
        slices[s].rankPanelWidth(local),
        panels,
        at);
    return at;
  }

  /** Index of the slice to which a panel belongs, counted over all slices of an expert. */
  private static int sliceOf(PackedAdapter.Slice[] slices, int panel) {
    return panel < slices[0].rankPanels() ? 0 : 1;
  }

  private void scale(Scratch mine, int rows, int zFrom, float scale) {
    for (int m = 0; m < rows; m++) {
      int at = mine.zAt[m] + zFrom;
      for (int j = at; j < at + Kernels.LANES; j++) {
        z[j] *= scale;
      }
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
    // parts are cut at multiples of a panel
    int panels = Math.ceilDiv(width, Kernels.LANES);
    int firstColumn = (int) ((long) panels * part / columnParts) * Kernels.LANES;
    int endColumn =
        Math.min(width, (int) ((long) panels * (part + 1) / columnParts) * Kernels.LANES);
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
      // a panel of a slice belongs to the part in which it begins
      int first = Math.ceilDiv(Math.max(0, firstColumn - slice.firstColumn()), Kernels.LANES);
      int end =
          Math.ceilDiv(
              Math.clamp(endColumn - slice.firstColumn(), 0, slice.columns()), Kernels.LANES);
      int tile = Math.clamp(TILE_ELEMENTS / (slice.rank() * Kernels.LANES), 2, TILE_PANELS);
      for (int panel = first; panel < end; panel += tile) {
        expandTile(adapter, slice, panel, Math.min(tile, end - panel), zFrom, rows, mine);
      }
      zFrom += PackedAdapter.padded(slice.rank());
    }
  }

  private void expandTile(
      PackedAdapter adapter,
      PackedAdapter.Slice slice,
      int panel,
      int count,
      int zFrom,
      int rows,
      Scratch mine) {
    int rank = slice.rank();
    MemorySegment panels = adapter.weights();
    long at = slice.columnPanel(panel);
    // float32 panels of B are used where they are
    if (config.weightType() != DType.F32) {
      kernels.widenPanel(
          config.weightType(), panels, at, count * rank, Kernels.LANES, mine.panels, 0);
      panels = mine.panels;
      at = 0;
    }
    int column = panel * Kernels.LANES;
    int columns = Math.min(count * Kernels.LANES, slice.columns() - column);
    // a few rows at a time, whose delta the first-level cache holds
    for (int row = 0; row < rows; row += DELTA_ROWS) {
      int endRow = Math.min(row + DELTA_ROWS, rows);
      multiplyTile(
          row, row + kernels.paddedRows(endRow - row), rank, zFrom, panels, at, count, mine);
      writeTile(mine, row, endRow, slice.firstColumn() + column, columns);
    }
  }

  private void multiplyTile(
      int row,
      int endRow,
      int rank,
      int zFrom,
      MemorySegment panels,
      long at,
      int count,
      Scratch mine) {
    float[] delta = mine.delta;
    int[] deltaAt = mine.deltaAt;
    long stride = (long) rank * Kernels.LANES;
    int i = 0;
    for (; i + 2 <= count; i += 2) {
      long first = at + i * stride;
      long second = first + stride;
      int to = i * Kernels.LANES;
      kernels.multiplyTwo(
          row, endRow, rank, z, mine.zAt, zFrom, panels, first, second, delta, deltaAt, to, false);
    }
    if (i < count) {
      long last = at + i * stride;
      int to = i * Kernels.LANES;
      kernels.multiply(
          row, endRow, rank, z, mine.zAt, zFrom, panels, last, delta, deltaAt, to, false);
    }
  }

  /** Adds the delta of a tile to y, or makes it y. */
  private void writeTile(Scratch mine, int row, int endRow, int firstColumn, int columns) {
    Matrix target = y();
    for (int m = row; m < endRow; m++) {
      int pair = mine.pairs[m];
      float weight = call().routedWeight() ? plan().routingWeight(pair) : 1;
      long at = target.index(pair, call().columnOffset() + firstColumn);
      if (!call().add()) {
        zero(target, at, columns);
      }
      kernels.add(target.type(), target.data(), at, mine.delta, mine.deltaAt[m], columns, weight);
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
    long from = at * target.type().bytes();
    long end = from + (long) columns * target.type().bytes();
    // no MemorySegment.fill, which needs a slice, and so an allocation, per row
    for (; from < end; from += ZEROS.length) {
      int count = (int) Math.min(ZEROS.length, end - from);
      MemorySegment.copy(ZEROS, 0, target.data(), ValueLayout.JAVA_BYTE, from, count);
    }
  }

  /**
   * Lists the pairs of a block, and where the rows of z begin, those of padding included; padding
   * only stands at the end.
   */
  private int gatherRows(Routing plan, int block, Scratch mine) {
    int blockSize = plan.blockSize();
    int position = block * blockSize;
    int rows = 0;
    while (rows < blockSize && plan.sortedTokenId(position + rows) < plan.pairs()) {
      int pair = plan.sortedTokenId(position + rows);
      mine.pairs[rows] = pair;
      rows++;
    }
    for (int m = 0; m < blockSize; m++) {
      mine.zAt[m] = (position + m) * zStride;
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
