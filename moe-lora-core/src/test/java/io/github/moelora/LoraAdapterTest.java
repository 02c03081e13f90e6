package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LoraAdapterTest {

  /** A slice of the given sizes whose weights are all {@code value}. */
  private static LoraSlice slice(int first, int rank, int inputs, int outputs, float value) {
    return new LoraSlice(first, filled(rank, inputs, value), filled(outputs, rank, value), 1);
  }

  private static Matrix filled(int rows, int columns, float value) {
    float[] values = new float[rows * columns];
    Arrays.fill(values, value);
    return Matrix.ofFloats(rows, columns, values);
  }

  @Test
  void anEmptyAdapterChangesNothing() {
    LoraAdapter adapter = LoraAdapter.builder("nothing").build();
    assertThat(adapter.name()).isEqualTo("nothing");
    assertThat(adapter.layers()).isEmpty();
    assertThat(adapter.maxRank()).isZero();
    assertThat(adapter.maxMagnitude()).isZero();
    assertThat(adapter.slices(0, Projection.DOWN, 0)).isEmpty();
    assertThat(adapter).hasToString("LoraAdapter[nothing, layers [], rank <= 0]");
    assertThatNoException()
        .isThrownBy(() -> adapter.requireFits(new MoeModel(1, 1, 1, GateUp.HALVES, List.of(0))));
  }

  @Test
  void knowsWhatItHolds() {
    LoraSlice up = slice(4, 2, 6, 4, 0.5f);
    LoraSlice gate = slice(0, 3, 6, 4, -2);
    LoraSlice down = slice(0, 1, 4, 6, 1);
    LoraAdapter adapter =
        LoraAdapter.builder("a")
            .add(7, Projection.GATE_UP, 1, up)
            .add(7, Projection.GATE_UP, 1, gate)
            .add(2, Projection.DOWN, 0, down)
            .build();
    assertThat(adapter.layers()).containsExactly(2, 7);
    assertThat(adapter.maxRank()).isEqualTo(3);
    assertThat(adapter.maxMagnitude()).isEqualTo(2);
    // by ascending first column, whatever the order of adding
    assertThat(adapter.slices(7, Projection.GATE_UP, 1)).containsExactly(gate, up);
    assertThat(adapter.slices(2, Projection.DOWN, 0)).containsExactly(down);
    assertThat(adapter.slices(7, Projection.DOWN, 1)).isEmpty();
    assertThat(adapter.slices(7, Projection.GATE_UP, 0)).isEmpty();
    assertThat(adapter.slices(3, Projection.GATE_UP, 1)).isEmpty();
    assertThat(adapter).hasToString("LoraAdapter[a, layers [2, 7], rank <= 3]");
  }

  @Test
  void whatIsAddedLaterIsNotInAnAdapterThatIsBuilt() {
    LoraAdapter.Builder builder =
        LoraAdapter.builder("a").add(0, Projection.DOWN, 0, slice(0, 1, 4, 3, 1));
    LoraAdapter first = builder.build();
    builder.add(0, Projection.DOWN, 0, slice(3, 2, 4, 3, 1));
    builder.add(1, Projection.DOWN, 0, slice(3, 2, 4, 3, 1));
    assertThat(first.slices(0, Projection.DOWN, 0)).hasSize(1);
    assertThat(first.layers()).containsExactly(0);
    assertThat(builder.build().slices(0, Projection.DOWN, 0)).hasSize(2);
  }

  @Test
  void denseModulesStandBesideExperts() {
    LoraSlice q = slice(0, 9, 6, 5, 3);
    LoraSlice head = slice(1, 2, 6, 4, -7);
    LoraAdapter adapter =
        LoraAdapter.builder("a")
            .addDense("q", q)
            .addDense("head", head)
            .add(2, Projection.DOWN, 0, slice(0, 1, 4, 6, 1))
            .build();
    assertThat(adapter.modules()).containsExactly("head", "q");
    assertThat(adapter.layers()).containsExactly(2);
    assertThat(adapter.slices("q")).containsExactly(q);
    assertThat(adapter.slices("k")).isEmpty();
    assertThat(adapter.maxRank()).isEqualTo(9);
    assertThat(adapter.maxMagnitude()).isEqualTo(7);
    assertThat(adapter).hasToString("LoraAdapter[a, layers [2], 2 dense modules, rank <= 9]");
  }

  @Test
  void aBackendSeesADenseModuleAsAnExpert() {
    LoraSlice q = slice(0, 9, 6, 5, 3);
    LoraAdapter adapter =
        LoraAdapter.builder("a")
            .addDense("q", q)
            .add(2, Projection.DOWN, 0, slice(0, 1, 4, 6, 1))
            .build();
    LoraAdapter expert = adapter.ofDense(new DenseModule("q", 6, 5));
    assertThat(expert.slices(0, Projection.GATE_UP, 0)).containsExactly(q);
    assertThat(expert.layers()).containsExactly(0);
    assertThat(expert.modules()).isEmpty();
    LoraAdapter nothing = adapter.ofDense(new DenseModule("k", 6, 5));
    assertThat(nothing.layers()).isEmpty();
  }

  @Test
  void modulesThatTheModelDoesNotListAreRefusedUnlessLeftOut() {
    MoeModel model =
        new MoeModel(6, 4, 1, GateUp.HALVES, List.of(2))
            .withDense(List.of(new DenseModule("q", 6, 5)));
    LoraAdapter.Builder builder =
        LoraAdapter.builder("a")
            .addDense("q", slice(0, 2, 6, 5, 3))
            .add(2, Projection.DOWN, 0, slice(0, 1, 4, 6, 1));
    assertThatNoException().isThrownBy(() -> builder.build().requireFits(model));
    builder.addDense("k", slice(0, 2, 6, 5, 3));
    for (int i = 1; i <= 6; i++) {
      builder.addDense("m" + i, slice(0, 2, 6, 5, 3));
    }
    LoraAdapter adapter = builder.build();
    assertThat(adapter.unlistedModules(model))
        .containsExactly("k", "m1", "m2", "m3", "m4", "m5", "m6");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> adapter.requireFits(model))
        .withMessage(
            "adapter a: every module that it changes must be listed by the model"
                + " (MoeModel.withDense) or left out (LoraAdapter.withoutUnlisted), got k, m1, m2,"
                + " m3, m4 and 2 more");
    LoraAdapter part = adapter.withoutUnlisted(model);
    assertThatNoException().isThrownBy(() -> part.requireFits(model));
    assertThat(part.modules()).containsExactly("q");
    assertThat(part.layers()).containsExactly(2);
    assertThat(part.slices(2, Projection.DOWN, 0)).hasSize(1);
  }

  @Test
  void denseModulesOfAnotherWidthAreRefused() {
    LoraAdapter adapter = LoraAdapter.builder("a").addDense("q", slice(1, 2, 6, 5, 3)).build();
    MoeModel model = new MoeModel(6, 4, 1, GateUp.HALVES, List.of(2));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> adapter.requireFits(model.withDense(List.of(new DenseModule("q", 7, 6)))))
        .withMessage("adapter a, module q: a.columns must be 7, got 6");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> adapter.requireFits(model.withDense(List.of(new DenseModule("q", 6, 5)))))
        .withMessage(
            "adapter a, module q: b.rows must be at most 4 (width 5 less firstColumn 1), got 5");
  }

  @Test
  void slicesOfDenseModulesMustNotOverlapOrBeBlank() {
    LoraAdapter.Builder builder = LoraAdapter.builder("a").addDense("q", slice(0, 1, 3, 2, 1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.addDense("q", slice(1, 1, 3, 2, 1)))
        .withMessage("module q: slices must not overlap, got columns [0, 2) and [1, 3)");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.addDense(" ", slice(1, 1, 3, 2, 1)))
        .withMessage("module must be the name of a module, got \" \"");
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> LoraAdapter.builder("n").addDense("v", slice(0, 1, 1, 1, Float.NaN)).build())
        .withMessage("adapter n, module v: a[0,0] must be finite, got NaN");
  }

  @Test
  void negativeSitesAreRefused() {
    LoraAdapter.Builder builder = LoraAdapter.builder("a");
    LoraSlice slice = slice(0, 1, 1, 1, 1);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.add(-1, Projection.DOWN, 0, slice))
        .withMessage("layer must be at least 0, got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.add(0, Projection.DOWN, -1, slice))
        .withMessage("expert must be at least 0, got -1");
    assertThat(builder.build().layers()).isEmpty();
  }

  @Test
  void aThirdSliceIsRefused() {
    LoraAdapter.Builder builder =
        LoraAdapter.builder("a")
            .add(1, Projection.GATE_UP, 2, slice(0, 1, 3, 1, 1))
            .add(1, Projection.GATE_UP, 2, slice(1, 1, 3, 1, 1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.add(1, Projection.GATE_UP, 2, slice(2, 1, 3, 1, 1)))
        .withMessage("layer 1, GATE_UP, expert 2: it must have at most 2 slices, got one more");
  }

  @ParameterizedTest
  @CsvSource({"0, 3", "1, 3", "3, 2", "5, 1", "2, 1", "0, 9"})
  void overlappingSlicesAreRefused(int first, int columns) {
    LoraAdapter.Builder builder =
        LoraAdapter.builder("a").add(1, Projection.GATE_UP, 2, slice(2, 1, 3, 4, 1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.add(1, Projection.GATE_UP, 2, slice(first, 1, 3, columns, 1)))
        .withMessage(
            "layer 1, GATE_UP, expert 2: slices must not overlap, got columns [2, 6) and [%d, %d)",
            first, first + columns);
    assertThat(builder.build().slices(1, Projection.GATE_UP, 2)).hasSize(1);
  }

  @ParameterizedTest
  @CsvSource({"0, 2", "6, 1"})
  void slicesMayTouch(int first, int columns) {
    LoraAdapter adapter =
        LoraAdapter.builder("a")
            .add(1, Projection.GATE_UP, 2, slice(2, 1, 3, 4, 1))
            .add(1, Projection.GATE_UP, 2, slice(first, 1, 3, columns, 1))
            .build();
    assertThat(adapter.slices(1, Projection.GATE_UP, 2)).hasSize(2);
  }

  @Test
  void slicesOfOneExpertReadTheSameInput() {
    LoraAdapter.Builder builder =
        LoraAdapter.builder("a").add(1, Projection.GATE_UP, 2, slice(0, 1, 3, 4, 1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.add(1, Projection.GATE_UP, 2, slice(4, 1, 5, 4, 1)))
        .withMessage(
            "layer 1, GATE_UP, expert 2: a.columns must be 3 as in the other slice, got 5");
  }

  @ParameterizedTest
  @CsvSource({
    "a, 1, 2, NaN",
    "a, 0, 0, Infinity",
    "b, 3, 1, -Infinity",
    "b, 0, 1, NaN",
  })
  void weightsMustBeFinite(String which, int row, int column, float value) {
    Matrix a = filled(2, 3, 1);
    Matrix b = filled(4, 2, 1);
    (which.equals("a") ? a : b).set(row, column, value);
    LoraAdapter.Builder builder =
        LoraAdapter.builder("bad").add(5, Projection.DOWN, 6, new LoraSlice(0, a, b, 1));
    assertThatIllegalArgumentException()
        .isThrownBy(builder::build)
        .withMessage(
            "adapter bad, layer 5, DOWN, expert 6: %s[%d,%d] must be finite, got %s",
            which, row, column, value);
  }

  @Test
  void theLargestMagnitudeMayStandAnywhere() {
    Matrix a = filled(2, 3, 1);
    Matrix b = filled(4, 2, 1);
    LoraAdapter.Builder builder =
        LoraAdapter.builder("a").add(0, Projection.DOWN, 0, new LoraSlice(0, a, b, 100));
    a.set(1, 2, -3);
    assertThat(builder.build().maxMagnitude()).isEqualTo(3);
    b.set(3, 1, 4);
    assertThat(builder.build().maxMagnitude()).isEqualTo(4);
  }

  // ---- does it fit a model ----

  private static final MoeModel MODEL = new MoeModel(6, 4, 3, GateUp.HALVES, List.of(1, 5));

  @ParameterizedTest
  @CsvSource({"1, GATE_UP, 2, 0, 6, 8", "5, DOWN, 0, 0, 4, 6", "5, DOWN, 1, 5, 4, 1"})
  void whatFitsFits(
      int layer, Projection projection, int expert, int first, int inputs, int outputs) {
    LoraAdapter adapter =
        LoraAdapter.builder("a")
            .add(layer, projection, expert, slice(first, 1, inputs, outputs, 1))
            .build();
    assertThatNoException().isThrownBy(() -> adapter.requireFits(MODEL));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "2 | GATE_UP | 0 | 0 | 6 | 8 | layer must be one of [1, 5], got 2",
        "1 | GATE_UP | 3 | 0 | 6 | 8 | expert must be in [0, 3), got 3",
        "1 | GATE_UP | 0 | 0 | 4 | 8 | a.columns must be 6, got 4",
        "1 | DOWN | 0 | 0 | 6 | 6 | a.columns must be 4, got 6",
        "1 | GATE_UP | 0 | 0 | 6 | 9 | b.rows must be at most 8 (width 8 less firstColumn 0), got"
            + " 9",
        "1 | DOWN | 0 | 1 | 4 | 6 | b.rows must be at most 5 (width 6 less firstColumn 1), got 6",
      })
  void whatDoesNotFitIsNamed(
      int layer,
      Projection projection,
      int expert,
      int first,
      int inputs,
      int outputs,
      String message) {
    LoraAdapter adapter =
        LoraAdapter.builder("a")
            .add(layer, projection, expert, slice(first, 1, inputs, outputs, 1))
            .build();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> adapter.requireFits(MODEL))
        .withMessage("adapter a, layer %d, %s, expert %d: %s", layer, projection, expert, message);
  }
}
