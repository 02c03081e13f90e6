package io.github.moelora.peft;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.safetensors.SafeTensorsWriter;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Writes an adapter as a PEFT folder of one of two canonical layouts, whatever it was read from.
 *
 * <p><em>Per expert</em>: a pair for gate, up and down of each expert; one A under both gate and up
 * is written twice. <em>Fused</em>, as PEFT 0.21 writes for {@code target_parameters}: nested
 * wrappers, gate and up the inner one, in and out those of the projection. Experts of a smaller
 * rank than their parameter's are filled up with zeros, and where gate and up have an A of their
 * own the pair has the sum of their ranks. The scale of a pair is its own in {@code rank_pattern}
 * and {@code alpha_pattern}; only experts of one fused parameter whose scales differ have the
 * difference multiplied into B.
 */
public final class PeftExport {
  private static final String PREFIX = "base_model.model.";

  /** Layouts. */
  public enum Target {
    /** A pair for each linear layer of each expert. */
    PER_EXPERT,
    /** A pair for each parameter of all experts. */
    FUSED
  }

  /**
   * What was written.
   *
   * @param pairs pairs of tensors
   * @param multiplied pairs with a B that was multiplied, and so rounded again
   * @param bytes size of the weights file
   */
  public record Summary(int pairs, int multiplied, long bytes) {}

  /** Some rows of B of one slice, which become rows of the file's B. */
  private record Part(LoraSlice slice, int firstRow, int rowStep) {}

  /** A pair of the file: parts of one expert beneath each other in A, beside each other in B. */
  private record Piece(String module, int in, int out, List<Part> parts) {

    int rank() {
      return parts.stream().mapToInt(part -> part.slice().rank()).sum();
    }
  }

  private final MoeModel model;
  private final Target target;
  private final DType type;
  private final String experts;
  private final SafeTensorsWriter writer = new SafeTensorsWriter();
  private final Map<String, Integer> ranks = new LinkedHashMap<>();
  private final Map<String, Float> scales = new LinkedHashMap<>();
  private final Set<String> targetModules = new LinkedHashSet<>();
  private final Set<String> targetParameters = new LinkedHashSet<>();
  private int multiplied;

  /**
   * Starts an export.
   *
   * @param type type of the weights; narrower than the adapter's rounds them
   * @param experts path of the experts module with {@code %d} for the layer, such as {@code
   *     model.layers.%d.mlp.experts}
   * @throws IllegalArgumentException if {@code experts} has no {@code %d}
   */
  public PeftExport(MoeModel model, Target target, DType type, String experts) {
    if (!experts.contains("%d")) {
      throw new IllegalArgumentException("experts must hold %d for the layer, got " + experts);
    }
    this.model = model;
    this.target = target;
    this.type = type;
    this.experts = experts;
  }

  /**
   * Writes {@code adapter_config.json} and {@code adapter_model.safetensors}; used once.
   *
   * @param adapter one that fits the model
   * @param baseModel name of the base model for the config, or null
   * @param directory is made if it is not there
   * @throws IOException if the files cannot be written
   */
  public Summary write(LoraAdapter adapter, @Nullable String baseModel, Path directory)
      throws IOException {
    for (int layer : adapter.layers()) {
      String path = experts.replace("%d", Integer.toString(layer));
      if (target == Target.FUSED) {
        addFused(adapter, layer, path);
      } else {
        addExperts(adapter, layer, path);
      }
    }
    for (String module : adapter.modules()) {
      List<LoraSlice> slices = adapter.slices(module);
      int out = slices.getLast().endColumn();
      addPair(module, List.of(whole(module, slices, out)), module);
      targetModules.add(module);
    }
    Files.createDirectories(directory);
    long bytes = writer.write(directory.resolve("adapter_model.safetensors"));
    Files.writeString(directory.resolve("adapter_config.json"), config(baseModel));
    return new Summary(ranks.size(), multiplied, bytes);
  }

  private static Piece whole(String module, List<LoraSlice> slices, int out) {
    List<Part> parts = slices.stream().map(s -> new Part(s, s.firstColumn(), 1)).toList();
    return new Piece(module, slices.getFirst().a().columns(), out, parts);
  }

  private void addExperts(LoraAdapter adapter, int layer, String path) {
    for (int expert = 0; expert < model.experts(); expert++) {
      String prefix = "%s.%d.".formatted(path, expert);
      List<LoraSlice> down = adapter.slices(layer, Projection.DOWN, expert);
      List<LoraSlice> first = adapter.slices(layer, Projection.GATE_UP, expert);
      if (!first.isEmpty()) {
        for (int half = model.gateUp().gated() ? 0 : 1; half < 2; half++) {
          addHalf(prefix, first, half);
        }
      }
      if (!down.isEmpty()) {
        addLinear(prefix, "down_proj", whole(prefix + "down_proj", down, model.hiddenSize()));
      }
    }
  }

  private void addLinear(String prefix, String linear, Piece piece) {
    targetModules.add(linear);
    addPair(prefix + linear, List.of(piece), prefix + linear);
  }

  /** Gate or up of one expert. */
  private void addHalf(String prefix, List<LoraSlice> slices, int half) {
    int rows = model.intermediateSize();
    boolean interleaved = model.gateUp() == GateUp.INTERLEAVED;
    int first = !model.gateUp().gated() || half == 0 ? 0 : interleaved ? 1 : rows;
    int step = interleaved ? 2 : 1;
    List<Part> parts = new ArrayList<>();
    for (LoraSlice slice : slices) {
      int last = first + (rows - 1) * step;
      if (slice.firstColumn() <= last && slice.endColumn() > first && changes(slice, first, step)) {
        parts.add(new Part(slice, slice.firstColumn() - first, step));
      }
    }
    if (!parts.isEmpty()) {
      String linear = half == 0 ? "gate_proj" : "up_proj";
      addLinear(prefix, linear, new Piece(prefix + linear, model.hiddenSize(), rows, parts));
    }
  }

  /** Whether a slice has a column of a half that is not zero. */
  private boolean changes(LoraSlice slice, int first, int step) {
    for (int row = 0; row < model.intermediateSize(); row++) {
      int o = first + row * step - slice.firstColumn();
      for (int r = 0; o >= 0 && o < slice.columns() && r < slice.rank(); r++) {
        if (slice.b().get(o, r) != 0) {
          return true;
        }
      }
    }
    return false;
  }

  private void addFused(LoraAdapter adapter, int layer, String path) {
    List<Projection> touched = new ArrayList<>();
    for (Projection projection : Projection.values()) {
      for (int expert = 0; expert < model.experts(); expert++) {
        if (!adapter.slices(layer, projection, expert).isEmpty()) {
          touched.add(projection);
          break;
        }
      }
    }
    for (Projection projection : touched) {
      boolean inner = projection == Projection.GATE_UP && touched.size() > 1;
      String module = path + (inner ? ".base_layer" : "");
      List<Piece> pieces = new ArrayList<>();
      for (int expert = 0; expert < model.experts(); expert++) {
        List<LoraSlice> slices = adapter.slices(layer, projection, expert);
        int in = model.inputWidth(projection);
        List<Part> parts = slices.stream().map(s -> new Part(s, s.firstColumn(), 1)).toList();
        pieces.add(new Piece(module, in, model.outputWidth(projection), parts));
      }
      String up = model.gateUp().gated() ? "gate_up_proj" : "up_proj";
      String parameter = path + "." + (projection == Projection.DOWN ? "down_proj" : up);
      targetParameters.add(parameter);
      addPair(module, pieces, parameter);
    }
  }

  /** Adds A {@code [E*R, in]} and B {@code [out, R*E]}; without experts E is 1. */
  private void addPair(String module, List<Piece> pieces, String name) {
    int rank = pieces.stream().mapToInt(Piece::rank).max().orElse(1);
    float scale = mostCommonScale(pieces);
    ranks.put(name, rank);
    scales.put(name, scale);
    boolean folded =
        pieces.stream()
            .flatMap(piece -> piece.parts().stream())
            .anyMatch(part -> part.slice().scale() != scale);
    multiplied += folded ? 1 : 0;
    long count = pieces.size();
    int in = pieces.getFirst().in();
    int out = pieces.getFirst().out();
    writer.add(
        PREFIX + module + ".lora_A.weight",
        type,
        List.of(count * rank, (long) in),
        data -> fillA(data, pieces, rank));
    writer.add(
        PREFIX + module + ".lora_B.weight",
        type,
        List.of((long) out, count * rank),
        data -> fillB(data, pieces, rank, scale));
  }

  private static float mostCommonScale(List<Piece> pieces) {
    Map<Float, Integer> counts = new HashMap<>();
    pieces.forEach(
        piece ->
            piece.parts().forEach(part -> counts.merge(part.slice().scale(), 1, Integer::sum)));
    // a scale of 0 cannot be multiplied into another
    return counts.entrySet().stream()
        .filter(entry -> entry.getKey() != 0)
        .max(Map.Entry.<Float, Integer>comparingByValue().thenComparing(Map.Entry.comparingByKey()))
        .map(Map.Entry::getKey)
        .orElse(1f);
  }

  private void fillA(MemorySegment data, List<Piece> pieces, int rank) {
    for (int e = 0; e < pieces.size(); e++) {
      long row = (long) e * rank;
      Piece piece = pieces.get(e);
      for (Part part : piece.parts()) {
        Matrix a = part.slice().a();
        for (int r = 0; r < a.rows(); r++, row++) {
          for (int h = 0; h < piece.in(); h++) {
            type.set(data, row * piece.in() + h, a.get(r, h));
          }
        }
      }
    }
  }

  private void fillB(MemorySegment data, List<Piece> pieces, int rank, float scale) {
    int count = pieces.size();
    for (int e = 0; e < count; e++) {
      int at = 0;
      Piece piece = pieces.get(e);
      for (Part part : piece.parts()) {
        LoraSlice slice = part.slice();
        double factor = (double) slice.scale() / scale;
        for (int row = 0; row < piece.out(); row++) {
          int o = row * part.rowStep() - part.firstRow();
          for (int r = 0; o >= 0 && o < slice.columns() && r < slice.rank(); r++) {
            long column = (long) (at + r) * count + e;
            float value = (float) (factor * slice.b().get(o, r));
            type.set(data, row * (long) count * rank + column, value);
          }
        }
        at += slice.rank();
      }
    }
  }

  private String config(@Nullable String baseModel) {
    int rank = mostCommon(ranks, 1);
    Map<String, Double> alphas = new TreeMap<>();
    scales.forEach((name, scale) -> alphas.put(name, (double) scale * ranks.getOrDefault(name, 1)));
    double alpha = mostCommon(alphas, (double) rank);
    List<String> fields = new ArrayList<>();
    fields.add("\"peft_type\": \"LORA\"");
    fields.add("\"peft_version\": \"0.21.0\"");
    fields.add("\"task_type\": \"CAUSAL_LM\"");
    fields.add("\"base_model_name_or_path\": " + (baseModel == null ? "null" : quoted(baseModel)));
    fields.add("\"r\": " + rank);
    fields.add("\"lora_alpha\": " + alpha);
    fields.add("\"rank_pattern\": " + exceptions(ranks, rank));
    fields.add("\"alpha_pattern\": " + exceptions(alphas, alpha));
    fields.add("\"target_modules\": " + list(targetModules));
    fields.add(
        "\"target_parameters\": " + (targetParameters.isEmpty() ? "null" : list(targetParameters)));
    return "{\n  " + String.join(",\n  ", fields) + "\n}\n";
  }

  private static <T> T mostCommon(Map<String, T> values, T none) {
    Map<T, Integer> counts = new LinkedHashMap<>();
    values.values().forEach(value -> counts.merge(value, 1, Integer::sum));
    return counts.entrySet().stream()
        .max(Map.Entry.comparingByValue())
        .map(Map.Entry::getKey)
        .orElse(none);
  }

  /** Entries with another value than the config's own; a pattern is an expression. */
  private static String exceptions(Map<String, ?> values, Object common) {
    List<String> entries = new ArrayList<>();
    values.forEach(
        (name, value) -> {
          if (!value.equals(common)) {
            entries.add(quoted("^" + name.replace(".", "\\.")) + ": " + value);
          }
        });
    return "{" + String.join(", ", entries) + "}";
  }

  private static String list(Set<String> names) {
    return "[" + String.join(", ", names.stream().map(PeftExport::quoted).toList()) + "]";
  }

  private static String quoted(String text) {
    StringBuilder json = new StringBuilder("\"");
    text.chars()
        .forEach(
            c -> {
              if (c < ' ' || c > '~') {
                json.append("\\u%04x".formatted(c));
              } else {
                json.append(c == '"' || c == '\\' ? "\\" : "").append((char) c);
              }
            });
    return json.append('"').toString();
  }
}
