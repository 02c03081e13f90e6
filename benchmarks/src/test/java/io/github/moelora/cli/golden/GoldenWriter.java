package io.github.moelora.cli.golden;

import io.github.moelora.cli.Output;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Makes golden directories of a model family, by the rules of the format. Every expected value is
 * computed in float64 by plain loops, from matrices per expert that are laid out in a file only
 * afterwards; nothing is shared with the reader, the library or the command.
 */
public final class GoldenWriter {
  /** What the experts compute. */
  public enum Experts {
    /** {@code silu(gate) * up}, gate rows first. */
    GATED,
    /** As gpt-oss: transposed base weights, gate and up in turn, biases, a cut activation. */
    INTERLEAVED,
    /** {@code relu(up)^2}. */
    UP_ONLY
  }

  /** What stands beside the routed experts. */
  public enum Shared {
    NONE,
    /** {@code sigmoid(x . shared_expert_gate) * shared_expert(x)}. */
    GATED,
    /** {@code shared_experts(x)}. */
    ADDED
  }

  /**
   * A model.
   *
   * @param routingScale factor in the routing weights
   * @param prefix what stands before the layer number in an adapter's keys
   * @param block name of the MoE block in an adapter's keys
   */
  public record Family(
      String name,
      int hidden,
      int intermediate,
      int experts,
      int expertsPerToken,
      int tokens,
      List<Integer> layers,
      Experts kind,
      Shared shared,
      double routingScale,
      String prefix,
      String block) {

    int gateUpWidth() {
      return kind == Experts.UP_ONLY ? intermediate : 2 * intermediate;
    }
  }

  /** How an adapter is stored. */
  public enum Layout {
    /** Parameters of all experts, oriented as the projection. */
    FUSED,
    /** Parameters of all experts, in and out exchanged. */
    FUSED_SWAPPED,
    /** gate_proj, up_proj and down_proj of each expert. */
    PER_EXPERT,
    /** w1, w3 and w2 of each expert. */
    PER_EXPERT_W
  }

  /** An adapter to be made; the defaults are changed by the methods. */
  public static final class Adapter {
    private final String name;
    private final Layout layout;
    private final Map<String, Object> config = new LinkedHashMap<>();
    private String dtype = "F32";
    private List<String> linears = List.of("gate_up", "down");
    private @Nullable List<Integer> layers;
    private List<Integer> experts = List.of();
    private RankRule rank = (layer, linear, expert) -> 4;
    private ScaleRule scale = (layer, linear, expert, r) -> 8.0 / r;
    private final List<String> strangers = new ArrayList<>();

    public Adapter(String name, Layout layout) {
      this.name = name;
      this.layout = layout;
      config.put("peft_type", "LORA");
      config.put("peft_version", layout == Layout.FUSED_SWAPPED ? "0.18.1" : "0.21.0");
      config.put("r", 4);
      config.put("lora_alpha", 8);
    }

    Adapter dtype(String type) {
      dtype = type;
      return this;
    }

    /** Projections: gate_up or up, and down; gate and up alone in a per-expert layout. */
    Adapter linears(String... only) {
      linears = List.of(only);
      return this;
    }

    Adapter layers(Integer... only) {
      layers = List.of(only);
      return this;
    }

    Adapter experts(Integer... only) {
      experts = List.of(only);
      return this;
    }

    Adapter config(String option, Object value) {
      config.put(option, value);
      return this;
    }

    Adapter ranks(RankRule rule) {
      rank = rule;
      return this;
    }

    Adapter scales(ScaleRule rule) {
      scale = rule;
      return this;
    }

    /** A module that has nothing to do with routed experts. */
    Adapter stranger(String module) {
      strangers.add(module);
      return this;
    }
  }

  /** Rank of a pair. */
  public interface RankRule {
    int rank(int layer, String linear, int expert);
  }

  /** Scale of a pair. */
  public interface ScaleRule {
    double scale(int layer, String linear, int expert, int rank);
  }

  /** A pair of one expert: {@code a} is {@code [r][in]}, {@code b} {@code [out][r]}. */
  private record Pair(double[][] a, double[][] b, double scale) {
    double[] delta(double[] v) {
      double[] z = multiply(a, v);
      double[] delta = multiply(b, z);
      for (int o = 0; o < delta.length; o++) {
        delta[o] *= scale;
      }
      return delta;
    }
  }

  private record Site(int layer, String linear, int expert) {}

  /** Base weights of one expert, {@code [out][in]}. */
  private record Expert(
      double[][] gateUp, double[] gateUpBias, double[][] down, double[] downBias) {}

  private final Family family;
  private final Random random;
  private final TensorFile golden = new TensorFile();
  private final Map<Integer, List<Expert>> experts = new HashMap<>();
  private final Map<Integer, double[][]> shared = new HashMap<>();
  private final Map<String, TensorFile> adapterFiles = new LinkedHashMap<>();
  private final Map<String, Map<String, Object>> configs = new LinkedHashMap<>();
  private final Map<String, Object> modelConfig = new LinkedHashMap<>();

  public GoldenWriter(Family family, long seed) {
    this.family = family;
    this.random = new Random(seed);
    modelConfig.put("hidden_act", "silu");
    for (int layer : family.layers()) {
      addBatch(layer);
      addExperts(layer);
      addShared(layer);
      addOutputs(layer, "base", Map.of());
    }
  }

  /** The golden tensors, to be damaged. */
  public TensorFile golden() {
    return golden;
  }

  /** An adapter's tensors, to be damaged. */
  public TensorFile adapter(String name) {
    return Objects.requireNonNull(adapterFiles.get(name), name);
  }

  /** An adapter's config, to be damaged. */
  public Map<String, Object> config(String name) {
    return Objects.requireNonNull(configs.get(name), name);
  }

  private static String layerName(int layer, String what) {
    return "layers.%d.%s".formatted(layer, what);
  }

  private double[] random(String name, int... shape) {
    double[] values = golden.add(name, "F32", shape);
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (0.3 * random.nextGaussian());
    }
    return values;
  }

  private static double[][] rows(double[] values, int from, int rows, int columns) {
    double[][] matrix = new double[rows][];
    for (int i = 0; i < rows; i++) {
      matrix[i] = Arrays.copyOfRange(values, from + i * columns, from + (i + 1) * columns);
    }
    return matrix;
  }

  private static double[][] transposed(double[][] matrix) {
    double[][] transposed = new double[matrix[0].length][matrix.length];
    for (int i = 0; i < matrix.length; i++) {
      for (int j = 0; j < matrix[0].length; j++) {
        transposed[j][i] = matrix[i][j];
      }
    }
    return transposed;
  }

  private static double[] multiply(double[][] matrix, double[] v) {
    double[] product = new double[matrix.length];
    for (int i = 0; i < matrix.length; i++) {
      for (int j = 0; j < v.length; j++) {
        product[i] += matrix[i][j] * v[j];
      }
    }
    return product;
  }

  private void addBatch(int layer) {
    int k = family.expertsPerToken();
    double[] x = random(layerName(layer, "x"), family.tokens(), family.hidden());
    for (int i = 0; i < x.length; i++) {
      // large enough to reach the limits of gpt-oss's activation
      x[i] = (float) (x[i] * 10);
    }
    double[] logits = random(layerName(layer, "router_logits"), family.tokens(), family.experts());
    double[] ids = golden.add(layerName(layer, "topk_ids"), "I32", family.tokens(), k);
    double[] weights = golden.add(layerName(layer, "topk_weights"), "F32", family.tokens(), k);
    for (int t = 0; t < family.tokens(); t++) {
      int row = t * family.experts();
      List<Integer> best =
          IntStream.range(0, family.experts())
              .boxed()
              .sorted(Comparator.comparingDouble(e -> -logits[row + e]))
              .limit(k)
              .toList();
      double sum = best.stream().mapToDouble(e -> Math.exp(logits[row + e])).sum();
      for (int j = 0; j < k; j++) {
        ids[t * k + j] = best.get(j);
        weights[t * k + j] =
            (float) (family.routingScale() * Math.exp(logits[row + best.get(j)]) / sum);
      }
    }
  }

  private void addExperts(int layer) {
    int h = family.hidden();
    int i = family.intermediate();
    int g = family.gateUpWidth();
    int e = family.experts();
    boolean interleaved = family.kind() == Experts.INTERLEAVED;
    String prefix = layerName(layer, "mlp.experts.");
    String first = family.kind() == Experts.UP_ONLY ? "up_proj" : "gate_up_proj";
    double[] gateUp =
        interleaved ? random(prefix + first, e, h, g) : random(prefix + first, e, g, h);
    double[] down =
        interleaved ? random(prefix + "down_proj", e, i, h) : random(prefix + "down_proj", e, h, i);
    double[] gateUpBias = new double[e * g];
    double[] downBias = new double[e * h];
    if (interleaved) {
      gateUpBias = random(prefix + "gate_up_proj_bias", e, g);
      downBias = random(prefix + "down_proj_bias", e, h);
    }
    List<Expert> list = new ArrayList<>();
    for (int n = 0; n < e; n++) {
      list.add(
          new Expert(
              interleaved
                  ? transposed(rows(gateUp, n * g * h, h, g))
                  : rows(gateUp, n * g * h, g, h),
              Arrays.copyOfRange(gateUpBias, n * g, (n + 1) * g),
              interleaved ? transposed(rows(down, n * h * i, i, h)) : rows(down, n * h * i, h, i),
              Arrays.copyOfRange(downBias, n * h, (n + 1) * h)));
    }
    experts.put(layer, list);
  }

  private void addShared(int layer) {
    int h = family.hidden();
    int i = family.intermediate() + 3;
    double[][] output = new double[family.tokens()][h];
    shared.put(layer, output);
    if (family.shared() == Shared.NONE) {
      return;
    }
    boolean gated = family.shared() == Shared.GATED;
    String prefix = layerName(layer, gated ? "mlp.shared_expert." : "mlp.shared_experts.");
    double[][] gate = rows(random(prefix + "gate_proj.weight", i, h), 0, i, h);
    double[][] up = rows(random(prefix + "up_proj.weight", i, h), 0, i, h);
    double[][] down = rows(random(prefix + "down_proj.weight", h, i), 0, h, i);
    double[] switchWeights =
        gated ? random(layerName(layer, "mlp.shared_expert_gate.weight"), 1, h) : new double[h];
    for (int t = 0; t < family.tokens(); t++) {
      double[] x = x(layer, t);
      double[] g = multiply(gate, x);
      double[] u = multiply(up, x);
      for (int c = 0; c < i; c++) {
        g[c] = g[c] / (1 + Math.exp(-g[c])) * u[c];
      }
      double factor =
          gated ? 1 / (1 + Math.exp(-multiply(new double[][] {switchWeights}, x)[0])) : 1;
      output[t] = multiply(down, g);
      for (int c = 0; c < h; c++) {
        output[t][c] *= factor;
      }
    }
  }

  private double[] x(int layer, int token) {
    return rows(golden.values(layerName(layer, "x")), token * family.hidden(), 1, family.hidden())[
        0];
  }

  private double[] activation(double[] g) {
    int i = family.intermediate();
    double[] activated = new double[i];
    for (int c = 0; c < i; c++) {
      switch (family.kind()) {
        case GATED -> activated[c] = g[c] / (1 + Math.exp(-g[c])) * g[i + c];
        case UP_ONLY -> activated[c] = g[c] > 0 ? g[c] * g[c] : 0;
        case INTERLEAVED -> {
          double gate = g[2 * c] > 7 ? 7 : g[2 * c];
          double up = g[2 * c + 1] > 7 ? 7 : g[2 * c + 1] < -7 ? -7 : g[2 * c + 1];
          activated[c] = (up + 1) * gate / (1 + Math.exp(-1.702 * gate));
        }
      }
    }
    return activated;
  }

  /** Adds all expected values of one adapter and layer; the base model's if there are no pairs. */
  private void addOutputs(int layer, String adapter, Map<Site, Pair> pairs) {
    int h = family.hidden();
    int k = family.expertsPerToken();
    int g = family.gateUpWidth();
    int i = family.intermediate();
    boolean base = adapter.equals("base");
    double[] routed =
        golden.add(layerName(layer, "routed_out64." + adapter), "F64", family.tokens(), h);
    double[] block =
        golden.add(layerName(layer, "block_out." + adapter), "F32", family.tokens(), h);
    TensorFile target = base ? new TensorFile() : golden;
    double[] deltaGateUp =
        target.add(layerName(layer, "delta_gate_up." + adapter), "F32", family.tokens(), k, g);
    double[] downIn =
        target.add(layerName(layer, "down_in." + adapter), "F32", family.tokens(), k, i);
    double[] deltaDown =
        target.add(layerName(layer, "delta_down." + adapter), "F32", family.tokens(), k, h);
    double[] ids = golden.values(layerName(layer, "topk_ids"));
    double[] weights = golden.values(layerName(layer, "topk_weights"));
    for (int p = 0; p < ids.length; p++) {
      int t = p / k;
      int e = (int) ids[p];
      Expert expert = Objects.requireNonNull(experts.get(layer)).get(e);
      double[] x = x(layer, t);
      double[] delta = delta(pairs, layer, e, x, g, "gate_up", "gate", "up");
      double[] sum = multiply(expert.gateUp(), x);
      for (int c = 0; c < g; c++) {
        sum[c] += expert.gateUpBias()[c] + delta[c];
      }
      double[] activated = activation(sum);
      double[] secondDelta = delta(pairs, layer, e, activated, h, "down");
      double[] y = multiply(expert.down(), activated);
      System.arraycopy(delta, 0, deltaGateUp, p * g, g);
      System.arraycopy(activated, 0, downIn, p * i, i);
      System.arraycopy(secondDelta, 0, deltaDown, p * h, h);
      for (int c = 0; c < h; c++) {
        routed[t * h + c] += weights[p] * (y[c] + expert.downBias()[c] + secondDelta[c]);
      }
    }
    double[][] beside = Objects.requireNonNull(shared.get(layer));
    for (int c = 0; c < routed.length; c++) {
      block[c] = routed[c] + beside[c / h][c % h];
    }
  }

  /** Sum of the deltas of some linear layers; up stands behind gate where there is one. */
  private double[] delta(
      Map<Site, Pair> pairs, int layer, int expert, double[] v, int width, String... linears) {
    double[] delta = new double[width];
    for (String linear : linears) {
      Pair pair = pairs.get(new Site(layer, linear, expert));
      if (pair != null) {
        double[] part = pair.delta(v);
        int from = linear.equals("up") ? width - family.intermediate() : 0;
        for (int o = 0; o < part.length; o++) {
          delta[from + o] += part[o];
        }
      }
    }
    return delta;
  }

  /** Adds an adapter and all its expected values. */
  public GoldenWriter add(Adapter adapter) {
    TensorFile file = new TensorFile();
    adapterFiles.put(adapter.name, file);
    configs.put(adapter.name, adapter.config);
    boolean fused = adapter.layout == Layout.FUSED || adapter.layout == Layout.FUSED_SWAPPED;
    if (fused) {
      String first = family.kind() == Experts.UP_ONLY ? "up_proj" : "gate_up_proj";
      adapter.config.putIfAbsent(
          "target_parameters",
          adapter.linears.stream()
              .map(linear -> "experts." + (linear.equals("down") ? "down_proj" : first))
              .toList());
      adapter.config.putIfAbsent("target_modules", List.of());
    } else {
      adapter.config.putIfAbsent(
          "target_modules",
          List.of("gate_proj", "up_proj", "down_proj", "q_proj", "w1", "w2", "w3"));
    }
    Map<Site, Pair> pairs = new LinkedHashMap<>();
    for (int layer : adapter.layers == null ? family.layers() : adapter.layers) {
      for (String linear : adapter.linears) {
        makePairs(adapter, layer, fused ? linear : linear.equals("gate_up") ? "gate,up" : linear)
            .forEach(pairs::put);
      }
      String prefix = family.prefix() + layer + "." + family.block() + ".experts.";
      if (fused) {
        for (String linear : adapter.linears) {
          boolean inner = adapter.linears.size() == 2 && !linear.equals("down");
          layOutFused(adapter, file, prefix + (inner ? "base_layer." : ""), layer, linear, pairs);
        }
      }
    }
    if (!fused) {
      pairs.forEach((site, pair) -> layOut(adapter, file, site, pair));
    }
    for (String module : adapter.strangers) {
      file.add(module + ".lora_A.weight", "F32", 4, family.hidden());
      file.add(module + ".lora_B.weight", "F32", family.hidden(), 4);
    }
    for (int layer : family.layers()) {
      addOutputs(layer, adapter.name, pairs);
    }
    return this;
  }

  private Map<Site, Pair> makePairs(Adapter adapter, int layer, String linears) {
    Map<Site, Pair> pairs = new LinkedHashMap<>();
    for (String linear : linears.split(",", -1)) {
      if (linear.equals("gate") && family.kind() == Experts.UP_ONLY) {
        continue;
      }
      boolean down = linear.equals("down");
      int in = down ? family.intermediate() : family.hidden();
      int out =
          switch (linear) {
            case "down" -> family.hidden();
            case "gate_up" -> family.gateUpWidth();
            default -> family.intermediate();
          };
      for (int e = 0; e < family.experts(); e++) {
        if (adapter.experts.isEmpty() || adapter.experts.contains(e)) {
          int rank = adapter.rank.rank(layer, linear, e);
          pairs.put(
              new Site(layer, linear, e),
              new Pair(
                  matrix(rank, in),
                  matrix(out, rank),
                  adapter.scale.scale(layer, linear, e, rank)));
        }
      }
    }
    return pairs;
  }

  /** Multiples of 1/64, which every type holds. */
  private double[][] matrix(int rows, int columns) {
    double[][] matrix = new double[rows][columns];
    for (double[] row : matrix) {
      for (int j = 0; j < columns; j++) {
        row[j] = (random.nextInt(129) - 64) / 64.0;
      }
    }
    return matrix;
  }

  private void layOut(Adapter adapter, TensorFile file, Site site, Pair pair) {
    boolean letters = adapter.layout == Layout.PER_EXPERT_W;
    String linear =
        switch (site.linear()) {
          case "gate" -> letters ? "w1" : "gate_proj";
          case "up" -> letters ? "w3" : "up_proj";
          default -> letters ? "w2" : "down_proj";
        };
    String module =
        "%s%d.%s.experts.%d.%s"
            .formatted(family.prefix(), site.layer(), family.block(), site.expert(), linear);
    copy(pair.a(), file.add(module + ".lora_A.weight", adapter.dtype, shape(pair.a())));
    copy(pair.b(), file.add(module + ".lora_B.weight", adapter.dtype, shape(pair.b())));
  }

  private static int[] shape(double[][] matrix) {
    return new int[] {matrix.length, matrix[0].length};
  }

  private static void copy(double[][] matrix, double[] values) {
    for (int i = 0; i < matrix.length; i++) {
      System.arraycopy(matrix[i], 0, values, i * matrix[0].length, matrix[0].length);
    }
  }

  /** A of all experts below each other; B with column {@code i*E + e} for rank i of expert e. */
  private void layOutFused(
      Adapter adapter,
      TensorFile file,
      String prefix,
      int layer,
      String linear,
      Map<Site, Pair> pairs) {
    int e = family.experts();
    Pair any = Objects.requireNonNull(pairs.get(new Site(layer, linear, 0)));
    int rank = any.a().length;
    boolean swapped = adapter.layout == Layout.FUSED_SWAPPED;
    int rowWidth = swapped ? any.b().length : any.a()[0].length;
    int columnHeight = swapped ? any.a()[0].length : any.b().length;
    double[] a = file.add(prefix + "lora_A.weight", adapter.dtype, e * rank, rowWidth);
    double[] b = file.add(prefix + "lora_B.weight", adapter.dtype, columnHeight, rank * e);
    for (int n = 0; n < e; n++) {
      Pair pair = Objects.requireNonNull(pairs.get(new Site(layer, linear, n)));
      for (int r = 0; r < rank; r++) {
        for (int c = 0; c < rowWidth; c++) {
          a[(n * rank + r) * rowWidth + c] = swapped ? pair.b()[c][r] : pair.a()[r][c];
        }
        for (int c = 0; c < columnHeight; c++) {
          b[c * rank * e + r * e + n] = swapped ? pair.a()[r][c] : pair.b()[c][r];
        }
      }
    }
  }

  /** Writes the directory. */
  public Path write(Path directory) throws IOException {
    golden.write(directory.resolve("golden.safetensors"));
    List<Map<String, String>> adapters = new ArrayList<>();
    for (String name : adapterFiles.keySet()) {
      adapters.add(Map.of("name", name));
      adapter(name).write(directory.resolve(name).resolve("adapter_model.safetensors"));
      Output.writeJson(directory.resolve(name).resolve("adapter_config.json"), config(name));
    }
    Map<String, Object> manifest = new LinkedHashMap<>();
    manifest.put("model", family.name());
    manifest.put("tokens", family.tokens());
    manifest.put("moe_layers", family.layers());
    manifest.put("adapters", adapters);
    manifest.put("config", modelConfig);
    Files.createDirectories(directory);
    Output.writeJson(directory.resolve("manifest.json"), manifest);
    return directory;
  }
}
