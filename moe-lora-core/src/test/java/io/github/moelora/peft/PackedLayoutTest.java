package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.PeftAdapter.Layout;
import io.github.moelora.testkit.AdapterFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Three-dimensional A and B, factors that experts share, and other trainers' names. */
final class PackedLayoutTest {
  private static final int R = 3;
  private static final int E = 5;
  private static final int H = 7;
  private static final int I = 4;
  private static final String EXPERTS = "base_model.model.model.layers.2.mlp.experts.";
  private static final MoeModel MODEL = new MoeModel(H, I, E, GateUp.HALVES, List.of(2));

  @TempDir private Path directory;

  private static AdapterFiles files() {
    return new AdapterFiles()
        .config("r", Integer.toString(R))
        .config("target_modules", "[\"experts\"]")
        .withoutConfig("peft_version");
  }

  /** Element {@code [e,i,j]} is {@code salt + 100*e + 10*i + j}. */
  private static AdapterFiles add(
      AdapterFiles files, String name, int salt, int e, int rows, int columns) {
    return files.tensor3(
        name,
        DType.F32,
        List.of(e, rows, columns),
        (k, j) -> salt + 100 * (k / rows) + 10 * (k % rows) + j);
  }

  private static AdapterFiles pair(
      AdapterFiles files, String linear, int salt, List<Integer> experts, int in, int out) {
    add(files, EXPERTS + linear + ".lora_A.weight", salt, experts.get(0), R, in);
    return add(files, EXPERTS + linear + ".lora_B.weight", -salt, experts.get(1), out, R);
  }

  private static void requireSlice(
      LoraSlice slice, int salt, List<Integer> experts, int expert, int firstColumn) {
    int a = salt + (experts.get(0) == 1 ? 0 : 100 * expert);
    int b = -salt + (experts.get(1) == 1 ? 0 : 100 * expert);
    assertThat(slice.firstColumn()).isEqualTo(firstColumn);
    assertThat(slice.scale()).isEqualTo(8f / R);
    for (int r = 0; r < R; r++) {
      for (int h = 0; h < slice.a().columns(); h++) {
        assertThat(slice.a().get(r, h)).isEqualTo(a + 10 * r + h);
      }
      for (int o = 0; o < slice.columns(); o++) {
        assertThat(slice.b().get(o, r)).isEqualTo(b + 10 * o + r);
      }
    }
  }

  /** Tinker: gate and up apart, with A shared in front and B shared behind. */
  @ParameterizedTest
  @CsvSource({"w1, w3, w2", "gate_proj, up_proj, down_proj"})
  void factorsThatAllExpertsShareAreOneObject(String gate, String up, String down)
      throws IOException {
    AdapterFiles files = files();
    pair(files, gate, 1000, List.of(1, E), H, I);
    pair(files, up, 2000, List.of(1, E), H, I);
    pair(files, down, 3000, List.of(E, 1), I, H);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.layout()).isEqualTo(Layout.PACKED);
      assertThat(PeftAdapter.inferModel(List.of(adapter))).isEqualTo(MODEL);
      LoraAdapter lora = adapter.toLoraAdapter(MODEL);
      for (int e = 0; e < E; e++) {
        List<LoraSlice> first = lora.slices(2, Projection.GATE_UP, e);
        assertThat(first).hasSize(2);
        requireSlice(first.get(0), 1000, List.of(1, E), e, 0);
        requireSlice(first.get(1), 2000, List.of(1, E), e, I);
        requireSlice(lora.slices(2, Projection.DOWN, e).getFirst(), 3000, List.of(E, 1), e, 0);
        assertThat(first.get(0).a()).isSameAs(lora.slices(2, Projection.GATE_UP, 0).getFirst().a());
        assertThat(lora.slices(2, Projection.DOWN, e).getFirst().b())
            .isSameAs(lora.slices(2, Projection.DOWN, 0).getFirst().b());
      }
    }
  }

  /** One pair for all experts alike: only the model tells how many there are. */
  @Test
  void apairThatAllShareHasAsManyExpertsAsTheModel() throws IOException {
    AdapterFiles files = pair(files(), "gate_up_proj", 1000, List.of(1, 1), H, 2 * I);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.entries().getFirst().experts()).isZero();
      LoraAdapter lora = adapter.toLoraAdapter(MODEL);
      for (int e = 0; e < E; e++) {
        requireSlice(lora.slices(2, Projection.GATE_UP, e).getFirst(), 1000, List.of(1, 1), e, 0);
      }
      assertThatThrownBy(() -> PeftAdapter.inferModel(List.of(adapter)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("experts must be given");
    }
  }

  /** NeMo Automodel before it wrote PEFT's names: A {@code [E, in, R]}, B {@code [E, R, out]}. */
  @Test
  void theOldNamesOfAutomodel() throws IOException {
    AdapterFiles files = files().config("target_modules", "[\"q_proj\"]");
    add(files, EXPERTS + "lora_gate_and_up_A", 1000, E, H, R);
    add(files, EXPERTS + "lora_gate_and_up_B", 2000, E, R, 2 * I);
    add(files, EXPERTS + "lora_down_A", 3000, E, I, R);
    add(files, EXPERTS + "lora_down_B", 4000, E, R, H);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      LoraAdapter lora = adapter.toLoraAdapter(MODEL);
      for (int e = 0; e < E; e++) {
        LoraSlice first = lora.slices(2, Projection.GATE_UP, e).getFirst();
        assertThat(first.a().get(2, 6)).isEqualTo(1000 + 100 * e + 60 + 2);
        assertThat(first.b().get(7, 1)).isEqualTo(2000 + 100 * e + 10 + 7);
        LoraSlice down = lora.slices(2, Projection.DOWN, e).getFirst();
        assertThat(down.a().columns()).isEqualTo(I);
        assertThat(down.a().get(1, 3)).isEqualTo(3000 + 100 * e + 30 + 1);
        assertThat(down.b().get(6, 2)).isEqualTo(4000 + 100 * e + 20 + 6);
      }
    }
  }

  @Test
  void oneHalfIsNamedWhereTheOtherIsMissing() throws IOException {
    AdapterFiles files = files();
    add(files, EXPERTS + "lora_down_A", 3000, E, I, R);
    Path path = files.write(directory);
    assertThatThrownBy(() -> PeftAdapter.open(path).close())
        .hasMessageContaining("experts.lora_down_B: both halves of a pair must be there");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "4,3,7 | 5,8,3 | lora_A.weight: shape[0] must be 1 or 5, the experts of the other half, got"
            + " 4",
        "5,2,7 | 5,8,3 | lora_A.weight: shape[1] must be 3, the rank in the config, got 2",
        "5,3,7 | 5,8,2 | lora_B.weight: shape[2] must be 3, the rank in the config, got 2",
        "5,3,8 | 5,8,3 | lora_A.weight: shape[2] must be the model's input width 7, got 8",
        "5,3,7 | 5,6,3 | lora_B.weight: shape[1] must be the model's output width 8, got 6",
        "4,3,7 | 4,8,3 | lora_A.weight: shape[0] must be the model's 5 experts, got 4",
      })
  void shapesMustFit(String a, String b, String message) throws IOException {
    AdapterFiles files = files();
    String[] as = a.split(",", -1);
    String[] bs = b.split(",", -1);
    String module = EXPERTS + "gate_up_proj.";
    add(files, module + "lora_A.weight", 0, number(as[0]), number(as[1]), number(as[2]));
    add(files, module + "lora_B.weight", 0, number(bs[0]), number(bs[1]), number(bs[2]));
    Path path = files.write(directory);
    assertThatThrownBy(
            () -> {
              try (PeftAdapter adapter = PeftAdapter.open(path)) {
                assertThat(adapter.toLoraAdapter(MODEL)).isNull();
              }
            })
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(message);
  }

  private static int number(String text) {
    return Integer.parseInt(text.strip());
  }

  /** {@code [E, in, R]} under PEFT's names: the rank tells. */
  @Test
  void turnedFactorsAreKnownByTheRank() throws IOException {
    AdapterFiles files = files();
    add(files, EXPERTS + "down_proj.lora_A.weight", 1000, E, I, R);
    add(files, EXPERTS + "down_proj.lora_B.weight", 2000, E, R, H);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      LoraSlice down = adapter.toLoraAdapter(MODEL).slices(2, Projection.DOWN, 4).getFirst();
      assertThat(down.a().get(1, 3)).isEqualTo(1000 + 400 + 30 + 1);
      assertThat(down.b().get(6, 2)).isEqualTo(2000 + 400 + 20 + 6);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 17, 256, 512})
  void ranksAreNotBoundedByTheReader(int rank) throws IOException {
    AdapterFiles files =
        new AdapterFiles()
            .config("r", Integer.toString(rank))
            .pair(EXPERTS + "0.up_proj", rank, H, I);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.toLoraAdapter(MODEL).maxRank()).isEqualTo(rank);
    }
  }
}
