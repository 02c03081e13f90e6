package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.DenseModule.Split;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.Shard;
import io.github.moelora.peft.PeftAdapter.Layout;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.testkit.AdapterFiles;
import io.github.moelora.testkit.Mappings;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Pairs of single experts, tensors of other modules, and directories as a whole. */
final class PeftAdapterTest {
  private static final int H = 5;
  private static final int I = 3;
  private static final int R = 2;
  private static final String EXPERTS = "base_model.model.model.layers.1.mlp.experts.";
  private static final MoeModel MODEL = model(GateUp.HALVES, 1, 4);

  @TempDir private Path directory;

  private static MoeModel model(GateUp gateUp, Integer... layers) {
    return new MoeModel(H, I, 4, gateUp, List.of(layers));
  }

  private Path file() {
    return directory.resolve("adapter_model.safetensors");
  }

  private LoraAdapter load(AdapterFiles files, MoeModel model) throws IOException {
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      return adapter.toLoraAdapter(model);
    }
  }

  /** Opens and loads; the refusal names the file, and nothing of it stays mapped. */
  private AdapterFormatException refusal(AdapterFiles files, MoeModel model) throws IOException {
    AdapterFormatException refusal =
        catchThrowableOfType(AdapterFormatException.class, () -> load(files, model));
    assertThat(refusal).isNotNull();
    assertThat(refusal.file()).isEqualTo(file());
    assertThat(Mappings.of(file())).isEmpty();
    return refusal;
  }

  private void requireRefused(
      AdapterFiles files, MoeModel model, String tensor, String rule, String value)
      throws IOException {
    AdapterFormatException refusal = refusal(files, model);
    assertThat(refusal.tensor()).isEqualTo(tensor);
    assertThat(refusal.rule()).contains(rule);
    assertThat(refusal.value()).contains(value);
  }

  private static AdapterFiles expert(AdapterFiles files, String prefix, String... linears) {
    for (String linear : linears) {
      boolean down = linear.equals("down_proj") || linear.equals("w2");
      files.pair(prefix + linear, R, down ? I : H, down ? H : I);
    }
    return files;
  }

  @ParameterizedTest
  @CsvSource({"gate_proj, up_proj, down_proj, mlp", "w1, w3, w2, block_sparse_moe"})
  void eachLinearLayerHasItsPlace(String gate, String up, String down, String block)
      throws IOException {
    String expert = "base_model.model.model.layers.4.%s.experts.3.".formatted(block);
    AdapterFiles files = new AdapterFiles();
    int salt = 0;
    for (String linear : List.of(gate, up, down)) {
      int in = linear.equals(down) ? I : H;
      int out = linear.equals(down) ? H : I;
      int base = 1000 * ++salt;
      files
          .tensor(expert + linear + ".lora_A.weight", DType.F32, R, in, (r, h) -> base + 10 * r + h)
          .tensor(
              expert + linear + ".lora_B.weight", DType.F32, out, R, (o, r) -> -base - 10 * o - r);
    }
    try (PeftAdapter file = PeftAdapter.open(files.write(directory))) {
      assertThat(file.layout()).isEqualTo(Layout.PER_EXPERT);
      LoraAdapter adapter = file.toLoraAdapter(MODEL);
      List<LoraSlice> first = adapter.slices(4, Projection.GATE_UP, 3);
      assertThat(first).hasSize(2);
      requireSlice(first.get(0), 0, 1000);
      requireSlice(first.get(1), I, 2000);
      requireSlice(adapter.slices(4, Projection.DOWN, 3).getFirst(), 0, 3000);
      assertThat(adapter.layers()).containsExactly(4);
      assertThat(adapter.slices(4, Projection.DOWN, 2)).isEmpty();
      assertThat(adapter.slices(1, Projection.DOWN, 3)).isEmpty();
    }
  }

  private static void requireSlice(LoraSlice slice, int firstColumn, int base) {
    assertThat(slice.firstColumn()).isEqualTo(firstColumn);
    assertThat(slice.scale()).isEqualTo(4);
    for (int r = 0; r < R; r++) {
      for (int h = 0; h < slice.a().columns(); h++) {
        assertThat(slice.a().get(r, h)).isEqualTo(base + 10 * r + h);
      }
      for (int o = 0; o < slice.columns(); o++) {
        assertThat(slice.b().get(o, r)).isEqualTo(-base - 10 * o - r);
      }
    }
  }

  /** vLLM #47088: experts of up and down alone, as Nemotron-H has them. */
  @Test
  void expertsWithoutGateHaveUpInFront() throws IOException {
    String expert = "base_model.model.backbone.layers.1.mixer.experts.0.";
    AdapterFiles files = expert(new AdapterFiles(), expert, "up_proj", "down_proj");
    LoraAdapter adapter = load(files, model(GateUp.UP_ONLY, 1));
    assertThat(adapter.slices(1, Projection.GATE_UP, 0).getFirst().firstColumn()).isZero();
    requireRefused(
        expert(new AdapterFiles(), expert, "gate_proj"),
        model(GateUp.UP_ONLY, 1),
        expert + "gate_proj.lora_A.weight",
        "the model's experts must have a gate",
        "UP_ONLY");
  }

  /** Each of gate and up goes to its own columns; the other's stay as they are. */
  @ParameterizedTest
  @CsvSource({"gate_proj, 0", "up_proj, 1"})
  void gateOrUpAloneGoesToItsInterleavedColumns(String linear, int parity) throws IOException {
    String module = EXPERTS + "0." + linear;
    AdapterFiles files =
        new AdapterFiles()
            .tensor(module + ".lora_A.weight", DType.BF16, R, H, (r, h) -> 10 * r + h)
            .tensor(module + ".lora_B.weight", DType.BF16, I, R, (o, r) -> 1 + o + 10 * r);
    List<LoraSlice> slices =
        load(files, model(GateUp.INTERLEAVED, 1)).slices(1, Projection.GATE_UP, 0);
    assertThat(slices).hasSize(1);
    LoraSlice slice = slices.getFirst();
    assertThat(slice.rank()).isEqualTo(R);
    assertThat(slice.a().type()).isEqualTo(DType.BF16);
    assertThat(slice.scale()).isEqualTo(4);
    assertThat(slice.a().get(1, 3)).isEqualTo(13);
    for (int o = 0; o < I; o++) {
      assertThat(slice.b().get(2 * o + parity, 1)).isEqualTo(11 + o);
      assertThat(slice.b().get(2 * o + 1 - parity, 1)).isZero();
    }
  }

  /** Scales and types that differ are folded into float32. */
  @Test
  void gateAndUpOfDifferentScalesAreInterleavedInFloat32() throws IOException {
    String gate = EXPERTS + "0.gate_proj";
    String up = EXPERTS + "0.up_proj";
    AdapterFiles files =
        new AdapterFiles()
            .config("alpha_pattern", "{\"up_proj\": 2}")
            .config("rank_pattern", "{\"up_proj\": 1}")
            .tensor(gate + ".lora_A.weight", DType.F16, R, H, (r, h) -> 10 * r + h)
            .tensor(gate + ".lora_B.weight", DType.F16, I, R, (o, r) -> 1 + o + 10 * r)
            .tensor(up + ".lora_A.weight", DType.BF16, 1, H, (r, h) -> 100 + h)
            .tensor(up + ".lora_B.weight", DType.BF16, I, 1, (o, r) -> 50 + o);
    LoraSlice slice =
        load(files, model(GateUp.INTERLEAVED, 1)).slices(1, Projection.GATE_UP, 0).getFirst();
    assertThat(slice.rank()).isEqualTo(R + 1);
    assertThat(slice.scale()).isEqualTo(1);
    assertThat(slice.a().type()).isEqualTo(DType.F32);
    assertThat(slice.a().get(R, 4)).isEqualTo(104);
    assertThat(slice.b().get(2, 1)).isEqualTo(4 * 12);
    assertThat(slice.b().get(3, R)).isEqualTo(2 * 51);
    assertThat(slice.b().get(2, R)).isZero();
    assertThat(slice.b().get(3, 1)).isZero();
  }

  @Test
  void aPairOfGateAndUpOfOneExpert() throws IOException {
    AdapterFiles files = new AdapterFiles().pair(EXPERTS + "2.gate_up_proj", R, H, 2 * I);
    LoraSlice slice = load(files, MODEL).slices(1, Projection.GATE_UP, 2).getFirst();
    assertThat(slice.firstColumn()).isZero();
    assertThat(slice.columns()).isEqualTo(2 * I);
    load(files, model(GateUp.INTERLEAVED, 1));
  }

  @ParameterizedTest
  @ValueSource(strings = {"gate_proj", "up_proj"})
  void noTwoPairsMayChangeTheSameColumns(String other) throws IOException {
    AdapterFiles files =
        new AdapterFiles()
            .pair(EXPERTS + "2.gate_up_proj", R, H, 2 * I)
            .pair(EXPERTS + "2." + other, R, H, I);
    AdapterFormatException refusal = refusal(files, MODEL);
    assertThat(refusal.rule()).isEqualTo("an expert must have one pair for each linear layer");
    assertThat(refusal.value()).isEqualTo("one more for GATE_UP");
  }

  /** Two spellings of one linear layer are two modules, but one place. */
  @Test
  void oneLinearLayerUnderTwoNamesIsRefused() throws IOException {
    requireRefused(
        expert(new AdapterFiles(), EXPERTS + "2.", "down_proj", "w2"),
        MODEL,
        EXPERTS + "2.w2.lora_A.weight",
        "an expert must have one pair for each linear layer",
        "one more for DOWN");
  }

  @Test
  void partialExpertsOfDifferentRanks() throws IOException {
    AdapterFiles files =
        new AdapterFiles()
            .config("r", "7")
            .config("rank_pattern", "{\"experts.0.up_proj\": 1, \"experts.3.*\": 3}")
            .pair(EXPERTS + "0.up_proj", 1, H, I)
            .pair(EXPERTS + "3.down_proj", 3, I, H);
    LoraAdapter adapter = load(files, MODEL);
    assertThat(adapter.maxRank()).isEqualTo(3);
    assertThat(adapter.slices(1, Projection.GATE_UP, 0).getFirst().scale()).isEqualTo(8);
    assertThat(adapter.slices(1, Projection.DOWN, 3).getFirst().scale()).isEqualTo(8f / 3);
  }

  /** The data lives only while the file is open. */
  @Test
  void viewsEndWithTheFile() throws IOException {
    PeftAdapter file =
        PeftAdapter.open(expert(new AdapterFiles(), EXPERTS + "0.", "up_proj").write(directory));
    LoraSlice slice = file.toLoraAdapter(MODEL).slices(1, Projection.GATE_UP, 0).getFirst();
    assertThat(slice.a().get(0, 0)).isZero();
    file.close();
    file.close();
    assertThatThrownBy(() -> slice.a().get(0, 0)).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> file.toLoraAdapter(MODEL)).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void theModuleMustBeTargeted() throws IOException {
    AdapterFiles files =
        expert(new AdapterFiles(), EXPERTS + "0.", "up_proj")
            .config("target_modules", "[\"gate_proj\"]");
    requireRefused(
        files,
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "the config's target_modules must name the module",
        "model.layers.1.mlp.experts.0.up_proj");
    load(files.config("target_modules", "\"all-linear\""), MODEL);
    load(files.config("target_modules", "\".*\\\\.up_proj\""), MODEL);
    requireRefused(
        files.config("exclude_modules", "\".*experts\\\\.[01].*\""),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "the config's exclude_modules must not name the module",
        "model.layers.1.mlp.experts.0.up_proj");
    load(files.config("exclude_modules", "[\"1.up_proj\"]"), MODEL);
  }

  @Test
  void theLayerMustBeTransformed() throws IOException {
    AdapterFiles files = expert(new AdapterFiles(), EXPERTS + "0.", "up_proj");
    load(files.config("layers_to_transform", "[0, 1]"), MODEL);
    requireRefused(
        files.config("layers_to_transform", "[0, 2]"),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "the config's layers_to_transform must hold the layer",
        "1");
  }

  @Test
  void theRankMustBeThatOfTheConfig() throws IOException {
    requireRefused(
        new AdapterFiles().pair(EXPERTS + "0.up_proj", 3, H, I),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "shape[0] must be 2, the rank in the config",
        "3");
    requireRefused(
        new AdapterFiles()
            .zeros(EXPERTS + "0.up_proj.lora_A.weight", R, H)
            .zeros(EXPERTS + "0.up_proj.lora_B.weight", I, 1),
        MODEL,
        EXPERTS + "0.up_proj.lora_B.weight",
        "shape[1] must be 2, the rank in the config",
        "1");
  }

  @Test
  void layersAndExpertsMustBeTheModels() throws IOException {
    AdapterFiles files = expert(new AdapterFiles(), EXPERTS + "3.", "up_proj");
    load(files, MODEL);
    requireRefused(
        files,
        model(GateUp.HALVES, 0, 4),
        EXPERTS + "3.up_proj.lora_A.weight",
        "its layer must be one of the model's, [0, 4]",
        "1");
    requireRefused(
        files,
        new MoeModel(H, I, 3, GateUp.HALVES, List.of(1)),
        EXPERTS + "3.up_proj.lora_A.weight",
        "its expert must be in [0, 3)",
        "3");
  }

  @Test
  void widthsMustBeTheModels() throws IOException {
    AdapterFiles files = expert(new AdapterFiles(), EXPERTS + "0.", "up_proj", "down_proj");
    requireRefused(
        files,
        new MoeModel(H + 1, I, 4, GateUp.HALVES, List.of(1)),
        EXPERTS + "0.up_proj.lora_A.weight",
        "shape[1] must be the model's input width 6",
        "5");
    requireRefused(
        files,
        new MoeModel(H, I + 1, 4, GateUp.HALVES, List.of(1)),
        EXPERTS + "0.up_proj.lora_B.weight",
        "shape[0] must be the model's output width 4",
        "3");
    AdapterFiles contradictory =
        new AdapterFiles()
            .pair(EXPERTS + "0.up_proj", R, H, I)
            .pair(EXPERTS + "1.up_proj", R, H, I + 1);
    AdapterFormatException refusal = refusal(contradictory, MODEL);
    assertThat(refusal.rule()).isEqualTo("all pairs must have the widths of one model");
    assertThat(refusal.value()).isEqualTo("UP A [2, 5] B [3, 2], UP A [2, 5] B [4, 2]");
  }

  @ParameterizedTest
  @ValueSource(strings = {"F64", "I8", "F8_E4M3", "I32", "BOOL"})
  void theTypeMustBeOneOfThree(String dtype) throws IOException {
    int bytes =
        switch (dtype) {
          case "F64" -> 8;
          case "I32" -> 4;
          default -> 1;
        };
    requireRefused(
        new AdapterFiles()
            .entry(EXPERTS + "0.up_proj.lora_A.weight", dtype, "[2,5]", new byte[10 * bytes]),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "dtype must be F16, BF16 or F32",
        dtype);
  }

  @Test
  void bothHalvesOfAPairMustHaveOneType() throws IOException {
    requireRefused(
        new AdapterFiles()
            .tensor(EXPERTS + "0.up_proj.lora_A.weight", DType.F16, R, H, (i, j) -> 0)
            .tensor(EXPERTS + "0.up_proj.lora_B.weight", DType.BF16, I, R, (i, j) -> 0),
        MODEL,
        EXPERTS + "0.up_proj.lora_B.weight",
        "dtype must be F16 as that of lora_A",
        "BF16");
  }

  /** A file may hold pairs of several types. */
  @Test
  void pairsMayDifferInType() throws IOException {
    List<DType> types = List.of(DType.values());
    AdapterFiles files = new AdapterFiles();
    for (int e = 0; e < types.size(); e++) {
      String module = EXPERTS + e + ".up_proj";
      files
          .tensor(module + ".lora_A.weight", types.get(e), R, H, (i, j) -> 0.5)
          .tensor(module + ".lora_B.weight", types.get(e), I, R, (i, j) -> -0.25);
    }
    LoraAdapter adapter = load(files, MODEL);
    for (int e = 0; e < types.size(); e++) {
      LoraSlice slice = adapter.slices(1, Projection.GATE_UP, e).getFirst();
      assertThat(slice.a().type()).isEqualTo(types.get(e));
    }
    assertThat(adapter.maxMagnitude()).isEqualTo(0.5f);
  }

  @ParameterizedTest
  @ValueSource(strings = {"[]", "[10]", "[1,2,5]", "[2,5,1]"})
  void aWeightMustBeAMatrix(String shape) throws IOException {
    requireRefused(
        new AdapterFiles()
            .entry(
                EXPERTS + "0.up_proj.lora_A.weight",
                "F32",
                shape,
                new byte[shape.equals("[]") ? 4 : 40]),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "shape must have two dimensions that are not 0",
        shape.replace(",", ", "));
  }

  @ParameterizedTest
  @CsvSource({"'[0,5]', two dimensions", "'[5,0]', two dimensions", "'[0,4294967296]', two dim"})
  void aWeightMustNotBeEmpty(String shape, String rule) throws IOException {
    requireRefused(
        new AdapterFiles().entry(EXPERTS + "0.up_proj.lora_A.weight", "F32", shape, new byte[0]),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        rule,
        "[");
  }

  /** Four gigabytes that are not there. */
  @Test
  void dimensionsFitInAnInt() throws IOException {
    String name = EXPERTS + "0.up_proj.lora_A.weight";
    byte[] file =
        AdapterFiles.headerOnly(
            "{\"%s\":{\"dtype\":\"BF16\",\"shape\":[2147483648,1],\"data_offsets\":[0,4294967296]}}"
                .formatted(name));
    new AdapterFiles().write(directory);
    try (RandomAccessFile sparse = new RandomAccessFile(file().toFile(), "rw")) {
      sparse.setLength(file.length + 4_294_967_296L);
      sparse.write(file);
    }
    assertThatThrownBy(() -> PeftAdapter.open(directory))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(name)
        .hasMessageContaining("dimensions must be at most 2^31 - 1, got [2147483648, 1]");
  }

  @ParameterizedTest
  @CsvSource({"NaN, NaN", "Infinity, Infinity", "-Infinity, -Infinity"})
  void everyWeightMustBeFinite(float value, String shown) throws IOException {
    for (DType type : DType.values()) {
      AdapterFiles files =
          new AdapterFiles()
              .tensor(EXPERTS + "0.up_proj.lora_A.weight", type, R, H, (i, j) -> 1)
              .tensor(
                  EXPERTS + "0.up_proj.lora_B.weight",
                  type,
                  I,
                  R,
                  (i, j) -> i == 2 && j == 1 ? value : 1);
      requireRefused(
          files, MODEL, EXPERTS + "0.up_proj.lora_B.weight", "element [2,1] must be finite", shown);
    }
  }

  /** NaN in all that the second of two shards does not need: reading any of it is an error. */
  @Test
  void aShardReadsItsPartOfTheFileAlone() throws IOException {
    String attention = "base_model.model.model.layers.1.self_attn.q_proj.";
    MoeModel whole =
        new MoeModel(H, 4, 2, GateUp.HALVES, List.of(1))
            .withDense(
                List.of(new DenseModule("model.layers.1.self_attn.q_proj", H, 8, Split.OUTPUT)));
    AdapterFiles files =
        new AdapterFiles()
            .tensor(EXPERTS + "0.up_proj.lora_A.weight", DType.F32, R, H, (i, j) -> Double.NaN)
            .tensor(EXPERTS + "0.up_proj.lora_B.weight", DType.F32, 4, R, (i, j) -> 1)
            .tensor(EXPERTS + "1.up_proj.lora_A.weight", DType.F32, R, H, (i, j) -> 1)
            .tensor(
                EXPERTS + "1.up_proj.lora_B.weight",
                DType.F32,
                4,
                R,
                (i, j) -> i < 2 ? Double.NaN : i)
            .tensor(
                EXPERTS + "1.down_proj.lora_A.weight",
                DType.F32,
                R,
                4,
                (i, j) -> j < 2 ? Double.NaN : j)
            .tensor(EXPERTS + "1.down_proj.lora_B.weight", DType.F32, H, R, (i, j) -> 1)
            .tensor(attention + "lora_A.weight", DType.F32, R, H, (i, j) -> 1)
            .tensor(attention + "lora_B.weight", DType.F32, 8, R, (i, j) -> i < 4 ? Double.NaN : i);
    Shard second = new Shard(1, 2);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      LoraAdapter part = adapter.toLoraAdapter(whole, second, ExpertMap.of(-1, 0));
      part.requireFits(whole.shard(second));
      assertThat(part.slices(1, Projection.GATE_UP, 0)).isEmpty();
      LoraSlice up = part.slices(1, Projection.GATE_UP, 1).getFirst();
      assertThat(up.firstColumn()).isEqualTo(2);
      assertThat(up.columns()).isEqualTo(2);
      assertThat(up.b().get(0, 0)).isEqualTo(2);
      LoraSlice down = part.slices(1, Projection.DOWN, 1).getFirst();
      assertThat(down.a().columns()).isEqualTo(2);
      assertThat(down.a().get(0, 1)).isEqualTo(3);
      LoraSlice q = part.slices("model.layers.1.self_attn.q_proj").getFirst();
      assertThat(q.columns()).isEqualTo(4);
      assertThat(q.b().get(3, 1)).isEqualTo(7);
      assertThatThrownBy(() -> adapter.toLoraAdapter(whole))
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining("must be finite");
    }
  }

  @Test
  void bothHalvesMustBeThere() throws IOException {
    requireRefused(
        new AdapterFiles().zeros(EXPERTS + "0.up_proj.lora_B.weight", I, R),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "both halves of a pair must be there",
        "only " + EXPERTS + "0.up_proj.lora_B.weight");
  }

  /** A prefix that PEFT writes and one that it does not give one module two pairs. */
  @Test
  void aWeightMustBeStoredOnce() throws IOException {
    String bare = EXPERTS.substring("base_model.model.".length());
    requireRefused(
        new AdapterFiles().pair(EXPERTS + "0.up_proj", R, H, I).pair(bare + "0.up_proj", R, H, I),
        MODEL,
        bare + "0.up_proj.lora_A.weight",
        "a weight must be stored once",
        "it is also " + EXPERTS + "0.up_proj.lora_A.weight");
  }

  @Test
  void allTensorsMustBeOfOneAdapter() throws IOException {
    requireRefused(
        new AdapterFiles()
            .zeros(EXPERTS + "0.up_proj.lora_A.default.weight", R, H)
            .zeros(EXPERTS + "0.up_proj.lora_B.other.weight", I, R),
        MODEL,
        EXPERTS + "0.up_proj.lora_B.other.weight",
        "all tensors must be of one adapter, 'default'",
        "'other'");
    load(
        new AdapterFiles()
            .zeros(EXPERTS + "0.up_proj.lora_A.default.weight", R, H)
            .zeros(EXPERTS + "0.up_proj.lora_B.default.weight", I, R),
        MODEL);
  }

  /** A draft model's layer 1 is not the model's. */
  @Test
  void aLayerMustHaveOneModuleOfExperts() throws IOException {
    String draft = "base_model.model.mtp.layers.1.mlp.experts.";
    requireRefused(
        new AdapterFiles().pair(EXPERTS + "0.up_proj", R, H, I).pair(draft + "0.up_proj", R, H, I),
        MODEL,
        draft + "0.up_proj.lora_A.weight",
        "the experts of layer 1 must be model.layers.1.mlp.experts, as others",
        "mtp.layers.1.mlp.experts");
  }

  @Test
  void allExpertsAndSingleOnesDoNotMix() throws IOException {
    requireRefused(
        new AdapterFiles()
            .config("target_modules", "[\"up_proj\"]")
            .config("target_parameters", "[\"experts.down_proj\"]")
            .pair("base_model.model.model.layers.4.mlp.experts", 4 * R, I, H)
            .pair(EXPERTS + "0.up_proj", R, H, I),
        MODEL,
        EXPERTS + "0.up_proj.lora_A.weight",
        "a file must hold pairs of all experts or of single ones, not both",
        "base_model.model.model.layers.4.mlp.experts.lora_A.weight");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "base_model.model.model.layers.1.mlp.experts.gate_up_proj",
        "base_model.model.model.layers.1.mlp.experts.0.up_proj.weight",
        "base_model.model.model.layers.1.mlp.experts.0.up_proj.lora_magnitude_vector.weight",
        "base_model.model.model.layers.1.mlp.experts.0.up_proj.lora_B.bias",
        "base_model.model.model.layers.1.mlp.experts.0.wi.lora_A.weight",
        "base_model.model.transformer.blocks.1.ffn.experts.mlp.x.lora_A.weight",
      })
  void aTensorOfExpertsThatCannotBeUsedIsNamed(String tensor) throws IOException {
    AdapterFiles files =
        new AdapterFiles().pair(EXPERTS + "0.up_proj", R, H, I).zeros(tensor, R, H);
    assertThat(refusal(files, MODEL).tensor()).isEqualTo(tensor);
    assertThat(refusal(files, MODEL).value()).isEqualTo(tensor);
  }

  /** Linear layers outside the routed experts, under their own names or the model's. */
  @Test
  void linearLayersOfOtherModulesAreDelivered() throws IOException {
    String attention = "base_model.model.model.layers.1.self_attn.q_proj";
    String shared = "base_model.model.model.layers.1.mlp.shared_expert.up_proj";
    AdapterFiles files =
        new AdapterFiles()
            .config("rank_pattern", "{\"shared_expert.up_proj\": 3}")
            .tensor(attention + ".lora_A.weight", DType.BF16, R, H, (r, h) -> 10 * r + h)
            .tensor(attention + ".lora_B.weight", DType.BF16, 7, R, (o, r) -> 1 + 10 * r + o)
            .pair(EXPERTS + "0.up_proj", R, H, I)
            .pair(shared, 3, H, 4);
    String q = attention.replace("base_model.model.", "");
    String up = shared.replace("base_model.model.", "");
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.denseEntries())
          .extracting(PeftAdapter.DenseEntry::module)
          .containsExactly(up, q);
      LoraAdapter lora = adapter.toLoraAdapter(MODEL);
      assertThat(lora.modules()).containsExactlyInAnyOrder(q, up);
      LoraSlice slice = lora.slices(q).getFirst();
      assertThat(slice.scale()).isEqualTo(4);
      assertThat(slice.a().get(1, 4)).isEqualTo(14);
      assertThat(slice.b().get(6, 1)).isEqualTo(17);
      assertThat(lora.slices(up).getFirst().scale()).isEqualTo(8f / 3);
      MoeModel listing =
          MODEL.withDense(List.of(new DenseModule("layers.1.self_attn.q_proj", H, 7)));
      assertThat(adapter.toLoraAdapter(listing).modules())
          .containsExactlyInAnyOrder("layers.1.self_attn.q_proj", up);
      assertThat(adapter.ignoredTensors()).isEmpty();
    }
  }

  /** What is no pair of a linear layer is refused by name, or left out by option with a warning. */
  @ParameterizedTest
  @CsvSource({
    "lm_head.weight, modules_to_save",
    "model.layers.1.self_attn.q_proj.lora_B.bias, trained biases",
    "model.layers.1.self_attn.q_proj.bias, trained biases",
    "model.layers.1.self_attn.q_proj.lora_magnitude_vector.weight, DoRA",
    "model.embed_tokens.lora_embedding_A, LoRA on an embedding",
  })
  void whatCannotBeAppliedIsRefusedOrLeftOut(String tensor, String reason) throws IOException {
    String name = "base_model.model." + tensor;
    AdapterFiles files =
        new AdapterFiles()
            .pair(EXPERTS + "0.up_proj", R, H, I)
            .entry(name, "F32", "[4]", new byte[16]);
    requireRefused(files, MODEL, name, reason, "[4]");
    ReadOptions options = ReadOptions.NONE.withoutUnsupported();
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory), options)) {
      assertThat(adapter.ignoredTensors()).containsExactly(name);
      assertThat(adapter.warnings()).anySatisfy(w -> assertThat(w).contains("left out", name));
      assertThat(adapter.toLoraAdapter(MODEL).layers()).containsExactly(1);
    }
  }

  @Test
  void anAdapterWithoutExpertsChangesNothing() throws IOException {
    AdapterFiles files =
        new AdapterFiles().pair("base_model.model.model.layers.1.self_attn.q_proj", R, H, H);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.entries()).isEmpty();
      assertThat(adapter.layout()).isEqualTo(Layout.PER_EXPERT);
      LoraAdapter lora = adapter.toLoraAdapter(MODEL);
      assertThat(lora.layers()).isEmpty();
      assertThat(lora.maxRank()).isEqualTo(R);
    }
    assertThat(load(new AdapterFiles(), MODEL).layers()).isEmpty();
    try (PeftAdapter adapter = PeftAdapter.open(directory)) {
      assertThat(adapter.warnings())
          .containsExactly("the adapter holds no pair at all, so it changes nothing");
    }
  }

  /** GraniteMoE: a module for each parameter of all experts. */
  @Test
  void parallelExpertsAreOneModuleForEachProjection() throws IOException {
    String block = "base_model.model.model.layers.1.block_sparse_moe.";
    AdapterFiles files =
        new AdapterFiles()
            .config("target_modules", "[]")
            .config(
                "target_parameters",
                "[\"input_linear.weight\", \"block_sparse_moe.output_linear.weight\"]")
            .config("rank_pattern", "{\"input_linear.weight\": 1}")
            .tensor(block + "input_linear.lora_A.weight", DType.F32, 4, H, (row, h) -> 10 * row + h)
            .tensor(
                block + "input_linear.lora_B.weight",
                DType.F32,
                2 * I,
                4,
                (o, c) -> 100 + 10 * c + o)
            .pair(block + "output_linear", 4 * R, I, H);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.layout()).isEqualTo(Layout.FUSED);
      assertThat(adapter.entries())
          .extracting(PeftAdapter.Entry::linear)
          .containsExactly(Linear.GATE_UP, Linear.DOWN);
      LoraAdapter lora = adapter.toLoraAdapter(MODEL);
      LoraSlice slice = lora.slices(1, Projection.GATE_UP, 3).getFirst();
      assertThat(slice.scale()).isEqualTo(8);
      assertThat(slice.a().get(0, 2)).isEqualTo(32);
      assertThat(slice.b().get(5, 0)).isEqualTo(135);
      assertThat(lora.slices(1, Projection.DOWN, 3).getFirst().scale()).isEqualTo(4);
    }
    requireRefused(
        files.config("target_parameters", "[\"input_linear.weight\"]"),
        MODEL,
        block + "output_linear.lora_A.weight",
        "the config's target_parameters must name the parameter"
            + " model.layers.1.block_sparse_moe.output_linear.weight",
        "none");
  }

  /** A pair of several experts under a name that is not known must not pass for attention's. */
  @Test
  void aPairOfSeveralExpertsElsewhereIsNamed() throws IOException {
    String module = "base_model.model.model.layers.1.moe.gate_up";
    AdapterFiles files =
        new AdapterFiles()
            .config("target_modules", "[\"q_proj\"]")
            .config("target_parameters", "[\"moe.gate_up.weight\"]")
            .pair("base_model.model.model.layers.1.self_attn.q_proj", R, H, H)
            .pair(module, 4 * R, H, 2 * I);
    requireRefused(
        files,
        MODEL,
        module + ".lora_A.weight",
        "a pair of several experts must be of a module that is known to hold experts",
        "model.layers.1.moe.gate_up");
    String nested = "base_model.model.model.layers.1.ffn.base_layer";
    requireRefused(
        new AdapterFiles()
            .config("target_parameters", "[\"ffn.w1\", \"ffn.w2\"]")
            .pair(nested, 4 * R, H, 2 * I),
        MODEL,
        nested + ".lora_A.weight",
        "a pair of several experts",
        "model.layers.1.ffn");
  }

  /** A parameter of two dimensions is a linear layer like any other. */
  @Test
  void aTargetedParameterOfOneMatrixIsNotOfExperts() throws IOException {
    String module = "base_model.model.model.layers.1.self_attn.q_proj";
    AdapterFiles files =
        new AdapterFiles()
            .config("target_modules", "[\"k_proj\"]")
            .config("target_parameters", "[\"q_proj.weight\", \"weight\"]")
            .config("rank_pattern", "{\"k_proj\": 6}")
            .pair(module, R, H, H)
            .pair(module.replace("q_proj", "k_proj"), 6, H, H)
            .pair("%s.q_proj".formatted("m".repeat(300)), R, H, H);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.denseEntries()).hasSize(3);
    }
  }

  /** transformers 4 stores this model's parameters {@code [E, in, out]} and does not say so. */
  @Test
  void qwen3VlMayBeSwappedByNewVersionsToo() throws IOException {
    String experts = "base_model.model.model.language_model.layers.1.mlp.experts";
    AdapterFiles files =
        new AdapterFiles()
            .config("target_parameters", "[\"experts.gate_up_proj\"]")
            .pair(experts, 4 * R, 2 * I, H);
    assertThat(refusal(files, MODEL).rule()).contains("oriented as PEFT 0.21.0 writes them");
    files.config("base_model_name_or_path", "\"Qwen/Qwen3-VL-30B-A3B-Instruct\"");
    LoraSlice slice = load(files, MODEL).slices(1, Projection.GATE_UP, 0).getFirst();
    assertThat(slice.a().columns()).isEqualTo(H);
    assertThat(slice.columns()).isEqualTo(2 * I);
  }

  @Test
  void missingFilesAreNamed() throws IOException {
    Path nowhere = directory.resolve("nowhere");
    assertThatThrownBy(() -> PeftAdapter.open(nowhere))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessage(
            nowhere.resolve("adapter_config.json")
                + ": it must be a regular file, got no such file");
    new AdapterFiles().write(directory);
    Files.delete(file());
    assertThatThrownBy(() -> PeftAdapter.open(directory))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessage(file() + ": it must be a regular file, got no such file");
  }

  @Test
  void directoriesAndBrokenLinksAreNoFiles() throws IOException {
    Path config = directory.resolve("adapter_config.json");
    Files.createDirectory(config);
    assertThatThrownBy(() -> PeftAdapter.open(directory))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessage(config + ": it must be a regular file, got something else");
    Files.delete(config);
    Files.createSymbolicLink(config, config);
    assertThatThrownBy(() -> PeftAdapter.open(directory))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("it must be a regular file");
    Files.delete(config);
    Files.createSymbolicLink(config, directory);
    assertThatThrownBy(() -> PeftAdapter.open(directory))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("it must be a regular file, got something else");
  }

  /** The Hugging Face cache links to its files. */
  @Test
  void linksToFilesAreFollowed() throws IOException {
    Path blobs =
        expert(new AdapterFiles(), EXPERTS + "0.", "up_proj").write(directory.resolve("blobs"));
    Path snapshot = Files.createDirectory(directory.resolve("snapshot"));
    for (String name : List.of("adapter_config.json", "adapter_model.safetensors")) {
      Files.createSymbolicLink(snapshot.resolve(name), blobs.resolve(name));
    }
    try (PeftAdapter adapter = PeftAdapter.open(snapshot)) {
      assertThat(adapter.name()).isEqualTo("snapshot");
      assertThat(adapter.entries()).hasSize(1);
    }
  }

  @Test
  void notesAreTheConfigs() throws IOException {
    AdapterFiles files = new AdapterFiles().config("future_option", "7");
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.notes())
          .containsExactly("option future_option is not known and has no effect: 7");
    }
  }

  @Test
  void theNameIsTheDirectorys() throws IOException {
    expert(new AdapterFiles(), EXPERTS + "0.", "up_proj").write(directory);
    try (PeftAdapter adapter = PeftAdapter.open(directory.resolve("."))) {
      assertThat(adapter.name()).isEqualTo(directory.getFileName().toString());
      assertThat(adapter.notes()).isEmpty();
      assertThat(adapter.toLoraAdapter(MODEL).name()).isEqualTo(adapter.name());
    }
  }
}
