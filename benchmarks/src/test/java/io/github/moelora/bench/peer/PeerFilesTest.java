package io.github.moelora.bench.peer;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgufFile;
import io.github.moelora.workload.Preset;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The files that llama.cpp gets. */
class PeerFilesTest {
  @TempDir private Path folder = Path.of("");

  @Test
  void adapterAndModelNameTheSameExperts() throws IOException {
    MoeModel model = new MoeModel(64, 48, 3, GateUp.HALVES, List.of(0));
    PeerFiles files = new PeerFiles(new Preset("small", model, 2));
    Path base = folder.resolve("model.gguf");
    Path adapter = folder.resolve("adapter.gguf");
    files.writeModel(base);
    files.writeAdapter(adapter, 4);
    try (GgufFile weights = GgufFile.open(base);
        GgufFile lora = GgufFile.open(adapter)) {
      for (int layer = 0; layer < PeerFiles.LAYERS; layer++) {
        String down = "blk.%d.ffn_down_exps.weight".formatted(layer);
        assertThat(tensor(weights, down).shape()).containsExactly(3L, 64L, 48L);
        assertThat(tensor(lora, down + ".lora_a").shape()).containsExactly(3L, 4L, 48L);
        assertThat(tensor(lora, down + ".lora_b").shape()).containsExactly(3L, 64L, 4L);
        String gate = "blk.%d.ffn_gate_exps.weight".formatted(layer);
        assertThat(tensor(weights, gate).shape()).containsExactly(3L, 48L, 64L);
        assertThat(tensor(lora, gate + ".lora_a").shape()).containsExactly(3L, 4L, 64L);
      }
      assertThat(DType.F32.get(tensor(weights, "output_norm.weight").data(), 63)).isOne();
      assertThat(
              Float.isFinite(
                  DType.F16.get(tensor(lora, "blk.1.ffn_up_exps.weight.lora_b").data(), 7)))
          .isTrue();
    }
  }

  private static GgufFile.Tensor tensor(GgufFile file, String name) {
    return Objects.requireNonNull(file.tensors().get(name), name);
  }
}
