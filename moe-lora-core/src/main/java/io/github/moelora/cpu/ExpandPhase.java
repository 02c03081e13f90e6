package io.github.moelora.cpu;

import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Expand: {@code y[p, o] (+)= scale * weight[p] * sum_r b[o, r] * z[p, r]}. A task takes the pairs
 * of one block and one part of the columns, {@link Kernels#ROWS} rows at a time; for these it
 * multiplies z with a few panels of B and adds their sums to y at once, while the first-level cache
 * holds them.
 */
final class ExpandPhase implements WorkerPool.Job {
  /** Elements of B that serve all rows of a block before the next ones are read, 256 KiB. */
  private static final int TILE_ELEMENTS = 131_072;

  private static final byte[] ZEROS = new byte[1024];

  private final Kernels kernels;
  private final CpuRun run;
  private final Scratch[] scratch;
  private int parts;

  ExpandPhase(Kernels kernels, CpuRun run, Scratch[] scratch) {
    this.kernels = kernels;
    this.run = run;
    this.scratch = scratch;
  }

  /** Divides the run into about as many tasks as wanted, and returns how many those are. */
  int divide(int wanted) {
    Routing plan = run.plan();
    int blocks = run.call().add() ? plan.activeBlocks() : plan.allBlocks();
    if (blocks == 0) {
      return 0;
    }
    parts = CpuStep.parts(blocks, wanted, Math.ceilDiv(run.outputWidth(), Kernels.LANES));
    return blocks * parts;
  }

  /** Task: y of one block and one part of its columns. */
  @Override
  public void run(int task, int worker) {
    int block = task / parts;
    int part = task - block * parts;
    Scratch mine = scratch[worker];
    mine.gather(run.plan(), block, run.zStride);
    // parts are cut at multiples of a panel
    int width = run.outputWidth();
    long panels = Math.ceilDiv(width, Kernels.LANES);
    int firstColumn = (int) (panels * part / parts) * Kernels.LANES;
    int endColumn = Math.min(width, (int) (panels * (part + 1) / parts) * Kernels.LANES);
    PackedAdapter adapter = run.adapter(block);
    PackedAdapter.Slice[] slices =
        adapter == null ? PackedAdapter.Slice.NONE : run.slices(adapter, block);
    if (!run.call().add()) {
      zeroUncovered(slices, mine, firstColumn, endColumn);
    }
    if (adapter == null) {
      return;
    }
    prepare(mine, run.weights(adapter, block));
    int tile = tileColumns(slices);
    for (int column = firstColumn; column < endColumn; column += tile) {
      int end = Math.min(column + tile, endColumn);
      for (int row = 0; row < mine.rows; row += Kernels.ROWS) {
        mine.take(row, kernels);
        int zFrom = 0;
        for (PackedAdapter.Slice slice : slices) {
          expandRows(mine, slice, column, end, zFrom);
          zFrom += PackedAdapter.padded(slice.rank());
        }
      }
    }
  }

  private void prepare(Scratch mine, MemorySegment weights) {
    Routing plan = run.plan();
    ProjectionCall call = run.call();
    Matrix y = run.y();
    for (int m = 0; m < mine.rows; m++) {
      mine.yAt[m] = y.index(mine.pairs[m], call.columnOffset());
      mine.weights[m] = call.routedWeight() ? plan.routingWeight(mine.pairs[m]) : 1;
    }
    Product product = mine.product;
    product.weights = weights;
    product.width = Kernels.LANES;
    product.out = mine.delta;
    product.outAt = mine.deltaAt;
    product.add = false;
  }

  /** Columns whose part of B the second-level cache holds while all rows of a block use it. */
  private static int tileColumns(PackedAdapter.Slice[] slices) {
    int rank = 1;
    for (PackedAdapter.Slice slice : slices) {
      rank = Math.max(rank, slice.rank());
    }
    return Math.max(TILE_ELEMENTS / (rank * Scratch.DELTA_COLUMNS), 1) * Scratch.DELTA_COLUMNS;
  }

  /** The rows of y at hand, in those panels of a slice that begin in the given columns. */
  private void expandRows(
      Scratch mine, PackedAdapter.Slice slice, int firstColumn, int endColumn, int zFrom) {
    int first = Math.ceilDiv(Math.max(0, firstColumn - slice.firstColumn()), Kernels.LANES);
    int end =
        Math.ceilDiv(
            Math.clamp(endColumn - slice.firstColumn(), 0, slice.columns()), Kernels.LANES);
    float[] z = run.z();
    for (int m = mine.row; m < mine.endRow; m++) {
      mine.factors[m] = mine.weights[m] * slice.scale();
      int at = (m - mine.row) * Kernels.IN_STRIDE;
      System.arraycopy(z, mine.zAt[m] + zFrom, mine.in, at, slice.rank());
    }
    for (int panel = first; panel < end; panel += Scratch.DELTA_PANELS) {
      int count = Math.min(Scratch.DELTA_PANELS, end - panel);
      multiplyPanels(mine.product, slice.b(), panel, count);
      int column = panel * Kernels.LANES;
      int columns = Math.min(count * Kernels.LANES, slice.columns() - column);
      writeDelta(mine, slice.firstColumn() + column, columns);
    }
  }

  private void multiplyPanels(Product product, PackedAdapter.Panels b, int panel, int count) {
    product.depth = b.depth();
    product.stripe = b.stripe();
    for (int i = 0; i < count; i += 2) {
      product.outFrom = i * Kernels.LANES;
      product.at = b.row(panel + i, 0);
      if (i + 1 < count) {
        product.at2 = b.row(panel + i + 1, 0);
        kernels.multiplyTwo(product);
      } else {
        kernels.multiply(product);
      }
    }
  }

  /** Adds a delta to y, or makes it y. */
  private void writeDelta(Scratch mine, int column, int columns) {
    Matrix y = run.y();
    boolean add = run.call().add();
    for (int m = mine.row; m < mine.endRow; m++) {
      long at = mine.yAt[m] + column;
      if (!add) {
        zero(y, at, columns);
      }
      kernels.add(run.yMemory, at, mine.delta, mine.deltaAt[m], columns, mine.factors[m]);
    }
  }

  /**
   * Zeroes the columns in {@code [from, end)} that no slice covers; slices are in ascending order.
   */
  private void zeroUncovered(PackedAdapter.Slice[] slices, Scratch mine, int from, int end) {
    int at = from;
    for (PackedAdapter.Slice slice : slices) {
      zeroColumns(mine, at, Math.min(end, slice.firstColumn()));
      at = Math.max(at, slice.endColumn());
    }
    zeroColumns(mine, at, end);
  }

  private void zeroColumns(Scratch mine, int from, int end) {
    Matrix y = run.y();
    int offset = run.call().columnOffset();
    for (int m = 0; m < mine.rows && from < end; m++) {
      zero(y, y.index(mine.pairs[m], offset + from), end - from);
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
}
