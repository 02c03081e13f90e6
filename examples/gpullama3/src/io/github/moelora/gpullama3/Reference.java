package io.github.moelora.gpullama3;

import io.github.moelora.gpullama3.RandomAdapter.Pair;
import io.github.moelora.gpullama3.RandomAdapter.Site;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Qwen2-MoE in float64 and plain loops, one request at a time: attention with biases and rotary
 * positions, a softmax over all experts whose largest {@code K} are used as they are, and a shared
 * expert behind a gate of its own. An adapter adds {@code scale * B (A x)} to gate, up and down of
 * the routed experts.
 */
final class Reference {
  static final float EPSILON = 1e-6f;

  /** The engine's kernel has this number in it, whatever the file says. */
  static final float THETA = 1e6f;

  private final Shape shape;
  private final ModelFile file;
  private final Map<String, double[]> weights;
  private @Nullable RandomAdapter adapter;
  private List<List<double[]>> keys = new ArrayList<>();
  private List<List<double[]>> values = new ArrayList<>();
  private double narrowestChoice = 1;

  Reference(Shape shape, ModelFile file) {
    this.shape = shape;
    this.file = file;
    weights = new HashMap<>();
  }

  /** Another with the same weights. */
  Reference(Reference other) {
    shape = other.shape;
    file = other.file;
    weights = other.weights;
  }

  /** Begins a request, under an adapter or none. */
  void begin(@Nullable RandomAdapter newAdapter) {
    use(newAdapter);
    keys = new ArrayList<>();
    values = new ArrayList<>();
    for (int i = 0; i < shape.layers(); i++) {
      keys.add(new ArrayList<>());
      values.add(new ArrayList<>());
    }
  }

  /** Goes on with the request under another adapter or none. */
  void use(@Nullable RandomAdapter newAdapter) {
    adapter = newAdapter;
  }

  /**
   * The least difference so far of the probability of an expert that was used and of one that was
   * not: if it were as small as float32's error, the engine could rightly choose another.
   */
  double narrowestChoice() {
    return narrowestChoice;
  }

  /** Logits after the request's next token. */
  double[] next(int token) {
    double[] table = weight("token_embd.weight");
    double[] x = new double[shape.hidden()];
    System.arraycopy(table, token * shape.hidden(), x, 0, shape.hidden());
    for (int layer = 0; layer < shape.layers(); layer++) {
      attention(layer, x);
      experts(layer, x);
    }
    return product(weight("output.weight"), 0, normal(x, "output_norm.weight"), shape.vocabulary());
  }

  private void attention(int layer, double[] x) {
    String of = "blk." + layer + ".";
    double[] in = normal(x, of + "attn_norm.weight");
    double[] q = biased(of + "attn_q", in, shape.hidden());
    double[] k = biased(of + "attn_k", in, shape.kvWidth());
    double[] v = biased(of + "attn_v", in, shape.kvWidth());
    int position = keys.get(layer).size();
    rotate(q, position);
    rotate(k, position);
    keys.get(layer).add(k);
    values.get(layer).add(v);
    int size = shape.headSize();
    double[] out = new double[shape.hidden()];
    for (int head = 0; head < shape.heads(); head++) {
      int kvFrom = head / (shape.heads() / shape.kvHeads()) * size;
      double[] scores = new double[position + 1];
      for (int t = 0; t <= position; t++) {
        for (int i = 0; i < size; i++) {
          scores[t] += q[head * size + i] * keys.get(layer).get(t)[kvFrom + i] / Math.sqrt(size);
        }
      }
      softmax(scores);
      for (int t = 0; t <= position; t++) {
        for (int i = 0; i < size; i++) {
          out[head * size + i] += scores[t] * values.get(layer).get(t)[kvFrom + i];
        }
      }
    }
    add(x, 1, product(weight(of + "attn_output.weight"), 0, out, shape.hidden()));
  }

  /** Turns element {@code i} of a head with element {@code i + size / 2}. */
  private void rotate(double[] heads, int position) {
    int half = shape.headSize() / 2;
    for (int from = 0; from < heads.length; from += 2 * half) {
      for (int i = 0; i < half; i++) {
        double angle = position / Math.pow(THETA, (double) i / half);
        double first = heads[from + i];
        double second = heads[from + i + half];
        heads[from + i] = first * Math.cos(angle) - second * Math.sin(angle);
        heads[from + i + half] = first * Math.sin(angle) + second * Math.cos(angle);
      }
    }
  }

  private void experts(int layer, double[] x) {
    String of = "blk." + layer + ".";
    double[] in = normal(x, of + "ffn_norm.weight");
    double[] chances = product(weight(of + "ffn_gate_inp.weight"), 0, in, shape.experts());
    softmax(chances);
    for (int expert : choose(chances)) {
      add(x, chances[expert], routed(layer, expert, in));
    }
    double[] up = product(weight(of + "ffn_up_shexp.weight"), 0, in, shape.shared());
    double[] gate = product(weight(of + "ffn_gate_shexp.weight"), 0, in, shape.shared());
    double[] down =
        product(weight(of + "ffn_down_shexp.weight"), 0, swiglu(gate, up), shape.hidden());
    double open = product(weight(of + "ffn_gate_inp_shexp.weight"), 0, in, 1)[0];
    add(x, 1 / (1 + Math.exp(-open)), down);
  }

  private double[] routed(int layer, int expert, double[] in) {
    double[] gate = linear(layer, expert, RandomAdapter.GATE, "ffn_gate_exps", in, shape.inner());
    double[] up = linear(layer, expert, RandomAdapter.UP, "ffn_up_exps", in, shape.inner());
    double[] active = swiglu(gate, up);
    return linear(layer, expert, RandomAdapter.DOWN, "ffn_down_exps", active, shape.hidden());
  }

  private double[] linear(
      int layer, int expert, String linear, String tensor, double[] in, int outputs) {
    double[] base = weight("blk.%d.%s.weight".formatted(layer, tensor));
    double[] out = product(base, expert * outputs * in.length, in, outputs);
    if (adapter == null) {
      return out;
    }
    Pair pair = adapter.pair(new Site(layer, expert, linear));
    if (pair == null) {
      return out;
    }
    for (int r = 0; r < adapter.rank(); r++) {
      double z = 0;
      for (int i = 0; i < in.length; i++) {
        z += pair.a()[r * in.length + i] * in[i];
      }
      for (int o = 0; o < outputs; o++) {
        out[o] += adapter.scale() * pair.b()[o * adapter.rank() + r] * z;
      }
    }
    return out;
  }

  private int[] choose(double[] chances) {
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < chances.length; i++) {
      order.add(i);
    }
    order.sort((i, j) -> Double.compare(chances[j], chances[i]));
    int used = shape.perToken();
    narrowestChoice =
        Math.min(narrowestChoice, chances[order.get(used - 1)] - chances[order.get(used)]);
    return order.subList(0, used).stream().mapToInt(Integer::intValue).toArray();
  }

  private double[] weight(String name) {
    return weights.computeIfAbsent(name, file::values);
  }

  private double[] biased(String name, double[] in, int outputs) {
    double[] out = product(weight(name + ".weight"), 0, in, outputs);
    add(out, 1, weight(name + ".bias"));
    return out;
  }

  private double[] normal(double[] x, String name) {
    double squares = 0;
    for (double value : x) {
      squares += value * value;
    }
    double scale = 1 / Math.sqrt(squares / x.length + EPSILON);
    double[] out = new double[x.length];
    for (int i = 0; i < x.length; i++) {
      out[i] = weight(name)[i] * scale * x[i];
    }
    return out;
  }

  private static double[] product(double[] matrix, int from, double[] in, int outputs) {
    double[] out = new double[outputs];
    for (int o = 0; o < outputs; o++) {
      for (int i = 0; i < in.length; i++) {
        out[o] += matrix[from + o * in.length + i] * in[i];
      }
    }
    return out;
  }

  private static double[] swiglu(double[] gate, double[] up) {
    double[] out = new double[gate.length];
    for (int i = 0; i < gate.length; i++) {
      out[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
    }
    return out;
  }

  private static void softmax(double[] scores) {
    double most = Double.NEGATIVE_INFINITY;
    for (double score : scores) {
      most = Math.max(most, score);
    }
    double sum = 0;
    for (int i = 0; i < scores.length; i++) {
      scores[i] = Math.exp(scores[i] - most);
      sum += scores[i];
    }
    for (int i = 0; i < scores.length; i++) {
      scores[i] /= sum;
    }
  }

  private static void add(double[] x, double factor, double[] more) {
    for (int i = 0; i < x.length; i++) {
      x[i] += factor * more[i];
    }
  }
}
