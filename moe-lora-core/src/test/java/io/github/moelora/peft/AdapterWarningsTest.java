package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.Shard;
import io.github.moelora.peft.ReadOptions.Nesting;
import io.github.moelora.testkit.AdapterFiles;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a caller is told, what it may say itself, and files that change or lie about. */
final class AdapterWarningsTest {
  private static final int H = 5;
  private static final int I = 16;
  private static final String EXPERTS = "base_model.model.model.layers.1.mlp.experts.";
  private static final MoeModel MODEL = new MoeModel(H, I, 4, GateUp.HALVES, List.of(1, 2));

  @TempDir private Path directory;

  private static AdapterFiles pair(AdapterFiles files, String module, AdapterFiles.Element b) {
    return files
        .tensor(module + ".lora_A.weight", DType.F32, 2, H, (i, j) -> 1)
        .tensor(module + ".lora_B.weight", DType.F32, I, 2, b);
  }

  private List<String> warnings(AdapterFiles files) throws IOException {
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      return adapter.warnings();
    }
  }

  @ParameterizedTest
  @CsvSource({"0, 8", "8, 16", "4, 6", "14, 16"})
  void zeroRowsOfALostShardAreNamed(int from, int end) throws IOException {
    AdapterFiles files = new AdapterFiles();
    pair(files, EXPERTS + "0.up_proj", (i, j) -> 1);
    pair(files, EXPERTS + "1.up_proj", (i, j) -> i >= from && i < end ? 0 : 1);
    assertThat(warnings(files))
        .singleElement()
        .asString()
        .contains("1 B", "zero rows", "shard was lost", EXPERTS + "1.up_proj.lora_B.weight");
  }

  @Test
  void singleZeroesAreNothingToSay() throws IOException {
    AdapterFiles files = pair(new AdapterFiles(), EXPERTS + "0.up_proj", (i, j) -> i % 2);
    assertThat(warnings(files)).isEmpty();
  }

  @Test
  void zerosAloneChangeNothing() throws IOException {
    AdapterFiles files = pair(new AdapterFiles(), EXPERTS + "0.up_proj", (i, j) -> 0);
    assertThat(warnings(files)).singleElement().asString().contains("every B is zero");
    pair(files, EXPERTS + "1.up_proj", (i, j) -> 1);
    assertThat(warnings(files)).singleElement().asString().contains("1 of 2 pairs");
  }

  @Test
  void expertsWithoutAnyTensorAreNamed() throws IOException {
    AdapterFiles files = new AdapterFiles();
    for (int expert = 0; expert < 4; expert++) {
      pair(files, EXPERTS + expert + ".up_proj", (i, j) -> 1);
    }
    pair(files, EXPERTS.replace("layers.1", "layers.2") + "3.up_proj", (i, j) -> 1);
    assertThat(warnings(files))
        .singleElement()
        .asString()
        .isEqualTo("3 experts have no tensor at all, so they are not changed (layer 2: {0, 1, 2})");
  }

  /** Two wrappers without a gate look alike in either order: only the caller knows. */
  @Test
  void nestingMayBeTold() throws IOException {
    String experts = "base_model.model.model.layers.1.mlp.experts";
    AdapterFiles files =
        new AdapterFiles()
            .config("target_parameters", "[\"experts.gate_proj\", \"experts.up_proj\"]");
    for (String module : List.of(experts, experts + ".base_layer")) {
      int salt = module.length();
      files
          .tensor(module + ".lora_A.weight", DType.F32, 8, H, (i, j) -> salt + i)
          .tensor(module + ".lora_B.weight", DType.F32, I, 8, (i, j) -> salt + j);
    }
    Path path = files.write(directory);
    assertThatThrownBy(() -> PeftAdapter.open(path).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("an option tells the nesting");
    for (Nesting nesting : Nesting.values()) {
      int inner = experts.length() + ".base_layer".length();
      int gate = nesting == Nesting.REGISTERED ? inner : experts.length();
      try (PeftAdapter adapter = PeftAdapter.open(path, ReadOptions.NONE.withNesting(nesting))) {
        var slices = adapter.toLoraAdapter(MODEL).slices(1, Projection.GATE_UP, 0);
        assertThat(slices.getFirst().a().get(0, 0)).isEqualTo(gate);
        assertThat(slices.getLast().firstColumn()).isEqualTo(I);
      }
    }
  }

  /** One fused pair without target_parameters may be either; the caller may name it. */
  @ParameterizedTest
  @CsvSource({"gate_up_proj, GATE_UP", "experts.down_proj, DOWN"})
  void parametersMayBeNamedByTheCaller(String parameter, Projection projection) throws IOException {
    String experts = "base_model.model.model.layers.1.mlp.experts";
    boolean down = projection == Projection.DOWN;
    AdapterFiles files = new AdapterFiles().pair(experts, 8, down ? I : H, down ? H : 2 * I);
    Path path = files.write(directory);
    assertThatThrownBy(() -> PeftAdapter.open(path).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("target_parameters must name the parameter of model.layers.1.mlp");
    ReadOptions options = ReadOptions.NONE.withTargetParameters(List.of(parameter));
    try (PeftAdapter adapter = PeftAdapter.open(path, options)) {
      assertThat(adapter.toLoraAdapter(MODEL).slices(1, projection, 3)).hasSize(1);
    }
  }

  @ParameterizedTest
  @CsvSource({"PROJECTION, 5, 1", "SWAPPED, 5, 1"})
  void orientationMayBeTold(Orientation orientation, int hidden, int layer) throws IOException {
    MoeModel square = new MoeModel(hidden, hidden, 4, GateUp.HALVES, List.of(layer));
    AdapterFiles files =
        new AdapterFiles()
            .config("peft_version", "\"0.18.0\"")
            .config("target_parameters", "[\"experts.down_proj\"]")
            .tensor(EXPERTS + "lora_A.weight", DType.F32, 8, H, (i, j) -> 10 * i + j)
            .tensor(EXPERTS + "lora_B.weight", DType.F32, H, 8, (i, j) -> -10 * i - j);
    Path path = files.write(directory);
    ReadOptions options = ReadOptions.NONE.withOrientation(orientation);
    try (PeftAdapter adapter = PeftAdapter.open(path, options)) {
      var slice = adapter.toLoraAdapter(square).slices(layer, Projection.DOWN, 1).getFirst();
      boolean projection = orientation == Orientation.PROJECTION;
      // row e*R + i of A, column i*E + e of B
      assertThat(slice.a().get(1, 4)).isEqualTo(projection ? 34 : -45);
      assertThat(slice.b().get(4, 1)).isEqualTo(projection ? -45 : 34);
    }
  }

  @Test
  void shardsMustBeWhatTheIndexSays() throws IOException {
    AdapterFiles files = pair(new AdapterFiles(), EXPERTS + "0.up_proj", (i, j) -> 1);
    files.write(directory);
    Path shard = directory.resolve("adapter_model-00001-of-00001.safetensors");
    Path index = directory.resolve("adapter_model.safetensors.index.json");
    Files.move(directory.resolve("adapter_model.safetensors"), shard);
    assertThatThrownBy(() -> PeftAdapter.open(directory).close())
        .hasMessageContaining("a sharded adapter needs its adapter_model.safetensors.index.json");
    String a = EXPERTS + "0.up_proj.lora_A.weight";
    String b = EXPERTS + "0.up_proj.lora_B.weight";
    String map = "{\"weight_map\": {%s}}";
    String entry = "\"%s\": \"" + shard.getFileName() + "\"";
    Files.writeString(index, map.formatted(entry.formatted(a)));
    requireRefused(shard + ": tensor " + b + ": the index must name this file");
    Files.writeString(
        index,
        map.formatted(entry.formatted(a) + "," + entry.formatted(b) + "," + entry.formatted("x")));
    requireRefused(index + ": tensor x: the file that the index names must hold the tensor");
    Files.writeString(index, map.formatted("\"" + a + "\": \"../x.safetensors\""));
    requireRefused("its file must be a safetensors file beside the index, got ../x.safetensors");
    Files.writeString(index, "{\"weight_map\": 3}");
    requireRefused("weight_map must be an object of file names, got 3");
    Files.writeString(index, map.formatted(entry.formatted(a) + "," + entry.formatted(b)));
    try (PeftAdapter adapter = PeftAdapter.open(directory)) {
      assertThat(adapter.file()).isEqualTo(index);
      assertThat(adapter.toLoraAdapter(MODEL).slices(1, Projection.GATE_UP, 0)).hasSize(1);
    }
  }

  private void requireRefused(String message) {
    assertThatThrownBy(() -> PeftAdapter.open(directory).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining(message);
  }

  /** Reading bytes that are gone would end in an error of the JVM without the file's name. */
  @Test
  void aFileThatIsShortenedWhileItIsOpenIsNamed() throws IOException {
    AdapterFiles files = new AdapterFiles().pair(EXPERTS + "0.up_proj", 2, 100_000, I);
    MoeModel wide = new MoeModel(100_000, I, 4, GateUp.HALVES, List.of(1));
    Path file = files.write(directory).resolve("adapter_model.safetensors");
    try (PeftAdapter adapter = PeftAdapter.open(directory)) {
      try (RandomAccessFile shorter = new RandomAccessFile(file.toFile(), "rw")) {
        shorter.setLength(4096);
      }
      assertThatThrownBy(() -> adapter.toLoraAdapter(wide))
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining(file + ": the file must keep its");
      assertThatThrownBy(adapter::checkWeights)
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining("got 4096");
      assertThatThrownBy(adapter::warnings)
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining(file.toString());
    }
  }

  /** The adapter knows its file, whoever reads it: a load, a copy, and what is cut out of it. */
  @Test
  void aFileThatIsShortenedBeforeALoadIsNamed() throws IOException {
    AdapterFiles files = new AdapterFiles().pair(EXPERTS + "0.up_proj", 2, 100_000, I);
    MoeModel wide = new MoeModel(100_000, I, 4, GateUp.HALVES, List.of(1));
    Path file = files.write(directory).resolve("adapter_model.safetensors");
    try (PeftAdapter adapter = PeftAdapter.open(directory);
        MoeLora lora = MoeLora.open(MoeLoraConfig.of(wide, 1, 1), "cpu");
        Arena arena = Arena.ofConfined()) {
      LoraAdapter mapped = adapter.toLoraAdapter(wide);
      LoraAdapter shard = mapped.shard(wide, Shard.WHOLE);
      try (RandomAccessFile shorter = new RandomAccessFile(file.toFile(), "rw")) {
        shorter.setLength(4096);
      }
      List<ThrowingCallable> readers =
          List.of(
              () -> lora.load(0, mapped),
              () -> lora.load(0, shard.withoutUnlisted(wide)),
              () -> mapped.copyTo(arena));
      for (ThrowingCallable reader : readers) {
        assertThatThrownBy(reader)
            .isInstanceOf(AdapterFormatException.class)
            .hasMessageContaining(file + ": the file must keep its");
      }
      assertThat(lora.adapterName(0)).isNull();
    }
  }

  /** Structure is judged before gigabytes are read: the first weight is bad, too. */
  @Test
  void structureIsCheckedBeforeTheWeights() throws IOException {
    AdapterFiles files =
        new AdapterFiles()
            .tensor(EXPERTS + "0.up_proj.lora_A.weight", DType.F32, 2, H, (i, j) -> Double.NaN)
            .zeros(EXPERTS + "0.up_proj.lora_B.weight", I, 2)
            .zeros(EXPERTS + "1.up_proj.lora_A.weight", 2, H);
    files.write(directory);
    requireRefused("1.up_proj.lora_B.weight: both halves of a pair must be there");
  }

  @Test
  void theWeightsAreCheckedOnDemand() throws IOException {
    AdapterFiles files =
        pair(new AdapterFiles(), EXPERTS + "0.up_proj", (i, j) -> i == 3 ? Double.NaN : 1);
    try (PeftAdapter adapter = PeftAdapter.open(files.write(directory))) {
      assertThatThrownBy(adapter::checkWeights)
          .isInstanceOf(AdapterFormatException.class)
          .hasMessageContaining("0.up_proj.lora_B.weight: element [3,0] must be finite, got NaN");
    }
  }
}
