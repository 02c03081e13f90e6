package io.github.moelora.cli.golden;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.cli.CommandRun;
import io.github.moelora.cli.Output;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** {@code moe-lora verify} on kernel cases made by plain loops. */
final class KernelCasesTest {
  private static final int EXPERTS = 5;
  private static final int K = 2;
  private static final int IN = 24;
  private static final int OUT = 10;
  private static final int TOKENS = 9;
  private static final int[] RANKS = {3, 8, 1};
  private static final int RANK = 8;

  @TempDir private Path directory;

  /**
   * A case.
   *
   * @param error what vLLM's result is off by, relative to the value
   */
  record Call(String name, String dtype, int slices, boolean weighted, boolean add, double error) {}

  static Stream<Call> calls() {
    return Stream.of(
        new Call("gate_up", "BF16", 2, false, true, 0.01),
        new Call("up", "F16", 1, false, true, 0.01),
        new Call("down", "F16", 1, true, true, 0.01),
        new Call("overwrite", "BF16", 2, false, false, 0.01),
        new Call("overwrite_down", "BF16", 1, true, false, 0.01));
  }

  private static double coarse(Random random) {
    return (random.nextInt(129) - 64) / 64.0;
  }

  private static TensorFile tensors(Call call, long seed) {
    Random random = new Random(seed);
    TensorFile file = new TensorFile();
    int adapters = RANKS.length;
    int slices = call.slices();
    int pairs = TOKENS * K;
    int width = slices * OUT;
    double[] x =
        call.weighted()
            ? file.add("x", call.dtype(), pairs, IN)
            : file.add("x", call.dtype(), TOKENS, IN);
    double[] a = file.add("lora_a", call.dtype(), slices, adapters, EXPERTS, RANK, IN);
    double[] b = file.add("lora_b", call.dtype(), slices, adapters, EXPERTS, OUT, RANK);
    double[] ids = file.add("topk_ids", "I32", TOKENS, K);
    double[] weights = file.add("topk_weights", "F32", TOKENS, K);
    double[] adapterOf = file.add("token_lora", "I32", TOKENS);
    double[] enabled = file.add("adapter_enabled", "I32", adapters + 1);
    double[] before = file.add("out_init", call.dtype(), TOKENS, K, width);
    double[] reference = file.add("ref_f64", "F64", TOKENS, K, width);
    double[] vllm = file.add("out_vllm", "F32", TOKENS, K, width);
    for (double[] some : List.of(x, before)) {
      for (int i = 0; i < some.length; i++) {
        some[i] = coarse(random);
      }
    }
    for (int i = 0; i < a.length; i++) {
      boolean padding = i / IN % RANK >= RANKS[i / (IN * RANK * EXPERTS) % adapters];
      a[i] = padding ? 0 : coarse(random);
    }
    for (int i = 0; i < b.length; i++) {
      boolean padding = i % RANK >= RANKS[i / (RANK * OUT * EXPERTS) % adapters];
      b[i] = padding ? 0 : coarse(random);
    }
    for (int slot = 0; slot <= adapters; slot++) {
      enabled[slot] = slot == 1 ? 0 : 1;
    }
    for (int p = 0; p < pairs; p++) {
      int t = p / K;
      adapterOf[t] = t % 4 - 1;
      ids[p] = p == 5 ? -1 : random.nextInt(EXPERTS);
      weights[p] = (float) random.nextDouble();
    }
    for (int p = 0; p < pairs; p++) {
      int slot = (int) adapterOf[p / K];
      int expert = (int) ids[p];
      int row = call.weighted() ? p : p / K;
      boolean works = slot >= 0 && slot != 1 && expert >= 0;
      for (int c = 0; c < width; c++) {
        double delta = 0;
        for (int r = 0; works && r < RANK; r++) {
          int matrix = (c / OUT * adapters + slot) * EXPERTS + expert;
          double z = 0;
          for (int h = 0; h < IN; h++) {
            z += a[(matrix * RANK + r) * IN + h] * x[row * IN + h];
          }
          delta += b[(matrix * OUT + c % OUT) * RANK + r] * z;
        }
        delta *= call.weighted() ? weights[p] : 1;
        int at = p * width + c;
        // rows without work keep their content in both modes
        reference[at] = (call.add() || !works ? before[at] : 0) + delta;
        vllm[at] = reference[at] * (1 + (works ? call.error() : 0));
      }
    }
    return file;
  }

  private Path write(List<Call> calls, Consumer<TensorFile> damage) throws IOException {
    List<Map<String, Object>> cases = new ArrayList<>();
    long seed = new Random().nextLong();
    System.out.println("seed " + seed);
    for (Call call : calls) {
      TensorFile file = tensors(call, seed);
      damage.accept(file);
      file.write(directory.resolve(call.name() + ".safetensors"));
      Map<String, Object> item = new LinkedHashMap<>();
      item.put("name", call.name());
      item.put("ranks", RANKS);
      item.put("mul_routed_weight", call.weighted());
      item.put("add_inputs", call.add());
      cases.add(item);
    }
    Output.writeJson(directory.resolve("manifest.json"), Map.of("cases", cases));
    return directory;
  }

  @Test
  void everyKindOfCallIsInBound() throws IOException {
    List<Call> calls = calls().toList();
    CommandRun run = CommandRun.of("verify", write(calls, file -> {}), "--backend", "cpu");
    assertThat(run.out()).contains("5 cases, 0 missed");
    assertThat(run.exitCode()).isZero();
    for (Call call : calls) {
      assertThat(run.line(" " + call.name() + " ")).contains(" ok ").containsPattern("of vLLM's$");
    }
  }

  static Stream<Arguments> faults() {
    return calls()
        .flatMap(
            call ->
                Stream.of(
                    // token 1 has adapter 0, token 0 none, token 2 one that is disabled
                    Arguments.of(call, "ref_f64", call.slices() * OUT * K, 0.1),
                    Arguments.of(call, "lora_a", 0, 64.0),
                    Arguments.of(call, "out_init", 0, call.add() ? 1.0 : Double.NaN)));
  }

  @ParameterizedTest(name = "{0}, {1}")
  @MethodSource("faults")
  void oneAlteredValueIsAMiss(Call call, String tensor, int index, double change)
      throws IOException {
    Path written =
        write(
            List.of(call),
            file -> {
              double[] values = file.values(tensor);
              int step = tensor.equals("lora_a") ? 1 : values.length;
              for (int i = index; i < values.length; i += step) {
                values[i] += change;
              }
            });
    CommandRun run = CommandRun.of("verify", written);
    if (tensor.equals("out_init") && !call.add()) {
      // what is overwritten does not matter
      assertThat(run.exitCode()).isZero();
    } else {
      assertThat(run.exitCode()).isEqualTo(1);
      assertThat(run.out()).contains("MISS").contains("1 cases, 1 missed");
    }
  }

  /** In bound, but worse than what is to be beaten. */
  @Test
  void aLargerErrorThanVllmsIsAMiss() throws IOException {
    CommandRun run =
        CommandRun.of("verify", write(List.of(new Call("c", "F16", 1, true, true, 0)), f -> {}));
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.line(" c ")).contains("MISS").containsPattern("error \\d+\\.\\d+ of vLLM's");
  }

  @Test
  void nothingToDoIsInBound() throws IOException {
    CommandRun run =
        CommandRun.of(
            "verify",
            write(
                List.of(new Call("c", "BF16", 2, false, true, 0)),
                file -> {
                  java.util.Arrays.fill(file.values("token_lora"), -1);
                  System.arraycopy(
                      file.values("out_init"), 0, file.values("ref_f64"), 0, TOKENS * K * 2 * OUT);
                }));
    assertThat(run.exitCode()).isZero();
    assertThat(run.line(" c ")).contains("0.000", "no pair has an adapter");
  }

  @Test
  void aMissingTensorIsNamed() throws IOException {
    CommandRun run =
        CommandRun.of(
            "verify",
            write(
                List.of(new Call("c", "BF16", 2, false, true, 0)), file -> file.remove("ref_f64")));
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("c.safetensors must hold the tensor ref_f64").hasLineCount(1);
  }
}
