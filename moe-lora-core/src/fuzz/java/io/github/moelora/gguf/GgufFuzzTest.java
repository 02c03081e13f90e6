package io.github.moelora.gguf;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import com.code_intelligence.jazzer.junit.FuzzTest;
import io.github.moelora.AdapterFormatException;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.testkit.Choices;
import io.github.moelora.testkit.Mappings;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;

/** Any GGUF file is opened, and then every weight of its adapter is there, or refused. */
final class GgufFuzzTest {
  private static final int H = 32;
  private static final int I = 4;
  private static final int E = 3;

  private static final List<String> LINEARS =
      List.of(
          "ffn_gate_exps",
          "ffn_up_exps",
          "ffn_down_exps",
          "ffn_gate_up_exps",
          "attn_q",
          "attn_norm",
          "ffn_gate_inp");

  /** What lengths, counts, offsets and types may be said to be. */
  private static final List<Long> NUMBERS =
      List.of(0L, 1L, 2L, 4L, 8L, 1L << 31, 1L << 32, Long.MAX_VALUE, Long.MIN_VALUE, -1L);

  @TempDir private Path directory;

  @FuzzTest
  void isOpenedOrRefused(FuzzedDataProvider data) throws Exception {
    Choices choices = new Choices(data);
    Path path = directory.resolve("adapter.gguf");
    byte[] bytes = choices.rarely(20) ? choices.rest() : damaged(choices, file(choices).bytes());
    Files.write(path, bytes);
    GateUp gateUp = choices.oneOf(List.of(GateUp.values()));
    MoeModel model = new MoeModel(H, I, E, gateUp, List.of(0, 1));
    try (GgufAdapter adapter = GgufAdapter.open(path)) {
      adapter.checkWeights();
      requireFinite(adapter.toLoraAdapter(model), model);
    } catch (AdapterFormatException e) {
      require(e.file().equals(path), "the refusal names the file");
      require(!e.rule().isEmpty(), "the refusal names the rule");
    }
    // all mappings of the process are many, so not each time
    if (Mappings.areKnown() && bytes.length % 16 == 0) {
      require(Mappings.of(path).isEmpty(), "nothing stays mapped");
    }
  }

  /** An adapter whose tensors may not fit each other or the model. */
  private static GgufBytes file(Choices choices) {
    GgufBytes bytes = new GgufBytes().version(choices.rarely(10) ? choices.number(0, 4) : 3);
    bytes.adapter("qwen3moe").float32("adapter.lora.alpha", choices.number(-1, 8));
    int rank = choices.number(1, 3);
    for (int count = choices.number(1, 4); count > 0; count--) {
      String linear = choices.oneOf(LINEARS);
      String name = "blk.%d.%s.weight".formatted(choices.number(0, 2), linear);
      boolean down = linear.equals("ffn_down_exps");
      int width = down ? I : H;
      int outputs = down ? H : linear.equals("ffn_gate_up_exps") ? 2 * I : I;
      int experts = linear.endsWith("_exps") ? E : 1;
      tensor(bytes, choices, name + ".lora_a", width, rank, experts);
      tensor(bytes, choices, name + ".lora_b", rank, outputs, experts);
    }
    return bytes;
  }

  private static void tensor(
      GgufBytes bytes, Choices choices, String name, int columns, int rows, int experts) {
    boolean odd = choices.rarely(15);
    int type = odd ? choices.number(0, 40) : GgufBytes.F32;
    long[] shape = {columns, odd ? choices.number(1, 9) : rows, experts};
    if (experts == 1 && !choices.rarely(4)) {
      shape = Arrays.copyOf(shape, 2);
    }
    byte[] data = new byte[Float.BYTES * columns * rows * experts];
    Arrays.fill(data, (byte) choices.number(0, choices.rarely(20) ? 255 : 120));
    bytes.tensor(name, type, shape, data);
  }

  /** A file with up to four pieces overwritten, cut out or doubled. */
  private static byte[] damaged(Choices choices, byte[] sound) {
    byte[] bytes = sound;
    for (int i = choices.number(0, 4); i > 0 && bytes.length > 8; i--) {
      int from = choices.number(0, bytes.length - 8);
      int to = choices.number(from, Math.min(bytes.length, from + 64));
      switch (choices.number(0, 3)) {
        case 0 -> bytes[from] = (byte) choices.number(0, 255);
        case 1 ->
            ByteBuffer.wrap(bytes)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(from, choices.oneOf(NUMBERS));
        case 2 -> bytes = GgufBytes.join(head(bytes, from), tail(bytes, to));
        default -> bytes = GgufBytes.join(head(bytes, to), tail(bytes, from));
      }
    }
    return bytes;
  }

  private static byte[] head(byte[] bytes, int end) {
    return Arrays.copyOf(bytes, end);
  }

  private static byte[] tail(byte[] bytes, int from) {
    return Arrays.copyOfRange(bytes, from, bytes.length);
  }

  private static void requireFinite(LoraAdapter adapter, MoeModel model) {
    for (int layer : model.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < E; e++) {
          for (LoraSlice slice : adapter.slices(layer, projection, e)) {
            require(slice.a().columns() == model.inputWidth(projection), "A fits the model");
            require(
                slice.firstColumn() + slice.columns() <= model.outputWidth(projection),
                "B fits the model");
            requireFinite(slice.a());
            requireFinite(slice.b());
          }
        }
      }
    }
  }

  private static void requireFinite(Matrix matrix) {
    for (int i = 0; i < matrix.rows(); i++) {
      for (int j = 0; j < matrix.columns(); j++) {
        require(Float.isFinite(matrix.get(i, j)), "weights are finite");
      }
    }
  }

  private static void require(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }
}
