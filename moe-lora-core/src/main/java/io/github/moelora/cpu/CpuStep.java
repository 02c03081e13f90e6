package io.github.moelora.cpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.BackendStep;
import io.github.moelora.spi.PlanFormat;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One step on the CPU: two phases, shrink and expand, each spread over the worker pool.
 *
 * <p>A task takes one block of pairs, {@link Kernels#ROWS} rows at a time. For these, shrink widens
 * a chunk of x to float32 in the worker's own memory and multiplies it with the same chunk of A's
 * panels; expand multiplies z with a few panels of B and adds their sums to y at once, while the
 * first-level cache holds them. Where a block has more rows, the first ones read the weights from
 * memory and the others from the second-level cache.
 */
final class CpuStep implements BackendStep {
  /** Rows of a block where experts see many pairs: weights read from memory serve so many rows. */
  private static final int LARGE_BLOCK = 64;

  private static final int SMALL_BLOCK = 16;

  /**
   * Elements of x that are widened at a time, 64 KiB: 2048 columns of eight rows. Fewer would stay
   * in the first-level cache, but the short pieces of a row cost more: each begins with a wait.
   */
  private static final int X_ELEMENTS = 16_384;

  /** Elements of B that serve all rows of a block before the next ones are read, 256 KiB. */
  private static final int TILE_ELEMENTS = 131_072;

  /** Panels of B whose sums are added to y at a time: two cache lines of a bfloat16 row. */
  private static final int DELTA_PANELS = 4;

  private static final int DELTA_COLUMNS = DELTA_PANELS * Kernels.LANES;

  /** Tasks per thread, so that threads which finish early find more work. */
  private static final int TASKS_PER_THREAD = 4;

  private static final byte[] ZEROS = new byte[1024];

  private final MoeLoraConfig config;
  private final Kernels kernels;
  private final WorkerPool pool;
  private final @Nullable PackedAdapter[] slots;
  private final Scratch[] scratch;
  private final int zStride;

  /** Method references made once, so that a run allocates nothing. */
  private final WorkerPool.Job shrink = this::shrink;

  private final WorkerPool.Job expand = this::expand;

  private float[] z = {};

  private @Nullable Routing expertPlan;
  private @Nullable Routing densePlan;

  // the run under way
  private @Nullable Routing routing;
  private @Nullable ProjectionCall call;
  private @Nullable Matrix x;
  private @Nullable Matrix y;

  /** Site of the call's first local expert. */
  private int firstSite;

  private int inputWidth;
  private int outputWidth;

  /** Pairs that share a row of x. */
  private int pairsPerRow;

  private int rankParts;
  private int columnParts;

  /** Memory of one worker; rows of in and delta are those of the {@link Kernels#ROWS} at hand. */
  private static final class Scratch {
    /** Rows of x, widened, or of z, copied, as far apart as products want them. */
    final float[] in = new float[Kernels.ROWS * Kernels.IN_STRIDE];

    /** {@code [ROWS, DELTA_COLUMNS]}. */
    final float[] delta = new float[Kernels.ROWS * DELTA_COLUMNS];

    final int[] zAt = new int[LARGE_BLOCK];
    final int[] deltaAt = new int[LARGE_BLOCK];
    final int[] pairs = new int[LARGE_BLOCK];

    /** Element of y at which the row of a pair begins. */
    final long[] yAt = new long[LARGE_BLOCK];

    /** 1 unless the call asks for routing weights. */
    final float[] weights = new float[LARGE_BLOCK];

    /** The weights times the scale of the slice at hand. */
    final float[] factors = new float[LARGE_BLOCK];

    Scratch() {
      for (int m = 0; m < LARGE_BLOCK; m++) {
        deltaAt[m] = m % Kernels.ROWS * DELTA_COLUMNS;
      }
    }
  }

  CpuStep(MoeLoraConfig config, Kernels kernels, WorkerPool pool, @Nullable PackedAdapter[] slots) {
    this.config = config;
    this.kernels = kernels;
    this.pool = pool;
    this.slots = slots;
    this.zStride = zStride(config);
    scratch = new Scratch[pool.threads()];
    Arrays.setAll(scratch, i -> new Scratch());
  }

  /**
   * Checks that z of the largest batch fits into one array.
   *
   * @throws IllegalArgumentException with the product that is too large
   */
  static void requireFits(MoeLoraConfig config) {
    requireRoom(config);
    config.model().dense().stream().limit(1).map(config::ofDense).forEach(CpuStep::requireRoom);
  }

  private static void requireRoom(MoeLoraConfig config) {
    long elements = (long) PlanFormat.sortedCapacity(config, LARGE_BLOCK) * zStride(config);
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
    expertPlan = plan;
    makeRoom(plan);
  }

  @Override
  public void plannedDense(Routing plan) {
    densePlan = plan;
    makeRoom(plan);
  }

  private void makeRoom(Routing plan) {
    int zLength = plan.numTokensPostPadded() * zStride;
    if (z.length < zLength) {
      z = new float[zLength];
    }
  }

  @Override
  public void run(ProjectionCall newCall, Matrix newX, Matrix newY) {
    Routing plan = required(newCall.isDense() ? densePlan : expertPlan);
    requireAccess("x", newX);
    requireAccess("y", newY);
    routing = plan;
    call = newCall;
    x = newX;
    y = newY;
    MoeModel model = config.model();
    firstSite = PackedAdapter.firstSite(config, newCall);
    inputWidth = model.inputWidth(newCall);
    outputWidth = model.outputWidth(newCall);
    pairsPerRow = newCall.pairRows() || newCall.isDense() ? 1 : config.expertsPerToken();
    int blocks = newCall.add() ? plan.activeBlocks() : plan.allBlocks();
    int wanted = TASKS_PER_THREAD * pool.threads();
    if (plan.activeBlocks() > 0) {
      rankParts = parts(plan.activeBlocks(), wanted, zStride / (2 * Kernels.LANES));
      pool.run(plan.activeBlocks() * rankParts, shrink);
    }
    if (blocks > 0) {
      int panels = Math.ceilDiv(outputWidth, Kernels.LANES);
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
    PackedAdapter.Slice[] slices = adapter.slices(firstSite + plan.blockExpert(block));
    int panels = 0;
    for (PackedAdapter.Slice slice : slices) {
      panels += slice.a().count();
    }
    if (2 * part >= panels) {
      return;
    }
    Scratch mine = scratch[worker];
    int rows = gatherRows(plan, block, mine);
    int width = inputWidth;
    int chunk = chunkColumns(kernels.paddedRows(rows));
    for (int first = 0; first < width; first += chunk) {
      int columns = Math.min(chunk, width - first);
      for (int row = 0; row < rows; row += Kernels.ROWS) {
        int endRow = Math.min(row + Kernels.ROWS, rows);
        int paddedEnd = row + kernels.paddedRows(endRow - row);
        widenRows(mine, row, endRow, first, columns);
        for (int panel = 2 * part; panel < panels; panel += 2 * rankParts) {
          int count = Math.min(2, panels - panel);
          shrinkPanels(adapter, slices, panel, count, first, columns, row, paddedEnd, mine);
        }
      }
    }
  }

  /** Columns of x that are widened at a time; products begin at the first of the stripes. */
  private static int chunkColumns(int rows) {
    int columns = Math.min(X_ELEMENTS / Math.min(rows, Kernels.ROWS), Kernels.IN_COLUMNS);
    return columns - columns % Kernels.STRIPES;
  }

  private void widenRows(Scratch mine, int row, int endRow, int first, int columns) {
    Matrix source = x();
    for (int m = row; m < endRow; m++) {
      int xRow = mine.pairs[m] / pairsPerRow;
      int at = (m - row) * Kernels.IN_STRIDE;
      kernels.widenRow(
          source.type(), source.data(), source.index(xRow, first), columns, mine.in, at);
    }
  }

  /**
   * Adds to z what rows {@code [h, h + depth)} of one or two panels of A contribute; panels are
   * counted over all slices of an expert.
   */
  private void shrinkPanels(
      PackedAdapter adapter,
      PackedAdapter.Slice[] slices,
      int panel,
      int count,
      int h,
      int depth,
      int row,
      int endRow,
      Scratch mine) {
    MemorySegment weights = adapter.weights();
    DType type = config.weightType();
    int zFrom = panel * Kernels.LANES;
    boolean add = h > 0;
    PackedAdapter.Panels a = panelsOf(slices, panel);
    int index = indexOf(slices, panel);
    long at = a.row(index, h);
    int width = a.width(index);
    long stripe = a.stripe();
    if (count == 2) {
      PackedAdapter.Panels next = panelsOf(slices, panel + 1);
      int nextIndex = indexOf(slices, panel + 1);
      if (width == next.width(nextIndex) && stripe == next.stripe()) {
        long at2 = next.row(nextIndex, h);
        kernels.multiplyTwo(
            row, endRow, depth, mine.in, type, weights, at, at2, width, stripe, z, mine.zAt, zFrom,
            add);
        return;
      }
    }
    kernels.multiply(
        row, endRow, depth, mine.in, type, weights, at, width, stripe, z, mine.zAt, zFrom, add);
    if (count == 2) {
      // the last panel of a slice may be narrower than the one beside it, the ranks may differ
      shrinkPanels(adapter, slices, panel + 1, 1, h, depth, row, endRow, mine);
    }
  }

  /** A of the slice to which a panel belongs, counted over all slices of an expert. */
  private static PackedAdapter.Panels panelsOf(PackedAdapter.Slice[] slices, int panel) {
    return slices[panel < slices[0].a().count() ? 0 : 1].a();
  }

  /** The index of the same panel within its slice. */
  private static int indexOf(PackedAdapter.Slice[] slices, int panel) {
    int first = slices[0].a().count();
    return panel < first ? panel : panel - first;
  }

  /** Task: y of one block and one part of its columns. */
  private void expand(int task, int worker) {
    Routing plan = plan();
    int block = task / columnParts;
    int part = task - block * columnParts;
    Scratch mine = scratch[worker];
    int rows = gatherRows(plan, block, mine);
    int width = outputWidth;
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
            : adapter.slices(firstSite + plan.blockExpert(block));
    if (!call().add()) {
      zeroUncovered(slices, mine, rows, firstColumn, endColumn);
    }
    if (adapter == null) {
      return;
    }
    for (int m = 0; m < rows; m++) {
      mine.yAt[m] = y().index(mine.pairs[m], call().columnOffset());
      mine.weights[m] = call().routedWeight() ? plan.routingWeight(mine.pairs[m]) : 1;
    }
    int tile = tileColumns(slices);
    for (int column = firstColumn; column < endColumn; column += tile) {
      int end = Math.min(column + tile, endColumn);
      for (int row = 0; row < rows; row += Kernels.ROWS) {
        int endRow = Math.min(row + Kernels.ROWS, rows);
        int zFrom = 0;
        for (PackedAdapter.Slice slice : slices) {
          expandRows(adapter, slice, column, end, zFrom, row, endRow, mine);
          zFrom += PackedAdapter.padded(slice.rank());
        }
      }
    }
  }

  /** Columns whose part of B the second-level cache holds while all rows of a block use it. */
  private static int tileColumns(PackedAdapter.Slice[] slices) {
    int rank = 1;
    for (PackedAdapter.Slice slice : slices) {
      rank = Math.max(rank, slice.rank());
    }
    return Math.max(TILE_ELEMENTS / (rank * DELTA_COLUMNS), 1) * DELTA_COLUMNS;
  }

  /**
   * Rows {@code [row, endRow)} of y, in those panels of a slice that begin in the given columns.
   */
  private void expandRows(
      PackedAdapter adapter,
      PackedAdapter.Slice slice,
      int firstColumn,
      int endColumn,
      int zFrom,
      int row,
      int endRow,
      Scratch mine) {
    int first = Math.ceilDiv(Math.max(0, firstColumn - slice.firstColumn()), Kernels.LANES);
    int end =
        Math.ceilDiv(
            Math.clamp(endColumn - slice.firstColumn(), 0, slice.columns()), Kernels.LANES);
    int paddedEnd = row + kernels.paddedRows(endRow - row);
    for (int m = row; m < endRow; m++) {
      mine.factors[m] = mine.weights[m] * slice.scale();
      int at = (m - row) * Kernels.IN_STRIDE;
      System.arraycopy(z, mine.zAt[m] + zFrom, mine.in, at, slice.rank());
    }
    for (int panel = first; panel < end; panel += DELTA_PANELS) {
      int count = Math.min(DELTA_PANELS, end - panel);
      multiplyPanels(adapter, slice, panel, count, row, paddedEnd, mine);
      int column = panel * Kernels.LANES;
      int columns = Math.min(count * Kernels.LANES, slice.columns() - column);
      writeDelta(mine, row, endRow, slice.firstColumn() + column, columns);
    }
  }

  private void multiplyPanels(
      PackedAdapter adapter,
      PackedAdapter.Slice slice,
      int panel,
      int count,
      int row,
      int endRow,
      Scratch mine) {
    MemorySegment weights = adapter.weights();
    DType type = config.weightType();
    PackedAdapter.Panels b = slice.b();
    int rank = b.depth();
    long stripe = b.stripe();
    float[] delta = mine.delta;
    int[] deltaAt = mine.deltaAt;
    int width = Kernels.LANES;
    for (int i = 0; i < count; i += 2) {
      int to = i * width;
      long at = b.row(panel + i, 0);
      if (i + 1 < count) {
        long at2 = b.row(panel + i + 1, 0);
        kernels.multiplyTwo(
            row, endRow, rank, mine.in, type, weights, at, at2, width, stripe, delta, deltaAt, to,
            false);
      } else {
        kernels.multiply(
            row, endRow, rank, mine.in, type, weights, at, width, stripe, delta, deltaAt, to,
            false);
      }
    }
  }

  /** Adds a delta to y, or makes it y. */
  private void writeDelta(Scratch mine, int row, int endRow, int column, int columns) {
    Matrix target = y();
    if (!call().add()) {
      for (int m = row; m < endRow; m++) {
        zero(target, mine.yAt[m] + column, columns);
      }
    }
    kernels.add(
        row,
        endRow,
        columns,
        mine.delta,
        mine.deltaAt,
        mine.factors,
        target.type(),
        target.data(),
        mine.yAt,
        column);
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
    // the arrays are the heap's, the threads the backend's
  }
}
