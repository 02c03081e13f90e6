package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.workload.Batch;
import java.util.List;
import java.util.SplittableRandom;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** Compares some elements of a layer that started from zeros with float64. */
final class LayerCheck {
  private static final int SAMPLES = 24;

  /** {@code silu} is never steeper. */
  private static final double STEEPEST = 1.1;

  private final MoeLoraConfig config;
  private final DType type;
  private final List<LoraAdapter> adapters;
  private final long seed;

  /**
   * @param type of weights, x and y
   * @param adapters of all slots
   */
  LayerCheck(MoeLoraConfig config, DType type, List<LoraAdapter> adapters, long seed) {
    this.config = config;
    this.type = type;
    this.adapters = List.copyOf(adapters);
    this.seed = seed;
  }

  /** A number and the sum of its terms' sizes. */
  private record Sum(double value, double size) {

    Sum plus(Sum other) {
      return new Sum(value + other.value, size + other.size);
    }
  }

  /** Largest error of an element, as a share of what rounding its terms' sum explains. */
  double worst(Batch batch, LayerArrays arrays) {
    SplittableRandom random = new SplittableRandom(seed);
    double worst = 0;
    for (int i = 0; i < SAMPLES; i++) {
      double first =
          arrays.variants() ? activated(batch, arrays, random) : up(batch, arrays, random);
      worst = Math.max(worst, Math.max(first, down(batch, arrays, random)));
    }
    // one rounding of the result, and of the terms' sums in float32 far less
    return worst / (type == DType.BF16 ? 1.0 / 128 : 1.0 / 512);
  }

  private double up(Batch batch, LayerArrays arrays, SplittableRandom random) {
    int width = config.model().outputWidth(Projection.GATE_UP);
    int pair = random.nextInt(batch.pairs());
    int column = random.nextInt(width);
    Sum expected = delta(batch, arrays.x(), Projection.GATE_UP, pair, column);
    return share(matrix(arrays.gateUp(), width).get(pair, column), expected);
  }

  private double activated(Batch batch, LayerArrays arrays, SplittableRandom random) {
    int inner = config.model().intermediateSize();
    int pair = random.nextInt(batch.pairs());
    int column = random.nextInt(inner);
    Sum gate = delta(batch, arrays.x(), Projection.GATE_UP, pair, column);
    Sum up = delta(batch, arrays.x(), Projection.GATE_UP, pair, inner + column);
    double silu = gate.value() / (1 + Math.exp(-gate.value()));
    double size =
        STEEPEST * gate.size() * Math.abs(up.value())
            + Math.abs(silu) * up.size()
            + Math.abs(silu * up.value());
    return share(
        matrix(arrays.active(), inner).get(pair, column), new Sum(silu * up.value(), size));
  }

  private double down(Batch batch, LayerArrays arrays, SplittableRandom random) {
    int hidden = config.model().hiddenSize();
    int perRow = arrays.variants() ? config.expertsPerToken() : 1;
    int row = random.nextInt(batch.pairs() / perRow);
    int column = random.nextInt(hidden);
    Sum expected = new Sum(0, 0);
    for (int pair = row * perRow; pair < (row + 1) * perRow; pair++) {
      expected = expected.plus(delta(batch, arrays.active(), Projection.DOWN, pair, column));
    }
    return share(matrix(arrays.down(), hidden).get(row, column), expected);
  }

  /** An error as a share; the largest number where there is no number. */
  private static double share(double actual, Sum expected) {
    double difference = Math.abs(actual - expected.value());
    // where an activation's input is 0, all is
    double share = difference == 0 ? 0 : difference / expected.size();
    return Double.isNaN(share) ? Double.MAX_VALUE : share;
  }

  private Matrix matrix(TornadoNativeArray array, int width) {
    int rows = (int) (array.getSegment().byteSize() / type.bytes() / width);
    return Matrix.of(array.getSegment(), type, rows, width);
  }

  private Sum delta(
      Batch batch, HalfFloatArray input, Projection projection, int pair, int column) {
    Matrix in = matrix(input, config.model().inputWidth(projection));
    int token = pair / config.expertsPerToken();
    boolean down = projection == Projection.DOWN;
    int row = down ? pair : token;
    double factor = down ? batch.routingWeights()[pair] : 1;
    LoraAdapter adapter = adapters.get(batch.adapterIds()[token]);
    double sum = 0;
    double size = 0;
    for (LoraSlice slice : adapter.slices(0, projection, batch.expertIds()[pair])) {
      int inSlice = column - slice.firstColumn();
      for (int r = 0; inSlice >= 0 && inSlice < slice.columns() && r < slice.rank(); r++) {
        double z = 0;
        for (int h = 0; h < in.columns(); h++) {
          z += (double) slice.a().get(r, h) * in.get(row, h);
        }
        double term = factor * slice.scale() * slice.b().get(inSlice, r) * z;
        sum += term;
        size += Math.abs(term);
      }
    }
    return new Sum(sum, size);
  }
}
