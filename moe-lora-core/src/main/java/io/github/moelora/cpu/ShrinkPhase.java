package io.github.moelora.cpu;

import io.github.moelora.Matrix;
import io.github.moelora.Routing;
import java.util.Objects;

/**
 * Shrink: {@code z[p, r] = sum_h a[r, h] * x[row, h]}. A task takes the pairs of one block and one
 * part of the ranks, {@link Kernels#ROWS} rows at a time; for these it widens a chunk of x to
 * float32 in the worker's own memory and multiplies it with the same chunk of A's panels.
 */
final class ShrinkPhase implements WorkerPool.Job {
  /**
   * Elements of x that are widened at a time, 64 KiB: 2048 columns of eight rows. Fewer would stay
   * in the first-level cache, but the short pieces of a row cost more: each begins with a wait.
   */
  private static final int X_ELEMENTS = 16_384;

  private final Kernels kernels;
  private final CpuRun run;
  private final Scratch[] scratch;
  private int parts;

  ShrinkPhase(Kernels kernels, CpuRun run, Scratch[] scratch) {
    this.kernels = kernels;
    this.run = run;
    this.scratch = scratch;
  }

  /** Divides the run into about as many tasks as wanted, and returns how many those are. */
  int divide(int wanted) {
    int blocks = run.plan().activeBlocks();
    if (blocks == 0) {
      return 0;
    }
    parts = CpuStep.parts(blocks, wanted, run.zStride / (2 * Kernels.LANES));
    return blocks * parts;
  }

  /**
   * Task: z of one block and one part of its ranks. Pairs of panels are dealt round robin: parts of
   * a small rank stay empty.
   */
  @Override
  public void run(int task, int worker) {
    int block = task / parts;
    int part = task - block * parts;
    PackedAdapter adapter = Objects.requireNonNull(run.adapter(block), "shrink of idle pairs");
    PackedAdapter.Slice[] slices = run.slices(adapter, block);
    int panels = 0;
    for (PackedAdapter.Slice slice : slices) {
      panels += slice.a().count();
    }
    if (2 * part >= panels) {
      return;
    }
    Scratch mine = scratch[worker];
    Product product = prepare(mine, adapter, block);
    int width = run.inputWidth();
    int chunk = chunkColumns(kernels.paddedRows(mine.rows));
    for (int first = 0; first < width; first += chunk) {
      product.depth = Math.min(chunk, width - first);
      product.add = first > 0;
      for (int row = 0; row < mine.rows; row += Kernels.ROWS) {
        mine.take(row, kernels);
        widenRows(mine, first);
        for (int panel = 2 * part; panel < panels; panel += 2 * parts) {
          multiplyPanels(product, slices, panel, Math.min(2, panels - panel), first);
        }
      }
    }
  }

  private Product prepare(Scratch mine, PackedAdapter adapter, int block) {
    Routing plan = run.plan();
    mine.gather(plan, block, run.zStride);
    Product product = mine.product;
    product.weights = run.weights(adapter, block);
    product.out = run.z();
    product.outAt = mine.zAt;
    return product;
  }

  /** Columns of x that are widened at a time; products begin at the first of the stripes. */
  private static int chunkColumns(int rows) {
    int columns = Math.min(X_ELEMENTS / Math.min(rows, Kernels.ROWS), Kernels.IN_COLUMNS);
    return columns - columns % Kernels.STRIPES;
  }

  private void widenRows(Scratch mine, int firstColumn) {
    Matrix x = run.x();
    int columns = mine.product.depth;
    for (int m = mine.row; m < mine.endRow; m++) {
      int xRow = run.xRow(mine.pairs[m]);
      int at = (m - mine.row) * Kernels.IN_STRIDE;
      kernels.widenRow(run.xMemory, x.index(xRow, firstColumn), columns, mine.in, at);
    }
  }

  /**
   * Adds to z what the product's depth of rows from {@code h} on of one or two panels of A
   * contributes; panels are counted over all slices of an expert.
   */
  private void multiplyPanels(
      Product product, PackedAdapter.Slice[] slices, int panel, int count, int h) {
    PackedAdapter.Panels a = panelsOf(slices, panel);
    int index = indexOf(slices, panel);
    product.at = a.row(index, h);
    product.width = a.width(index);
    product.stripe = a.stripe();
    product.outFrom = panel * Kernels.LANES;
    if (count == 2) {
      PackedAdapter.Panels next = panelsOf(slices, panel + 1);
      int nextIndex = indexOf(slices, panel + 1);
      if (product.width == next.width(nextIndex) && product.stripe == next.stripe()) {
        product.at2 = next.row(nextIndex, h);
        kernels.multiplyTwo(product);
        return;
      }
    }
    kernels.multiply(product);
    if (count == 2) {
      // the last panel of a slice may be narrower than the one beside it, the ranks may differ
      multiplyPanels(product, slices, panel + 1, 1, h);
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
}
