package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.json.Json;
import io.github.moelora.peft.ReadOptions.ColumnOrder;
import io.github.moelora.testkit.Deltas;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Adapters in the shapes that public bug reports describe: read into the expected deltas, or
 * refused with a sentence that says what to do. Each folder's NOTE.txt names its sources.
 */
final class WildAdapterTest {
  /** What the file {@code expected.json} of a case holds. */
  record Expected(MoeModel model, Map<String, double[][]> deltas) {}

  private static Path wild() {
    URL url = Objects.requireNonNull(WildAdapterTest.class.getResource("/wild"));
    try {
      return Path.of(url.toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  static Path folder(String name) {
    Path folder = wild().resolve(name);
    return name.equals("named_adapter_in_subfolder") ? folder.resolve("policy") : folder;
  }

  static @Nullable Expected expected(String name) throws IOException {
    Path file = wild().resolve(name).resolve("expected.json");
    if (!Files.exists(file)) {
      return null;
    }
    try (InputStream json = Files.newInputStream(file)) {
      Map<String, @Nullable Object> object = Json.object(json);
      List<Integer> layers = new ArrayList<>();
      for (Object layer : (List<?>) Objects.requireNonNull(object.get("layers"))) {
        layers.add(((Long) layer).intValue());
      }
      MoeModel model =
          new MoeModel(
              number(object, "hiddenSize"),
              number(object, "intermediateSize"),
              number(object, "experts"),
              GateUp.valueOf((String) Objects.requireNonNull(object.get("gateUp"))),
              layers);
      return new Expected(model, Deltas.ofJson((Map<?, ?>) object.get("deltas")));
    }
  }

  private static int number(Map<String, @Nullable Object> object, String key) {
    return ((Long) Objects.requireNonNull(object.get(key), key)).intValue();
  }

  static ReadOptions options(String name) {
    return name.equals("unsloth_unmarked_grouped")
        ? ReadOptions.NONE.withColumnOrder(ColumnOrder.GROUPED_BY_EXPERT)
        : ReadOptions.NONE;
  }

  static Stream<String> cases() throws IOException {
    try (Stream<Path> folders = Files.list(wild())) {
      return folders
          .filter(Files::isDirectory)
          .map(folder -> String.valueOf(folder.getFileName()))
          .sorted()
          .toList()
          .stream();
    }
  }

  static Stream<String> readable() throws IOException {
    return cases().filter(name -> Files.exists(wild().resolve(name).resolve("expected.json")));
  }

  @ParameterizedTest
  @MethodSource("readable")
  void isReadAsExpected(String name) throws IOException {
    Expected expected = Objects.requireNonNull(expected(name));
    try (PeftAdapter adapter = PeftAdapter.open(folder(name), options(name))) {
      LoraAdapter lora = adapter.toLoraAdapter(expected.model());
      Deltas.require(lora, expected.model(), expected.deltas());
    }
  }

  /** What a message of a refused case must say. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "adapter_model_bin | adapter_model.safetensors: it must be a regular file"
            + " (adapter_model.bin lies beside it | save_pretrained",
        "git_lfs_pointer | git lfs pull | a Git LFS pointer",
        "mlx_adapter | the adapter must be PEFT's | mlx-lm",
      })
  void isRefusedWithWhatToDo(String name, String message, String more) {
    assertThatThrownBy(() -> PeftAdapter.open(folder(name)).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(folder(name).toString())
        .hasMessageContaining(message)
        .hasMessageContaining(more);
  }

  @Test
  void theFolderOfANamedAdapterIsPointedAt() {
    Path parent = wild().resolve("named_adapter_in_subfolder");
    assertThatThrownBy(() -> PeftAdapter.open(parent).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("give " + parent.resolve("policy"));
  }

  /** Eight experts of rank 1 under a config of rank 4 are not two of rank 4. */
  @Test
  void ranksThatATrainerDividedAreNotTakenForFewerExperts() throws IOException {
    try (PeftAdapter adapter = PeftAdapter.open(folder("normalized_moe_rank_without_pattern"))) {
      assertThatThrownBy(() -> PeftAdapter.inferModel(List.of(adapter)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("experts must be given")
          .hasMessageContaining("records no version of PEFT");
      MoeModel model = new MoeModel(8, 6, 8, GateUp.HALVES, List.of(0));
      assertThatThrownBy(() -> adapter.toLoraAdapter(model))
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining("shape[0] must be 8 experts * rank 4 = 32")
          .hasMessageContaining("gives each expert rank 1 must say so in the config's rank_pattern")
          .hasMessageContaining("got 8");
    }
  }

  /** Every case is either read or refused above. */
  @Test
  void noCaseIsLeftOut() throws IOException {
    List<String> refused =
        List.of(
            "adapter_model_bin",
            "git_lfs_pointer",
            "mlx_adapter",
            "normalized_moe_rank_without_pattern");
    List<String> all = new ArrayList<>(readable().toList());
    all.addAll(refused);
    assertThat(cases()).containsExactlyInAnyOrderElementsOf(all).hasSize(19);
  }

  @Test
  void aFileThatHidesItsColumnOrderIsWarnedOf() throws IOException {
    Path folder = folder("unsloth_unmarked_grouped");
    try (PeftAdapter adapter = PeftAdapter.open(folder)) {
      assertThat(adapter.warnings())
          .singleElement()
          .asString()
          .contains("rank by rank", "expert by expert", "GROUPED_BY_EXPERT", "columns=grouped");
    }
    for (ColumnOrder order : ColumnOrder.values()) {
      try (PeftAdapter adapter =
          PeftAdapter.open(folder, ReadOptions.NONE.withColumnOrder(order))) {
        assertThat(adapter.warnings()).isEmpty();
      }
    }
  }

  @Test
  void exchangedWrappersAreWarnedOf() throws IOException {
    try (PeftAdapter adapter = PeftAdapter.open(folder("axolotl_reversed_nesting"))) {
      assertThat(adapter.warnings()).singleElement().asString().contains("exchanged order");
    }
  }

  /** The adapter's own names and shapes tell the model where they can; `run` asks for no more. */
  @ParameterizedTest
  @MethodSource("readable")
  void theModelIsInferredWhereTheFileTellsIt(String name) throws IOException {
    MoeModel model = Objects.requireNonNull(expected(name)).model();
    try (PeftAdapter adapter = PeftAdapter.open(folder(name))) {
      List<PeftAdapter> adapters = List.of(adapter);
      if (name.equals("skyrl_megatron_flat_no_target_parameters")) {
        assertThatThrownBy(() -> PeftAdapter.inferModel(adapters))
            .hasMessageContaining("experts must be given");
        return;
      }
      MoeModel inferred = PeftAdapter.inferModel(adapters);
      assertThat(inferred.hiddenSize()).isEqualTo(model.hiddenSize());
      assertThat(inferred.intermediateSize()).isEqualTo(model.intermediateSize());
      assertThat(inferred.experts()).isEqualTo(model.experts());
      assertThat(inferred.gateUp()).isEqualTo(model.gateUp());
      assertThat(inferred.layers()).isEqualTo(model.layers());
      assertThat(adapter.toLoraAdapter(inferred).layers()).isEqualTo(model.layers());
    }
  }

  @Test
  void denseModulesAreDelivered() throws IOException {
    String[] names = {
      "prime_rl_experts_in_target_modules", "skyrl_megatron_flat_no_target_parameters"
    };
    for (String name : names) {
      MoeModel model = Objects.requireNonNull(expected(name)).model();
      try (PeftAdapter adapter = PeftAdapter.open(folder(name))) {
        LoraAdapter lora = adapter.toLoraAdapter(model);
        assertThat(lora.modules()).hasSize(1).first().asString().endsWith("self_attn.q_proj");
        assertThat(lora.slices(lora.modules().getFirst()).getFirst().scale()).isEqualTo(2);
        assertThat(lora.slices(0, Projection.DOWN, 3)).hasSize(1);
      }
    }
  }
}
