package io.github.moelora.bench;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.peft.PeftExport;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * Loading an adapter beside a plain read of its file.
 *
 * <p>Workload: Qwen3-30B-A3B, 48 layers of 128 experts, gate, up and down of each, 18,432 modules
 * of rank 36 in bfloat16: 3.7 GB. Run: {@code scripts/bench-load DIR}. The file is written on first
 * use and stays; between the measurements it is dropped from the page cache, as far as the system
 * does it. Results are checked: the loaded adapter has every module.
 */
public final class LoadBench {
  private static final MoeModel MODEL =
      new MoeModel(
          2048, 768, 128, GateUp.HALVES, java.util.stream.IntStream.range(0, 48).boxed().toList());

  private static final int RANK = 36;
  private static final int READ_BYTES = 1 << 20;
  private static final int RUNS = 3;

  private LoadBench() {}

  /** Runs with the folder for the adapter as the only argument. */
  public static void main(String[] args) throws IOException, InterruptedException {
    if (args.length != 1) {
      throw new IllegalArgumentException("DIR must be given, got " + Arrays.toString(args));
    }
    Path folder = Path.of(args[0]);
    Path file = folder.resolve("adapter_model.safetensors");
    if (!Files.exists(file)) {
      write(folder);
    }
    PrintStream out = System.out;
    double bytes = Files.size(file);
    out.printf(Locale.ROOT, "%s: %.2f GB%n", file, bytes / 1e9);
    List<Double> ratios = new ArrayList<>();
    for (int run = 0; run < RUNS; run++) {
      drop(file);
      double read = seconds(() -> read(file));
      drop(file);
      double check = seconds(() -> check(folder));
      drop(file);
      double load = seconds(() -> load(folder));
      ratios.add(read / check);
      out.printf(
          Locale.ROOT,
          "plain read %.2f s (%.2f GB/s), open and read %.2f s (%.2f of it), load into a slot %.2f"
              + " s (%.2f of it)%n",
          read,
          bytes / read / 1e9,
          check,
          read / check,
          load,
          read / load);
    }
    out.printf(Locale.ROOT, "best ratio %.2f%n", ratios.stream().max(Double::compare).orElse(0.0));
  }

  private interface Work {
    void run() throws IOException;
  }

  private static double seconds(Work work) throws IOException {
    long start = System.nanoTime();
    work.run();
    return (System.nanoTime() - start) / 1e9;
  }

  /** The system forgets a file's pages on request; without the tool the file stays cached. */
  private static void drop(Path file) throws IOException, InterruptedException {
    new ProcessBuilder("dd", "if=" + file, "iflag=nocache", "count=0", "status=none")
        .start()
        .waitFor();
  }

  private static void read(Path file) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocateDirect(READ_BYTES);
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      while (channel.read(buffer) >= 0) {
        buffer.clear();
      }
    }
  }

  private static LoraAdapter check(Path folder) throws IOException {
    try (PeftAdapter adapter = PeftAdapter.open(folder)) {
      LoraAdapter lora = adapter.toLoraAdapter(MODEL);
      if (adapter.entries().size() != 48 * 128 * 3 || lora.maxRank() != RANK) {
        throw new IllegalStateException("the adapter is not the one that was written");
      }
      return lora;
    }
  }

  private static void load(Path folder) throws IOException {
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 1, 8).withMaxRank(RANK).withWeightType(DType.BF16);
    try (MoeLora lora = MoeLora.open(config, "cpu");
        PeftAdapter adapter = PeftAdapter.open(folder)) {
      lora.load(0, adapter.toLoraAdapter(MODEL));
    }
  }

  /** All modules share two matrices in memory; in the file each has its own bytes. */
  private static void write(Path folder) throws IOException {
    Matrix wide = matrix(RANK, MODEL.hiddenSize());
    Matrix narrow = matrix(RANK, MODEL.intermediateSize());
    Matrix tall = matrix(MODEL.hiddenSize(), RANK);
    Matrix low = matrix(MODEL.intermediateSize(), RANK);
    LoraAdapter.Builder builder = LoraAdapter.builder("load");
    for (int layer : MODEL.layers()) {
      for (int e = 0; e < MODEL.experts(); e++) {
        builder.add(layer, Projection.GATE_UP, e, new LoraSlice(0, wide, low, 1));
        builder.add(
            layer, Projection.GATE_UP, e, new LoraSlice(MODEL.intermediateSize(), wide, low, 1));
        builder.add(layer, Projection.DOWN, e, new LoraSlice(0, narrow, tall, 1));
      }
    }
    new PeftExport(MODEL, PeftExport.Target.PER_EXPERT, DType.BF16, "model.layers.%d.mlp.experts")
        .write(builder.build(), null, folder);
  }

  private static Matrix matrix(int rows, int columns) {
    float[] values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) {
      values[i] = (i % 251 - 125) / 1024f;
    }
    return Matrix.ofFloats(rows, columns, values);
  }
}
