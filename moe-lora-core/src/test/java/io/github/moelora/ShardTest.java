package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.github.moelora.DenseModule.Split;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Cuts worked out by hand; that shards add up to the whole is in the backends' contract. */
class ShardTest {
  private static final int H = 3;
  private static final int I = 4;
  private static final int RANK = 2;

  private static MoeModel model(GateUp gateUp) {
    return new MoeModel(H, I, 2, gateUp, List.of(6));
  }

  /** Element (i, j) is {@code 10 i + j}. */
  private static Matrix numbered(int rows, int columns) {
    float[] values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) {
      values[i] = 10 * (i / columns) + i % columns;
    }
    return Matrix.ofFloats(rows, columns, values);
  }

  private static void assertNumbered(Matrix matrix, int rows, int columns) {
    assertThat(matrix.rows()).isEqualTo(rows);
    assertThat(matrix.columns()).isEqualTo(columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        assertThat(matrix.get(i, j)).isEqualTo(10 * i + j);
      }
    }
  }

  private static LoraSlice slice(int firstColumn, int inputs, int outputs) {
    return new LoraSlice(firstColumn, numbered(RANK, inputs), numbered(outputs, RANK), 0.5f);
  }

  /** First column, then the first elements of the rows of B. */
  private static List<Float> columns(LoraSlice slice) {
    List<Float> list = new ArrayList<>(List.of((float) slice.firstColumn()));
    for (int o = 0; o < slice.columns(); o++) {
      list.add(slice.b().get(o, 0));
    }
    return list;
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "0 | 0 | of must be at least 1, got 0",
        "-1 | 2 | index must be in [0, 2), got -1",
        "2 | 2 | index must be in [0, 2), got 2"
      })
  void numbersOutOfRangeAreRefused(int index, int of, String message) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Shard(index, of))
        .withMessage(message);
  }

  @Test
  void theModelOfAShardHasItsShareOfTheWidths() {
    MoeModel whole =
        model(GateUp.HALVES)
            .withDense(
                List.of(
                    new DenseModule("q", 3, 8, Split.OUTPUT),
                    new DenseModule("o", 8, 3, Split.INPUT),
                    new DenseModule("gate_up", 3, 12, Split.OUTPUT_HALVES),
                    new DenseModule("router", 3, 5)));
    MoeModel part = whole.shard(new Shard(1, 2));
    assertThat(part)
        .isEqualTo(
            new MoeModel(
                H,
                I / 2,
                2,
                GateUp.HALVES,
                List.of(6),
                List.of(
                    new DenseModule("q", 3, 4, Split.OUTPUT),
                    new DenseModule("o", 4, 3, Split.INPUT),
                    new DenseModule("gate_up", 3, 6, Split.OUTPUT_HALVES),
                    new DenseModule("router", 3, 5))));
    assertThat(whole.shard(Shard.WHOLE)).isEqualTo(whole);
  }

  @Test
  void widthsThatCannotBeDividedAreRefused() {
    Shard third = new Shard(0, 3);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model(GateUp.HALVES).shard(third))
        .withMessage("intermediateSize must be a multiple of the 3 shards, got 4");
    MoeModel six = new MoeModel(1, 6, 1, GateUp.HALVES, List.of(0));
    assertDense(six, new DenseModule("q", 3, 8, Split.OUTPUT), "q: outputWidth", 8);
    assertDense(six, new DenseModule("o", 8, 3, Split.INPUT), "o: inputWidth", 8);
    assertDense(six, new DenseModule("g", 3, 8, Split.OUTPUT_HALVES), "g: outputWidth / 2", 4);
  }

  private static void assertDense(MoeModel model, DenseModule module, String name, int width) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.withDense(List.of(module)).shard(new Shard(0, 3)))
        .withMessage("%s must be a multiple of the 3 shards, got %d", name, width);
  }

  @Test
  void separateGateAndUpKeepTheirShare() {
    LoraAdapter adapter =
        LoraAdapter.builder("a")
            .add(6, Projection.GATE_UP, 1, slice(0, H, I))
            .add(6, Projection.GATE_UP, 1, slice(I, H, I))
            .build();
    List<LoraSlice> second =
        adapter.shard(model(GateUp.HALVES), new Shard(1, 2)).slices(6, Projection.GATE_UP, 1);
    assertThat(second)
        .extracting(ShardTest::columns)
        .containsExactly(List.of(0f, 20f, 30f), List.of(2f, 20f, 30f));
    assertThat(second).allSatisfy(part -> assertNumbered(part.a(), RANK, H));
  }

  @Test
  void aFusedPairIsCutByTheOrderOfItsColumns() {
    LoraAdapter adapter =
        LoraAdapter.builder("a").add(6, Projection.GATE_UP, 0, slice(0, H, 2 * I)).build();
    Shard last = new Shard(3, 4);
    assertThat(adapter.shard(model(GateUp.HALVES), last).slices(6, Projection.GATE_UP, 0))
        .extracting(ShardTest::columns)
        .containsExactly(List.of(0f, 30f), List.of(1f, 70f));
    assertThat(adapter.shard(model(GateUp.INTERLEAVED), last).slices(6, Projection.GATE_UP, 0))
        .extracting(ShardTest::columns)
        .containsExactly(List.of(0f, 60f, 70f));
  }

  @Test
  void aSliceOfSomeColumnsMayMissAShard() {
    LoraAdapter adapter =
        LoraAdapter.builder("a").add(6, Projection.GATE_UP, 0, slice(1, H, 2)).build();
    MoeModel model = model(GateUp.UP_ONLY);
    assertThat(adapter.shard(model, new Shard(0, 2)).slices(6, Projection.GATE_UP, 0))
        .extracting(ShardTest::columns)
        .containsExactly(List.of(1f, 0f));
    assertThat(adapter.shard(model, new Shard(1, 2)).slices(6, Projection.GATE_UP, 0))
        .extracting(ShardTest::columns)
        .containsExactly(List.of(0f, 10f));
    LoraAdapter none = adapter.shard(model, new Shard(3, 4));
    assertThat(none.slices(6, Projection.GATE_UP, 0)).isEmpty();
    assertThat(none.layers()).isEmpty();
  }

  @Test
  void downTakesItsShareOfTheInput() {
    LoraAdapter adapter =
        LoraAdapter.builder("a").add(6, Projection.DOWN, 0, slice(0, I, H)).build();
    LoraSlice part =
        adapter.shard(model(GateUp.HALVES), new Shard(1, 2)).slices(6, Projection.DOWN, 0).get(0);
    assertThat(part.a().columns()).isEqualTo(2);
    assertThat(part.a().get(1, 0)).isEqualTo(12);
    assertThat(part.a().get(1, 1)).isEqualTo(13);
    assertNumbered(part.b(), H, RANK);
    assertThat(part.scale()).isEqualTo(0.5f);
  }

  @ParameterizedTest
  @EnumSource(Split.class)
  void denseModulesAreCutAsTheySay(Split split) {
    MoeModel model = model(GateUp.HALVES).withDense(List.of(new DenseModule("m", 4, 8, split)));
    LoraAdapter adapter = LoraAdapter.builder("a").addDense("m", slice(0, 4, 8)).build();
    LoraAdapter part = adapter.shard(model, new Shard(1, 2));
    part.requireFits(model.shard(new Shard(1, 2)));
    List<LoraSlice> slices = part.slices("m");
    List<List<Float>> columns = slices.stream().map(ShardTest::columns).toList();
    float a00 = slices.get(0).a().get(0, 0);
    switch (split) {
      case NONE -> assertThat(slices).isEqualTo(adapter.slices("m"));
      case OUTPUT -> assertThat(columns).containsExactly(List.of(0f, 40f, 50f, 60f, 70f));
      case OUTPUT_HALVES ->
          assertThat(columns).containsExactly(List.of(0f, 20f, 30f), List.of(2f, 60f, 70f));
      case INPUT -> assertThat(columns.get(0)).hasSize(9);
    }
    assertThat(a00).isEqualTo(split == Split.INPUT ? 2 : 0);
  }

  @Test
  void slicesThatDoNotFitTheWholeModelAreRefused() {
    MoeModel model = model(GateUp.HALVES).withDense(List.of(new DenseModule("m", 4, 8)));
    LoraAdapter narrow =
        LoraAdapter.builder("a").add(6, Projection.DOWN, 0, slice(0, I - 1, H)).build();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> narrow.shard(model, Shard.WHOLE))
        .withMessage("layer 6, DOWN, expert 0: a.columns must be 4, got 3");
    LoraAdapter wide = LoraAdapter.builder("a").addDense("m", slice(1, 4, 8)).build();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> wide.shard(model, Shard.WHOLE))
        .withMessage("module m: firstColumn + b.rows must be at most 8, got 9");
    // what the model does not list is kept for load to refuse
    LoraAdapter other = LoraAdapter.builder("a").addDense("x", slice(0, 5, 5)).build();
    assertThat(other.shard(model, new Shard(0, 2)).slices("x")).isEqualTo(other.slices("x"));
  }

  /** NaN everywhere else: reading any of it would be an error. */
  @Test
  void aBuilderForOneShardReadsNoOtherWeights() {
    MoeModel model =
        model(GateUp.HALVES).withDense(List.of(new DenseModule("q", 4, 8, Split.OUTPUT)));
    Matrix b = numbered(2 * I, RANK);
    Matrix down = numbered(RANK, I);
    Matrix q = numbered(8, RANK);
    for (int r = 0; r < RANK; r++) {
      for (int row : new int[] {0, 1, 4, 5}) {
        b.set(row, r, Float.NaN);
      }
      down.set(r, 0, Float.NaN);
      down.set(r, 1, Float.NaN);
      for (int row = 0; row < 4; row++) {
        q.set(row, r, Float.NaN);
      }
    }
    Matrix elsewhere = Matrix.ofFloats(RANK, H, new float[RANK * H]);
    elsewhere.set(0, 0, Float.NaN);
    LoraAdapter.Builder builder =
        LoraAdapter.builder("a").only(model, new Shard(1, 2), ExpertMap.of(-1, 0));
    LoraAdapter adapter =
        builder
            .add(6, Projection.GATE_UP, 0, new LoraSlice(0, elsewhere, numbered(2 * I, RANK), 1))
            .add(6, Projection.GATE_UP, 1, new LoraSlice(0, numbered(RANK, H), b, 1))
            .add(6, Projection.DOWN, 1, new LoraSlice(0, down, numbered(H, RANK), 1))
            .addDense("q", new LoraSlice(0, numbered(RANK, 4), q, 1))
            .build();
    assertThat(adapter.slices(6, Projection.GATE_UP, 0)).isEmpty();
    assertThat(adapter.slices(6, Projection.GATE_UP, 1))
        .extracting(ShardTest::columns)
        .containsExactly(List.of(0f, 20f, 30f), List.of(2f, 60f, 70f));
    assertThat(adapter.slices("q"))
        .extracting(ShardTest::columns)
        .containsExactly(List.of(0f, 40f, 50f, 60f, 70f));
    adapter.requireFits(model.shard(new Shard(1, 2)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.add(6, Projection.DOWN, 2, slice(0, I, H)))
        .withMessage("expert must be in [0, 2), got 2");
  }
}
