package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.testkit.AdapterFiles;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Files with as much as is allowed are judged soon. Limits are of the thread's own time, which
 * other programs do not lengthen: less than the code took that was found slow.
 */
class SlowFilesTest {
  private static final String EXPERTS = "base_model.model.model.layers.1.mlp.experts.";

  @TempDir private Path directory;

  private static long nanos(Work work) throws IOException {
    long start = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    work.run();
    return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() - start;
  }

  private interface Work {
    void run() throws IOException;
  }

  /** Took 2 to 3 s when each name was matched with each pattern. */
  @Test
  void manyPatternsForManyNames() throws IOException {
    StringBuilder patterns = new StringBuilder("{\"layers.0.a\": 1");
    for (int i = 1; i < 4096; i++) {
      patterns.append(", \"layers.%d.a\": %d".formatted(i, i));
    }
    Path folder = new AdapterFiles().config("rank_pattern", patterns + "}").write(directory);
    long nanos =
        nanos(
            () -> {
              AdapterConfig config = AdapterConfig.read(folder.resolve("adapter_config.json"));
              for (int i = 0; i < 18_432; i++) {
                int expected = i < 4096 ? Math.max(i, 1) : 2;
                assertThat(config.rank("model.layers." + i + ".a") == expected).isTrue();
              }
            });
    assertThat(nanos).isLessThan(500_000_000L);
  }

  /** Took 10 s before the first error, of 262,144 tensors. */
  @Test
  void manyTensorsAndOneThatIsWrong() throws IOException {
    AdapterFiles files = new AdapterFiles();
    for (int i = 0; i < 16_384; i++) {
      files.zeros(EXPERTS + i + ".up_proj.lora_A.weight", 2, 4);
      files.zeros(EXPERTS + i + ".up_proj.lora_B.weight", 4, 2);
    }
    files.zeros(EXPERTS + "16384.up_proj.lora_A.weight", 2, 4);
    files.write(directory);
    long nanos =
        nanos(
            () ->
                assertThatThrownBy(() -> PeftAdapter.open(directory))
                    .isInstanceOf(AdapterFormatException.class)
                    .hasMessageContaining("both halves of a pair must be there"));
    assertThat(nanos).isLessThan(900_000_000L);
  }
}
