package io.github.moelora.tornado;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Problem;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** What tests of an engine's layers put into arrays, and find in them. */
final class LayerChecks {
  /** The slot that is loaded but disabled. */
  static final int DISABLED = 1;

  private LayerChecks() {}

  /** Copies to the start of an array, whose rest becomes NaN. */
  static Matrix put(Matrix from, TornadoNativeArray to) {
    to.getSegment().fill((byte) 0xff);
    MemorySegment.copy(from.data(), 0, to.getSegment(), 0, from.data().byteSize());
    return from;
  }

  /** Deltas of all pairs in float64, 0 where there is none: as of a disabled slot. */
  static Reference.Result deltas(Problem problem, ProjectionCall call, Matrix x) {
    ExpertMap map = problem.config().expertMap();
    List<@Nullable LoraAdapter> adapters = new ArrayList<>(problem.adapters());
    adapters.set(DISABLED, null);
    int[] experts = problem.expertIds().clone();
    for (int p = 0; p < experts.length; p++) {
      boolean inRange = experts[p] >= 0 && experts[p] < problem.model().experts();
      experts[p] = inRange && map.local(experts[p]) >= 0 ? experts[p] : -1;
    }
    int columns = problem.model().outputWidth(call.projection());
    return Reference.compute(
        new Reference.Inputs(
            problem.model(),
            call.deltaOnly(),
            adapters,
            experts,
            problem.routingWeights(),
            problem.adapterIds(),
            x,
            Matrix.ofFloats(problem.pairs(), columns, new float[problem.pairs() * columns])));
  }

  /** What a 16-bit number is off from what was rounded to it, at most, as a share of it. */
  static double rounding(DType type) {
    return type == DType.BF16 ? 0x1p-8 : 0x1p-11;
  }

  /**
   * Whether an element of 16 bits is within a bound of a number, or infinite where float16 cannot
   * hold it.
   */
  static boolean isWithin(float actual, double value, double bound, DType type) {
    // a number that rounds to one beyond 65504 is infinite in float16
    boolean beyond = type == DType.F16 && Math.abs(value) + bound >= 65520;
    return Math.abs(actual - value) <= bound
        || (beyond && actual == Math.copySign(Float.POSITIVE_INFINITY, value));
  }

  /** The error for an element that is not. */
  static AssertionError wrong(String element, float actual, double value, double bound) {
    return new AssertionError(
        "%s must be %s within %s, got %s".formatted(element, value, bound, actual));
  }
}
