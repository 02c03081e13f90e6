package io.github.moelora.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import io.github.moelora.spi.BackendProvider;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Calls of vLLM's fused MoE-LoRA kernel on an H100, among the resources of the test kit: every
 * backend stays within the derived bound of the float64 result and errs no more than vLLM did.
 *
 * <p>One difference is meant: where vLLM overwrites, rows without an adapter keep what they held;
 * here they become zero.
 */
public abstract class VllmGoldenContractTest {

  /** Two correct roundings may still fall on different sides of a midpoint. */
  private static final double SAME_ERROR = 1.001;

  /**
   * One case, with what its file does not say.
   *
   * @param ranks rank of each adapter; the file pads all to the largest
   */
  record Case(String name, boolean routedWeight, boolean add, List<Integer> ranks) {

    static Case of(String name, boolean routedWeight, boolean add, Integer... ranks) {
      return new Case(name, routedWeight, add, List.of(ranks));
    }

    @Override
    public String toString() {
      return name;
    }
  }

  static List<Case> cases() {
    return List.of(
        Case.of("c01_one_token", false, true, 4),
        Case.of("c02_decode_mixed", false, true, 8, 8, 8),
        Case.of("c03_decode_down", true, true, 8, 8, 8),
        Case.of("c04_decode_overwrite", false, false, 16, 16),
        Case.of("c05_naive_oneshot", false, true, 8, 8),
        Case.of("c06_sorted_gate_up", false, true, 16, 16, 16),
        Case.of("c07_sorted_down", true, true, 8, 8, 8, 8),
        Case.of("c08_sorted_overwrite", true, false, 8, 8, 8),
        Case.of("c09_sorted_e64", false, true, 4, 4, 4),
        Case.of("c10_rank64", true, true, 64),
        Case.of("c11_wide", false, true, 4),
        Case.of("c12_padded_ranks", false, true, 4, 16, 8, 4),
        Case.of("c13_no_adapter", false, true, 4),
        Case.of("c14_skipped_experts", false, true, 8, 8, 8));
  }

  /** The backend under test. */
  protected abstract BackendProvider provider();

  @ParameterizedTest
  @MethodSource("cases")
  void noFartherFromFloat64ThanVllm(Case golden) throws IOException {
    Tensors tensors = Tensors.resource("/golden/vllm/" + golden.name() + ".safetensors");
    int[] shape = tensors.get("lora_a").shape();
    int slices = shape[0];
    int slots = shape[1];
    int columns = tensors.get("lora_b").shape()[3];
    MoeModel model =
        new MoeModel(
            shape[4], columns, shape[2], slices == 2 ? GateUp.HALVES : GateUp.UP_ONLY, List.of(0));
    int tokens = tensors.get("topk_ids").shape()[0];
    int expertsPerToken = tensors.get("topk_ids").shape()[1];
    DType type = tensors.get("lora_a").matrix().type();
    MoeLoraConfig config =
        MoeLoraConfig.of(model, slots, expertsPerToken)
            .withMaxTokens(tokens)
            .withMaxRank(shape[3])
            .withWeightType(type);
    ProjectionCall call =
        new ProjectionCall(
            0, Projection.GATE_UP, golden.routedWeight(), golden.routedWeight(), golden.add(), 0);
    int[] enabled = tensors.get("adapter_enabled").ints();
    List<@Nullable LoraAdapter> active = new ArrayList<>();
    Matrix y = tensors.get("out_init").matrix();
    Reference.Result reference;
    try (MoeLora lora = MoeLora.open(config, provider());
        Step step = lora.newStep()) {
      for (int slot = 0; slot < slots; slot++) {
        LoraAdapter adapter = adapter(tensors, slot, golden.ranks().get(slot));
        lora.load(slot, adapter);
        lora.setEnabled(slot, enabled[slot] != 0);
        active.add(enabled[slot] != 0 ? adapter : null);
      }
      int[] expertIds = tensors.get("topk_ids").ints();
      float[] routingWeights = tensors.get("topk_weights").floats();
      int[] adapterIds = tensors.get("token_lora").ints();
      reference =
          Reference.compute(
              new Reference.Inputs(
                  model,
                  call,
                  active,
                  expertIds,
                  routingWeights,
                  adapterIds,
                  tensors.get("x").matrix(),
                  y));
      step.plan(
          tokens,
          MemorySegment.ofArray(expertIds),
          MemorySegment.ofArray(routingWeights),
          MemorySegment.ofArray(adapterIds));
      step.run(call, tensors.get("x").matrix(), y);
    }
    judge(tensors, golden.add(), reference, y);
  }

  private static LoraAdapter adapter(Tensors tensors, int slot, int rank) {
    int[] shape = tensors.get("lora_a").shape();
    int slots = shape[1];
    int experts = shape[2];
    int fileRank = shape[3];
    int columns = tensors.get("lora_b").shape()[3];
    Matrix a = tensors.get("lora_a").matrix();
    Matrix b = tensors.get("lora_b").matrix();
    LoraAdapter.Builder builder = LoraAdapter.builder("adapter" + slot);
    for (int s = 0; s < shape[0]; s++) {
      for (int e = 0; e < experts; e++) {
        int index = (s * slots + slot) * experts + e;
        builder.add(
            0,
            Projection.GATE_UP,
            e,
            new LoraSlice(
                s * columns,
                a.rows(index * fileRank, rank),
                b.rows(index * columns, columns).columns(0, rank),
                1));
      }
    }
    return builder.build();
  }

  private static void judge(Tensors tensors, boolean add, Reference.Result reference, Matrix y) {
    Tensors.Tensor float64 = tensors.get("ref_f64");
    Tensors.Tensor vllm = tensors.get("out_vllm");
    Matrix before = tensors.get("out_init").matrix();
    double ourSquares = 0;
    double vllmSquares = 0;
    double ourWorst = 0;
    double vllmWorst = 0;
    for (int p = 0; p < y.rows(); p++) {
      for (int c = 0; c < y.columns(); c++) {
        int i = p * y.columns() + c;
        double bound = reference.bounds()[p][c];
        if (bound == 0) {
          assertThat(y.get(p, c)).isEqualTo(add ? before.get(p, c) : 0);
          continue;
        }
        double expected = float64.real(i);
        // the oracle of all other tests agrees with this one, which is not ours
        assertThat(reference.values()[p][c]).isCloseTo(expected, within(1e-12 + 1e-3 * bound));
        double ours = Math.abs(y.get(p, c) - expected);
        double theirs = Math.abs(vllm.real(i) - expected);
        assertThat(ours).as("y[%d,%d]", p, c).isLessThanOrEqualTo(bound);
        ourSquares += ours * ours;
        vllmSquares += theirs * theirs;
        ourWorst = Math.max(ourWorst, ours);
        vllmWorst = Math.max(vllmWorst, theirs);
      }
    }
    assertThat(Math.sqrt(ourSquares)).isLessThanOrEqualTo(SAME_ERROR * Math.sqrt(vllmSquares));
    assertThat(ourWorst).isLessThanOrEqualTo(SAME_ERROR * vllmWorst);
  }
}
