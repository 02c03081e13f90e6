package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.json.Json;
import io.github.moelora.testkit.AdapterFiles;
import io.github.moelora.testkit.Deltas;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every Mixture-of-Experts family of transformers 5.17.0, with the keys and shapes that PEFT 0.21.0
 * writes for it, recorded from tiny models (E 6, H 32, I 24, rank 2): read into the deltas that the
 * rules of PEFT give, or refused by name.
 */
final class FamiliesTest {
  private static final int E = 6;
  private static final int H = 32;
  private static final int R = 2;
  private static final int ALPHA = 3;

  private static final Pattern TENSOR =
      Pattern.compile("(\\S+)\\.lora_A\\.weight\\[(\\d+),(\\d+)]");
  private static final Pattern LAYER =
      Pattern.compile("\\.(?:layers|blocks)\\.(\\d+)\\.|^layers\\.(\\d+)\\.");

  @TempDir private Path directory;

  /**
   * A family.
   *
   * @param lora names and shapes of the adapter, as {@code name[rows,columns]; ...}, without what
   *     stands before the layer's own part
   * @param turned whether PEFT takes the parameters' first width for out
   */
  record Family(
      String type,
      @Nullable String path,
      @Nullable String lora,
      Map<String, List<Long>> params,
      GateUp gateUp,
      boolean turned,
      Map<String, List<Long>> perExpert) {

    @Override
    public String toString() {
      return type;
    }

    int layer() {
      Matcher matcher = LAYER.matcher(Objects.requireNonNull(path));
      assertThat(matcher.find()).as(path).isTrue();
      return Integer.parseInt(matcher.group(1) == null ? matcher.group(2) : matcher.group(1));
    }

    /** What stands before the names of {@link #lora}. */
    String prefix() {
      String whole = Objects.requireNonNull(path);
      String first = Objects.requireNonNull(lora).replaceFirst("\\..*", "");
      return whole.substring(0, ("." + whole).indexOf("." + first));
    }

    int intermediate() {
      // DBRX's tiny model has another width than the others
      return type.equals("dbrx") ? 40 : 24;
    }

    MoeModel model() {
      return new MoeModel(H, intermediate(), E, gateUp, List.of(layer()));
    }
  }

  private static List<Family> all() throws IOException {
    List<Family> families = new ArrayList<>();
    try (InputStream json =
        Objects.requireNonNull(FamiliesTest.class.getResourceAsStream("/families.json"))) {
      for (Object family : (List<?>) Objects.requireNonNull(Json.object(json).get("families"))) {
        Map<?, ?> map = (Map<?, ?>) family;
        Map<String, List<Long>> params = new LinkedHashMap<>();
        if (map.get("params") instanceof Map<?, ?> shapes) {
          shapes.forEach((name, shape) -> params.put((String) name, longs(shape)));
        }
        Map<String, List<Long>> perExpert = new LinkedHashMap<>();
        if (map.get("perExpert") instanceof List<?> names) {
          names.forEach(
              n ->
                  perExpert.put((String) ((List<?>) n).getFirst(), longs(((List<?>) n).getLast())));
        }
        Object gateUp = map.get("gateUp");
        families.add(
            new Family(
                (String) Objects.requireNonNull(map.get("type")),
                (String) map.get("path"),
                (String) map.get("lora"),
                params,
                gateUp == null ? GateUp.HALVES : GateUp.valueOf((String) gateUp),
                Boolean.TRUE.equals(map.get("turned")),
                perExpert));
      }
    }
    return families;
  }

  private static List<Long> longs(Object list) {
    return ((List<?>) list).stream().map(Long.class::cast).toList();
  }

  static Stream<Family> withAdapters() throws IOException {
    return all().stream().filter(family -> family.lora() != null);
  }

  static Stream<Family> perExpert() throws IOException {
    return all().stream().filter(family -> !family.perExpert().isEmpty());
  }

  /** One pair of the recorded file. */
  private record Pair(String module, int rows, int in, int out) {}

  private static List<Pair> pairs(Family family) {
    String lora = Objects.requireNonNull(family.lora());
    List<Pair> pairs = new ArrayList<>();
    Matcher matcher = TENSOR.matcher(lora);
    while (matcher.find()) {
      Matcher b =
          Pattern.compile(Pattern.quote(matcher.group(1)) + "\\.lora_B\\.weight\\[(\\d+),(\\d+)]")
              .matcher(lora);
      // the whole name, not the end of another
      assertThat(b.find()).isTrue();
      pairs.add(
          new Pair(
              matcher.group(1),
              Integer.parseInt(matcher.group(2)),
              Integer.parseInt(matcher.group(3)),
              Integer.parseInt(b.group(1))));
    }
    return pairs;
  }

  private static double a(Pair pair, int row, int column) {
    return ((pair.module().hashCode() & 7) + 3 * row + 5 * column) % 13 - 6;
  }

  private static double b(Pair pair, int row, int column) {
    return ((pair.module().hashCode() & 3) + 7 * row + 2 * column) % 11 - 5;
  }

  /**
   * The parameter that a pair changes: the module that registers first is the innermost wrapper.
   */
  private static String parameter(Family family, Pair pair) {
    String module = pair.module();
    if (module.contains("fc1") || module.contains("input_linear")) {
      return "gate_up_proj";
    }
    if (module.contains("fc2") || module.contains("output_linear")) {
      return "down_proj";
    }
    List<String> names =
        family.params().keySet().stream()
            .filter(n -> !n.contains(".") && !n.contains("bias"))
            .toList();
    int depth = module.split("base_layer", -1).length - 1;
    return names.get(names.size() - 1 - depth);
  }

  private static String target(Family family, Pair pair) {
    String module = pair.module().replace(".base_layer", "");
    boolean own = module.matches(".*(fc1|fc2|input_linear|output_linear)");
    return own ? module + ".weight" : module + "." + parameter(family, pair);
  }

  private AdapterFiles files(Family family, List<Pair> pairs) {
    AdapterFiles files =
        new AdapterFiles()
            .config("r", Integer.toString(R))
            .config("lora_alpha", Integer.toString(ALPHA))
            .config("target_modules", "[]")
            .config("base_model_name_or_path", "\"tiny/" + family.type() + "\"");
    List<String> targets = new ArrayList<>();
    for (Pair pair : pairs) {
      targets.add("\"" + target(family, pair) + "\"");
      String module = "base_model.model." + family.prefix() + pair.module();
      files
          .tensor(
              module + ".lora_A.weight", DType.F32, pair.rows(), pair.in(), (i, j) -> a(pair, i, j))
          .tensor(
              module + ".lora_B.weight",
              DType.F32,
              pair.out(),
              pair.rows(),
              (i, j) -> b(pair, i, j));
    }
    return files.config("target_parameters", targets.toString());
  }

  /** What PEFT adds to one expert, out by in, by the plain rules of its layout. */
  private static double[][] delta(Family family, Pair pair, int expert) {
    if (family.type().equals("dbrx")) {
      return stackDelta(family, pair, expert);
    }
    int held = pair.rows() / R;
    double[][] product = new double[pair.out()][pair.in()];
    for (int o = 0; o < pair.out(); o++) {
      for (int h = 0; h < pair.in(); h++) {
        for (int r = 0; r < R; r++) {
          product[o][h] +=
              (double) ALPHA / R * b(pair, o, r * held + expert) * a(pair, expert * R + r, h);
        }
      }
    }
    return family.turned() ? transposed(product) : product;
  }

  /** DBRX: rows of the matrix of all experts; down is stored as the transpose. */
  private static double[][] stackDelta(Family family, Pair pair, int expert) {
    int rows = family.intermediate();
    double[][] product = new double[rows][H];
    for (int o = 0; o < rows; o++) {
      for (int h = 0; h < H; h++) {
        for (int r = 0; r < R; r++) {
          product[o][h] += (double) ALPHA / R * b(pair, expert * rows + o, r) * a(pair, r, h);
        }
      }
    }
    return parameter(family, pair).equals("w2") ? transposed(product) : product;
  }

  private static double[][] transposed(double[][] matrix) {
    double[][] turned = new double[matrix[0].length][matrix.length];
    for (int i = 0; i < matrix.length; i++) {
      for (int j = 0; j < matrix[i].length; j++) {
        turned[j][i] = matrix[i][j];
      }
    }
    return turned;
  }

  private static Map<String, double[][]> expected(Family family, List<Pair> pairs) {
    Map<String, double[][]> expected = new LinkedHashMap<>();
    MoeModel model = family.model();
    for (Pair pair : pairs) {
      String parameter = parameter(family, pair);
      boolean down = parameter.equals("down_proj") || parameter.equals("w2");
      Projection projection = down ? Projection.DOWN : Projection.GATE_UP;
      for (int expert = 0; expert < E; expert++) {
        String key = "%d|%s|%d".formatted(family.layer(), projection, expert);
        double[][] delta = delta(family, pair, expert);
        double[][] whole =
            expected.computeIfAbsent(
                key,
                any -> new double[model.outputWidth(projection)][model.inputWidth(projection)]);
        int first = parameter.equals("v1") ? model.intermediateSize() : 0;
        System.arraycopy(delta, 0, whole, first, delta.length);
      }
    }
    return expected;
  }

  /** Pairs of the experts that a call names; JetMoE's attention and a second module are others. */
  private static List<Pair> ownPairs(Family family) {
    return pairs(family).stream()
        .filter(pair -> !pair.module().contains("self_attention"))
        .filter(pair -> !pair.module().contains("vision_moe"))
        .toList();
  }

  @ParameterizedTest
  @MethodSource("withAdapters")
  void isReadAsPeftWritesIt(Family family) throws IOException {
    List<Pair> pairs = ownPairs(family);
    Map<String, double[][]> expected = expected(family, pairs);
    Path path = files(family, pairs).write(directory);
    try (PeftAdapter adapter = PeftAdapter.open(path)) {
      Deltas.require(adapter.toLoraAdapter(family.model()), family.model(), expected);
    }
  }

  /** A base model that the config does not name may cost the adapter, but not its meaning. */
  @ParameterizedTest
  @MethodSource("withAdapters")
  void isNotReadOtherwiseWithoutTheBaseModelsName(Family family) throws IOException {
    List<Pair> pairs = ownPairs(family);
    Path path = files(family, pairs).withoutConfig("base_model_name_or_path").write(directory);
    LoraAdapter lora;
    try (PeftAdapter adapter = PeftAdapter.open(path)) {
      lora = adapter.toLoraAdapter(family.model());
      Deltas.require(lora, family.model(), expected(family, pairs));
    } catch (AdapterFormatException e) {
      assertThat(family.type()).isEqualTo("longcat_flash");
      assertThat(e).hasMessageContaining("it must hold 8 experts").hasMessageContaining("got 6");
    }
  }

  @Test
  void zeroExpertsMayBeTold() throws IOException {
    Family longcat = family("longcat_flash");
    Path path =
        files(longcat, pairs(longcat)).withoutConfig("base_model_name_or_path").write(directory);
    try (PeftAdapter adapter = PeftAdapter.open(path, ReadOptions.NONE.withZeroExperts(2))) {
      Deltas.require(
          adapter.toLoraAdapter(longcat.model()),
          longcat.model(),
          expected(longcat, pairs(longcat)));
      assertThat(PeftAdapter.inferModel(List.of(adapter)).experts()).isEqualTo(E);
    }
  }

  private static Family family(String type) throws IOException {
    return all().stream().filter(f -> f.type().equals(type)).findFirst().orElseThrow();
  }

  /** Text and vision experts of one layer: an option says which. */
  @ParameterizedTest
  @ValueSource(strings = {"ernie4_5_vl_moe", "ernie4_5_vl_moe_text"})
  void oneOfTwoModulesOfExpertsIsChosenByOption(String type) throws IOException {
    Family family = family(type);
    Path path = files(family, pairs(family)).write(directory);
    assertThatThrownBy(() -> PeftAdapter.open(path).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("text_moe.experts")
        .hasMessageContaining("vision_moe.experts")
        .hasMessageContaining("ReadOptions.experts");
    for (String part : List.of("text_moe", "vision_moe")) {
      List<Pair> chosen = pairs(family).stream().filter(p -> p.module().contains(part)).toList();
      try (PeftAdapter adapter = PeftAdapter.open(path, ReadOptions.NONE.withExperts(part))) {
        Deltas.require(
            adapter.toLoraAdapter(family.model()), family.model(), expected(family, chosen));
        assertThat(adapter.warnings()).singleElement().asString().contains("4 tensors of other");
      }
    }
  }

  /** JetMoE's attention has experts of its own, which are no projection of an MoE layer. */
  @Test
  void expertsOfAttentionAreRefusedByNameOrLeftOut() throws IOException {
    Family family = family("jetmoe");
    Path path = files(family, pairs(family)).write(directory);
    assertThatThrownBy(() -> PeftAdapter.open(path).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("self_attention.experts.input_linear.lora_A.weight")
        .hasMessageContaining("experts of attention");
    try (PeftAdapter adapter = PeftAdapter.open(path, ReadOptions.NONE.withoutUnsupported())) {
      Deltas.require(
          adapter.toLoraAdapter(family.model()),
          family.model(),
          expected(family, ownPairs(family)));
      assertThat(adapter.ignoredTensors()).hasSize(4);
    }
  }

  /**
   * Adapters on the linear layers of single experts, under the names of the family's checkpoints.
   */
  @ParameterizedTest
  @MethodSource("perExpert")
  void linearLayersOfSingleExpertsAreReadOrRefused(Family family) throws IOException {
    AdapterFiles files = new AdapterFiles().config("r", "2").config("lora_alpha", "3");
    String refusedTensor = null;
    Map<String, double[][]> expected = new LinkedHashMap<>();
    MoeModel model = new MoeModel(H, 24, E, family.gateUp(), List.of(4));
    for (Map.Entry<String, List<Long>> layer : family.perExpert().entrySet()) {
      for (int expert = 0; expert < E; expert++) {
        String module = layer.getKey().replace(".N.", ".4.").replace("M", Integer.toString(expert));
        String linear = module.substring(module.lastIndexOf('.') + 1);
        int out = Math.toIntExact(layer.getValue().get(0));
        int in = Math.toIntExact(layer.getValue().get(1));
        Pair pair = new Pair(module, R, in, out);
        String name = "base_model.model." + module;
        files
            .tensor(name + ".lora_A.weight", DType.F32, R, in, (i, j) -> a(pair, i, j))
            .tensor(name + ".lora_B.weight", DType.F32, out, R, (i, j) -> b(pair, i, j));
        boolean known = linear.matches("(gate|up|down)_proj|w[123]");
        refusedTensor = known || refusedTensor != null ? refusedTensor : name + ".lora_A.weight";
        if (known) {
          boolean down = linear.equals("down_proj") || linear.equals("w2");
          Projection projection = down ? Projection.DOWN : Projection.GATE_UP;
          boolean second =
              (linear.equals("up_proj") || linear.equals("w3")) && family.gateUp().gated();
          double[][] whole =
              expected.computeIfAbsent(
                  "4|%s|%d".formatted(projection, expert),
                  any -> new double[model.outputWidth(projection)][model.inputWidth(projection)]);
          for (int o = 0; o < out; o++) {
            for (int h = 0; h < in; h++) {
              for (int r = 0; r < R; r++) {
                whole[(second ? 24 : 0) + o][h] += 1.5 * b(pair, o, r) * a(pair, r, h);
              }
            }
          }
        }
      }
    }
    Path path = files.write(directory);
    if (refusedTensor != null) {
      String tensor = refusedTensor;
      assertThatThrownBy(() -> PeftAdapter.open(path).close())
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining(tensor);
      return;
    }
    try (PeftAdapter adapter = PeftAdapter.open(path)) {
      Deltas.require(adapter.toLoraAdapter(model), model, expected);
    }
  }

  /** The table is whole: what has no adapter is known by name. */
  @Test
  void everyFamilyIsOneOfThem() throws IOException {
    List<String> without =
        all().stream().filter(f -> f.lora() == null).map(Family::type).sorted().toList();
    assertThat(all()).hasSize(83);
    assertThat(without)
        .containsExactly(
            "deepseek_ocr2_encoder",
            "diffusion_gemma",
            "doge",
            "glm5_next",
            "glm5_next_text",
            "nllb-moe",
            "qwen3_omni_moe",
            "step3p5",
            "step3p7",
            "switch_transformers",
            "vitpose_backbone",
            "youtu");
  }
}
