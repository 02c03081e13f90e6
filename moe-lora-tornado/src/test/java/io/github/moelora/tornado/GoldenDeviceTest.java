package io.github.moelora.tornado;

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
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** PEFT's deltas on the device, all adapters of a model in one batch. */
class GoldenDeviceTest {

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  static List<Golden.Model> models() {
    return Golden.models();
  }

  /** Each adapter in its own slot; in round n token t has adapter t + n, or none. */
  @ParameterizedTest
  @MethodSource("models")
  void peftsDeltas(Golden.Model model) throws IOException {
    Tensors golden = model.tensors();
    try (GoldenAdapters files = GoldenAdapters.of(model);
        MoeLora lora = files.open("tornado");
        Step step = lora.newStep()) {
      List<LoraAdapter> adapters = files.list();
      int slots = adapters.size();
      for (int round = 0; round <= slots; round++) {
        int[] adapterIds = new int[Golden.TOKENS];
        for (int t = 0; t < adapterIds.length; t++) {
          adapterIds[t] = (t + round) % (slots + 1) - 1;
        }
        for (int layer : model.shape().layers()) {
          for (Projection projection : Projection.values()) {
            checkDeltas(golden, model.shape(), adapters, step, adapterIds, layer, projection);
          }
        }
      }
    }
  }

  private static void checkDeltas(
      Tensors golden,
      MoeModel model,
      List<LoraAdapter> adapters,
      Step step,
      int[] adapterIds,
      int layer,
      Projection projection) {
    boolean down = projection == Projection.DOWN;
    String prefix = "layers.%d.".formatted(layer);
    int[] expertIds = golden.get(prefix + "topk_ids").ints();
    float[] weights = golden.get(prefix + "topk_weights").floats();
    int pairs = expertIds.length;
    int inputs = model.inputWidth(projection);
    int outputs = model.outputWidth(projection);
    Matrix x = Matrix.ofFloats(pairs, inputs, new float[pairs * inputs]);
    double[][] expected = new double[pairs][outputs];
    for (int p = 0; p < pairs; p++) {
      int slot = adapterIds[p / Golden.EXPERTS_PER_TOKEN];
      String name = slot < 0 ? "" : adapters.get(slot).name();
      Tensors.Tensor source = golden.get(prefix + (down && slot >= 0 ? "down_in." + name : "x"));
      int row = down && slot >= 0 ? p : p / Golden.EXPERTS_PER_TOKEN;
      for (int h = 0; h < inputs && (!down || slot >= 0); h++) {
        x.set(p, h, (float) source.real(row * inputs + h));
      }
      for (int c = 0; c < outputs && slot >= 0; c++) {
        expected[p][c] =
            golden
                .get(prefix + (down ? "delta_down." : "delta_gate_up.") + name)
                .real(p * outputs + c);
      }
    }
    float[] y = new float[pairs * outputs];
    Arrays.fill(y, Float.NaN);
    Matrix out = Matrix.of(MemorySegment.ofArray(y), DType.F32, pairs, outputs);
    ProjectionCall call = new ProjectionCall(layer, projection, true, false, false, 0);
    Reference.Result bounds =
        Reference.compute(
            new Reference.Inputs(
                model,
                call,
                new ArrayList<@Nullable LoraAdapter>(adapters),
                expertIds,
                weights,
                adapterIds,
                x,
                out));
    step.plan(
        Golden.TOKENS,
        MemorySegment.ofArray(expertIds),
        MemorySegment.ofArray(weights),
        MemorySegment.ofArray(adapterIds));
    step.run(call, x, out);
    for (int p = 0; p < pairs; p++) {
      for (int c = 0; c < outputs; c++) {
        double bound = bounds.bounds()[p][c];
        // the stored delta, and the down projection's stored input, are roundings themselves
        bound += 0x1p-23 * Math.abs(expected[p][c]) + (down ? bound : 0);
        assertThat(Math.abs(y[p * outputs + c] - expected[p][c]))
            .as("layer %d, %s, pair %d, column %d", layer, projection, p, c)
            .isLessThanOrEqualTo(bound);
      }
    }
  }
}
