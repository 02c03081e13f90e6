package io.github.moelora.safetensors;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import com.code_intelligence.jazzer.junit.FuzzTest;
import io.github.moelora.AdapterFormatException;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import io.github.moelora.testkit.AdapterFiles;
import io.github.moelora.testkit.Choices;
import io.github.moelora.testkit.Mappings;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;

/** Any safetensors file is opened, and then its tensors fill it, or refused. */
final class SafeTensorsFuzzTest {
  private static final String SOUND =
      """
      {"__metadata__":{"format":"pt"},
      "model.layers.0.a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
      "model.layers.0.b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},
      "empty":{"dtype":"I64","shape":[0,9],"data_offsets":[32,32]},
      "scalar":{"dtype":"U8","shape":[],"data_offsets":[32,33]}}
      """;

  @TempDir private Path directory;

  @FuzzTest
  void isOpenedOrRefused(FuzzedDataProvider data) throws Exception {
    Path path = directory.resolve("adapter_model.safetensors");
    byte[] bytes = bytes(new Choices(data));
    Files.write(path, bytes);
    try (SafeTensorsFile file = SafeTensorsFile.open(path)) {
      long total = 0;
      for (Tensor tensor : file.tensors().values()) {
        long elements = 1;
        for (long dimension : tensor.shape()) {
          elements = Math.multiplyExact(elements, dimension);
        }
        long size = tensor.data().byteSize();
        require(elements == 0 ? size == 0 : size % elements == 0, "the shape fills the bytes");
        total += size;
      }
      require(total < bytes.length, "the tensors lie within the file");
    } catch (AdapterFormatException e) {
      require(e.file().equals(path), "the refusal names the file");
      require(!e.rule().isEmpty(), "the refusal names the rule");
    }
    // all mappings of the process are many, so not each time
    if (Mappings.areKnown() && bytes.length % 16 == 0) {
      require(Mappings.of(path).isEmpty(), "nothing stays mapped");
    }
  }

  private static byte[] bytes(Choices choices) {
    if (choices.rarely(20)) {
      return choices.rest();
    }
    byte[] header = choices.mutated(SOUND).getBytes(StandardCharsets.UTF_8);
    int lie = choices.rarely(10) ? choices.number(-header.length, 1 << 30) : 0;
    int body = choices.rarely(10) ? choices.number(0, 64) : 33;
    return AdapterFiles.weights(header.length + (long) lie, header, List.of(new byte[body]));
  }

  private static void require(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }
}
