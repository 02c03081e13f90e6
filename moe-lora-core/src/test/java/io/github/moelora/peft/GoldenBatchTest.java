package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Golden;
import io.github.moelora.testkit.GoldenAdapters;
import io.github.moelora.testkit.Tensors;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * All adapters of a model in one batch on the CPU: row t has adapter t mod n, every fifth row none.
 * What PEFT computed for each adapter alone must come out of each row.
 */
final class GoldenBatchTest {
  private static final int NONE = -1;

  /** A model and where its adapters go. */
  private record Batch(Golden.Model golden, List<LoraAdapter> adapters, int[] slots) {
    private MoeModel shape() {
      return golden.shape();
    }
  }

  private static int[] slots(int adapters) {
    int[] slots = new int[Golden.TOKENS];
    for (int t = 0; t < slots.length; t++) {
      slots[t] = t % 5 == 4 ? NONE : t % adapters;
    }
    return slots;
  }

  static List<Golden.Model> models() {
    return Golden.models();
  }

  @ParameterizedTest
  @MethodSource("models")
  void everyRowGetsTheDeltaOfItsOwnAdapter(Golden.Model model) throws IOException {
    Tensors golden = model.tensors();
    try (GoldenAdapters adapters = GoldenAdapters.of(model);
        MoeLora lora = adapters.open("cpu");
        Step step = lora.newStep()) {
      Batch batch = new Batch(model, adapters.list(), slots(adapters.list().size()));
      for (int layer : model.shape().layers()) {
        String prefix = "layers.%d.".formatted(layer);
        step.plan(
            Golden.TOKENS,
            MemorySegment.ofArray(golden.get(prefix + "topk_ids").ints()),
            MemorySegment.ofArray(golden.get(prefix + "topk_weights").floats()),
            MemorySegment.ofArray(batch.slots()));
        for (Projection projection : Projection.values()) {
          requireGolden(batch, golden, step, layer, projection);
        }
      }
    }
  }

  private static void requireGolden(
      Batch batch, Tensors golden, Step step, int layer, Projection projection) {
    boolean down = projection == Projection.DOWN;
    int pairs = Golden.TOKENS * Golden.EXPERTS_PER_TOKEN;
    int width = batch.shape().outputWidth(projection);
    String prefix = "layers.%d.".formatted(layer);
    Matrix x = down ? downInputs(batch, golden, prefix) : golden.get(prefix + "x").matrix();
    for (boolean add : new boolean[] {false, true}) {
      float[] values = new float[pairs * width];
      Arrays.fill(values, add ? 3 : Float.NaN);
      Matrix y = Matrix.of(MemorySegment.ofArray(values), DType.F32, pairs, width);
      ProjectionCall call = new ProjectionCall(layer, projection, down, false, add, 0);
      double[][] bounds = bounds(batch, golden, call, x, values);
      step.run(call, x, y);
      for (int p = 0; p < pairs; p++) {
        int slot = batch.slots()[p / Golden.EXPERTS_PER_TOKEN];
        for (int c = 0; c < width; c++) {
          double before = add ? 3 : 0;
          if (slot == NONE) {
            // vLLM #42008, #49063: a row without adapter is not touched by those of others
            assertThat(y.get(p, c)).isEqualTo((float) before);
          } else {
            Tensors.Tensor delta =
                golden.get(
                    prefix
                        + (down ? "delta_down." : "delta_gate_up.")
                        + batch.adapters().get(slot).name());
            assertThat((double) y.get(p, c))
                .as("layer %d, %s, pair %d, column %d", layer, projection, p, c)
                .isCloseTo(
                    before + delta.real(p * width + c),
                    org.assertj.core.data.Offset.offset(bounds[p][c]));
          }
        }
      }
    }
  }

  /** Each row from the adapter that it has. */
  private static Matrix downInputs(Batch batch, Tensors golden, String prefix) {
    int width = batch.shape().intermediateSize();
    int pairs = Golden.TOKENS * Golden.EXPERTS_PER_TOKEN;
    float[] rows = new float[pairs * width];
    for (int p = 0; p < pairs; p++) {
      int slot = Math.max(0, batch.slots()[p / Golden.EXPERTS_PER_TOKEN]);
      Tensors.Tensor source = golden.get(prefix + "down_in." + batch.adapters().get(slot).name());
      for (int i = 0; i < width; i++) {
        rows[p * width + i] = (float) source.real(p * width + i);
      }
    }
    return Matrix.of(MemorySegment.ofArray(rows), DType.F32, pairs, width);
  }

  /** {@code n * 2^-24 * sum|terms|} and one rounding of the result. */
  private static double[][] bounds(
      Batch batch, Tensors golden, ProjectionCall call, Matrix x, float[] before) {
    String prefix = "layers.%d.".formatted(call.layer());
    int width = batch.shape().outputWidth(call.projection());
    return Reference.compute(
            new Reference.Inputs(
                batch.shape(),
                call,
                new ArrayList<>(batch.adapters()),
                golden.get(prefix + "topk_ids").ints(),
                golden.get(prefix + "topk_weights").floats(),
                batch.slots(),
                x,
                Matrix.of(
                    MemorySegment.ofArray(before.clone()),
                    DType.F32,
                    before.length / width,
                    width)))
        .bounds();
  }
}
