package io.github.moelora.reference;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The oracle: computes every output element in float64 straight from the definition, with the
 * largest error that a float32 implementation may make. Slow on purpose.
 */
public final class Reference {
  /** Smallest positive float32 and fp16 numbers bound the error of a result that underflows. */
  private static final double F32_TINY = 0x1p-149;

  private static final double F16_TINY = 0x1p-24;

  private Reference() {}

  /**
   * Inputs of one projection, or of a dense module, whose pairs are the tokens.
   *
   * @param model the model
   * @param call what to compute
   * @param adapters by slot; null for a slot that is empty or disabled
   * @param expertIds {@code [P]} global expert ids, -1 for a pair to skip or an expert that lives
   *     elsewhere; not read for a dense module
   * @param routingWeights {@code [P]}; not read for a dense module
   * @param adapterIds {@code [T]} slots, -1 for none
   * @param x {@code [T, H]} or {@code [P, H]}
   * @param y {@code [P, W]}: content before the call
   */
  public record Inputs(
      MoeModel model,
      ProjectionCall call,
      List<@Nullable LoraAdapter> adapters,
      int[] expertIds,
      float[] routingWeights,
      int[] adapterIds,
      Matrix x,
      Matrix y) {

    /** Number of rows of {@code y}. */
    int pairs() {
      return call.isDense() ? adapterIds.length : expertIds.length;
    }

    int token(int pair) {
      return call.isDense() ? pair : pair / (expertIds.length / adapterIds.length);
    }

    /** The expert of a pair; a dense module is the only expert of its layer. */
    int expert(int pair) {
      return call.isDense() ? 0 : expertIds[pair];
    }
  }

  /**
   * Result of one projection.
   *
   * @param values {@code [P][W]}: what {@code y} should hold, NaN where {@code y} held NaN and must
   *     keep it
   * @param bounds {@code [P][W]}: largest permitted error of each element; 0 where {@code y} must
   *     not change or must be zero
   */
  public record Result(double[][] values, double[][] bounds) {}

  /**
   * Computes {@code y} after the call, and the bound of each element for an output of {@code y}'s
   * type.
   */
  public static Result compute(Inputs in) {
    int pairs = in.pairs();
    int width = in.y().columns();
    double[][] values = new double[pairs][width];
    double[][] bounds = new double[pairs][width];
    for (int p = 0; p < pairs; p++) {
      for (int c = 0; c < width; c++) {
        values[p][c] = in.y().get(p, c);
      }
      computePair(in, p, values[p], bounds[p]);
    }
    return new Result(values, bounds);
  }

  private static void computePair(Inputs in, int p, double[] value, double[] bound) {
    ProjectionCall call = in.call();
    int outputWidth = in.model().outputWidth(call);
    if (!call.add()) {
      for (int c = 0; c < outputWidth; c++) {
        value[call.columnOffset() + c] = 0;
      }
    }
    int t = in.token(p);
    int slot = in.adapterIds()[t];
    int expert = in.expert(p);
    LoraAdapter adapter = slot < 0 ? null : in.adapters().get(slot);
    if (adapter == null || expert < 0) {
      return;
    }
    int row = call.pairRows() ? p : t;
    for (LoraSlice slice : adapter.slices(in.model(), call, expert)) {
      double[] z = new double[slice.rank()];
      double[] zMagnitude = new double[slice.rank()];
      for (int r = 0; r < slice.rank(); r++) {
        for (int h = 0; h < slice.a().columns(); h++) {
          double term = (double) slice.a().get(r, h) * in.x().get(row, h);
          z[r] += term;
          zMagnitude[r] += Math.abs(term);
        }
      }
      double factor = slice.scale() * (call.routedWeight() ? in.routingWeights()[p] : 1.0);
      int operations = slice.a().columns() + slice.rank() + 4;
      for (int o = 0; o < slice.columns(); o++) {
        double sum = 0;
        double magnitude = 0;
        for (int r = 0; r < slice.rank(); r++) {
          sum += slice.b().get(o, r) * z[r];
          magnitude += Math.abs(slice.b().get(o, r)) * zMagnitude[r];
        }
        int c = call.columnOffset() + slice.firstColumn() + o;
        value[c] += factor * sum;
        bound[c] =
            bound(in.y().type(), value[c], operations * 0x1p-24 * Math.abs(factor) * magnitude);
      }
    }
  }

  /**
   * Error of float32 accumulation, plus one rounding of the sum with {@code y} to float32 and one
   * of the result to {@code type}.
   */
  private static double bound(DType type, double value, double accumulation) {
    double tiny = type == DType.F16 ? F16_TINY : F32_TINY;
    return accumulation + (0x1p-24 + type.unitRoundoff()) * (Math.abs(value) + accumulation) + tiny;
  }
}
