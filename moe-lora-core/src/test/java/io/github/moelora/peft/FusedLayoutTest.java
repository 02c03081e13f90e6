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
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.testkit.AdapterFiles;
import io.github.moelora.testkit.Mappings;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Pairs of all experts, in every orientation and order that is in use. */
final class FusedLayoutTest {
  private static final int R = 3;
  private static final int E = 4;
  private static final int H = 7;
  private static final int I = 5;
  private static final String EXPERTS = "base_model.model.model.layers.2.mlp.experts";
  private static final MoeModel MODEL = model(H, I, GateUp.HALVES);

  @TempDir private Path directory;

  private static MoeModel model(int hidden, int intermediate, GateUp gateUp) {
    return new MoeModel(hidden, intermediate, E, gateUp, List.of(2));
  }

  /** Element of A of an expert: an integer that bfloat16 holds. */
  private static double a(Linear linear, int expert, int rank, int in) {
    int salt =
        switch (linear) {
          case GATE -> 0;
          case UP -> 1;
          case GATE_UP -> 2;
          case DOWN -> 3;
        };
    return (salt + 4 * expert + 16 * rank + 64 * in) % 251;
  }

  /** Element of B of an expert; different from all of A. */
  private static double b(Linear linear, int expert, int out, int rank) {
    return -1 - a(linear, expert, rank, out);
  }

  /** How a writer lays out a fused pair. */
  private enum Writer {
    /** As the projection has them; the only one that PEFT 0.19.1 and later use. */
    PROJECTION,
    /** PEFT up to 0.18 on parameters stored {@code [E, out, in]}. */
    SWAPPED,
    /** Unsloth before September 2026: B with the experts slowest. */
    GROUPED,
    /** Both. */
    GROUPED_SWAPPED
  }

  private static void add(
      AdapterFiles files,
      String module,
      Linear linear,
      Writer writer,
      DType type,
      int in,
      int out) {
    boolean grouped = writer == Writer.GROUPED || writer == Writer.GROUPED_SWAPPED;
    AdapterFiles.Element rows;
    AdapterFiles.Element columns;
    if (writer == Writer.SWAPPED || writer == Writer.GROUPED_SWAPPED) {
      rows = (row, o) -> b(linear, row / R, o, row % R);
      columns = (h, c) -> grouped ? a(linear, c / R, c % R, h) : a(linear, c % E, c / E, h);
      files
          .tensor(module + ".lora_A.weight", type, E * R, out, rows)
          .tensor(module + ".lora_B.weight", type, in, R * E, columns);
    } else {
      rows = (row, h) -> a(linear, row / R, row % R, h);
      columns = (o, c) -> grouped ? b(linear, c / R, o, c % R) : b(linear, c % E, o, c / E);
      files
          .tensor(module + ".lora_A.weight", type, E * R, in, rows)
          .tensor(module + ".lora_B.weight", type, out, R * E, columns);
    }
  }

  private static AdapterFiles files(String version, String... parameters) {
    AdapterFiles files =
        new AdapterFiles()
            .config("r", Integer.toString(R))
            .config("target_parameters", "[\"" + String.join("\",\"", parameters) + "\"]");
    return version.isEmpty()
        ? files.withoutConfig("peft_version")
        : files.config("peft_version", "\"" + version + "\"");
  }

  /** Both projections targeted. */
  private static AdapterFiles both(String version, Writer writer, DType type, int hidden, int i) {
    AdapterFiles files = files(version, "mlp.experts.gate_up_proj", "mlp.experts.down_proj");
    add(files, EXPERTS + ".base_layer", Linear.GATE_UP, writer, type, hidden, 2 * i);
    add(files, EXPERTS, Linear.DOWN, writer, type, i, hidden);
    return files;
  }

  private static AdapterFiles gateUpOnly(String version, Writer writer, int hidden, int i) {
    AdapterFiles files = files(version, "experts.gate_up_proj");
    add(files, EXPERTS, Linear.GATE_UP, writer, DType.F32, hidden, 2 * i);
    return files;
  }

  private static AdapterFiles downOnly(String version, Writer writer, int hidden, int i) {
    AdapterFiles files = files(version, "experts.down_proj");
    add(files, EXPERTS, Linear.DOWN, writer, DType.F32, i, hidden);
    return files;
  }

  private void requireSlices(AdapterFiles files, MoeModel model, Linear... linears)
      throws IOException {
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      requireSlices(adapter.toLoraAdapter(model), model, linears);
    }
  }

  private static void requireSlices(LoraAdapter adapter, MoeModel model, Linear... linears) {
    int found = 0;
    for (Linear linear : linears) {
      Projection projection = linear.projection();
      for (int e = 0; e < E; e++) {
        List<LoraSlice> slices = adapter.slices(2, projection, e);
        assertThat(slices).hasSize(1);
        LoraSlice slice = slices.getFirst();
        assertThat(slice.firstColumn()).isZero();
        assertThat(slice.rank()).isEqualTo(R);
        assertThat(slice.scale()).isEqualTo(8f / R);
        assertThat(slice.a().columns()).isEqualTo(model.inputWidth(projection));
        assertThat(slice.columns()).isEqualTo(model.outputWidth(projection));
        for (int r = 0; r < R; r++) {
          for (int h = 0; h < slice.a().columns(); h++) {
            assertThat(slice.a().get(r, h)).isEqualTo((float) a(linear, e, r, h));
          }
          for (int o = 0; o < slice.columns(); o++) {
            assertThat(slice.b().get(o, r)).isEqualTo((float) b(linear, e, o, r));
          }
        }
        found++;
      }
    }
    for (Projection projection : Projection.values()) {
      for (int e = 0; e < E; e++) {
        found -= adapter.slices(2, projection, e).size();
      }
    }
    assertThat(found).as("slices that nobody asked for").isZero();
  }

  @ParameterizedTest
  @EnumSource
  void bothParametersInEveryType(DType type) throws IOException {
    requireSlices(
        both("0.21.0", Writer.PROJECTION, type, H, I), MODEL, Linear.GATE_UP, Linear.DOWN);
  }

  /** unsloth-zoo #1269: the views are those of PEFT unless the file itself says otherwise. */
  @Test
  void theMarkOfGroupedExpertsIsHonoured() throws IOException {
    requireSlices(
        both("0.21.0", Writer.GROUPED, DType.F32, H, I)
            .config("lora_B_layout", "\"grouped_by_expert\""),
        MODEL,
        Linear.GATE_UP,
        Linear.DOWN);
    requireSlices(
        both("0.18.0", Writer.GROUPED_SWAPPED, DType.BF16, H, I)
            .config("lora_B_layout", "\"grouped_by_expert\""),
        MODEL,
        Linear.GATE_UP,
        Linear.DOWN);
    requireSlices(
        both("0.21.0", Writer.PROJECTION, DType.F32, H, I)
            .config("lora_B_layout", "\"rank_major\""),
        MODEL,
        Linear.GATE_UP,
        Linear.DOWN);
  }

  @Test
  void theKeyAloneDoesNotTellTheProjection() throws IOException {
    requireSlices(gateUpOnly("0.21.0", Writer.PROJECTION, H, I), MODEL, Linear.GATE_UP);
    requireSlices(downOnly("0.21.0", Writer.PROJECTION, H, I), MODEL, Linear.DOWN);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "gate_up_proj",
        "experts.gate_up_proj",
        "mlp.experts.gate_up_proj",
        "model.layers.2.mlp.experts.gate_up_proj"
      })
  void parametersAreNamedByTheEndOfTheirNames(String target) throws IOException {
    AdapterFiles files = files("0.21.0", target);
    add(files, EXPERTS, Linear.GATE_UP, Writer.PROJECTION, DType.F32, H, 2 * I);
    requireSlices(files, MODEL, Linear.GATE_UP);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"up_proj", "xperts.gate_up_proj", "layers.3.mlp.experts.gate_up_proj", ""})
  void aPairOfAParameterThatIsNotTargetedIsRefused(String target) throws IOException {
    AdapterFiles files = files("0.21.0", target, "model.layers.12.mlp.experts.gate_up_proj");
    add(files, EXPERTS, Linear.GATE_UP, Writer.PROJECTION, DType.F32, H, 2 * I);
    if (target.equals("up_proj")) {
      requireRefused(files, MODEL, "shape[0] must be the model's output width 5, got 10");
    } else {
      requireRefused(
          files,
          MODEL,
          "target_parameters must name the parameter of model.layers.2.mlp.experts (or an option"
              + " does), got %smodel.layers.12.mlp.experts.gate_up_proj"
                  .formatted(target.compareTo("m") < 0 ? target + ", " : ""));
    }
  }

  /** One layer with one parameter, another with the other: the same key, two meanings. */
  @Test
  void parametersAreFoundLayerByLayer() throws IOException {
    AdapterFiles files =
        files(
            "0.21.0",
            "model.layers.2.mlp.experts.gate_up_proj",
            "model.layers.5.mlp.experts.down_proj");
    String other = EXPERTS.replace("layers.2", "layers.5");
    add(files, EXPERTS, Linear.GATE_UP, Writer.PROJECTION, DType.F32, H, 2 * I);
    add(files, other, Linear.DOWN, Writer.PROJECTION, DType.F32, I, H);
    MoeModel model = new MoeModel(H, I, E, GateUp.HALVES, List.of(2, 5));
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      LoraAdapter lora = adapter.toLoraAdapter(model);
      assertThat(lora.layers()).containsExactly(2, 5);
      assertThat(lora.slices(2, Projection.GATE_UP, 0)).hasSize(1);
      assertThat(lora.slices(2, Projection.DOWN, 0)).isEmpty();
      assertThat(lora.slices(5, Projection.GATE_UP, 0)).isEmpty();
      assertThat(lora.slices(5, Projection.DOWN, 0)).hasSize(1);
    }
  }

  /** vLLM #47088: experts without a gate, as Nemotron-H has them. */
  @Test
  void expertsWithoutGate() throws IOException {
    AdapterFiles files = files("0.21.0", "experts.up_proj", "experts.down_proj");
    String experts = "base_model.model.backbone.layers.2.mixer.experts";
    add(files, experts + ".base_layer", Linear.UP, Writer.PROJECTION, DType.F32, H, I);
    add(files, experts, Linear.DOWN, Writer.PROJECTION, DType.F32, I, H);
    MoeModel model = model(H, I, GateUp.UP_ONLY);
    requireSlices(files, model, Linear.UP, Linear.DOWN);
    try (PeftAdapter adapter = PeftAdapter.open(directory)) {
      assertThat(PeftAdapter.inferModel(List.of(adapter))).isEqualTo(model);
    }
    requireRefused(
        both("0.21.0", Writer.PROJECTION, DType.F32, H, I),
        model,
        "the model's experts must have a gate, got UP_ONLY");
  }

  /** With up and down alone, both orientations look the same: only the version tells. */
  @Test
  void expertsWithoutGateOfAnOldVersionNeedTheirWidths() throws IOException {
    AdapterFiles files = files("0.18.0", "experts.up_proj", "experts.down_proj");
    add(files, EXPERTS + ".base_layer", Linear.UP, Writer.SWAPPED, DType.F32, H, I);
    add(files, EXPERTS, Linear.DOWN, Writer.SWAPPED, DType.F32, I, H);
    requireSlices(files, model(H, I, GateUp.UP_ONLY), Linear.UP, Linear.DOWN);
  }

  /** A gate of its own parameter: one of the two halves. */
  @Test
  void halvesOfTheirOwn() throws IOException {
    for (Linear linear : List.of(Linear.GATE, Linear.UP)) {
      AdapterFiles files =
          files("0.21.0", linear == Linear.GATE ? "gate_proj" : "up_proj", "down_proj");
      add(files, EXPERTS + ".base_layer", linear, Writer.PROJECTION, DType.F32, H, I);
      add(files, EXPERTS, Linear.DOWN, Writer.PROJECTION, DType.F32, I, H);
      try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
        LoraSlice slice =
            adapter.toLoraAdapter(MODEL).slices(2, Projection.GATE_UP, E - 1).getFirst();
        assertThat(slice.firstColumn()).isEqualTo(linear == Linear.GATE ? 0 : I);
        assertThat(slice.columns()).isEqualTo(I);
        assertThat(slice.b().get(I - 1, R - 1)).isEqualTo((float) b(linear, E - 1, I - 1, R - 1));
      }
    }
  }

  @Test
  void gateAndUpOfTheirOwnCannotBeToldApart() throws IOException {
    AdapterFiles files = files("0.21.0", "gate_proj", "up_proj");
    add(files, EXPERTS + ".base_layer", Linear.GATE, Writer.PROJECTION, DType.F32, H, I);
    add(files, EXPERTS, Linear.UP, Writer.PROJECTION, DType.F32, H, I);
    requireRefused(files, MODEL, "must not name both gate_proj and up_proj");
  }

  /** Orientation by version and base model where shapes tell. */
  @ParameterizedTest
  @CsvSource({
    // parameters stored [E, out, in]: up to 0.18 swapped, or corrected by transformers 5
    "'',       HALVES, SWAPPED",
    "'',       HALVES, PROJECTION",
    "0.17.1,   HALVES, SWAPPED",
    "0.18.0,   HALVES, SWAPPED",
    "0.18.0,   HALVES, PROJECTION",
    "0.18.1,   HALVES, SWAPPED",
    "0.18.2.dev0, HALVES, SWAPPED",
    "0.18.2.dev0, HALVES, PROJECTION",
    "0.19.0,   HALVES, SWAPPED",
    "0.19.0,   HALVES, PROJECTION",
    "0.19.1.dev0, HALVES, SWAPPED",
    "0.19.1,   HALVES, PROJECTION",
    "0.20.0,   HALVES, PROJECTION",
    "0.21.0,   HALVES, PROJECTION",
    "1.0,      HALVES, PROJECTION",
    // parameters stored [E, in, out]: right at first, swapped by 0.19.0
    "'',       INTERLEAVED, PROJECTION",
    "0.17.0,   INTERLEAVED, PROJECTION",
    "0.18.1,   INTERLEAVED, PROJECTION",
    "0.19.0,   INTERLEAVED, SWAPPED",
    "0.19.0,   INTERLEAVED, PROJECTION",
    "0.19.1,   INTERLEAVED, PROJECTION",
    "0.21.0,   INTERLEAVED, PROJECTION",
    // transformers 4 does not tell PEFT how they are stored
    "0.21.0,   INTERLEAVED, SWAPPED",
  })
  void theShapesDecideWhatTheVersionLeavesOpen(String version, GateUp gateUp, String writer)
      throws IOException {
    Writer as = Writer.valueOf(writer);
    MoeModel model = model(H, I, gateUp);
    requireSlices(both(version, as, DType.F16, H, I), model, Linear.GATE_UP, Linear.DOWN);
    requireSlices(gateUpOnly(version, as, H, I), model, Linear.GATE_UP);
    requireSlices(downOnly(version, as, H, I), model, Linear.DOWN);
  }

  @ParameterizedTest
  @CsvSource({
    "0.19.1, HALVES,      SWAPPED",
    "0.21.0, HALVES,      SWAPPED",
    "'',     INTERLEAVED, SWAPPED",
    "0.18.1, INTERLEAVED, SWAPPED",
  })
  void shapesThatContradictTheVersionAreRefused(String version, GateUp gateUp, String writer)
      throws IOException {
    Writer as = Writer.valueOf(writer);
    MoeModel model = model(H, I, gateUp);
    String rule = "in and out must be oriented as PEFT " + (version.isEmpty() ? "unrec" : version);
    requireRefused(both(version, as, DType.F32, H, I), model, rule);
    requireRefused(gateUpOnly(version, as, H, I), model, rule);
    requireRefused(downOnly(version, as, H, I), model, rule);
  }

  /** With I = H the shapes of down say nothing. */
  @ParameterizedTest
  @CsvSource({
    "'',      HALVES",
    "0.18.0,  HALVES",
    "0.18.2.dev0, INTERLEAVED",
    "0.19.0,  HALVES",
    "0.19.0,  INTERLEAVED",
    "0.19.1rc0, HALVES",
  })
  void aFileThatCanBeReadInTwoWaysIsRefused(String version, GateUp gateUp) throws IOException {
    requireRefused(
        downOnly(version, Writer.PROJECTION, H, H),
        model(H, H, gateUp),
        "shapes must tell which dimension is in and which is out");
  }

  @ParameterizedTest
  @CsvSource({
    "0.19.1, HALVES",
    "0.19.1.post1, HALVES",
    "0.19.1+cu130, HALVES",
    "0.19.2.dev0, HALVES",
    "0.21.0, HALVES",
    "0.21.0, INTERLEAVED",
    "'',     INTERLEAVED",
    "0.18.1, INTERLEAVED",
  })
  void theVersionDecidesWhereTheShapesSayNothing(String version, GateUp gateUp) throws IOException {
    requireSlices(downOnly(version, Writer.PROJECTION, H, H), model(H, H, gateUp), Linear.DOWN);
  }

  /** With I = H the other projection of the file still tells, and with H = 2*I down does. */
  @ParameterizedTest
  @CsvSource({"7, 7", "10, 5"})
  void oneProjectionTellsForTheOther(int hidden, int intermediate) throws IOException {
    MoeModel model = model(hidden, intermediate, GateUp.HALVES);
    requireSlices(
        both("0.18.0", Writer.SWAPPED, DType.F32, hidden, intermediate),
        model,
        Linear.GATE_UP,
        Linear.DOWN);
    requireSlices(
        both("0.18.0", Writer.PROJECTION, DType.F32, hidden, intermediate),
        model,
        Linear.GATE_UP,
        Linear.DOWN);
  }

  /**
   * Llama 4 stores [E, in, out] with halves; other models have its key, so the base model tells.
   */
  @Test
  void llama4IsStoredTheOtherWay() throws IOException {
    String experts = "base_model.model.model.layers.2.feed_forward.experts";
    AdapterFiles files = files("0.18.0", "feed_forward.experts.down_proj");
    add(files, experts, Linear.DOWN, Writer.PROJECTION, DType.F32, H, H);
    requireRefused(files, model(H, H, GateUp.HALVES), "shapes must tell which dimension is in");
    files.config("base_model_name_or_path", "\"meta-llama/Llama-4-Scout-17B-16E\"");
    requireSlices(files, model(H, H, GateUp.HALVES), Linear.DOWN);
    AdapterFiles transformers4 = files("0.21.0", "feed_forward.experts.gate_up_proj");
    add(transformers4, experts, Linear.GATE_UP, Writer.SWAPPED, DType.F32, H, 2 * I);
    requireSlices(transformers4, MODEL, Linear.GATE_UP);
  }

  @ParameterizedTest
  @CsvSource({
    "0.21.0, PROJECTION, FUSED",
    "0.18.0, PROJECTION, FUSED",
    "0.18.0, SWAPPED,    FUSED_SWAPPED",
    "0.21.0, SWAPPED,    FUSED_SWAPPED",
  })
  void twoProjectionsTellTheLayoutWithoutAModel(String version, String writer, Layout layout)
      throws IOException {
    Path path = both(version, Writer.valueOf(writer), DType.F32, H, I).write(directory);
    try (PeftAdapter adapter = PeftAdapter.open(path)) {
      assertThat(adapter.layout()).isEqualTo(layout);
      assertThat(adapter.peftVersion()).isEqualTo(version);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "0.21.0, '',                  FUSED",
    "0.18.0, '',                  FUSED_UNDECIDED",
    "0.18.0, 'openai/gpt-oss-20b', FUSED",
    "0.19.0, 'openai/gpt-oss-20b', FUSED_UNDECIDED",
    "'',     '',                  FUSED_UNDECIDED",
  })
  void oneProjectionTellsTheLayoutOnlyWithTheVersion(String version, String base, Layout layout)
      throws IOException {
    AdapterFiles files =
        gateUpOnly(version, Writer.PROJECTION, H + 1, I)
            .config("base_model_name_or_path", "\"" + base + "\"");
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.layout()).isEqualTo(layout);
      assertThat(adapter.peftVersion()).isEqualTo(version.isEmpty() ? "unrecorded" : version);
    }
  }

  @Test
  void entriesTellWhatTheFileHolds() throws IOException {
    Path path = both("0.21.0", Writer.PROJECTION, DType.BF16, H, I).write(directory);
    try (PeftAdapter adapter = PeftAdapter.open(path)) {
      assertThat(adapter.name()).isEqualTo(directory.getFileName().toString());
      assertThat(adapter.file()).isEqualTo(directory.resolve("adapter_model.safetensors"));
      assertThat(adapter.entries()).hasSize(2);
      PeftAdapter.Entry first = adapter.entries().getFirst();
      assertThat(first.layer()).isEqualTo(2);
      assertThat(first.linear()).isEqualTo(Linear.GATE_UP);
      assertThat(first.expert()).isEqualTo(-1);
      assertThat(first.experts()).isEqualTo(E);
      assertThat(first.rank()).isEqualTo(R);
      assertThat(first.scale()).isEqualTo(8f / R);
      assertThat(first.type()).isEqualTo(DType.BF16);
      assertThat(first.bytes()).isEqualTo(2L * E * R * (H + 2 * I));
      assertThat(adapter.entries().getLast().linear()).isEqualTo(Linear.DOWN);
    }
  }

  @Test
  void rankAndAlphaOfAParameterAreItsOwn() throws IOException {
    AdapterFiles files =
        both("0.21.0", Writer.PROJECTION, DType.F32, H, I)
            .config("r", "99")
            .config("use_rslora", "true")
            .config("rank_pattern", "{\".*\\\\.gate_up_proj\": 3, \"mlp.experts.down_proj\": 3}")
            .config("alpha_pattern", "{\"layers.2.mlp.experts.down_proj\": 1.5}");
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThat(adapter.entries().getFirst().scale()).isEqualTo((float) (8 / Math.sqrt(3)));
      assertThat(adapter.entries().getLast().scale()).isEqualTo((float) (1.5 / Math.sqrt(3)));
    }
  }

  private void requireRefused(AdapterFiles files, MoeModel model, String message)
      throws IOException {
    Path path = files.write(directory);
    assertThatThrownBy(
            () -> {
              try (PeftAdapter adapter = PeftAdapter.open(path)) {
                assertThat(adapter.toLoraAdapter(model)).isNull();
              }
            })
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(message)
        .hasMessageContaining(path.resolve("adapter_model.safetensors").toString());
    assertThat(Mappings.of(path.resolve("adapter_model.safetensors"))).isEmpty();
  }

  @Test
  void rowsMustBeAMultipleOfTheRank() throws IOException {
    requireRefused(
        gateUpOnly("0.21.0", Writer.PROJECTION, H, I).config("r", "5"),
        MODEL,
        "experts.lora_A.weight: shape[0] must be a multiple of 5, the rank in the config, got 12");
  }

  @Test
  void columnsOfBMustBeTheRowsOfA() throws IOException {
    AdapterFiles files =
        files("0.21.0", "gate_up_proj")
            .zeros(EXPERTS + ".lora_A.weight", E * R, H)
            .zeros(EXPERTS + ".lora_B.weight", 2 * I, E * R + 1);
    requireRefused(
        files, MODEL, "experts.lora_B.weight: shape[1] must be 12, the rows of lora_A, got 13");
  }

  @Test
  void theModelMustHaveAsManyExperts() throws IOException {
    AdapterFiles files = gateUpOnly("0.21.0", Writer.PROJECTION, H, I);
    MoeModel more = new MoeModel(H, I, E + 1, GateUp.HALVES, List.of(2));
    requireRefused(files, more, "shape[0] must be 5 experts * rank 3 = 15, got 12");
  }

  @Test
  void widthsMustBeTheModels() throws IOException {
    requireRefused(
        both("0.21.0", Writer.PROJECTION, DType.F32, H, I),
        model(H + 1, I, GateUp.HALVES),
        "base_layer.lora_A.weight: shape[1] must be the model's input width 8, got 7");
    requireRefused(
        both("0.21.0", Writer.PROJECTION, DType.F32, H, I),
        model(H, I + 1, GateUp.HALVES),
        "base_layer.lora_B.weight: shape[0] must be the model's output width 12, got 10");
    requireRefused(
        both("0.21.0", Writer.SWAPPED, DType.F32, H, I),
        model(H + 1, I, GateUp.HALVES),
        "base_layer.lora_B.weight: shape[0] must be the model's input width 8, got 7");
    requireRefused(
        both("0.18.0", Writer.SWAPPED, DType.F32, H, I),
        model(H + 1, I, GateUp.HALVES),
        "base_layer.lora_B.weight: shape[0] must be the model's input width 8, got 7");
    requireRefused(
        both("0.18.0", Writer.SWAPPED, DType.F32, H, I),
        model(H, I + 1, GateUp.HALVES),
        "base_layer.lora_A.weight: shape[1] must be the model's output width 12, got 10");
  }

  @Test
  void widthsMustAgreeAmongThePairs() throws IOException {
    AdapterFiles files = files("0.21.0", "gate_up_proj", "down_proj");
    add(files, EXPERTS + ".base_layer", Linear.GATE_UP, Writer.PROJECTION, DType.F32, H, 2 * I);
    add(files, EXPERTS, Linear.DOWN, Writer.PROJECTION, DType.F32, I + 1, H);
    requireRefused(
        files,
        MODEL,
        "all pairs must have the widths of one model, got GATE_UP A [12, 7] B [10, 12], DOWN A"
            + " [12, 6] B [7, 12]");
    AdapterFiles odd = files("0.21.0", "gate_up_proj");
    add(odd, EXPERTS, Linear.GATE_UP, Writer.PROJECTION, DType.F32, H, 2 * I + 1);
    requireRefused(odd, MODEL, "all pairs must have the widths of one model");
  }

  @Test
  void everyTargetedParameterMustHaveItsPair() throws IOException {
    AdapterFiles outer = files("0.21.0", "gate_up_proj", "down_proj");
    add(outer, EXPERTS, Linear.DOWN, Writer.PROJECTION, DType.F32, I, H);
    requireRefused(
        outer,
        MODEL,
        "model.layers.2.mlp.experts.base_layer.lora_A.weight: there must be a pair for each of the"
            + " 2 targeted parameters, got 1");
    AdapterFiles inner = files("0.21.0", "gate_up_proj", "down_proj");
    add(inner, EXPERTS + ".base_layer", Linear.DOWN, Writer.PROJECTION, DType.F32, I, H);
    requireRefused(
        inner, MODEL, "model.layers.2.mlp.experts.lora_A.weight: there must be a pair for each");
    AdapterFiles more = files("0.21.0", "gate_up_proj");
    add(more, EXPERTS, Linear.GATE_UP, Writer.PROJECTION, DType.F32, H, 2 * I);
    add(more, EXPERTS + ".base_layer", Linear.DOWN, Writer.PROJECTION, DType.F32, I, H);
    requireRefused(
        more,
        MODEL,
        "experts.base_layer.lora_A.weight: the config's target_parameters must name as many"
            + " parameters of model.layers.2.mlp.experts as there are pairs, got 1");
    AdapterFiles deep = files("0.21.0", "gate_up_proj", "down_proj");
    add(deep, EXPERTS, Linear.DOWN, Writer.PROJECTION, DType.F32, I, H);
    add(
        deep,
        EXPERTS + ".base_layer.base_layer",
        Linear.GATE_UP,
        Writer.PROJECTION,
        DType.F32,
        H,
        2 * I);
    requireRefused(deep, MODEL, "experts.base_layer.lora_A.weight: there must be a pair");
  }

  @Test
  void layersToTransformConcernModulesOnly() throws IOException {
    requireSlices(
        gateUpOnly("0.21.0", Writer.PROJECTION, H, I).config("layers_to_transform", "[0]"),
        MODEL,
        Linear.GATE_UP);
  }
}
