package io.github.moelora.cli.golden;

import com.fasterxml.jackson.databind.JsonNode;
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
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.Check;
import io.github.moelora.workload.Workload.Place;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Calls of vLLM's kernel: each result against the float64 reference in the file, and its error no
 * worse than vLLM's own.
 *
 * <p>Where vLLM overwrites, it leaves rows without an adapter as they were; this library zeroes
 * them, so there zero is expected.
 */
final class KernelCases {
  /** Two correct roundings may still fall on different sides of a midpoint. */
  private static final double SAME_ERROR = 1.001;

  private final GoldenTensors tensors;
  private final JsonNode manifest;
  private final int tokens;
  private final int expertsPerToken;
  private final int experts;
  private final int slots;
  private final int slices;
  private final MoeModel model;
  private final ProjectionCall call;

  private KernelCases(GoldenTensors tensors, JsonNode manifest) {
    this.tensors = tensors;
    this.manifest = manifest;
    tokens = tensors.size("topk_ids", 0);
    expertsPerToken = tensors.size("topk_ids", 1);
    slices = tensors.size("lora_a", 0);
    slots = tensors.size("lora_a", 1);
    experts = tensors.size("lora_a", 2);
    model =
        new MoeModel(
            tensors.size("lora_a", 4),
            tensors.size("lora_b", 3),
            experts,
            slices == 2 ? GateUp.HALVES : GateUp.UP_ONLY,
            List.of(0));
    boolean weighted = manifest.path("mul_routed_weight").asBoolean();
    ProjectionCall gateUp =
        ProjectionCall.gateUp(0).withPairRows(weighted).withRoutedWeight(weighted);
    call = manifest.path("add_inputs").asBoolean() ? gateUp : gateUp.deltaOnly();
  }

  static List<GoldenCase> replay(Path folder, JsonNode manifest, Place place) throws IOException {
    List<GoldenCase> cases = new ArrayList<>();
    for (JsonNode item : manifest.path("cases")) {
      String name = item.path("name").asText();
      try (GoldenTensors tensors = GoldenTensors.open(folder.resolve(name + ".safetensors"))) {
        cases.add(
            new KernelCases(tensors, item)
                .replay(String.valueOf(folder.getFileName()), name, place));
      }
    }
    return cases;
  }

  private GoldenCase replay(String directory, String name, Place place) {
    DType type = tensors.matrix("lora_a").type();
    int rank = tensors.size("lora_a", 3);
    MoeLoraConfig config =
        MoeLoraConfig.of(model, slots, expertsPerToken)
            .withMaxTokens(tokens)
            .withMaxRank(rank)
            .withWeightType(type);
    int[] enabled = tensors.ints("adapter_enabled");
    List<@Nullable LoraAdapter> adapters = new ArrayList<>();
    try (Arena arena = Arena.ofShared();
        MoeLora lora = place.open(config);
        Step step = lora.newStep()) {
      for (int slot = 0; slot < slots; slot++) {
        LoraAdapter adapter = adapter(slot);
        lora.load(slot, adapter);
        lora.setEnabled(slot, enabled[slot] != 0);
        adapters.add(enabled[slot] == 0 ? null : adapter);
      }
      int[] expertIds = tensors.ints("topk_ids");
      float[] routingWeights = tensors.floats("topk_weights");
      int[] adapterIds = tensors.ints("token_lora");
      step.plan(
          tokens,
          MemorySegment.ofArray(expertIds),
          MemorySegment.ofArray(routingWeights),
          MemorySegment.ofArray(adapterIds));
      Matrix before = tensors.matrix("out_init");
      int width = model.outputWidth(Projection.GATE_UP);
      Matrix shaped = Matrix.of(before.data(), before.type(), tokens * expertsPerToken, width);
      Matrix y = Bits.copy(arena, shaped);
      step.run(call, tensors.matrix("x"), y);
      Reference.Result bounds =
          Reference.compute(
              new Reference.Inputs(
                  model,
                  call,
                  adapters,
                  expertIds,
                  routingWeights,
                  adapterIds,
                  tensors.matrix("x"),
                  shaped));
      return judge(directory, name, bounds, y);
    }
  }

  private LoraAdapter adapter(int slot) {
    int fileRank = tensors.size("lora_a", 3);
    JsonNode ranks = manifest.path("ranks");
    int rank = slot < ranks.size() ? ranks.get(slot).asInt() : fileRank;
    Matrix a = tensors.matrix("lora_a");
    Matrix b = tensors.matrix("lora_b");
    int width = tensors.size("lora_b", 3);
    LoraAdapter.Builder builder = LoraAdapter.builder("adapter" + slot);
    for (int e = 0; e < experts; e++) {
      for (int s = 0; s < slices; s++) {
        int index = (s * slots + slot) * experts + e;
        builder.add(
            0,
            Projection.GATE_UP,
            e,
            new LoraSlice(
                s * width,
                a.rows(index * fileRank, rank),
                b.rows(index * width, width).columns(0, rank),
                1));
      }
    }
    return builder.build();
  }

  private GoldenCase judge(String directory, String name, Reference.Result bounds, Matrix y) {
    double[] reference = tensors.doubles("ref_f64");
    Matrix vllm = tensors.matrix("out_vllm");
    Check check = new Check();
    double ours = 0;
    double theirs = 0;
    int width = y.columns();
    for (int p = 0; p < y.rows(); p++) {
      for (int c = 0; c < width; c++) {
        double bound = bounds.bounds()[p][c];
        // a bound of 0: no adapter, so the row keeps its content, or is zero where this library
        // overwrites
        double expected = bound == 0 && !call.add() ? 0 : reference[p * width + c];
        check.element(expected, bound, y.get(p, c));
        if (bound > 0) {
          double vllmError =
              vllm.get((p * width + c) / vllm.columns(), (p * width + c) % vllm.columns())
                  - expected;
          ours += Math.pow(y.get(p, c) - expected, 2);
          theirs += vllmError * vllmError;
        }
      }
    }
    boolean better = Math.sqrt(ours) <= SAME_ERROR * Math.sqrt(theirs);
    String note =
        theirs == 0
            ? "no pair has an adapter"
            : String.format(
                Locale.ROOT, "error %.3f of vLLM's", Math.sqrt(ours) / Math.sqrt(theirs));
    return new GoldenCase(directory, name, better ? check.worst() : Double.POSITIVE_INFINITY, note);
  }
}
