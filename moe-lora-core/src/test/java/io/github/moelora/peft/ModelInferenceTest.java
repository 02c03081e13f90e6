package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.testkit.AdapterFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class ModelInferenceTest {
  private static final int H = 10;
  private static final int I = 3;
  private static final int E = 4;
  private static final int R = 2;

  @TempDir private Path directory;
  private final List<PeftAdapter> adapters = new ArrayList<>();

  @AfterEach
  void close() {
    adapters.forEach(PeftAdapter::close);
  }

  private PeftAdapter open(AdapterFiles files) throws IOException {
    Path path = files.write(directory.resolve("adapter" + adapters.size()));
    adapters.add(PeftAdapter.open(path));
    return adapters.getLast();
  }

  private static String expert(int layer, int expert, String linear) {
    return "base_model.model.model.layers.%d.mlp.experts.%d.%s".formatted(layer, expert, linear);
  }

  private PeftAdapter perExpert(int layer, int experts, String... linears) throws IOException {
    AdapterFiles files = new AdapterFiles();
    for (int e = 0; e < experts; e++) {
      for (String linear : linears) {
        boolean down = linear.equals("down_proj");
        files.pair(expert(layer, e, linear), R, down ? I : H, down ? H : I);
      }
    }
    return open(files);
  }

  private static AdapterFiles fusedFiles(
      int layer, int experts, int in, int out, String parameter) {
    return new AdapterFiles()
        .config("target_parameters", "[\"experts.%s\"]".formatted(parameter))
        .pair(
            "base_model.model.model.layers.%d.mlp.experts".formatted(layer), experts * R, in, out);
  }

  private static ModelHints hints(
      @Nullable Integer hidden, @Nullable Integer intermediate, @Nullable Integer experts) {
    return new ModelHints(hidden, intermediate, experts, null, null);
  }

  @Test
  void widthsExpertsAndLayersComeFromThePairs() throws IOException {
    perExpert(5, E, "gate_proj", "down_proj");
    perExpert(2, 1, "up_proj", "gate_proj");
    assertThat(PeftAdapter.inferModel(adapters))
        .isEqualTo(new MoeModel(H, I, E, GateUp.HALVES, List.of(2, 5)));
  }

  @Test
  void fusedPairsTellTheNumberOfExperts() throws IOException {
    open(fusedFiles(0, E, H, 2 * I, "gate_up_proj"));
    perExpert(1, 2, "gate_proj");
    assertThat(PeftAdapter.inferModel(adapters))
        .isEqualTo(new MoeModel(H, I, E, GateUp.HALVES, List.of(0, 1)));
  }

  @Test
  void fusedPairsMustAgreeOnTheNumberOfExperts() throws IOException {
    open(fusedFiles(0, E, H, 2 * I, "gate_up_proj"));
    open(fusedFiles(0, E + 1, H, 2 * I, "gate_up_proj"));
    assertThatThrownBy(() -> PeftAdapter.inferModel(adapters))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("adapter1")
        .hasMessageContaining("it must hold 4 experts, got 5");
    assertThatThrownBy(
            () -> PeftAdapter.inferModel(adapters.subList(0, 1), hints(null, null, E + 1)))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("it must hold 5 experts, got 4");
  }

  @Test
  void expertsThatLeaveNumbersOutDoNotTellHowManyThereAre() throws IOException {
    open(
        new AdapterFiles()
            .pair(expert(0, 0, "gate_proj"), R, H, I)
            .pair(expert(0, 2, "gate_proj"), R, H, I));
    assertThatThrownBy(() -> PeftAdapter.inferModel(adapters))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("experts must be given, got adapters on experts [0, 2] only");
    assertThat(PeftAdapter.inferModel(adapters, hints(null, null, 8)).experts()).isEqualTo(8);
  }

  @Test
  void hintsAreTakenWhereAdaptersSayNothing() throws IOException {
    perExpert(0, E, "down_proj");
    ModelHints hints = new ModelHints(null, null, 64, GateUp.INTERLEAVED, List.of(0, 1, 2));
    assertThat(PeftAdapter.inferModel(adapters, hints))
        .isEqualTo(new MoeModel(H, I, 64, GateUp.INTERLEAVED, List.of(0, 1, 2)));
  }

  @ParameterizedTest
  @CsvSource({"11, 3, 11, 3", "10, 4, 10, 4"})
  void adaptersMustNotContradictTheHints(int hidden, int intermediate, String h, String i)
      throws IOException {
    perExpert(0, E, "gate_proj");
    assertThatThrownBy(() -> PeftAdapter.inferModel(adapters, hints(hidden, intermediate, null)))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(
            "shapes must agree with hiddenSize %s and intermediateSize %s, got GATE"
                .formatted(h, i));
    assertThatThrownBy(() -> PeftAdapter.inferModel(adapters, hints(H + 1, null, null)))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(
            "shapes must agree with hiddenSize 11 and intermediateSize (unknown)");
  }

  @Test
  void adaptersMustNotContradictEachOther() throws IOException {
    perExpert(0, E, "gate_proj");
    open(new AdapterFiles().pair(expert(0, 0, "gate_proj"), R, H, I + 1));
    assertThatThrownBy(() -> PeftAdapter.inferModel(adapters))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("adapter1")
        .hasMessageContaining("shapes must agree with hiddenSize 10 and intermediateSize 3");
  }

  /** With one projection and an old version, in and out may be either; another adapter tells. */
  @Test
  void anAdapterThatIsDecidedHelpsWithTheOthers() throws IOException {
    PeftAdapter undecided =
        open(fusedFiles(0, E, H, 2 * I, "gate_up_proj").config("peft_version", "\"0.18.0\""));
    assertThatThrownBy(() -> PeftAdapter.inferModel(List.of(undecided)))
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(
            "hiddenSize and intermediateSize must be given, since PEFT 0.18.0 wrote two"
                + " orientations, got GATE_UP A [8, 10] B [6, 8]");
    MoeModel model = new MoeModel(H, I, E, GateUp.HALVES, List.of(0));
    assertThat(PeftAdapter.inferModel(List.of(undecided), hints(H, null, null))).isEqualTo(model);
    assertThat(PeftAdapter.inferModel(List.of(undecided), hints(null, I, null))).isEqualTo(model);
    // the same file, read the other way round
    assertThat(PeftAdapter.inferModel(List.of(undecided), hints(2 * I, null, null)))
        .isEqualTo(new MoeModel(6, 5, E, GateUp.HALVES, List.of(0)));
    perExpert(0, 1, "up_proj");
    assertThat(PeftAdapter.inferModel(adapters)).isEqualTo(model);
  }

  @Test
  void upAloneDoesNotTellWhetherThereIsAGate() throws IOException {
    perExpert(0, E, "up_proj", "down_proj");
    assertThatThrownBy(() -> PeftAdapter.inferModel(adapters))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("gateUp must be given, got adapters on up alone");
    ModelHints upOnly = new ModelHints(null, null, null, GateUp.UP_ONLY, null);
    assertThat(PeftAdapter.inferModel(adapters, upOnly).gateUp()).isEqualTo(GateUp.UP_ONLY);
    perExpert(0, 1, "gate_proj");
    assertThat(PeftAdapter.inferModel(adapters).gateUp()).isEqualTo(GateUp.HALVES);
  }

  @ParameterizedTest
  @CsvSource({
    "nvidia/NVIDIA-Nemotron-H-30B, up_proj, UP_ONLY",
    "nvidia/Nemotron_H, down_proj, UP_ONLY",
    "nvidia/Nemotron_H, gate_proj, HALVES",
    "openai/gpt-oss-120b, down_proj, INTERLEAVED",
    "Qwen/Qwen3-30B-A3B, down_proj, HALVES",
  })
  void theRecordedBaseModelTellsTheGate(String base, String linear, GateUp gateUp)
      throws IOException {
    boolean down = linear.equals("down_proj");
    open(
        new AdapterFiles()
            .config("base_model_name_or_path", "\"%s\"".formatted(base))
            .pair(expert(0, 0, linear), R, down ? I : H, down ? H : I));
    assertThat(PeftAdapter.inferModel(adapters).gateUp()).isEqualTo(gateUp);
  }

  @Test
  void expertsInAMixerHaveNoGate() throws IOException {
    open(
        new AdapterFiles()
            .pair("base_model.model.backbone.layers.1.mixer.experts.0.up_proj", R, H, I));
    assertThat(PeftAdapter.inferModel(adapters).gateUp()).isEqualTo(GateUp.UP_ONLY);
  }

  @Test
  void thereMustBeExperts() throws IOException {
    open(new AdapterFiles().pair("base_model.model.model.layers.0.self_attn.q_proj", R, H, H));
    assertThatThrownBy(() -> PeftAdapter.inferModel(adapters))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("adapters must hold tensors of routed experts, got [adapter0]");
    assertThatThrownBy(() -> PeftAdapter.inferModel(List.of()))
        .isInstanceOf(IllegalArgumentException.class);
    // beside one with experts it does no harm
    perExpert(0, E, "gate_proj");
    assertThat(PeftAdapter.inferModel(adapters).experts()).isEqualTo(E);
  }
}
