package io.github.moelora.gguf;

import static io.github.moelora.gguf.GgufBytes.BF16;
import static io.github.moelora.gguf.GgufBytes.F16;
import static io.github.moelora.gguf.GgufBytes.F32;
import static io.github.moelora.gguf.GgufBytes.I32;
import static io.github.moelora.gguf.GgufBytes.Q4_0;
import static io.github.moelora.gguf.GgufBytes.Q8_0;
import static io.github.moelora.gguf.GgufBytes.int32;
import static io.github.moelora.gguf.GgufBytes.int64;
import static io.github.moelora.gguf.GgufBytes.join;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.Shard;
import io.github.moelora.peft.ModelHints;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.testkit.Mappings;
import io.github.moelora.testkit.Seeds;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Adapters as llama.cpp's converter writes them, with deltas from plain loops. */
final class GgufAdapterTest {
  private static final int EXPERTS = 3;

  /** Widths that Q8_0 can hold: its blocks have 32 elements. */
  private static final int HIDDEN = 64;

  private static final int INTERMEDIATE = 32;

  private final Random random = new Random(Seeds.of("GgufAdapterTest"));

  @TempDir private Path directory;

  private Path file() {
    return directory.resolve("adapter.gguf");
  }

  private static MoeModel model(GateUp gateUp) {
    return new MoeModel(HIDDEN, INTERMEDIATE, EXPERTS, gateUp, List.of(0, 7));
  }

  /** A pair and what it is to add, {@code [expert][out][in]} before the scale. */
  private final class Pair {
    private final String weight;
    private final int rank;
    private final int in;
    private final int out;
    private final double[] a;
    private final double[] b;

    Pair(int layer, String part, int rank, int in, int out) {
      this.weight = "blk.%d.%s.weight".formatted(layer, part);
      this.rank = rank;
      this.in = in;
      this.out = out;
      this.a = GgufBytes.values(random, EXPERTS * rank * in);
      this.b = GgufBytes.values(random, EXPERTS * out * rank);
    }

    void addTo(GgufBytes bytes, int typeA, int typeB) {
      bytes.tensor(
          weight + ".lora_a", typeA, new long[] {in, rank, EXPERTS}, GgufBytes.encode(typeA, a));
      bytes.tensor(
          weight + ".lora_b", typeB, new long[] {rank, out, EXPERTS}, GgufBytes.encode(typeB, b));
    }

    /** Adds {@code scale * B A} of an expert; row {@code o} becomes {@code first + step * o}. */
    void addTo(double[][] delta, int expert, double scale, int first, int step) {
      for (int o = 0; o < out; o++) {
        for (int h = 0; h < in; h++) {
          double sum = 0;
          for (int r = 0; r < rank; r++) {
            sum += b[(expert * out + o) * rank + r] * a[(expert * rank + r) * in + h];
          }
          delta[first + step * o][h] += scale * sum;
        }
      }
    }
  }

  /** Values are small integers times powers of two, so the deltas are exact. */
  private static void assertDelta(
      LoraAdapter adapter,
      MoeModel model,
      int layer,
      Projection projection,
      double[][][] expected) {
    for (int e = 0; e < EXPERTS; e++) {
      double[][] actual = Deltas.of(adapter, model, layer, projection, e);
      Deltas.assertEqual(actual, expected[e], "%s of expert %d".formatted(projection, e));
    }
  }

  private static double[][][] zeros(int out, int in) {
    return new double[EXPERTS][out][in];
  }

  static Stream<Arguments> types() {
    return Stream.of(F32, F16, BF16, Q8_0)
        .flatMap(a -> Stream.of(F32, F16, BF16).map(b -> Arguments.of(a, b)));
  }

  @ParameterizedTest
  @MethodSource("types")
  void everyTypeIsReadExactly(int typeA, int typeB) throws IOException {
    Pair gate = new Pair(0, "ffn_gate_exps", 4, HIDDEN, INTERMEDIATE);
    Pair up = new Pair(0, "ffn_up_exps", 2, HIDDEN, INTERMEDIATE);
    Pair down = new Pair(7, "ffn_down_exps", 8, INTERMEDIATE, HIDDEN);
    GgufBytes bytes = new GgufBytes().adapter("qwen3moe").float32("adapter.lora.alpha", 8);
    List.of(down, up, gate).forEach(pair -> pair.addTo(bytes, typeA, typeB));
    bytes.shuffled(random.nextLong()).write(file());

    double[][][] gateUp = zeros(2 * INTERMEDIATE, HIDDEN);
    double[][][] downs = zeros(HIDDEN, INTERMEDIATE);
    for (int e = 0; e < EXPERTS; e++) {
      gate.addTo(gateUp[e], e, 2, 0, 1);
      up.addTo(gateUp[e], e, 4, INTERMEDIATE, 1);
      down.addTo(downs[e], e, 1, 0, 1);
    }
    MoeModel model = model(GateUp.HALVES);
    try (GgufAdapter file = GgufAdapter.open(file())) {
      assertThat(file.name()).isEqualTo("adapter");
      assertThat(file.architecture()).isEqualTo("qwen3moe");
      assertThat(file.entries())
          .extracting(GgufAdapter.Entry::linear)
          .containsExactly(Linear.GATE, Linear.UP, Linear.DOWN);
      LoraAdapter adapter = file.toLoraAdapter(model);
      assertDelta(adapter, model, 0, Projection.GATE_UP, gateUp);
      assertDelta(adapter, model, 7, Projection.DOWN, downs);
      assertThat(adapter.slices(7, Projection.GATE_UP, 0)).isEmpty();
    }
  }

  @Test
  void bothHalvesMayBeQuantised() throws IOException {
    Pair up = new Pair(0, "ffn_up_exps", 32, HIDDEN, INTERMEDIATE);
    GgufBytes bytes = new GgufBytes().adapter("nemotron_h_moe");
    up.addTo(bytes, Q8_0, Q8_0);
    bytes.write(file());
    double[][][] expected = zeros(INTERMEDIATE, HIDDEN);
    for (int e = 0; e < EXPERTS; e++) {
      up.addTo(expected[e], e, 1, 0, 1);
    }
    MoeModel model = model(GateUp.UP_ONLY);
    try (GgufAdapter file = GgufAdapter.open(file())) {
      assertDelta(file.toLoraAdapter(model), model, 0, Projection.GATE_UP, expected);
    }
  }

  @ParameterizedTest
  @CsvSource({"16, 4", "0, 1", "-0.0, 1", "absent, 1", "-2, -0.5", "1e-30, 2.5e-31"})
  void alphaOfNothingIsAScaleOfOne(String alpha, double scale) throws IOException {
    GgufBytes bytes = new GgufBytes().adapter("qwen3moe");
    if (!alpha.equals("absent")) {
      bytes.float32("adapter.lora.alpha", Float.parseFloat(alpha));
    }
    new Pair(0, "ffn_down_exps", 4, INTERMEDIATE, HIDDEN).addTo(bytes, F32, F32);
    bytes.write(file());
    try (GgufAdapter file = GgufAdapter.open(file())) {
      assertThat(file.entries().getFirst().scale()).isEqualTo((float) scale);
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"HALVES", "INTERLEAVED"})
  void gateAndUpInOneTensor(GateUp order) throws IOException {
    Pair both = new Pair(0, "ffn_gate_up_exps", 5, HIDDEN, 2 * INTERMEDIATE);
    GgufBytes bytes = new GgufBytes().adapter("gemma4").float32("adapter.lora.alpha", 10);
    both.addTo(bytes, F16, BF16);
    bytes.write(file());
    double[][][] halves = zeros(2 * INTERMEDIATE, HIDDEN);
    double[][][] expected = zeros(2 * INTERMEDIATE, HIDDEN);
    for (int e = 0; e < EXPERTS; e++) {
      both.addTo(halves[e], e, 2, 0, 1);
      for (int o = 0; o < INTERMEDIATE; o++) {
        boolean mixed = order == GateUp.INTERLEAVED;
        expected[e][mixed ? 2 * o : o] = halves[e][o];
        expected[e][mixed ? 2 * o + 1 : INTERMEDIATE + o] = halves[e][INTERMEDIATE + o];
      }
    }
    MoeModel model = model(order);
    try (GgufAdapter file = GgufAdapter.open(file())) {
      LoraAdapter adapter = file.toLoraAdapter(model);
      assertDelta(adapter, model, 0, Projection.GATE_UP, expected);
      LoraSlice slice = adapter.slices(0, Projection.GATE_UP, 2).getFirst();
      assertThat(slice.rank()).isEqualTo(5);
      assertThat(slice.b().type()).isEqualTo(DType.BF16);
    }
  }

  /** gpt-oss has gate and up by turns in transformers, apart in GGUF. */
  @ParameterizedTest
  @CsvSource({"4, 4, 8, F32", "4, 2, 6, F32", "2, 0, 2, F16", "0, 3, 3, F16"})
  void gateAndUpForAModelThatInterleavesThem(
      int gateRank, int upRank, int expectedRank, DType expectedType) throws IOException {
    GgufBytes bytes = new GgufBytes().adapter("gpt-oss").float32("adapter.lora.alpha", 4);
    double[][][] expected = zeros(2 * INTERMEDIATE, HIDDEN);
    if (gateRank > 0) {
      Pair gate = new Pair(0, "ffn_gate_exps", gateRank, HIDDEN, INTERMEDIATE);
      gate.addTo(bytes, F16, F16);
      for (int e = 0; e < EXPERTS; e++) {
        gate.addTo(expected[e], e, 4f / gateRank, 0, 2);
      }
    }
    if (upRank > 0) {
      Pair up = new Pair(0, "ffn_up_exps", upRank, HIDDEN, INTERMEDIATE);
      up.addTo(bytes, F32, F32);
      for (int e = 0; e < EXPERTS; e++) {
        up.addTo(expected[e], e, 4f / upRank, 1, 2);
      }
    }
    bytes.write(file());
    MoeModel model = model(GateUp.INTERLEAVED);
    try (GgufAdapter file = GgufAdapter.open(file())) {
      LoraAdapter adapter = file.toLoraAdapter(model);
      LoraSlice slice = adapter.slices(0, Projection.GATE_UP, 1).getFirst();
      assertThat(slice.rank()).isEqualTo(expectedRank);
      assertThat(slice.b().type()).isEqualTo(upRank == 3 ? DType.F32 : expectedType);
      assertDelta(adapter, model, 0, Projection.GATE_UP, expected);
    }
  }

  @Test
  void oneAUnderGateAndUpKeepsItsRank() throws IOException {
    Pair gate = new Pair(0, "ffn_gate_exps", 4, HIDDEN, INTERMEDIATE);
    Pair up = new Pair(0, "ffn_up_exps", 4, HIDDEN, INTERMEDIATE);
    System.arraycopy(gate.a, 0, up.a, 0, up.a.length);
    GgufBytes bytes = new GgufBytes().adapter("gpt-oss").float32("adapter.lora.alpha", 8);
    gate.addTo(bytes, BF16, BF16);
    up.addTo(bytes, BF16, BF16);
    bytes.write(file());
    double[][][] expected = zeros(2 * INTERMEDIATE, HIDDEN);
    for (int e = 0; e < EXPERTS; e++) {
      gate.addTo(expected[e], e, 2, 0, 2);
      up.addTo(expected[e], e, 2, 1, 2);
    }
    MoeModel model = model(GateUp.INTERLEAVED);
    try (GgufAdapter file = GgufAdapter.open(file())) {
      LoraAdapter adapter = file.toLoraAdapter(model);
      assertThat(adapter.slices(0, Projection.GATE_UP, 1).getFirst().rank()).isEqualTo(4);
      assertDelta(adapter, model, 0, Projection.GATE_UP, expected);
    }
  }

  /** ggml drops dimensions of 1 at the slow end. */
  @Test
  void oneExpertNeedsNoDimension() throws IOException {
    new GgufBytes()
        .adapter("llama")
        .zeros("blk.0.ffn_down_exps.weight.lora_a", 6, 2)
        .zeros("blk.0.ffn_down_exps.weight.lora_b", 2, 8, 1, 1)
        .write(file());
    try (GgufAdapter file = GgufAdapter.open(file())) {
      assertThat(file.entries().getFirst().experts()).isEqualTo(1);
      assertThat(file.entries().getFirst().a().shape()).containsExactly(1L, 2L, 6L);
      assertThat(file.entries().getFirst().b().shape()).containsExactly(1L, 8L, 2L);
    }
  }

  @Test
  void otherModulesAreKeptByName() throws IOException {
    double[] a = GgufBytes.values(random, 2 * 32);
    double[] b = GgufBytes.values(random, 5 * 2);
    double[] table = GgufBytes.values(random, 7 * 2);
    double[] chunkA = GgufBytes.values(random, 3 * 2 * 4);
    double[] chunkB = GgufBytes.values(random, 3 * 6 * 2);
    new GgufBytes()
        .adapter("qwen3moe")
        .float32("adapter.lora.alpha", 8)
        .tensor("blk.0.attn_q.weight.lora_a", Q8_0, new long[] {32, 2}, GgufBytes.encode(Q8_0, a))
        .tensor("blk.0.attn_q.weight.lora_b", F16, new long[] {2, 5}, GgufBytes.encode(F16, b))
        .tensor("token_embd.weight.lora_a", F32, new long[] {2, 7}, GgufBytes.encode(F32, table))
        .tensor("token_embd.weight.lora_b", F32, new long[] {2, 5}, GgufBytes.encode(F32, b))
        .tensor(
            "blk.0.ffn_up_chexps.weight.lora_a",
            F32,
            new long[] {4, 2, 3},
            GgufBytes.encode(F32, chunkA))
        .tensor(
            "blk.0.ffn_up_chexps.weight.lora_b",
            F32,
            new long[] {2, 6, 3},
            GgufBytes.encode(F32, chunkB))
        .zeros("blk.3.ffn_gate_inp.weight.lora_a", 4, 1)
        .zeros("blk.3.ffn_gate_inp.weight.lora_b", 1, 6)
        .zeros("output_norm.weight", 4)
        .write(file());
    try (GgufAdapter file = GgufAdapter.open(file())) {
      assertThat(file.entries()).isEmpty();
      assertThat(file.otherModules())
          .extracting(GgufModule::name)
          .containsExactly(
              "blk.0.attn_q.weight",
              "token_embd.weight",
              "blk.0.ffn_up_chexps.weight",
              "blk.3.ffn_gate_inp.weight");
      assertThat(file.ignoredTensors()).containsExactly("output_norm.weight");
      GgufModule attention = file.otherModules().get(0);
      assertThat(attention.scale()).isEqualTo(4);
      assertElements(attention.a(0), 2, 32, a);
      assertElements(attention.b(0), 5, 2, b);
      GgufModule embedding = file.otherModules().get(1);
      double[] turned = new double[table.length];
      for (int i = 0; i < table.length; i++) {
        turned[i % 2 * 7 + i / 2] = table[i];
      }
      assertElements(embedding.a(0), 2, 7, turned);
      assertElements(embedding.b(0), 5, 2, b);
      GgufModule chunks = file.otherModules().get(2);
      assertThat(chunks.experts()).isEqualTo(3);
      for (int e = 0; e < 3; e++) {
        assertElements(chunks.a(e), 2, 4, Arrays.copyOfRange(chunkA, 8 * e, 8 * e + 8));
        assertElements(chunks.b(e), 6, 2, Arrays.copyOfRange(chunkB, 12 * e, 12 * e + 12));
      }
      assertThatThrownBy(() -> chunks.a(3)).hasMessage("expert must be in [0, 3), got 3");
      assertThatThrownBy(() -> file.toLoraAdapter(model(GateUp.HALVES)))
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining(
              "token_embd.weight.lora_a: it must be of a linear layer, not of the token embedding");
    }
  }

  @Test
  void linearLayersOutsideTheExpertsAreInTheAdapter() throws IOException {
    double[] a = GgufBytes.values(random, 2 * 64);
    double[] b = GgufBytes.values(random, 5 * 2);
    adapter()
        .float32("adapter.lora.alpha", 8)
        .tensor("blk.7.attn_q.weight.lora_a", Q8_0, new long[] {64, 2}, GgufBytes.encode(Q8_0, a))
        .tensor("blk.7.attn_q.weight.lora_b", F16, new long[] {2, 5}, GgufBytes.encode(F16, b))
        .zeros("output.weight.lora_a", 64, 1)
        .zeros("output.weight.lora_b", 1, 9)
        .write(file());
    MoeModel model =
        model(GateUp.HALVES).withDense(List.of(new DenseModule("blk.7.attn_q", 64, 5)));
    try (GgufAdapter file = GgufAdapter.open(file())) {
      LoraAdapter adapter = file.toLoraAdapter(model);
      assertThat(adapter.modules()).containsExactlyInAnyOrder("blk.7.attn_q", "output");
      LoraSlice slice = adapter.slices("blk.7.attn_q").getFirst();
      assertThat(slice.scale()).isEqualTo(4);
      assertElements(slice.a(), 2, 64, a);
      assertElements(slice.b(), 5, 2, b);
    }
  }

  @Test
  void expertsOfAnotherKindAreRefusedOnLoading() throws IOException {
    pair(adapter(), "blk.0.ffn_up_chexps.weight", 2, 4, 6).write(file());
    try (GgufAdapter file = GgufAdapter.open(file())) {
      assertThatThrownBy(() -> file.toLoraAdapter(model(GateUp.HALVES)))
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining("a tensor of experts must be ffn_gate_exps");
    }
  }

  /** An instance has experts 2 and 0, and the second half of each width that is cut. */
  @ParameterizedTest
  @EnumSource(names = {"HALVES", "INTERLEAVED"})
  void oneInstanceOfSeveralHasItsPart(GateUp order) throws IOException {
    Pair up = new Pair(0, "ffn_up_exps", 4, HIDDEN, INTERMEDIATE);
    GgufBytes bytes = adapter();
    up.addTo(bytes, Q8_0, F32);
    bytes.write(file());
    MoeModel model = model(order);
    try (GgufAdapter file = GgufAdapter.open(file())) {
      LoraAdapter adapter = file.toLoraAdapter(model, new Shard(1, 2), ExpertMap.of(1, -1, 0));
      assertThat(adapter.slices(0, Projection.GATE_UP, 1)).isEmpty();
      MoeModel part = model.shard(new Shard(1, 2));
      for (int e = 0; e < EXPERTS; e += 2) {
        double[][] whole = new double[INTERMEDIATE][HIDDEN];
        up.addTo(whole, e, 1, 0, 1);
        int half = INTERMEDIATE / 2;
        double[][] expected = new double[INTERMEDIATE][HIDDEN];
        for (int o = 0; o < half; o++) {
          expected[order == GateUp.INTERLEAVED ? 2 * o + 1 : half + o] = whole[half + o];
        }
        Deltas.assertEqual(
            Deltas.of(adapter, part, 0, Projection.GATE_UP, e), expected, "expert " + e);
      }
    }
  }

  private static void assertElements(Matrix matrix, int rows, int columns, double[] expected) {
    assertThat(matrix.rows()).isEqualTo(rows);
    assertThat(matrix.columns()).isEqualTo(columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        assertThat((double) matrix.get(i, j)).isEqualTo(expected[i * columns + j]);
      }
    }
  }

  private static GgufBytes adapter() {
    return new GgufBytes().adapter("qwen3moe");
  }

  private static GgufBytes pair(GgufBytes bytes, String weight, int rank, int in, int out) {
    return bytes.zeros(weight + ".lora_a", in, rank, 2).zeros(weight + ".lora_b", rank, out, 2);
  }

  static Stream<Arguments> refused() {
    String gate = "blk.0.ffn_gate_exps.weight";
    String down = "blk.0.ffn_down_exps.weight";
    byte[] some = new byte[128];
    return Stream.of(
        Arguments.of(
            new GgufBytes().text("general.type", "model"),
            "metadata general.type must be adapter, got model"),
        Arguments.of(
            new GgufBytes().uint32("general.type", 1),
            "metadata general.type must be a string, got UINT32 1"),
        Arguments.of(new GgufBytes(), "metadata general.type must be a string, got none"),
        Arguments.of(
            new GgufBytes().text("general.type", "adapter").text("adapter.type", "dora"),
            "adapter.type must be lora, got dora"),
        Arguments.of(
            new GgufBytes().text("general.type", "adapter").text("adapter.type", "lora"),
            "general.architecture must be a string, got none"),
        Arguments.of(
            adapter().uint32("adapter.lora.alpha", 8),
            "adapter.lora.alpha must be a finite float32, got UINT32 8"),
        Arguments.of(
            adapter().float32("adapter.lora.alpha", Float.NaN), "finite float32, got FLOAT32 NaN"),
        Arguments.of(
            adapter().raw("adapter.alora.invocation_tokens", 9, join(int32(4), int64(1), int32(5))),
            "activated LoRA"),
        Arguments.of(
            adapter().raw("split.count", 2, new byte[] {2, 0}), "split.count must be 1, got 2"),
        Arguments.of(
            adapter().zeros("blk.0.attn_q.weight", 4, 2),
            "tensor blk.0.attn_q.weight: its name must end in .lora_a or .lora_b"),
        Arguments.of(
            adapter().zeros(gate + ".lora_a", 4, 2, 2),
            gate + ".lora_a: both halves of a pair must be there, got no " + gate + ".lora_b"),
        Arguments.of(
            adapter().zeros(gate + ".lora_b", 4, 2, 2),
            gate + ".lora_b: both halves of a pair must be there, got no " + gate + ".lora_a"),
        Arguments.of(
            adapter().zeros("blk.0.attn_q.weight.lora_b", 4, 2),
            "got no blk.0.attn_q.weight.lora_a"),
        Arguments.of(
            pair(adapter(), "blk.0.ffn_gate.1.weight", 2, 4, 6),
            "must be in one tensor, such as ffn_gate_exps, got one expert"),
        Arguments.of(
            adapter()
                .tensor(gate + ".lora_a", Q4_0, new long[] {32, 2, 2}, new byte[72])
                .zeros(gate + ".lora_b", 2, 4, 2),
            "its type must be F32, F16, BF16 or Q8_0, got Q4_0"),
        Arguments.of(
            adapter()
                .tensor("output.weight.lora_a", I32, new long[] {8, 2}, some)
                .zeros("output.weight.lora_b", 2, 4),
            "its type must be F32, F16, BF16 or Q8_0, got I32"),
        Arguments.of(
            pair(adapter(), gate, 0, 4, 6),
            "its dimensions must be in [1, 2147483647], got [2, 0, 4]"),
        Arguments.of(
            adapter().zeros(gate + ".lora_a", 4, 2, 2).zeros(gate + ".lora_b", 3, 6, 2),
            gate + ".lora_b: its rank must be 2 as A's is, got 3"),
        Arguments.of(
            adapter().zeros(gate + ".lora_a", 4, 2, 2).zeros(gate + ".lora_b", 2, 6, 1),
            gate + ".lora_b: it must hold 2 experts as A does, got 1"),
        Arguments.of(
            adapter().zeros(gate + ".lora_a", 4, 2, 1, 2).zeros(gate + ".lora_b", 2, 6, 2),
            gate + ".lora_a: it must have three dimensions, got [2, 1, 2, 4]"),
        Arguments.of(
            pair(adapter(), "blk.0.ffn_gate_up_exps.weight", 2, 4, 7),
            "shape[1] must be even, gate and up, got 7"),
        Arguments.of(
            pair(pair(adapter(), "blk.0.ffn_gate_up_exps.weight", 2, 4, 12), gate, 2, 4, 6),
            "gate and up in one tensor or in two"),
        Arguments.of(
            pair(pair(adapter(), gate, 2, 4, 6), down, 2, 6, 5),
            "must have the hidden width 4 as " + gate + ".lora_a has, got 5"),
        Arguments.of(
            pair(pair(adapter(), gate, 2, 4, 6), down, 2, 7, 4),
            "must have the intermediate width 6 as"),
        Arguments.of(
            pair(adapter(), gate, 2, 4, 6)
                .zeros(down + ".lora_a", 6, 2, 3)
                .zeros(down + ".lora_b", 2, 4, 3),
            "it must hold 2 experts as " + gate + ".lora_a does, got 3"),
        Arguments.of(
            adapter().zeros("o.lora_a", 4).zeros("o.lora_b", 4),
            "A and B must both have two dimensions"),
        Arguments.of(
            adapter().zeros("o.lora_a", 4, 2, 2).zeros("o.lora_b", 2, 4, 3),
            "it must hold 2 experts as A does, got 3"),
        Arguments.of(
            adapter().zeros("o.lora_a", 4, 3).zeros("o.lora_b", 2, 4),
            "its rank must be 3 as A's is, got 2"));
  }

  @ParameterizedTest
  @MethodSource("refused")
  void whatIsNotAnAdapterIsRefusedByName(GgufBytes bytes, String message) {
    Path path = bytes.write(file());
    assertThatThrownBy(() -> GgufAdapter.open(path).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageStartingWith(path.toString())
        .hasMessageContaining(message);
    assertThat(Mappings.of(path)).isEmpty();
  }

  static Stream<Arguments> notFinite() {
    double[] values = new double[2 * 2 * 32];
    byte[] quantised = GgufBytes.encode(Q8_0, values);
    // the scale of the second block is infinite, one of its elements is not 0
    quantised[34 + 1] = 0x7c;
    quantised[34 + 2 + 5] = 1;
    values[37] = Double.NaN;
    return Stream.of(
        Arguments.of(F32, GgufBytes.encode(F32, values), 37),
        Arguments.of(BF16, GgufBytes.encode(BF16, values), 37),
        Arguments.of(F16, GgufBytes.encode(F16, values), 37),
        Arguments.of(Q8_0, quantised, 32));
  }

  @ParameterizedTest
  @MethodSource("notFinite")
  void elementsThatAreNotFiniteAreRefused(int type, byte[] data, int element) throws IOException {
    adapter()
        .tensor("blk.0.ffn_up_exps.weight.lora_a", type, new long[] {32, 2, 2}, data)
        .zeros("blk.0.ffn_up_exps.weight.lora_b", 2, 4, 2)
        .zeros("output_norm.weight", 4)
        .write(file());
    try (GgufAdapter file = GgufAdapter.open(file())) {
      assertThatThrownBy(file::checkWeights)
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining(
              "blk.0.ffn_up_exps.weight.lora_a: every element must be finite, got element %d is"
                  + " not",
              element);
      MoeModel model = new MoeModel(32, 4, 2, GateUp.HALVES, List.of(0));
      assertThatThrownBy(() -> file.toLoraAdapter(model)).hasMessageContaining("must be finite");
    }
    pair(adapter(), "output.weight", 2, 4, 6).zeros("output_norm.weight", 4).write(file());
    try (GgufAdapter file = GgufAdapter.open(file())) {
      file.checkWeights();
    }
  }

  static Stream<Arguments> misfits() {
    List<Integer> layers = List.of(0);
    return Stream.of(
        Arguments.of(
            new MoeModel(4, 6, 2, GateUp.HALVES, List.of(1)),
            "its layer must be one of the model's, [1], got 0"),
        Arguments.of(
            new MoeModel(4, 6, 3, GateUp.HALVES, layers),
            "shape[0] must be the model's 3 experts, got 2"),
        Arguments.of(
            new MoeModel(4, 6, 2, GateUp.UP_ONLY, layers),
            "the model's experts must have a gate, got UP_ONLY"),
        Arguments.of(
            new MoeModel(5, 6, 2, GateUp.HALVES, layers),
            "shape[2] must be the model's input width 5, got 4"),
        Arguments.of(
            new MoeModel(4, 7, 2, GateUp.HALVES, layers),
            "shape[1] must be the model's output width 7, got 6"));
  }

  @ParameterizedTest
  @MethodSource("misfits")
  void anotherModelIsRefused(MoeModel model, String message) throws IOException {
    pair(adapter(), "blk.0.ffn_gate_exps.weight", 2, 4, 6).write(file());
    try (GgufAdapter adapter = GgufAdapter.open(file())) {
      assertThatThrownBy(() -> adapter.toLoraAdapter(model))
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining(message);
    }
  }

  private GgufAdapter opened(String architecture, String weight, int in, int out)
      throws IOException {
    Path path = directory.resolve(weight + ".gguf");
    return GgufAdapter.open(
        pair(new GgufBytes().adapter(architecture), weight, 1, in, out).write(path));
  }

  @Test
  void theModelIsInferred() throws IOException {
    try (GgufAdapter gate = opened("qwen3moe", "blk.4.ffn_gate_exps.weight", 4, 6);
        GgufAdapter down = opened("qwen3moe", "blk.2.ffn_down_exps.weight", 6, 4);
        GgufAdapter up = opened("qwen3moe", "blk.2.ffn_up_exps.weight", 4, 6);
        GgufAdapter other = opened("qwen3moe", "blk.2.ffn_down_chexps.weight", 6, 4);
        GgufAdapter nemotron = opened("nemotron_h_moe", "blk.1.ffn_up_exps.weight", 4, 6)) {
      assertThat(GgufAdapter.inferModel(List.of(other, gate, down, up), ModelHints.NONE))
          .isEqualTo(new MoeModel(4, 6, 2, GateUp.HALVES, List.of(2, 4)));
      assertThat(GgufAdapter.inferModel(List.of(down), ModelHints.NONE).gateUp())
          .isEqualTo(GateUp.HALVES);
      assertThat(GgufAdapter.inferModel(List.of(nemotron), ModelHints.NONE).gateUp())
          .isEqualTo(GateUp.UP_ONLY);
      assertThatThrownBy(() -> GgufAdapter.inferModel(List.of(up), ModelHints.NONE))
          .hasMessageContaining("gateUp must be given");
      assertThatThrownBy(() -> GgufAdapter.inferModel(List.of(other), ModelHints.NONE))
          .hasMessageContaining("adapters must hold tensors of routed experts");
      ModelHints hints = new ModelHints(4, 6, 2, GateUp.INTERLEAVED, List.of(0, 1, 2));
      assertThat(GgufAdapter.inferModel(List.of(up), hints))
          .isEqualTo(new MoeModel(4, 6, 2, GateUp.INTERLEAVED, List.of(0, 1, 2)));
      assertThatThrownBy(
              () ->
                  GgufAdapter.inferModel(List.of(down), new ModelHints(5, null, null, null, null)))
          .hasMessageContaining("its pair must have the hidden width 5, got 4");
      assertThatThrownBy(
              () ->
                  GgufAdapter.inferModel(List.of(down), new ModelHints(null, null, 8, null, null)))
          .hasMessageContaining("its pair must have experts 8, got 2");
    }
  }

  @Test
  void useAfterCloseFails() throws IOException {
    pair(adapter(), "blk.0.ffn_gate_exps.weight", 2, 4, 6).write(file());
    GgufAdapter adapter = GgufAdapter.open(file());
    adapter.close();
    adapter.close();
    MoeModel model = new MoeModel(4, 6, 2, GateUp.HALVES, List.of(0));
    assertThatThrownBy(() -> adapter.toLoraAdapter(model))
        .isInstanceOf(IllegalStateException.class);
  }
}
