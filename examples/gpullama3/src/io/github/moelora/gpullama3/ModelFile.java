package io.github.moelora.gpullama3;

import io.github.moelora.gguf.GgmlType;
import io.github.moelora.gguf.GgufValue;
import io.github.moelora.gguf.GgufWriter;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/** A Qwen2-MoE model of random weights, in Q8_0 where GPULlama3.java has them so. */
final class ModelFile {
  private static final int BLOCK = 32;
  private static final int BLOCK_BYTES = 34;

  /** Standard deviation of a whole byte drawn evenly. */
  private static final double BYTE_DEVIATION = 73.9;

  private static final int BLOCKS_AT_ONCE = 1 << 14;
  private static final List<String> SPECIAL =
      List.of("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|end_of_text|>");

  /**
   * A tensor.
   *
   * @param shape slowest dimension first
   */
  private record Tensor(GgmlType type, List<Long> shape, double mean, double deviation) {
    int elements() {
      return Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact));
    }
  }

  private final Shape shape;
  private final long seed;
  private final Map<String, Tensor> tensors = new LinkedHashMap<>();

  /** The model that {@code seed} gives; nothing is drawn before it is asked for. */
  ModelFile(Shape shape, long seed) {
    this.shape = shape;
    this.seed = seed;
    matrix("token_embd.weight", 1, shape.vocabulary(), shape.hidden());
    for (int i = 0; i < shape.layers(); i++) {
      attention("blk." + i + ".");
      experts("blk." + i + ".");
    }
    vector("output_norm.weight", 1, 0.1, shape.hidden());
    matrix("output.weight", deviation(shape.hidden()), shape.vocabulary(), shape.hidden());
  }

  private void attention(String layer) {
    int hidden = shape.hidden();
    double deviation = deviation(hidden);
    vector(layer + "attn_norm.weight", 1, 0.1, hidden);
    matrix(layer + "attn_q.weight", deviation, hidden, hidden);
    matrix(layer + "attn_k.weight", deviation, shape.kvWidth(), hidden);
    matrix(layer + "attn_v.weight", deviation, shape.kvWidth(), hidden);
    vector(layer + "attn_q.bias", 0, 0.1, hidden);
    vector(layer + "attn_k.bias", 0, 0.1, shape.kvWidth());
    vector(layer + "attn_v.bias", 0, 0.1, shape.kvWidth());
    matrix(layer + "attn_output.weight", deviation, hidden, hidden);
  }

  private void experts(String layer) {
    int hidden = shape.hidden();
    int experts = shape.experts();
    double deviation = deviation(hidden);
    vector(layer + "ffn_norm.weight", 1, 0.1, hidden);
    vector(layer + "ffn_gate_inp.weight", 0, deviation, experts, hidden);
    matrix(layer + "ffn_gate_exps.weight", deviation, experts, shape.inner(), hidden);
    matrix(layer + "ffn_up_exps.weight", deviation, experts, shape.inner(), hidden);
    matrix(
        layer + "ffn_down_exps.weight", deviation(shape.inner()), experts, hidden, shape.inner());
    matrix(layer + "ffn_gate_shexp.weight", deviation, shape.shared(), hidden);
    matrix(layer + "ffn_up_shexp.weight", deviation, shape.shared(), hidden);
    matrix(layer + "ffn_down_shexp.weight", deviation(shape.shared()), hidden, shape.shared());
    vector(layer + "ffn_gate_inp_shexp.weight", 0, deviation, hidden);
  }

  private static double deviation(int inputs) {
    return 1 / Math.sqrt(inputs);
  }

  private void matrix(String name, double deviation, long... dimensions) {
    add(name, GgmlType.Q8_0, 0, deviation, dimensions);
  }

  private void vector(String name, double mean, double deviation, long... dimensions) {
    add(name, GgmlType.F32, mean, deviation, dimensions);
  }

  private void add(String name, GgmlType type, double mean, double deviation, long... dimensions) {
    List<Long> sizes = LongStream.of(dimensions).boxed().toList();
    tensors.put(name, new Tensor(type, sizes, mean, deviation));
  }

  /** Writes the file, and returns its bytes. */
  long write(Path path) throws IOException {
    GgufWriter writer = new GgufWriter();
    metadata(writer);
    tensors.forEach(
        (name, tensor) ->
            writer.tensor(name, tensor.type(), tensor.shape(), data -> fill(name, tensor, data)));
    return writer.write(path);
  }

  /** A tensor's values as the engine has to understand them, last dimension contiguous. */
  double[] values(String name) {
    Tensor tensor = tensors.get(name);
    double[] values = new double[tensor.elements()];
    if (tensor.type() == GgmlType.F32) {
      for (int i = 0; i < values.length; i++) {
        values[i] = element(tensor, Noise.seed(seed, name), i);
      }
      return values;
    }
    byte[] bytes = new byte[values.length / BLOCK * BLOCK_BYTES];
    MemorySegment data = MemorySegment.ofArray(bytes);
    fill(name, tensor, data);
    for (int i = 0; i < values.length; i++) {
      int at = i / BLOCK * BLOCK_BYTES;
      double scale = Float.float16ToFloat(data.get(ValueLayout.JAVA_SHORT_UNALIGNED, at));
      values[i] = scale * bytes[at + 2 + i % BLOCK];
    }
    return values;
  }

  private void fill(String name, Tensor tensor, MemorySegment data) {
    long own = Noise.seed(seed, name);
    if (tensor.type() == GgmlType.F32) {
      for (int i = 0; i < tensor.elements(); i++) {
        data.set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * i, element(tensor, own, i));
      }
      return;
    }
    int blocks = tensor.elements() / BLOCK;
    // the writer's memory is the writing thread's alone
    MemorySegment shared = MemorySegment.ofArray(new byte[blocks * BLOCK_BYTES]);
    IntStream.range(0, (blocks + BLOCKS_AT_ONCE - 1) / BLOCKS_AT_ONCE)
        .parallel()
        .forEach(
            part -> {
              int end = Math.min(blocks, (part + 1) * BLOCKS_AT_ONCE);
              for (int block = part * BLOCKS_AT_ONCE; block < end; block++) {
                fillBlock(tensor, own, block, shared);
              }
            });
    MemorySegment.copy(shared, 0, data, 0, shared.byteSize());
  }

  private static void fillBlock(Tensor tensor, long seed, int block, MemorySegment data) {
    long at = (long) block * BLOCK_BYTES;
    double scale =
        tensor.deviation() / BYTE_DEVIATION * (1 + 0.5 * Noise.uniform(seed, 5L * block));
    short half = Float.floatToFloat16((float) scale);
    data.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, half);
    for (int word = 0; word < 4; word++) {
      long bits = Noise.bits(seed, 5L * block + 1 + word);
      data.set(ValueLayout.JAVA_LONG_UNALIGNED, at + 2 + 8L * word, bits);
    }
  }

  private static float element(Tensor tensor, long seed, int index) {
    double even = Math.sqrt(3) * Noise.uniform(seed, index);
    return (float) (tensor.mean() + tensor.deviation() * even);
  }

  private void metadata(GgufWriter writer) {
    writer.metadata("general.architecture", GgufValue.text("qwen2moe"));
    writer.metadata("general.name", GgufValue.text("random"));
    Map<String, Integer> sizes = new LinkedHashMap<>();
    sizes.put("general.file_type", 7); // mostly Q8_0
    sizes.put("qwen2moe.context_length", shape.context());
    sizes.put("qwen2moe.embedding_length", shape.hidden());
    sizes.put("qwen2moe.block_count", shape.layers());
    sizes.put("qwen2moe.attention.head_count", shape.heads());
    sizes.put("qwen2moe.attention.head_count_kv", shape.kvHeads());
    sizes.put("qwen2moe.expert_count", shape.experts());
    sizes.put("qwen2moe.expert_used_count", shape.perToken());
    sizes.put("qwen2moe.feed_forward_length", shape.shared());
    sizes.forEach((key, value) -> writer.metadata(key, GgufValue.uint32(value)));
    writer.metadata(
        "qwen2moe.attention.layer_norm_rms_epsilon", GgufValue.float32(Reference.EPSILON));
    writer.metadata("qwen2moe.rope.freq_base", GgufValue.float32(Reference.THETA));
    writer.metadata("tokenizer.ggml.tokens", tokens());
    int[] kinds = new int[shape.vocabulary()];
    Arrays.fill(kinds, 1); // ordinary
    writer.metadata(
        "tokenizer.ggml.token_type",
        new GgufValue.Array(GgufValue.Type.INT32, kinds.length, MemorySegment.ofArray(kinds)));
    writer.metadata(
        "tokenizer.ggml.merges",
        new GgufValue.Array(GgufValue.Type.STRING, 0, MemorySegment.ofArray(new byte[0])));
  }

  /** Made-up words, and behind them those that the engine looks for. */
  private GgufValue tokens() {
    List<String> words = new ArrayList<>();
    for (int i = words.size(); i < shape.vocabulary() - SPECIAL.size(); i++) {
      words.add("t" + i);
    }
    words.addAll(SPECIAL);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (String word : words) {
      byte[] text = word.getBytes(StandardCharsets.UTF_8);
      ByteBuffer length = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
      bytes.writeBytes(length.putLong(text.length).array());
      bytes.writeBytes(text);
    }
    return new GgufValue.Array(
        GgufValue.Type.STRING, words.size(), MemorySegment.ofArray(bytes.toByteArray()));
  }
}
