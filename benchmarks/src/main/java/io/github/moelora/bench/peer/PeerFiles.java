package io.github.moelora.bench.peer;

import io.github.moelora.DType;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgmlType;
import io.github.moelora.gguf.GgufValue;
import io.github.moelora.gguf.GgufWriter;
import io.github.moelora.workload.Preset;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;

/**
 * Files for llama.cpp: a model of a preset's width with random weights, and adapters on all its
 * experts. Experts are F16, as wide as the preset's; attention is narrow, because it is no part of
 * what is compared.
 */
final class PeerFiles {
  /** Layers of the model: enough that their weights do not fit a cache. */
  static final int LAYERS = 2;

  private static final long VOCABULARY = 256;
  private static final long HEADS = 8;
  private static final long KEY_HEADS = 2;
  private static final long HEAD_WIDTH = 64;

  /** Random bits, repeated: a prime number of elements. */
  private static final int POOL = 1_048_573;

  private final Preset preset;
  private final short[] pool = new short[POOL];

  PeerFiles(Preset preset) {
    this.preset = preset;
    SplittableRandom random = new SplittableRandom(1);
    for (int i = 0; i < POOL; i++) {
      pool[i] = Float.floatToFloat16((float) (0.02 * random.nextGaussian()));
    }
  }

  /** Writes the model. */
  void writeModel(Path file) throws IOException {
    MoeModel model = preset.model();
    long hidden = model.hiddenSize();
    long inner = model.intermediateSize();
    long experts = model.experts();
    GgufWriter writer = new GgufWriter();
    writer.metadata("general.architecture", GgufValue.text("qwen3moe"));
    writer.metadata("tokenizer.ggml.model", GgufValue.text("no_vocab"));
    number(writer, "vocab_size", (int) VOCABULARY);
    number(writer, "context_length", 1024);
    number(writer, "block_count", LAYERS);
    number(writer, "embedding_length", model.hiddenSize());
    number(writer, "feed_forward_length", model.intermediateSize());
    number(writer, "expert_feed_forward_length", model.intermediateSize());
    number(writer, "expert_count", model.experts());
    number(writer, "expert_used_count", preset.expertsPerToken());
    number(writer, "attention.head_count", (int) HEADS);
    number(writer, "attention.head_count_kv", (int) KEY_HEADS);
    number(writer, "attention.key_length", (int) HEAD_WIDTH);
    number(writer, "attention.value_length", (int) HEAD_WIDTH);
    writer.metadata("qwen3moe.attention.layer_norm_rms_epsilon", GgufValue.float32(1e-6f));
    writer.metadata("qwen3moe.rope.freq_base", GgufValue.float32(10_000));
    weights(writer, "token_embd.weight", VOCABULARY, hidden);
    weights(writer, "output.weight", VOCABULARY, hidden);
    ones(writer, "output_norm.weight", hidden);
    for (int layer = 0; layer < LAYERS; layer++) {
      String block = "blk." + layer + ".";
      ones(writer, block + "attn_norm.weight", hidden);
      ones(writer, block + "attn_q_norm.weight", HEAD_WIDTH);
      ones(writer, block + "attn_k_norm.weight", HEAD_WIDTH);
      ones(writer, block + "ffn_norm.weight", hidden);
      weights(writer, block + "attn_q.weight", HEADS * HEAD_WIDTH, hidden);
      weights(writer, block + "attn_k.weight", KEY_HEADS * HEAD_WIDTH, hidden);
      weights(writer, block + "attn_v.weight", KEY_HEADS * HEAD_WIDTH, hidden);
      weights(writer, block + "attn_output.weight", hidden, HEADS * HEAD_WIDTH);
      weights(writer, block + "ffn_gate_inp.weight", experts, hidden);
      weights(writer, block + "ffn_gate_exps.weight", experts, inner, hidden);
      weights(writer, block + "ffn_up_exps.weight", experts, inner, hidden);
      weights(writer, block + "ffn_down_exps.weight", experts, hidden, inner);
    }
    writer.write(file);
  }

  /** Writes an adapter of one rank on gate, up and down of all experts. */
  void writeAdapter(Path file, int rank) throws IOException {
    MoeModel model = preset.model();
    long hidden = model.hiddenSize();
    long inner = model.intermediateSize();
    GgufWriter writer = new GgufWriter();
    writer.metadata("general.architecture", GgufValue.text("qwen3moe"));
    writer.metadata("general.type", GgufValue.text("adapter"));
    writer.metadata("adapter.type", GgufValue.text("lora"));
    writer.metadata("adapter.lora.alpha", GgufValue.float32(rank));
    for (int layer = 0; layer < LAYERS; layer++) {
      pair(writer, layer, "gate", rank, hidden, inner);
      pair(writer, layer, "up", rank, hidden, inner);
      pair(writer, layer, "down", rank, inner, hidden);
    }
    writer.write(file);
  }

  private void pair(GgufWriter writer, int layer, String part, long rank, long in, long out) {
    String name = "blk.%d.ffn_%s_exps.weight".formatted(layer, part);
    long experts = preset.model().experts();
    weights(writer, name + ".lora_a", experts, rank, in);
    weights(writer, name + ".lora_b", experts, out, rank);
  }

  private static void number(GgufWriter writer, String key, int value) {
    writer.metadata("qwen3moe." + key, GgufValue.uint32(value));
  }

  private static void ones(GgufWriter writer, String name, long width) {
    writer.tensor(
        name,
        GgmlType.F32,
        List.of(width),
        data -> {
          for (long i = 0; i < width; i++) {
            DType.F32.set(data, i, 1);
          }
        });
  }

  /** A tensor of repeated random numbers, F16, slowest dimension first. */
  private void weights(GgufWriter writer, String name, Long... shape) {
    writer.tensor(name, GgmlType.F16, List.of(shape), this::repeat);
  }

  private void repeat(MemorySegment data) {
    long elements = data.byteSize() / Short.BYTES;
    for (long at = 0; at < elements; at += POOL) {
      int count = (int) Math.min(POOL, elements - at);
      MemorySegment.copy(pool, 0, data, ValueLayout.JAVA_SHORT_UNALIGNED, at * Short.BYTES, count);
    }
  }
}
