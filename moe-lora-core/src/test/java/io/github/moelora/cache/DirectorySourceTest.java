package io.github.moelora.cache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatNullPointerException;

import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.Shard;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.testkit.Golden;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.function.Function;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Adapter directories: what is read, when it is another version, and where names may lead. */
class DirectorySourceTest {
  private static final Golden.Model MODEL = Golden.models().getFirst();

  @TempDir Path folder;

  @BeforeEach
  void copyAdapters() throws IOException {
    copy("fused_r4", "a");
  }

  private void copy(String golden, String name) throws IOException {
    Path target = Files.createDirectories(folder.resolve(name));
    for (String file : List.of("adapter_config.json", "adapter_model.safetensors")) {
      Files.copy(
          MODEL.directory().resolve(golden).resolve(file),
          target.resolve(file),
          StandardCopyOption.REPLACE_EXISTING);
    }
  }

  private static float[] weights(LoraAdapter adapter, MoeModel model) {
    float[] sum = new float[2];
    for (int layer : adapter.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < model.experts(); e++) {
          for (LoraSlice slice : adapter.slices(layer, projection, e)) {
            sum[0] += total(slice.a()) * (e + 1);
            sum[1] += total(slice.b()) * slice.scale();
          }
        }
      }
    }
    return sum;
  }

  private static float total(Matrix matrix) {
    float total = 0;
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        total += matrix.get(i, j) * (1 + i + 3 * j);
      }
    }
    return total;
  }

  @Test
  void theCopyIsTheFile() throws Exception {
    AdapterSource source = AdapterSource.directories(folder, MODEL.shape());
    try (Arena arena = Arena.ofConfined();
        PeftAdapter file = PeftAdapter.open(folder.resolve("a"))) {
      LoraAdapter mapped = file.toLoraAdapter(MODEL.shape());
      LoraAdapter copy = source.read("a", arena);
      assertThat(copy.name()).isEqualTo("a");
      assertThat(copy.bytes()).isEqualTo(mapped.bytes()).isPositive();
      assertThat(copy.maxMagnitude()).isEqualTo(mapped.maxMagnitude());
      assertThat(weights(copy, MODEL.shape())).isEqualTo(weights(mapped, MODEL.shape()));
    }
  }

  @Test
  void aRewrittenFileIsAnotherVersion() throws Exception {
    AdapterSource source = AdapterSource.directories(folder, MODEL.shape());
    Object version = source.version("a");
    assertThat(source.version("a")).isEqualTo(version).hasSameHashCodeAs(version);
    copy("fused_r8_rslora", "a");
    assertThat(source.version("a")).isNotEqualTo(version);
    Files.delete(folder.resolve("a/adapter_config.json"));
    assertThatExceptionOfType(IOException.class).isThrownBy(() -> source.version("a"));
  }

  @Test
  void leasesKeepTheirWeightsWhenTheFileIsWrittenOver() throws Exception {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL.shape(), 2, 2).withMaxTokens(8);
    try (MoeLora lora = MoeLora.open(config, "cpu");
        AdapterCache cache =
            new AdapterCache(
                lora, AdapterSource.directories(folder, MODEL.shape()), CacheLimits.of(1 << 20));
        Lease old = cache.acquire("a")) {
      copy("fused_r8_rslora", "a");
      try (Lease young = cache.acquire("a")) {
        assertThat(young.slot()).isNotEqualTo(old.slot());
        assertThat(young.version()).isNotEqualTo(old.version());
      }
      assertThat(cache.stats().reads()).isEqualTo(2);
    }
  }

  @Test
  void namesLeadNowhereElse() throws Exception {
    Path root = Files.createDirectories(folder.resolve("root"));
    AdapterSource source = AdapterSource.directories(root, MODEL.shape());
    for (String name : List.of("../a", folder.resolve("a").toString(), "x/../../a")) {
      Files.createDirectories(root.resolve("x"));
      assertThatExceptionOfType(IOException.class)
          .isThrownBy(() -> source.version(name))
          .withMessage("name must be a path below %s, got %s", root, name);
      assertThatExceptionOfType(IOException.class)
          .isThrownBy(() -> source.read(name, Arena.ofAuto()));
    }
    Files.createSymbolicLink(root.resolve("link"), folder.resolve("a"));
    assertThatExceptionOfType(IOException.class).isThrownBy(() -> source.version("link"));
    // without a root a name is any path
    AdapterSource anywhere = AdapterSource.directories(MODEL.shape());
    assertThat(anywhere.read(folder.resolve("a").toString(), Arena.ofAuto()).bytes()).isPositive();
  }

  @Test
  void aShardTakesItsPart() throws Exception {
    Shard half = new Shard(1, 2);
    AdapterSource source =
        AdapterSource.directories(
            folder, file -> file.toLoraAdapter(MODEL.shape()).shard(MODEL.shape(), half));
    LoraAdapter part = source.read("a", Arena.ofAuto());
    part.requireFits(MODEL.shape().shard(half));
    assertThat(part.slices(0, Projection.DOWN, 0).getFirst().a().columns()).isEqualTo(24);
  }

  @Test
  void argumentsAreNamed() {
    assertThatNullPointerException()
        .isThrownBy(() -> AdapterSource.directories(nothing(), MODEL.shape()))
        .withMessage("root must not be null");
    assertThatNullPointerException()
        .isThrownBy(
            () ->
                AdapterSource.directories(
                    folder, DirectorySourceTest.<Function<PeftAdapter, LoraAdapter>>nothing()))
        .withMessage("part must not be null");
    assertThatNullPointerException()
        .isThrownBy(() -> AdapterSource.directories(nothing()))
        .withMessage("model must not be null");
  }

  @SuppressWarnings({"NullAway", "TypeParameterUnusedInFormals"})
  private static <T> T nothing() {
    return null;
  }
}
