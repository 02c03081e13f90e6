package io.github.moelora.tornado.kernels;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.testkit.Problem;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.weights.PackedWeights;
import java.util.Objects;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * The z between shrink and expand, {@code [parts, blocks, blockRows, zStride]}, in float64 by plain
 * loops.
 */
record Intermediate(
    MoeLoraConfig config,
    ProjectionCall call,
    Problem problem,
    PackedWeights weights,
    DevicePlan plan,
    Tiling tiling) {

  /** What a number of z must be, and the magnitude of its terms. */
  private record Sum(double value, double terms) {}

  private interface Visitor {
    void visit(int at, Sum expected, String name);
  }

  /** Parts of H that shrink makes. */
  private int parts() {
    SplitTiling split = (SplitTiling) tiling;
    int ranges = PackedLayout.ranges(weights.table().slices(), split.itemRanks());
    return PackedLayout.parts(plan.sizes(), blocks() * ranges);
  }

  private int blocks() {
    return plan.counts().get(PlanFormat.ACTIVE_BLOCKS);
  }

  /** Floats from one part to the next. */
  private int partStride() {
    return blocks() * tiling.rows() * ((SplitTiling) tiling).zStride(config);
  }

  /**
   * Checks the sums of the parts.
   *
   * @throws AssertionError for the first one outside its bound
   */
  void check(FloatArray z, Matrix x) {
    int parts = parts();
    int stride = partStride();
    visit(
        x,
        (at, expected, name) -> {
          double sum = 0;
          for (int part = 0; part < parts; part++) {
            sum += z.get(at + part * stride);
          }
          // twice the unit roundoff for each term, since tensor cores may chop
          double bound = (x.columns() + parts) * 0x1p-23 * expected.terms + Float.MIN_NORMAL;
          if (!(Math.abs(sum - expected.value) <= bound)) {
            throw new AssertionError(
                "%s must be within %g of %g, got %g".formatted(name, bound, expected.value, sum));
          }
        });
  }

  /** Writes the numbers, three quarters of each to the first part and the rest to the last. */
  void fill(FloatArray z, Matrix x) {
    int parts = parts();
    int stride = partStride();
    visit(
        x,
        (at, expected, name) -> {
          float first = (float) (parts > 1 ? 0.75 * expected.value : expected.value);
          for (int part = 0; part < parts; part++) {
            z.set(at + part * stride, part == 0 ? first : 0.0f);
          }
          if (parts > 1) {
            z.set(at + (parts - 1) * stride, (float) (expected.value - first));
          }
        });
  }

  /** Visits the first part of every number that a pair has. */
  private void visit(Matrix x, Visitor visitor) {
    int blockSize = plan.counts().get(PlanFormat.BLOCK_SIZE);
    int zStride = ((SplitTiling) tiling).zStride(config);
    for (int block = 0; block < blocks(); block++) {
      LoraAdapter adapter =
          Objects.requireNonNull(problem.adapters().get(plan.blockAdapters().get(block)));
      int expert = config.expertMap().global(plan.blockExperts().get(block));
      for (int row = 0; row < blockSize; row++) {
        int pair = plan.sortedTokenIds().get(block * blockSize + row);
        if (pair < problem.pairs()) {
          int xRow = call.pairRows() ? pair : pair / config.expertsPerToken();
          int at = (block * tiling.rows() + row) * zStride;
          for (LoraSlice slice : adapter.slices(call.layer(), call.projection(), expert)) {
            for (int rank = 0; rank < slice.rank(); rank++) {
              String name = "z of pair %d, rank %d of %s".formatted(pair, rank, slice);
              visitor.visit(at++, sum(slice.a(), rank, x, xRow), name);
            }
          }
        }
      }
    }
  }

  private static Sum sum(Matrix a, int rank, Matrix x, int row) {
    double value = 0;
    double terms = 0;
    for (int h = 0; h < x.columns(); h++) {
      double term = (double) a.get(rank, h) * x.get(row, h);
      value += term;
      terms += Math.abs(term);
    }
    return new Sum(value, terms);
  }
}
