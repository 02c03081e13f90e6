package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.peft.ReadOptions.ColumnOrder;
import io.github.moelora.peft.names.NamePattern;
import io.github.moelora.testkit.AdapterFiles;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

final class AdapterConfigTest {
  private static final String MODULE = "model.layers.3.mlp.experts.5.gate_proj";

  @TempDir private Path directory;

  private Path write(String json) throws IOException {
    return Files.writeString(directory.resolve("adapter_config.json"), json);
  }

  private AdapterConfig read(AdapterFiles files) throws IOException {
    return AdapterConfig.read(write(files.configJson()));
  }

  private AdapterConfig with(String option, String json) throws IOException {
    return read(new AdapterFiles().config(option, json));
  }

  private AdapterFormatException refusal(String json) throws IOException {
    Path path = write(json);
    AdapterFormatException refusal =
        catchThrowableOfType(AdapterFormatException.class, () -> AdapterConfig.read(path));
    assertThat(refusal).as(json).isNotNull();
    assertThat(refusal.file()).isEqualTo(path);
    assertThat(refusal.tensor()).isNull();
    return refusal;
  }

  private static ExpertKey key(int layer, int expert) throws Exception {
    return key("model.layers.%d.mlp.experts.%d.gate_proj".formatted(layer, expert));
  }

  private static ExpertKey key(String module) throws Exception {
    ExpertKey key = ExpertKey.parse(module + ".lora_A.weight");
    if (key == null) {
      throw new IllegalArgumentException(module);
    }
    return key;
  }

  @Test
  void rankAndAlphaHoldForAllModulesWithoutPatterns() throws IOException {
    AdapterConfig config = read(new AdapterFiles().config("r", "4").config("lora_alpha", "10"));
    assertThat(config.rank(MODULE)).isEqualTo(4);
    assertThat(config.scale(MODULE)).isEqualTo(2.5f);
    assertThat(config.notes()).isEmpty();
  }

  /** vLLM #55545: the scale of an rsLoRA adapter is never {@code alpha / r}. */
  @ParameterizedTest
  @CsvSource({
    "1, 8, false, 8",
    "16, 8, false, 0.5",
    "1, 8, true, 8",
    "16, 8, true, 2",
    "9, 1.5, true, 0.5",
    "3, -2, false, -0.6666667",
    "64, 128, true, 16",
    "7, 0, true, 0"
  })
  void rsLoraDividesByTheRoot(int rank, String alpha, boolean rsLora, float scale)
      throws IOException {
    AdapterConfig config =
        read(
            new AdapterFiles()
                .config("r", Integer.toString(rank))
                .config("lora_alpha", alpha)
                .config("use_rslora", Boolean.toString(rsLora)));
    assertThat(config.scale(MODULE)).isEqualTo(scale);
  }

  @Test
  void theRankInEffectScalesUnderRsLoraToo() throws IOException {
    AdapterConfig config =
        read(
            new AdapterFiles()
                .config("r", "64")
                .config("lora_alpha", "6")
                .config("use_rslora", "true")
                .config("rank_pattern", "{\"gate_proj\": 4, \"up_proj\": 9}")
                .config("alpha_pattern", "{\"experts\\\\.5\\\\.\\\\w+\": 8}"));
    assertThat(config.rank(MODULE)).isEqualTo(4);
    assertThat(config.scale(MODULE)).isEqualTo(4);
    assertThat(config.scale("a.experts.6.up_proj")).isEqualTo(2);
    assertThat(config.scale("a.experts.6.down_proj")).isEqualTo(0.75f);
  }

  /** The first entry that matches counts, in the order of the file. */
  @Test
  void theFirstPatternThatMatchesCounts() throws IOException {
    AdapterConfig config =
        with("rank_pattern", "{\"5.gate_proj\": 3, \"gate_proj\": 4, \".*proj\": 5}");
    assertThat(config.rank(MODULE)).isEqualTo(3);
    assertThat(config.rank("model.layers.3.mlp.experts.6.gate_proj")).isEqualTo(4);
    assertThat(config.rank("model.layers.3.mlp.experts.6.up_proj")).isEqualTo(5);
    assertThat(config.rank("model.layers.3.mlp.gate")).isEqualTo(2);
  }

  @Test
  void aListOfTargetModulesHoldsEndsOfNames() throws IOException {
    AdapterConfig config = with("target_modules", "[\"gate_proj\", \"5.up_proj\"]");
    assertThat(config.targetsModule(MODULE)).isTrue();
    assertThat(config.targetsModule("gate_proj")).isTrue();
    assertThat(config.targetsModule("experts.5.up_proj")).isTrue();
    assertThat(config.targetsModule("experts.6.up_proj")).isFalse();
    assertThat(config.targetsModule("experts.15.up_proj")).isFalse();
    assertThat(config.targetsModule("experts.5.agate_proj")).isFalse();
    assertThat(config.targetsModule("gate_proj.experts")).isFalse();
  }

  @Test
  void aStringOfTargetModulesIsAnExpressionForWholeNames() throws IOException {
    AdapterConfig config =
        with("target_modules", "\".*\\\\.experts\\\\.[0-7]\\\\.(gate|up)_proj\"");
    assertThat(config.targetsModule(MODULE)).isTrue();
    assertThat(config.targetsModule("model.experts.8.gate_proj")).isFalse();
    assertThat(config.targetsModule("model.experts.7.gate_proj.x")).isFalse();
    AdapterConfig part = with("target_modules", "\"gate_proj\"");
    assertThat(part.targetsModule(MODULE)).isFalse();
    assertThat(part.targetsModule("gate_proj")).isTrue();
  }

  @ParameterizedTest
  @ValueSource(strings = {"all-linear", "ALL-LINEAR", "All-Linear"})
  void allLinearTargetsAll(String text) throws IOException {
    AdapterConfig config = with("target_modules", "\"%s\"".formatted(text));
    assertThat(config.targetsModule(MODULE)).isTrue();
    assertThat(with("target_modules", "\"all.linear\"").targetsModule(MODULE)).isFalse();
  }

  @Test
  void withoutTargetModulesEverythingIsTargetedUnlessParametersAre() throws IOException {
    assertThat(read(new AdapterFiles()).targetsModule(MODULE)).isTrue();
    assertThat(with("target_modules", "[]").targetsModule(MODULE)).isFalse();
    assertThat(with("target_parameters", "[\"experts.down_proj\"]").targetsModule(MODULE))
        .isFalse();
  }

  @Test
  void excludedModulesAreKnownByEndOrExpression() throws IOException {
    assertThat(read(new AdapterFiles()).excludesModule(MODULE)).isFalse();
    assertThat(with("exclude_modules", "[]").excludesModule(MODULE)).isFalse();
    assertThat(with("exclude_modules", "[\"5.gate_proj\"]").excludesModule(MODULE)).isTrue();
    assertThat(with("exclude_modules", "[\"gate\"]").excludesModule(MODULE)).isFalse();
    assertThat(with("exclude_modules", "\".*gate.*\"").excludesModule(MODULE)).isTrue();
    assertThat(with("exclude_modules", "\"gate.*\"").excludesModule(MODULE)).isFalse();
  }

  @Test
  void parametersAreTargetedByTheEndsOfTheirNames() throws IOException {
    AdapterConfig config =
        with("target_parameters", "[\"experts.gate_up_proj\", \"input_linear.weight\", \"down\"]");
    assertThat(config.targetsParameter("model.mlp.experts.gate_up_proj")).isTrue();
    assertThat(config.targetsParameter("experts.gate_up_proj")).isTrue();
    assertThat(config.targetsParameter("model.mlp.xexperts.gate_up_proj")).isFalse();
    assertThat(config.targetsParameter("model.mlp.experts.down_proj")).isFalse();
    assertThat(config.targetedParameter("a.experts"))
        .isIn("a.experts.gate_up_proj", "a.experts.down");
    assertThat(config.targetedParameter("a.input_linear"))
        .isIn("a.input_linear.weight", "a.input_linear.down");
    AdapterConfig one = with("target_parameters", "[\"experts.gate_up_proj\"]");
    assertThat(one.targetedParameter("a.experts")).isEqualTo("a.experts.gate_up_proj");
    assertThat(one.targetedParameter("experts")).isEqualTo("experts.gate_up_proj");
    assertThat(one.targetedParameter("a.xexperts")).isNull();
    assertThat(one.targetedParameter("a.router")).isNull();
    assertThat(read(new AdapterFiles()).targetedParameter("a.experts")).isNull();
  }

  @Test
  void layersToTransformIsAnIntegerOrAList() throws Exception {
    assertThat(read(new AdapterFiles()).transformsLayer(key(3, 5))).isTrue();
    assertThat(with("layers_to_transform", "[]").transformsLayer(key(3, 5))).isTrue();
    assertThat(with("layers_to_transform", "3").transformsLayer(key(3, 5))).isTrue();
    assertThat(with("layers_to_transform", "4").transformsLayer(key(3, 5))).isFalse();
    assertThat(with("layers_to_transform", "[2, 3]").transformsLayer(key(3, 5))).isTrue();
    assertThat(with("layers_to_transform", "[2, 4]").transformsLayer(key(3, 5))).isFalse();
    assertThat(with("layers_to_transform", "[2, 5]").transformsLayer(key(3, 5))).isFalse();
  }

  /** Before 0.20, PEFT took the last number of a name, which is the expert's. */
  @Test
  void oldVersionsMayHaveTakenTheExpertForTheLayer() throws Exception {
    AdapterFiles files =
        new AdapterFiles()
            .config("layers_to_transform", "[5]")
            .config("peft_version", "\"0.19.1\"");
    assertThat(read(files).transformsLayer(key(3, 5))).isTrue();
    assertThat(read(files).transformsLayer(key(3, 4))).isFalse();
    assertThat(read(files.config("layers_pattern", "\"layers\"")).transformsLayer(key(3, 5)))
        .isFalse();
    assertThat(read(files.config("layers_pattern", "[]")).transformsLayer(key(3, 5))).isTrue();
    assertThat(read(files.withoutConfig("peft_version")).transformsLayer(key(3, 5))).isTrue();
    assertThat(read(files.config("peft_version", "\"0.20.0\"")).transformsLayer(key(3, 5)))
        .isFalse();
  }

  /** PEFT wants two names before the number, so it passes over that of a model without a head. */
  @Test
  void aNameThatBeginsWithTheLayersMisleadsEveryVersion() throws Exception {
    ExpertKey headless = key("layers.3.mlp.experts.5.gate_proj");
    assertThat(with("layers_to_transform", "[5]").transformsLayer(headless)).isTrue();
    assertThat(with("layers_to_transform", "[4]").transformsLayer(headless)).isFalse();
  }

  @Test
  void theLayerOfAModuleThatIsNamedInFullIsNotAsked() throws Exception {
    AdapterFiles files = new AdapterFiles().config("layers_to_transform", "[1]");
    files.config("target_modules", "[\"%s\"]".formatted(MODULE));
    assertThat(read(files).transformsLayer(key(3, 5))).isTrue();
    assertThat(read(files).transformsLayer(key(3, 6))).isFalse();
  }

  @Test
  void theBaseModelIsKnownByItsRecordedNames() throws IOException {
    AdapterConfig config = with("base_model_name_or_path", "\"openai/GPT_OSS-20b\"");
    assertThat(config.baseModelNames("gptoss")).isTrue();
    assertThat(config.baseModelNames("gptosss")).isFalse();
    assertThat(
            with("auto_mapping", "{\"base_model_class\": \"GptOssForCausalLM\"}")
                .baseModelNames("gptoss"))
        .isTrue();
    assertThat(read(new AdapterFiles()).baseModelNames("gptoss")).isFalse();
  }

  /** A model that was distilled from gpt-oss is called after it, but is not built like it. */
  @ParameterizedTest
  @CsvSource({
    "openai/gpt-oss-20b, true",
    "unsloth/gpt-oss-120b-BF16, true",
    "/models/my_gpt_oss, true",
    "/models/qwen3-30b-a3b-gpt-oss-distill, false",
    "Qwen/Qwen3-30B-A3B, false",
  })
  void gptOssIsKnownFromItsOffspring(String base, boolean gptOss) throws IOException {
    assertThat(with("base_model_name_or_path", "\"%s\"".formatted(base)).isGptOss())
        .isEqualTo(gptOss);
  }

  @Test
  void theLayoutOfBMayBeMarked() throws IOException {
    assertThat(read(new AdapterFiles()).columnOrder()).isNull();
    assertThat(with("lora_B_layout", "\"rank_major\"").columnOrder())
        .isEqualTo(ColumnOrder.RANK_MAJOR);
    AdapterConfig grouped = with("lora_B_layout", "\"grouped_by_expert\"");
    assertThat(grouped.columnOrder()).isEqualTo(ColumnOrder.GROUPED_BY_EXPERT);
    assertThat(grouped.notes()).singleElement().asString().contains("experts slowest");
  }

  @Test
  void notesTellOfOptionsThatDoNotMatterHere() throws IOException {
    assertThat(with("modules_to_save", "[\"lm_head\"]").notes())
        .containsExactly(
            "modules_to_save is set; tensors that it saved are not applied: [lm_head]");
    assertThat(with("trainable_token_indices", "[1]").notes())
        .containsExactly(
            "trainable_token_indices is set; tensors that it saved are not applied: [1]");
    assertThat(with("future_option", "{\"a\": 1.5}").notes())
        .containsExactly("option future_option is not known and has no effect: {a=1.5}");
    assertThat(with("future_option", "\"x\\u001b[2J\"").notes().getFirst()).endsWith("x\uFFFD[2J");
    assertThat(with("future_option", "\"%s\"".formatted("x".repeat(100_000))).notes().getFirst())
        .hasSizeLessThan(310);
  }

  @ParameterizedTest
  @ValueSource(strings = {"null", "false", "[]", "{}", "\"\""})
  void optionsThatAreOffSayNothing(String off) throws IOException {
    for (String option : new String[] {"use_dora", "layer_replication", "future_option"}) {
      assertThat(with(option, off).notes()).isEmpty();
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"null", "true", "false", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "\"mica\""})
  void initialisationsThatLeaveTheBaseAloneAreTaken(String value) throws IOException {
    assertThat(with("init_lora_weights", value).notes()).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "bias",
        "auto_mapping",
        "lora_dropout",
        "task_type",
        "revision",
        "inference_mode",
        "megatron_core",
        "loftq_config",
        "eva_config",
        "runtime_config",
        "qalora_group_size"
      })
  void optionsWithoutEffectAreTakenInSilence(String option) throws IOException {
    assertThat(with(option, "\"none\"").notes()).isEmpty();
  }

  static Stream<Arguments> faults() {
    return Stream.of(
        fault("peft_type", "\"LOHA\"", "peft_type must be LORA", "LOHA"),
        fault("peft_type", "null", "peft_type must be LORA", "null"),
        fault("use_dora", "true", "use_dora must be off", "true"),
        fault("use_dora", "1", "use_dora must be off", "1"),
        fault("use_dora", "\"no\"", "use_dora must be off", "no"),
        fault("lora_bias", "true", "lora_bias must be off", "true"),
        fault("fan_in_fan_out", "true", "fan_in_fan_out must be off", "true"),
        fault("use_qalora", "true", "use_qalora must be off", "true"),
        fault("use_bdlora", "{\"a\": 1}", "use_bdlora must be off", "{a=1}"),
        fault("layer_replication", "[[0, 1]]", "layer_replication must be off", "[[0, 1]]"),
        fault("alora_invocation_tokens", "[1]", "alora_invocation_tokens must be off", "[1]"),
        fault("arrow_config", "{\"a\": 1}", "arrow_config must be off", "{a=1}"),
        fault("kasa_config", "{\"a\": 1}", "kasa_config must be off", "{a=1}"),
        fault("monteclora_config", "{\"a\": 1}", "monteclora_config must be off", "{a=1}"),
        fault("velora_config", "{\"a\": 1}", "velora_config must be off", "{a=1}"),
        fault("bias", "\"some\"", "bias must be none, all or lora_only", "some"),
        fault("bias", "null", "bias must be none, all or lora_only", "null"),
        fault("init_lora_weights", "\"pissa\"", "init_lora_weights must leave", "pissa"),
        fault("init_lora_weights", "\"olora\"", "init_lora_weights must leave", "olora"),
        fault("init_lora_weights", "7", "init_lora_weights must leave", "7"),
        fault("r", "null", "r must be an integer in [1, 1048576]", "null"),
        fault("r", "0", "r must be an integer", "0"),
        fault("r", "-4", "r must be an integer", "-4"),
        fault("r", "1048577", "r must be an integer", "1048577"),
        fault("r", "4.0", "r must be an integer", "4.0"),
        fault("r", "\"4\"", "r must be an integer", "4"),
        fault("r", "true", "r must be an integer", "true"),
        fault("lora_alpha", "null", "lora_alpha must be a finite number", "null"),
        fault("lora_alpha", "\"16\"", "lora_alpha must be a finite number", "16"),
        fault("lora_alpha", "1e999", "lora_alpha must be a finite number", "Infinity"),
        fault("use_rslora", "1", "use_rslora must be true or false", "1"),
        fault("use_rslora", "\"true\"", "use_rslora must be true or false", "true"),
        fault("peft_version", "21", "peft_version must be a version", "21"),
        fault("peft_version", "\"newest\"", "peft_version must be a version", "newest"),
        fault("lora_B_layout", "\"x\"", "lora_B_layout must be rank_major or", "x"),
        fault("lora_B_layout", "1", "lora_B_layout must be rank_major or", "1"),
        fault("rank_pattern", "[]", "rank_pattern must be an object", "[]"),
        fault("rank_pattern", "{\"a\": 0}", "rank_pattern of a must be an integer", "0"),
        fault("rank_pattern", "{\"(\": 1}", "rank_pattern must hold regular expressions", "("),
        fault("rank_pattern", "{\"a{1,9999999999}\": 1}", "must hold regular expressions", "a{1,"),
        fault("alpha_pattern", "3", "alpha_pattern must be an object", "3"),
        fault("alpha_pattern", "{\"a\": true}", "alpha_pattern of a must be a finite", "true"),
        fault("alpha_pattern", "{\"[\": 1}", "alpha_pattern must hold regular expressions", "["),
        fault("target_modules", "7", "target_modules must be a list of strings", "7"),
        fault("target_modules", "{}", "target_modules must be a list of strings", "{}"),
        fault("target_modules", "[7]", "target_modules must hold strings", "7"),
        fault("target_modules", "\"*\"", "target_modules must hold regular expressions", "*"),
        fault("exclude_modules", "true", "exclude_modules must be a list of strings", "true"),
        fault("exclude_modules", "\"+\"", "exclude_modules must hold regular expressions", "+"),
        fault("target_parameters", "\"a\"", "target_parameters must be a list of strings", "a"),
        fault("target_parameters", "[null]", "target_parameters must hold strings", "null"),
        fault("layers_to_transform", "\"1\"", "layers_to_transform must hold integers", "1"),
        fault("layers_to_transform", "[-1]", "layers_to_transform must hold integers", "-1"),
        fault("layers_to_transform", "[1.5]", "layers_to_transform must hold integers", "1.5"));
  }

  private static Arguments fault(String option, String json, String rule, String value) {
    return Arguments.of(option, json, rule, value);
  }

  @ParameterizedTest
  @MethodSource("faults")
  void anOptionThatCannotBeReadIsRefused(String option, String json, String rule, String value)
      throws IOException {
    AdapterFormatException refusal = refusal(new AdapterFiles().config(option, json).configJson());
    assertThat(refusal.rule()).contains(rule);
    assertThat(refusal.value()).contains(value);
  }

  @Test
  void aScaleThatOverflowsIsRefused() throws IOException {
    AdapterConfig config = with("lora_alpha", "1e300");
    assertThatThrownBy(() -> config.scale(MODULE))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("the scale of %s must fit in float32, got 5.0E299".formatted(MODULE));
  }

  static Stream<Arguments> texts() {
    return Stream.of(
        Arguments.of("", "must stand here"),
        Arguments.of("[]", "must stand here"),
        Arguments.of("null", "must stand here"),
        Arguments.of("{} {}", "nothing must follow"),
        Arguments.of("{\"r\": 1, \"r\": 2}", "the key r twice"),
        Arguments.of("{\"a\": {\"b\": 1, \"b\": 1}}", "the key b twice"),
        Arguments.of("{\"r\": 1,}", "line 1, column"),
        Arguments.of("{'r': 1}", "line 1, column 2"),
        Arguments.of("{\"r\": NaN}", "NaN"),
        Arguments.of("{\"r\": 01}", "line 1"),
        Arguments.of("{\"r\": 99999999999999999999}", "line 1"),
        Arguments.of("{\"r\": %s}".formatted("9".repeat(65)), "exceeds the maximum"),
        Arguments.of("{\"%s\": 1}".formatted("n".repeat(4097)), "exceeds the maximum"),
        Arguments.of("{\"a\": \"%s\"}".formatted("s".repeat(1 << 21)), "exceeds the maximum"),
        Arguments.of("{\"a\": ".repeat(40) + "1" + "}".repeat(40), "nesting depth"),
        Arguments.of("[".repeat(100_000), "must stand here"),
        Arguments.of("{\"a\":" + "[".repeat(100_000), "nesting depth"));
  }

  @ParameterizedTest
  @MethodSource("texts")
  void aTextThatIsNotStrictJsonIsRefused(String text, String value) throws IOException {
    AdapterFormatException refusal = refusal(text);
    assertThat(refusal.rule()).contains("JSON object in UTF-8 without duplicate keys");
    assertThat(refusal.value()).contains(value);
  }

  @Test
  void bytesThatAreNotUtf8AreRefused() throws IOException {
    Path path = directory.resolve("adapter_config.json");
    for (byte[] bytes :
        new byte[][] {
          {'{', '"', (byte) 0xff, '"', ':', '1', '}'},
          {'{', '"', (byte) 0xc0, (byte) 0x80, '"', ':', '1', '}'},
          "{}".getBytes(StandardCharsets.UTF_16LE),
          "{}".getBytes(StandardCharsets.UTF_32BE),
        }) {
      Files.write(path, bytes);
      assertThatThrownBy(() -> AdapterConfig.read(path))
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining("the file must be a JSON object in UTF-8");
    }
  }

  @Test
  void aHugeFileIsRefusedUnread() throws IOException {
    Path path = directory.resolve("adapter_config.json");
    try (RandomAccessFile sparse = new RandomAccessFile(path.toFile(), "rw")) {
      sparse.setLength((16 << 20) + 1);
    }
    assertThatThrownBy(() -> AdapterConfig.read(path))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessage(path + ": the file must have at most 16777216 bytes, got 16777217");
  }

  @Test
  void theLargestFileIsRead() throws IOException {
    String json = new AdapterFiles().configJson();
    assertThat(AdapterConfig.read(write(json + " ".repeat((16 << 20) - json.length()))).rank("a"))
        .isEqualTo(2);
  }

  @Test
  void tooManyPatternsAreRefused() throws IOException {
    StringBuilder entries = new StringBuilder("{\"x\": 1");
    for (int i = 1; i < 262_144; i++) {
      entries.append(", \"a%d\": 1".formatted(i));
    }
    assertThat(with("rank_pattern", entries + "}").rank("a262143")).isEqualTo(1);
    assertThat(
            refusal(new AdapterFiles().config("rank_pattern", entries + ",\"b\": 1}").configJson()))
        .hasMessageContaining(
            "rank_pattern must be an object with at most 262144 entries, got 262145");
  }

  /** Work that many names and an expression make together is bounded. */
  @Test
  void anExpressionThatTakesTooLongIsRefused() throws IOException {
    Path path =
        write(new AdapterFiles().config("rank_pattern", "{\"(a*b*){0,500}\": 3}").configJson());
    AdapterConfig config =
        AdapterConfig.read(path, ReadOptions.NONE, new NamePattern.Budget(2_000_000));
    String name = "a".repeat(300);
    assertThat(config.rank(name)).isEqualTo(3);
    assertThatThrownBy(
            () -> {
              for (int i = 0; i < 10; i++) {
                config.rank(name);
              }
            })
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(
            "regular expressions must match the module names within 536870912 steps");
  }

  @Test
  void targetedParametersAreWorkToo() throws IOException {
    Path path =
        write(new AdapterFiles().config("target_parameters", "[\"a.b\", \"c.d\"]").configJson());
    AdapterConfig config = AdapterConfig.read(path, ReadOptions.NONE, new NamePattern.Budget(20));
    assertThat(config.targetedParameter("x")).isNull();
    assertThatThrownBy(() -> config.targetedParameter("x".repeat(20)))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("must match the module names within");
  }

  @Test
  void theLargestRankIsTaken() throws IOException {
    assertThat(with("r", "1048576").rank(MODULE)).isEqualTo(1 << 20);
    assertThat(with("r", "1").rank(MODULE)).isEqualTo(1);
  }

  /** What would take years by trial and error is answered at once. */
  @ParameterizedTest
  @ValueSource(strings = {"(a+)+b", "(.*)*x", "a*(|){60}x", "(a?){60}a{60}b"})
  void noExpressionHangs(String regex) throws IOException {
    String name = "a".repeat(200);
    assertThat(with("rank_pattern", "{\"%s\": 1}".formatted(regex)).rank(name)).isEqualTo(2);
    assertThat(with("target_modules", "\"%s\"".formatted(regex)).targetsModule(name)).isFalse();
    assertThat(with("exclude_modules", "\"%s\"".formatted(regex)).excludesModule(name)).isFalse();
  }
}
