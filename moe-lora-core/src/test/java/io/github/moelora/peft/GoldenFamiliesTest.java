package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.testkit.Deltas;
import io.github.moelora.testkit.GoldenFamilies;
import io.github.moelora.testkit.Tensors;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Whole adapters of several families are read as PEFT 0.21 computes them. */
final class GoldenFamiliesTest {

  @TestFactory
  Stream<DynamicTest> everyAdapterAddsWhatPeftAdds() throws IOException {
    List<DynamicTest> tests = new ArrayList<>();
    List<GoldenFamilies.Family> families = GoldenFamilies.all();
    assertThat(families).isNotEmpty();
    for (GoldenFamilies.Family family : families) {
      for (String adapter : GoldenFamilies.ADAPTERS) {
        tests.add(
            DynamicTest.dynamicTest(family + " " + adapter, () -> requireDeltas(family, adapter)));
      }
    }
    return tests.stream();
  }

  private static void requireDeltas(GoldenFamilies.Family family, String name) throws IOException {
    MoeModel model = family.shape();
    try (PeftAdapter file = PeftAdapter.open(family.adapter(name))) {
      LoraAdapter adapter = file.toLoraAdapter(model);
      for (int layer : model.layers()) {
        for (Projection projection : Projection.values()) {
          Tensors.@Nullable Tensor expected = family.delta(name, layer, projection);
          for (int expert = 0; expert < model.experts(); expert++) {
            List<LoraSlice> slices = adapter.slices(layer, projection, expert);
            if (expected == null) {
              assertThat(slices).isEmpty();
            } else {
              int out = model.outputWidth(projection);
              int in = model.inputWidth(projection);
              String what = "%s, layer %d, %s".formatted(name, layer, projection);
              requireMatrix(what, expected, expert, Deltas.of(slices, out, in));
            }
          }
        }
      }
      assertThat(adapter.modules().isEmpty()).isEqualTo(name.equals("experts"));
      for (String module : adapter.modules()) {
        Tensors.Tensor expected = Objects.requireNonNull(family.delta(name, module), module);
        List<LoraSlice> slices = adapter.slices(module);
        int[] shape = expected.shape();
        requireMatrix(name + ", " + module, expected, 0, Deltas.of(slices, shape[0], shape[1]));
      }
    }
  }

  /** The scale is rounded to float32, which PEFT's is not. */
  private static void requireMatrix(
      String what, Tensors.Tensor expected, int expert, double[][] found) {
    int from = expert * found.length * found[0].length;
    for (int o = 0; o < found.length; o++) {
      for (int h = 0; h < found[o].length; h++) {
        double value = expected.real(from + o * found[o].length + h);
        assertThat(found[o][h])
            .as("%s, expert %d [%d,%d]", what, expert, o, h)
            .isCloseTo(value, within(1e-6 * Math.max(1, Math.abs(value))));
      }
    }
  }
}
