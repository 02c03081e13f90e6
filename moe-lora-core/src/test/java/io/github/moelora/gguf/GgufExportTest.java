package io.github.moelora.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.testkit.Seeds;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What is written adds, by llama.cpp's formula, what the adapter adds. */
final class GgufExportTest {
  private static final int HIDDEN = 5;
  private static final int INTERMEDIATE = 3;
  private static final int EXPERTS = 4;

  private final Random random = new Random(Seeds.of("GgufExportTest"));

  @TempDir private Path directory;

  private Path file() {
    return directory.resolve("adapter.gguf");
  }

  private static MoeModel model(GateUp gateUp) {
    return new MoeModel(HIDDEN, INTERMEDIATE, EXPERTS, gateUp, List.of(0, 3));
  }

  private Matrix matrix(int rows, int columns) {
    float[] values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return Matrix.ofFloats(rows, columns, values);
  }

  private LoraSlice slice(int first, int rank, int in, int out, float scale) {
    return new LoraSlice(first, matrix(rank, in), matrix(out, rank), scale);
  }

  /** Unequal ranks and scales, experts left out, whole and half slices. */
  private LoraAdapter mixed(GateUp gateUp) {
    LoraAdapter.Builder builder = LoraAdapter.builder("mixed");
    int width = gateUp.gated() ? 2 * INTERMEDIATE : INTERMEDIATE;
    builder.add(0, Projection.GATE_UP, 0, slice(0, 4, HIDDEN, width, 2));
    builder.add(0, Projection.GATE_UP, 1, slice(0, 3, HIDDEN, INTERMEDIATE, 0.7f));
    if (gateUp == GateUp.HALVES) {
      builder.add(0, Projection.GATE_UP, 1, slice(INTERMEDIATE, 2, HIDDEN, INTERMEDIATE, 1.1f));
      builder.add(0, Projection.GATE_UP, 3, slice(INTERMEDIATE, 1, HIDDEN, INTERMEDIATE, 5));
    }
    // a slice that ends within up
    builder.add(3, Projection.GATE_UP, 2, slice(1, 2, HIDDEN, width - 2, 0.3f));
    builder.add(3, Projection.DOWN, 2, slice(0, 7, INTERMEDIATE, HIDDEN, (float) Math.sqrt(2)));
    builder.add(3, Projection.DOWN, 3, slice(0, 5, INTERMEDIATE, HIDDEN, 0));
    return builder.build();
  }

  static Stream<Arguments> orders() {
    return Stream.of(
        Arguments.of(GateUp.HALVES, false),
        Arguments.of(GateUp.HALVES, true),
        Arguments.of(GateUp.INTERLEAVED, false),
        Arguments.of(GateUp.INTERLEAVED, true),
        Arguments.of(GateUp.UP_ONLY, false));
  }

  @ParameterizedTest
  @MethodSource("orders")
  void unequalRanksAndScales(GateUp order, boolean fused) throws IOException {
    MoeModel model = model(order);
    LoraAdapter adapter = mixed(order);
    GgufExport.Summary summary =
        new GgufExport("arch").fusedGateUp(fused).write(adapter, model, file());
    assertThat(summary.bytes()).isEqualTo(Files.size(file()));
    NaiveGguf naive = new NaiveGguf(file());
    assertThat(naive.metadata)
        .containsEntry("general.architecture", "arch")
        .containsEntry("general.type", "adapter")
        .containsEntry("adapter.type", "lora")
        .containsEntry("adapter.lora.alpha", summary.alpha());
    for (int layer : model.layers()) {
      double gateUp = Deltas.magnitude(adapter, model, layer, Projection.GATE_UP);
      double down = Deltas.magnitude(adapter, model, layer, Projection.DOWN);
      for (int e = 0; e < EXPERTS; e++) {
        double[][] expected = Deltas.of(adapter, model, layer, Projection.GATE_UP, e);
        String what = "layer %d, expert %d".formatted(layer, e);
        // the sum of two slices' magnitudes, and a rounding each of alpha, alpha / R and B
        Deltas.assertSame(columns(naive, order, layer, e), expected, 2 * gateUp, 3, what);
        double[][] downs = naive.delta("blk.%d.ffn_down_exps.weight".formatted(layer), e);
        Deltas.assertSame(
            downs == null ? new double[HIDDEN][INTERMEDIATE] : downs,
            Deltas.of(adapter, model, layer, Projection.DOWN, e),
            down,
            3,
            what);
      }
    }
    try (GgufAdapter read = GgufAdapter.open(file())) {
      LoraAdapter again = read.toLoraAdapter(model);
      double magnitude = 2 * Deltas.magnitude(adapter, model, 0, Projection.GATE_UP);
      Deltas.assertSame(
          Deltas.of(again, model, 0, Projection.GATE_UP, 1),
          Deltas.of(adapter, model, 0, Projection.GATE_UP, 1),
          magnitude,
          4,
          "read again");
    }
  }

  /** Gate and up of a file in the model's order of columns. */
  private static double[][] columns(NaiveGguf naive, GateUp order, int layer, int expert) {
    String weight = "blk." + layer + ".ffn_%s_exps.weight";
    double[][] both = naive.delta(weight.formatted("gate_up"), expert);
    double[][] gate = naive.delta(weight.formatted("gate"), expert);
    double[][] up = naive.delta(weight.formatted("up"), expert);
    if (order == GateUp.UP_ONLY) {
      assertThat(both == null && gate == null).isTrue();
      return Objects.requireNonNull(up);
    }
    double[][] columns = new double[2 * INTERMEDIATE][HIDDEN];
    for (int o = 0; o < 2 * INTERMEDIATE; o++) {
      boolean mixed = order == GateUp.INTERLEAVED;
      boolean isUp = mixed ? o % 2 == 1 : o >= INTERMEDIATE;
      int row = mixed ? o / 2 : o % INTERMEDIATE;
      if (both != null) {
        assertThat(gate == null && up == null).isTrue();
        columns[o] = both[isUp ? INTERMEDIATE + row : row];
      } else {
        columns[o] = Objects.requireNonNull(isUp ? up : gate)[row];
      }
    }
    return columns;
  }

  /** rsLoRA with one rank needs no factor: alpha takes it up. */
  @Test
  void oneRankKeepsB() throws IOException {
    MoeModel model = model(GateUp.HALVES);
    float scale = (float) (32 / Math.sqrt(8));
    LoraAdapter.Builder builder = LoraAdapter.builder("rslora");
    for (int e = 0; e < EXPERTS; e++) {
      builder.add(0, Projection.DOWN, e, slice(0, 8, INTERMEDIATE, HIDDEN, scale));
    }
    LoraAdapter adapter = builder.build();
    GgufExport.Summary summary = new GgufExport("arch").write(adapter, model, file());
    assertThat(summary.foldedPairs()).isZero();
    assertThat(summary.alpha()).isEqualTo(scale * 8);
    NaiveGguf.Tensor b =
        Objects.requireNonNull(
            new NaiveGguf(file()).tensors.get("blk.0.ffn_down_exps.weight.lora_b"));
    assertThat(b.at(3, 2, 1))
        .isEqualTo(adapter.slices(0, Projection.DOWN, 1).getFirst().b().get(2, 3));
  }

  /** llama.cpp takes an alpha of 0 for a scale of 1. */
  @Test
  void aScaleOfZeroStaysZero() throws IOException {
    MoeModel model = model(GateUp.HALVES);
    LoraAdapter adapter =
        LoraAdapter.builder("zero")
            .add(0, Projection.DOWN, 2, slice(0, 2, INTERMEDIATE, HIDDEN, 0))
            .build();
    assertThat(new GgufExport("arch").write(adapter, model, file()).alpha()).isEqualTo(1);
    double[][] delta =
        Objects.requireNonNull(new NaiveGguf(file()).delta("blk.0.ffn_down_exps.weight", 2));
    Deltas.assertEqual(delta, new double[HIDDEN][INTERMEDIATE], "delta");
  }

  @Test
  void modulesOutsideTheExperts() throws IOException {
    Matrix a = matrix(2, 6);
    Matrix b = matrix(3, 2);
    LoraAdapter none = LoraAdapter.builder("none").build();
    GgufExport export =
        new GgufExport("qwen3moe")
            .module("blk.0.attn_q.weight", a, b, 4)
            .module("token_embd.weight", a, b, 3);
    GgufExport.Summary summary = export.write(none, model(GateUp.HALVES), file());
    assertThat(summary.alpha()).isEqualTo(8);
    assertThat(summary.pairs()).isEqualTo(2);
    assertThat(summary.foldedPairs()).isEqualTo(1);
    NaiveGguf naive = new NaiveGguf(file());
    NaiveGguf.Tensor table = Objects.requireNonNull(naive.tensors.get("token_embd.weight.lora_a"));
    assertThat(table.ne()).containsExactly(2, 6, 1, 1);
    double[][] delta = Objects.requireNonNull(naive.delta("blk.0.attn_q.weight", 0));
    try (GgufAdapter read = GgufAdapter.open(file())) {
      for (GgufModule module : read.otherModules()) {
        for (int o = 0; o < 3; o++) {
          for (int h = 0; h < 6; h++) {
            double expected = 0;
            double actual = 0;
            for (int r = 0; r < 2; r++) {
              expected += (double) b.get(o, r) * a.get(r, h);
              actual += (double) module.b(0).get(o, r) * module.a(0).get(r, h);
            }
            boolean embedding = module.name().startsWith("token");
            assertThat(table.at(1, h, 0)).isEqualTo(a.get(1, h));
            assertThat(module.scale() * actual)
                .isCloseTo((embedding ? 3 : 4) * expected, within(1e-5));
            if (!embedding) {
              assertThat(delta[o][h]).isEqualTo(4 * expected);
            }
          }
        }
      }
    }
  }

  /** A file read and written keeps its other modules. */
  @Test
  void modulesOfAnotherFile() throws IOException {
    Path from = directory.resolve("from.gguf");
    double[] a = GgufBytes.values(random, 3 * 2 * 4);
    double[] b = GgufBytes.values(random, 3 * 6 * 2);
    double[] table = GgufBytes.values(random, 2 * 7);
    new GgufBytes()
        .adapter("grovemoe")
        .tensor("w.chexps.lora_a", GgufBytes.F32, new long[] {4, 2, 3}, GgufBytes.encode(0, a))
        .tensor("w.chexps.lora_b", GgufBytes.F32, new long[] {2, 6, 3}, GgufBytes.encode(0, b))
        .tensor("token_embd.weight.lora_a", 0, new long[] {2, 7}, GgufBytes.encode(0, table))
        .tensor("token_embd.weight.lora_b", 0, new long[] {2, 7}, GgufBytes.encode(0, table))
        .write(from);
    try (GgufAdapter read = GgufAdapter.open(from)) {
      GgufExport export = new GgufExport(read.architecture());
      read.otherModules().forEach(export::module);
      export.write(LoraAdapter.builder("none").build(), model(GateUp.HALVES), file());
    }
    NaiveGguf written = new NaiveGguf(file());
    assertThat(written.tensors.keySet())
        .containsExactly(
            "w.chexps.lora_a",
            "w.chexps.lora_b",
            "token_embd.weight.lora_a",
            "token_embd.weight.lora_b");
    double[][] expected = {a, b, table, table};
    int i = 0;
    for (NaiveGguf.Tensor tensor : written.tensors.values()) {
      assertThat(tensor.values()).containsExactly(expected[i++]);
    }
    // no alpha is a scale of 1, which an alpha of the rank gives, too
    assertThat(written.metadata).containsEntry("adapter.lora.alpha", 2f);
  }

  @Test
  void modulesWhoseNameInGgufIsNotKnownAreLeftOutAndTold() throws IOException {
    MoeModel model =
        model(GateUp.HALVES).withDense(List.of(new DenseModule("self_attn.q_proj", 4, 4)));
    LoraAdapter adapter =
        LoraAdapter.builder("whole")
            .add(0, Projection.DOWN, 1, slice(0, 2, INTERMEDIATE, HIDDEN, 1))
            .addDense("self_attn.q_proj", slice(0, 2, 4, 4, 1))
            .addDense("lm_head", slice(0, 2, 3, 3, 1))
            .build();
    GgufExport.Summary summary = new GgufExport("arch").write(adapter, model, file());
    assertThat(summary.leftOut()).containsExactlyInAnyOrder("self_attn.q_proj", "lm_head");
    assertThat(new NaiveGguf(file()).tensors).hasSize(2);
  }

  @Test
  void whatTheTypeCannotHoldIsRefusedAndNothingIsLeft() throws IOException {
    MoeModel model = model(GateUp.HALVES);
    LoraAdapter adapter =
        LoraAdapter.builder("large")
            .add(
                0,
                Projection.DOWN,
                1,
                new LoraSlice(
                    0, Matrix.ofFloats(1, INTERMEDIATE, 1, 70_000, 1), matrix(HIDDEN, 1), 1))
            .build();
    assertThatThrownBy(() -> new GgufExport("arch").type(DType.F16).write(adapter, model, file()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "blk.0.ffn_down_exps.weight.lora_a: every element must be within 65504.0 of F16, got"
                + " element 4 beyond it");
    try (Stream<Path> left = Files.list(directory)) {
      assertThat(left).isEmpty();
    }
    new GgufExport("arch").type(DType.BF16).write(adapter, model, file());
    assertThat(file()).exists();
  }

  @Test
  void argumentsAreChecked() {
    MoeModel model = model(GateUp.UP_ONLY);
    LoraAdapter none = LoraAdapter.builder("none").build();
    assertThatThrownBy(() -> new GgufExport("")).hasMessageContaining("architecture");
    assertThatThrownBy(() -> new GgufExport("a").fusedGateUp(true).write(none, model, file()))
        .hasMessageContaining("fusedGateUp must be off");
    assertThatThrownBy(() -> new GgufExport("a").module("w", matrix(2, 3), matrix(3, 1), 1))
        .hasMessageContaining("b.columns must equal a.rows");
    LoraAdapter elsewhere =
        LoraAdapter.builder("elsewhere")
            .add(1, Projection.DOWN, 0, slice(0, 1, INTERMEDIATE, HIDDEN, 1))
            .build();
    assertThatThrownBy(() -> new GgufExport("a").write(elsewhere, model, file()))
        .hasMessageContaining("layer must be one of [0, 3], got 1");
    GgufExport longName = new GgufExport("a").module("w".repeat(57), matrix(2, 3), matrix(3, 2), 1);
    assertThatThrownBy(() -> longName.write(none, model, file()))
        .hasMessageContaining("name must have [1, 63] bytes, got 64");
    GgufWriter writer = new GgufWriter().metadata("k", GgufValue.text("v"));
    assertThatThrownBy(() -> writer.metadata("k", GgufValue.text("w")))
        .hasMessage("key must be new and not empty, got 'k'");
    assertThatThrownBy(() -> writer.metadata("general.alignment", GgufValue.uint32(4)))
        .hasMessageContaining("power of two of at least 8, got 4");
    assertThatThrownBy(() -> writer.tensor("t", GgmlType.Q8_0, List.of(33L), data -> {}))
        .hasMessageContaining("the last a multiple of 32, got [33]");
    writer.tensor("t", GgmlType.F32, List.of(1L), data -> {});
    assertThatThrownBy(() -> writer.tensor("t", GgmlType.F32, List.of(1L), data -> {}))
        .hasMessage("name must be new, got t");
  }

  @Test
  void architecturesByModelType() {
    assertThat(GgufExport.architectureOf("qwen3_moe")).contains("qwen3moe");
    assertThat(GgufExport.architectureOf("mixtral")).contains("llama");
    assertThat(GgufExport.architectureOf("bert")).isEmpty();
  }
}
