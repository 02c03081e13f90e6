package io.github.moelora.cli.golden;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.AdapterFormatException;
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
import io.github.moelora.peft.PeftAdapter;
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
    List<String> adapters = new ArrayList<>();
    manifest.path("adapters").forEach(adapter -> adapters.add(adapter.path("name").asText()));
    if (layers.isEmpty() || adapters.isEmpty()) {
      throw new IllegalArgumentException(
          "%s must have moe_layers and adapters, got layers %s and adapters %s"
              .formatted(folder.resolve("manifest.json"), layers, adapters));
    }
    int first = layers.getFirst();
    tokens = tensors.size("layers.%d.topk_ids".formatted(first), 0);
    expertsPerToken = tensors.size("layers.%d.topk_ids".formatted(first), 1);
    String adapter = adapters.getFirst();
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

  List<GoldenCase> replay(Place place) throws IOException {
    List<GoldenCase> cases = new ArrayList<>();
    List<String> names = new ArrayList<>();
    List<LoraAdapter> adapters = new ArrayList<>();
    List<PeftAdapter> files = new ArrayList<>();
    try {
      for (JsonNode item : manifest.path("adapters")) {
        String name = item.path("name").asText();
        LoraAdapter adapter;
        try {
          files.add(PeftAdapter.open(folder.resolve(name)));
          // the data tell routed experts only
          adapter = files.getLast().toLoraAdapter(model).withoutUnlisted(model);
        } catch (AdapterFormatException e) {
          cases.add(
              new GoldenCase(
                  directory, name, Double.POSITIVE_INFINITY, "refused: " + e.getMessage()));
          continue;
        }
        names.add(name);
        adapters.add(adapter);
        cases.add(replayAlone(name, adapter, files.getLast(), place));
      }
      if (!adapters.isEmpty()) {
        cases.add(replayMixed(names, adapters, place));
      }
      return cases;
    } finally {
      files.forEach(PeftAdapter::close);
    }
  }

  /** The type that holds every weight of the file exactly. */
  private static DType type(PeftAdapter file) {
    List<DType> types = file.entries().stream().map(PeftAdapter.Entry::type).distinct().toList();
    return types.size() == 1 ? types.getFirst() : DType.F32;
  }

  private GoldenCase replayAlone(String name, LoraAdapter adapter, PeftAdapter file, Place place) {
    int[] slots = new int[tokens];
    Check deltas = new Check();
    double routed = -1;
    double block = -1;
    try (Replay replay = new Replay(List.of(adapter), type(file), place)) {
      for (int layer : model.layers()) {
        replay.layer(layer, slots, List.of(name), deltas);
        if (tensors.has(name(layer, "routed_out64", name)) && hasBaseWeights(layer)) {
          double[] output = replay.routedOutput(layer);
          routed = Math.max(routed, routedError(layer, name, output));
          if (hasBlockOutput(layer, name, file)) {
            block = Math.max(block, blockError(layer, name, output));
          }
        }
      }
    }
    StringBuilder note = new StringBuilder(type(file).name().toLowerCase(Locale.ROOT));
    note.append(" weights, deltas");
    if (routed >= 0) {
      note.append(String.format(Locale.ROOT, ", routed experts within %.1e", routed));
    }
    if (block >= 0) {
      note.append(String.format(Locale.ROOT, ", block within %.1e", block));
    }
    double worst = Math.max(deltas.worst(), Math.max(routed, block) / BLOCK_TOLERANCE);
    return new GoldenCase(directory, name, worst, note.toString());
  }

  private GoldenCase replayMixed(List<String> names, List<LoraAdapter> adapters, Place place) {
    int[] slots = new int[tokens];
    for (int t = 0; t < tokens; t++) {
      slots[t] = t % 5 == 4 ? -1 : t % names.size();
    }
    Check check = new Check();
    try (Replay replay = new Replay(adapters, DType.F32, place)) {
      for (int layer : model.layers()) {
        replay.layer(layer, slots, names, check);
      }
    }
    return new GoldenCase(
        directory, "all adapters in one batch", check.worst(), "f32 weights, deltas");
  }

  private boolean hasBaseWeights(int layer) {
    return model.gateUp().gated()
        && tensors.has(base(layer, "gate_up_proj"))
        && tensors.has(base(layer, "down_proj"))
        && (interleaved(layer)
            || "silu".equals(manifest.path("config").path("hidden_act").asText()));
  }

  /** Shared experts, which a block may have, must be those of the base model. */
  private boolean hasBlockOutput(int layer, String name, PeftAdapter file) {
    return tensors.has(name(layer, "block_out", name))
        && tensors.has(name(layer, "block_out", "base"))
        && tensors.has(name(layer, "routed_out64", "base"))
        && file.denseEntries().stream().allMatch(entry -> entry.module().contains("attn"));
  }

  /** Error of the routed experts' output, relative to its largest value. */
  private double routedError(int layer, String name, double[] output) {
    return relativeError(tensors.doubles(name(layer, "routed_out64", name)), output);
  }

  /**
   * Error of the whole block's output, relative to its largest value. What the block adds to the
   * routed experts, whatever it is, is the same as without an adapter.
   */
  private double blockError(int layer, String name, double[] output) {
    float[] block = tensors.floats(name(layer, "block_out", "base"));
    double[] routed = tensors.doubles(name(layer, "routed_out64", "base"));
    float[] golden = tensors.floats(name(layer, "block_out", name));
    double[] expected = new double[golden.length];
    double[] actual = new double[golden.length];
    for (int i = 0; i < golden.length; i++) {
      expected[i] = golden[i];
      actual[i] = output[i] + (block[i] - routed[i]);
    }
    // both blocks are float32
    return relativeError(expected, actual) / 2;
  }

  private static double relativeError(double[] expected, double[] actual) {
    double largest = 0;
    double worst = 0;
    for (int i = 0; i < expected.length; i++) {
      largest = Math.max(largest, Math.abs(expected[i]));
      worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
    }
    return largest == 0 ? worst : worst / largest;
  }

  /** A backend with some of the adapters loaded. */
  private final class Replay implements AutoCloseable {
    private final List<LoraAdapter> adapters;
    private final Arena arena = Arena.ofShared();
    private final MoeLora lora;
    private final Step step;

    Replay(List<LoraAdapter> adapters, DType weightType, Place place) {
      this.adapters = adapters;
      int rank = adapters.stream().mapToInt(LoraAdapter::maxRank).max().orElse(1);
      MoeLoraConfig config =
          MoeLoraConfig.of(model, adapters.size(), expertsPerToken)
              .withMaxTokens(tokens)
              .withMaxRank(Math.max(1, rank))
              .withWeightType(weightType);
      lora = place.open(config);
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

    /** The routed experts' output with our deltas on the base model in float64. */
    double[] routedOutput(int layer) {
      Matrix x = tensors.matrix("layers.%d.x".formatted(layer));
      int[] expertIds = tensors.ints("layers.%d.topk_ids".formatted(layer));
      float[] weights = tensors.floats("layers.%d.topk_weights".formatted(layer));
      int pairs = expertIds.length;
      Matrix gateUpDelta =
          Bits.zeros(arena, DType.F32, pairs, model.outputWidth(Projection.GATE_UP));
      step.run(ProjectionCall.gateUp(layer).deltaOnly(), x, gateUpDelta);
      BaseExperts experts =
          new BaseExperts(
              tensors, model, layer, manifest.path("config").path("swiglu_limit").asDouble(7));
      Matrix downIn = Bits.zeros(arena, DType.F32, pairs, model.intermediateSize());
      for (int p = 0; p < pairs; p++) {
        experts.activation(expertIds[p], x, p / expertsPerToken, gateUpDelta, downIn, p);
      }
      Matrix downDelta = Bits.zeros(arena, DType.F32, pairs, model.hiddenSize());
      step.run(ProjectionCall.down(layer).withRoutedWeight(false).deltaOnly(), downIn, downDelta);
      double[] output = new double[tokens * model.hiddenSize()];
      for (int p = 0; p < pairs; p++) {
        for (int c = 0; c < model.hiddenSize(); c++) {
          output[p / expertsPerToken * model.hiddenSize() + c] +=
              weights[p] * (experts.down(expertIds[p], downIn, p, c) + downDelta.get(p, c));
        }
      }
      return output;
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
