package io.github.moelora.cli;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.cli.VerifyCommand.Case;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.reference.Reference;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * A model's golden data: for every adapter and layer the inputs and the exact deltas of both
 * projections, and the output of the routed experts. All sizes come from the tensors.
 */
final class GoldenModel implements AutoCloseable {
  /**
   * Largest permitted error of a float32 block output, of its largest value, as the data's README
   * says.
   */
  private static final double BLOCK_TOLERANCE = 2e-6;

  private final String directory;
  private final JsonNode manifest;
  private final GoldenTensors tensors;
  private final Path folder;
  private final MoeModel model;
  private final int tokens;
  private final int expertsPerToken;

  private GoldenModel(Path folder, JsonNode manifest, GoldenTensors tensors) {
    this.folder = folder;
    this.directory = String.valueOf(folder.getFileName());
    this.manifest = manifest;
    this.tensors = tensors;
    List<Integer> layers = new ArrayList<>();
    manifest.path("moe_layers").forEach(layer -> layers.add(layer.asInt()));
    int first = layers.getFirst();
    String adapter = manifest.path("adapters").path(0).path("name").asText();
    tokens = tensors.size("layers.%d.topk_ids".formatted(first), 0);
    expertsPerToken = tensors.size("layers.%d.topk_ids".formatted(first), 1);
    int intermediate = tensors.size(name(first, "down_in", adapter), 2);
    boolean gated = tensors.size(name(first, "delta_gate_up", adapter), 2) == 2 * intermediate;
    model =
        new MoeModel(
            tensors.size("layers.%d.x".formatted(first), 1),
            intermediate,
            tensors.size("layers.%d.router_logits".formatted(first), 1),
            gated ? interleaved(first) ? GateUp.INTERLEAVED : GateUp.HALVES : GateUp.UP_ONLY,
            layers);
  }

  static GoldenModel open(Path folder, JsonNode manifest) throws IOException {
    GoldenTensors tensors = GoldenTensors.open(folder.resolve("golden.safetensors"));
    GoldenModel opened = null;
    try {
      opened = new GoldenModel(folder, manifest, tensors);
      return opened;
    } finally {
      if (opened == null) {
        tensors.close();
      }
    }
  }

  private static String name(int layer, String what, String adapter) {
    return "layers.%d.%s.%s".formatted(layer, what, adapter);
  }

  private static String base(int layer, String what) {
    return "layers.%d.mlp.experts.%s".formatted(layer, what);
  }

  /**
   * gpt-oss alone has biases on its experts; it interleaves gate and up and stores the transposed
   * weights.
   */
  private boolean interleaved(int layer) {
    return tensors.has(base(layer, "gate_up_proj_bias"));
  }

  MoeModel model() {
    return model;
  }

  List<Case> replay(@Nullable String backend) throws IOException {
    List<String> names = new ArrayList<>();
    List<PeftAdapter> files = new ArrayList<>();
    try {
      for (JsonNode adapter : manifest.path("adapters")) {
        names.add(adapter.path("name").asText());
        files.add(PeftAdapter.open(folder.resolve(names.getLast())));
      }
      List<LoraAdapter> adapters = files.stream().map(file -> file.toLoraAdapter(model)).toList();
      List<Case> cases = new ArrayList<>();
      for (int i = 0; i < names.size(); i++) {
        cases.add(replayAlone(names.get(i), adapters.get(i), type(files.get(i)), backend));
      }
      cases.add(replayMixed(names, adapters, backend));
      return cases;
    } finally {
      files.forEach(PeftAdapter::close);
    }
  }

  private static DType type(PeftAdapter file) {
    return file.entries().isEmpty() ? DType.F32 : file.entries().getFirst().type();
  }

  private Case replayAlone(String name, LoraAdapter adapter, DType type, @Nullable String backend) {
    int[] slots = new int[tokens];
    Check check = new Check();
    double block = 0;
    boolean hasBlock = false;
    try (Replay replay = new Replay(List.of(adapter), type, backend)) {
      for (int layer : model.layers()) {
        replay.layer(layer, slots, List.of(name), check);
        if (tensors.has(name(layer, "routed_out64", name)) && hasBaseWeights(layer)) {
          block = Math.max(block, replay.blockError(layer, name));
          hasBlock = true;
        }
      }
    }
    String note =
        "%s weights, deltas%s"
            .formatted(
                type.name().toLowerCase(Locale.ROOT),
                hasBlock ? Output.format(", block output within %.1e", block) : "");
    double worst = Math.max(check.worst(), block / BLOCK_TOLERANCE);
    return new Case(directory, name, worst, note);
  }

  private Case replayMixed(
      List<String> names, List<LoraAdapter> adapters, @Nullable String backend) {
    int[] slots = new int[tokens];
    for (int t = 0; t < tokens; t++) {
      slots[t] = t % 5 == 4 ? -1 : t % names.size();
    }
    Check check = new Check();
    try (Replay replay = new Replay(adapters, DType.F32, backend)) {
      for (int layer : model.layers()) {
        replay.layer(layer, slots, names, check);
      }
    }
    return new Case(directory, "all adapters in one batch", check.worst(), "f32 weights, deltas");
  }

  private boolean hasBaseWeights(int layer) {
    return model.gateUp().gated()
        && tensors.has(base(layer, "gate_up_proj"))
        && tensors.has(base(layer, "down_proj"))
        && (interleaved(layer)
            || "silu".equals(manifest.path("config").path("hidden_act").asText()));
  }

  /** A backend with some of the adapters loaded. */
  private final class Replay implements AutoCloseable {
    private final List<LoraAdapter> adapters;
    private final Arena arena = Arena.ofShared();
    private final MoeLora lora;
    private final Step step;

    Replay(List<LoraAdapter> adapters, DType weightType, @Nullable String backend) {
      this.adapters = adapters;
      int rank = adapters.stream().mapToInt(LoraAdapter::maxRank).max().orElse(1);
      MoeLoraConfig config =
          MoeLoraConfig.of(model, adapters.size(), expertsPerToken)
              .withMaxTokens(tokens)
              .withMaxRank(Math.max(1, rank))
              .withWeightType(weightType);
      lora = backend == null ? MoeLora.open(config) : MoeLora.open(config, backend);
      for (int slot = 0; slot < adapters.size(); slot++) {
        lora.load(slot, adapters.get(slot));
      }
      step = lora.newStep();
    }

    private void plan(int layer, int[] slots) {
      step.plan(
          tokens,
          MemorySegment.ofArray(tensors.ints("layers.%d.topk_ids".formatted(layer))),
          MemorySegment.ofArray(tensors.floats("layers.%d.topk_weights".formatted(layer))),
          MemorySegment.ofArray(slots));
    }

    /** Compares both projections' deltas of one layer. */
    void layer(int layer, int[] slots, List<String> names, Check check) {
      plan(layer, slots);
      Matrix x = tensors.matrix("layers.%d.x".formatted(layer));
      compare(ProjectionCall.gateUp(layer).deltaOnly(), x, slots, names, "delta_gate_up", check);
      Matrix downIn =
          Bits.zeros(arena, DType.F32, tokens * expertsPerToken, model.intermediateSize());
      for (int p = 0; p < downIn.rows(); p++) {
        int slot = slots[p / expertsPerToken];
        Matrix source =
            tensors.matrix(name(layer, "down_in", slot < 0 ? names.getFirst() : names.get(slot)));
        for (int i = 0; i < downIn.columns(); i++) {
          downIn.set(p, i, source.get(p, i));
        }
      }
      ProjectionCall down = ProjectionCall.down(layer).withRoutedWeight(false).deltaOnly();
      compare(down, downIn, slots, names, "delta_down", check);
    }

    private void compare(
        ProjectionCall call, Matrix x, int[] slots, List<String> names, String delta, Check check) {
      int width = model.outputWidth(call.projection());
      int pairs = tokens * expertsPerToken;
      Matrix y = Bits.zeros(arena, DType.F32, pairs, width);
      for (int p = 0; p < pairs; p++) {
        for (int c = 0; c < width; c++) {
          y.set(p, c, Float.NaN);
        }
      }
      step.run(call, x, y);
      Reference.Result bounds =
          Reference.compute(
              new Reference.Inputs(
                  model,
                  call,
                  new ArrayList<>(adapters),
                  tensors.ints("layers.%d.topk_ids".formatted(call.layer())),
                  tensors.floats("layers.%d.topk_weights".formatted(call.layer())),
                  slots,
                  x,
                  y));
      for (int p = 0; p < pairs; p++) {
        int slot = slots[p / expertsPerToken];
        Matrix golden = slot < 0 ? null : golden(call, delta, names.get(slot));
        for (int c = 0; c < width; c++) {
          double expected = golden == null ? 0 : golden.get(p, c);
          check.element(expected, bounds.bounds()[p][c], y.get(p, c));
        }
      }
    }

    private @Nullable Matrix golden(ProjectionCall call, String delta, String adapter) {
      String tensor = name(call.layer(), delta, adapter);
      return tensors.has(tensor) ? tensors.matrix(tensor) : null;
    }

    /**
     * Error of the routed experts' output with our deltas on the base model in float64, relative to
     * its largest value.
     */
    double blockError(int layer, String name) {
      Matrix x = tensors.matrix("layers.%d.x".formatted(layer));
      int[] expertIds = tensors.ints("layers.%d.topk_ids".formatted(layer));
      float[] weights = tensors.floats("layers.%d.topk_weights".formatted(layer));
      int pairs = expertIds.length;
      Matrix gateUpDelta =
          Bits.zeros(arena, DType.F32, pairs, model.outputWidth(Projection.GATE_UP));
      step.run(ProjectionCall.gateUp(layer).deltaOnly(), x, gateUpDelta);
      BaseExperts experts = new BaseExperts(tensors, model, layer);
      Matrix downIn = Bits.zeros(arena, DType.F32, pairs, model.intermediateSize());
      for (int p = 0; p < pairs; p++) {
        experts.activation(expertIds[p], x, p / expertsPerToken, gateUpDelta, downIn, p);
      }
      Matrix downDelta = Bits.zeros(arena, DType.F32, pairs, model.hiddenSize());
      step.run(ProjectionCall.down(layer).withRoutedWeight(false).deltaOnly(), downIn, downDelta);
      double[] expected = tensors.doubles(name(layer, "routed_out64", name));
      double largest = Arrays.stream(expected).map(Math::abs).max().orElse(0);
      double worst = 0;
      for (int t = 0; t < tokens; t++) {
        for (int c = 0; c < model.hiddenSize(); c++) {
          double sum = 0;
          for (int k = 0; k < expertsPerToken; k++) {
            int p = t * expertsPerToken + k;
            sum += weights[p] * (experts.down(expertIds[p], downIn, p, c) + downDelta.get(p, c));
          }
          worst = Math.max(worst, Math.abs(sum - expected[t * model.hiddenSize() + c]));
        }
      }
      return largest == 0 ? worst : worst / largest;
    }

    @Override
    public void close() {
      lora.close();
      arena.close();
    }
  }

  @Override
  public void close() {
    tensors.close();
  }
}
