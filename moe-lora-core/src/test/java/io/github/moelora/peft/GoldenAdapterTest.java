package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Golden;
import io.github.moelora.testkit.Tensors;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Every delta of every golden adapter, as PEFT computed it. */
final class GoldenAdapterTest {

  static Stream<Arguments> adapters() {
    return Golden.adapters().map(each -> Arguments.of(each.model(), each.name()));
  }

  @ParameterizedTest
  @MethodSource("adapters")
  void everyDeltaIsPefts(Golden.Model model, String name) throws IOException {
    Tensors golden = model.tensors();
    Path directory = model.directory().resolve(name);
    try (PeftAdapter file = PeftAdapter.open(directory)) {
      LoraAdapter adapter = file.toLoraAdapter(model.shape());
      for (int layer : model.shape().layers()) {
        for (Projection projection : Projection.values()) {
          double worst = worstError(golden, model.shape(), adapter, layer, projection);
          assertThat(worst).as("layer %d, %s", layer, projection).isLessThanOrEqualTo(1);
        }
      }
    }
  }

  static Stream<Arguments> fusedAdapters() {
    return adapters().filter(arguments -> ((String) arguments.get()[1]).startsWith("fused"));
  }

  /** vLLM #31534 and unsloth-zoo #1269: B read with the experts slowest. */
  @ParameterizedTest
  @MethodSource("fusedAdapters")
  void aReaderThatTakesFusedBForExpertMajorFails(Golden.Model model, String name)
      throws IOException {
    assertThat(
            worstWhenMisread(
                model,
                name,
                (slice, expert, experts) ->
                    new LoraSlice(
                        slice.firstColumn(),
                        slice.a(),
                        new Matrix(
                            slice.b().data(),
                            slice.b().type(),
                            slice.columns(),
                            slice.rank(),
                            (long) expert * slice.rank(),
                            slice.b().rowStride(),
                            1),
                        slice.scale())))
        .isGreaterThan(1000);
  }

  @ParameterizedTest
  @MethodSource("fusedAdapters")
  void aReaderThatTakesFusedAForRankMajorFails(Golden.Model model, String name) throws IOException {
    assertThat(
            worstWhenMisread(
                model,
                name,
                (slice, expert, experts) ->
                    new LoraSlice(
                        slice.firstColumn(),
                        new Matrix(
                            slice.a().data(),
                            slice.a().type(),
                            slice.rank(),
                            slice.a().columns(),
                            expert * slice.a().rowStride(),
                            experts * slice.a().rowStride(),
                            1),
                        slice.b(),
                        slice.scale())))
        .isGreaterThan(1000);
  }

  /** vLLM #55545: rsLoRA's scale recomputed as alpha/r; here by as little as one part in 10^5. */
  @ParameterizedTest
  @MethodSource("adapters")
  void aReaderWithAnotherScaleFails(Golden.Model model, String name) throws IOException {
    assertThat(
            worstWhenMisread(
                model,
                name,
                (slice, expert, experts) ->
                    new LoraSlice(
                        slice.firstColumn(), slice.a(), slice.b(), slice.scale() * 1.00001f)))
        .isGreaterThan(1);
  }

  /** A way to get one slice wrong. */
  private interface Misreading {
    LoraSlice misread(LoraSlice slice, int expert, int experts);
  }

  private static double worstWhenMisread(Golden.Model model, String name, Misreading misreading)
      throws IOException {
    Tensors golden = model.tensors();
    MoeModel shape = model.shape();
    try (PeftAdapter file = PeftAdapter.open(model.directory().resolve(name))) {
      LoraAdapter adapter = file.toLoraAdapter(shape);
      LoraAdapter.Builder builder = LoraAdapter.builder(adapter.name());
      double worst = 0;
      for (int layer : adapter.layers()) {
        for (Projection projection : Projection.values()) {
          for (int e = 0; e < shape.experts(); e++) {
            for (LoraSlice slice : adapter.slices(layer, projection, e)) {
              builder.add(layer, projection, e, misreading.misread(slice, e, shape.experts()));
            }
          }
        }
      }
      LoraAdapter misread = builder.build();
      for (int layer : adapter.layers()) {
        for (Projection projection : Projection.values()) {
          worst = Math.max(worst, worstError(golden, shape, misread, layer, projection));
        }
      }
      return worst;
    }
  }

  /** Largest error over its bound. */
  static double worstError(
      Tensors golden, MoeModel model, LoraAdapter adapter, int layer, Projection projection) {
    boolean down = projection == Projection.DOWN;
    String prefix = "layers." + layer + ".";
    Tensors.Tensor x = golden.get(prefix + (down ? "down_in." + adapter.name() : "x"));
    Tensors.Tensor expected =
        golden.get(prefix + (down ? "delta_down." : "delta_gate_up.") + adapter.name());
    Reference.Result result =
        Reference.compute(
            new Reference.Inputs(
                model,
                new ProjectionCall(layer, projection, down, false, false, 0),
                List.of(adapter),
                golden.get(prefix + "topk_ids").ints(),
                golden.get(prefix + "topk_weights").floats(),
                new int[Golden.TOKENS],
                x.matrix(),
                nan(Golden.TOKENS * Golden.EXPERTS_PER_TOKEN, model.outputWidth(projection))));
    Matrix delta = expected.matrix();
    double worst = 0;
    for (int p = 0; p < delta.rows(); p++) {
      for (int c = 0; c < delta.columns(); c++) {
        double value = result.values()[p][c];
        double error = Math.abs(delta.get(p, c) - value);
        // n * 2^-24 * sum|terms|, and a little
        double float32 = result.bounds()[p][c];
        // the stored delta and our scale are float32 roundings; all else is float64
        double bound = 0x1p-23 * Math.abs(value) + 0x1p-29 * float32;
        if (down) {
          // the stored input is the rounding of what the delta was computed from
          bound += float32 / model.intermediateSize();
        }
        if (error > 0 || Double.isNaN(error)) {
          worst = Math.max(worst, error / bound);
        }
      }
    }
    return worst;
  }

  private static Matrix nan(int rows, int columns) {
    float[] values = new float[rows * columns];
    Arrays.fill(values, Float.NaN);
    return Matrix.of(MemorySegment.ofArray(values), DType.F32, rows, columns);
  }
}
