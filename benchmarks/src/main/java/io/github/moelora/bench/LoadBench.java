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
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.peft.PeftExport;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.IntStream;

/**
 * Loading an adapter into a slot of the CPU backend beside a plain read of its file.
 *
 * <p>Workload: Qwen3-30B-A3B, 48 layers of 128 experts, gate, up and down of each, 18,432 modules
 * of rank 36 in bfloat16: 3.7 GB. Run: {@code scripts/bench-load DIR}. The file is written on first
 * use and stays.
 *
 * <p>The plain read fills as much fresh memory as the file has bytes, since that is what a load
 * must do, too: fresh pages cost the system more than the copy. A read into one small buffer, which
 * keeps nothing, is shown beside it. Measurements alternate; both sides find the file in the page
 * cache (warm), then both do not (cold: the system is asked to forget it). Memory is what the
 * process has beyond mapped files, looked at every few milliseconds. Results are checked: the
 * loaded slot answers with the adapter's deltas.
 */
public final class LoadBench {
  private static final MoeModel MODEL =
      new MoeModel(2048, 768, 128, GateUp.HALVES, IntStream.range(0, 48).boxed().toList());

  private static final int RANK = 36;
  private static final int READ_BYTES = 1 << 20;
  private static final int RUNS = 5;
  private static final int SIDES = 3;

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
    double bytes = Files.size(file);
    System.out.printf(Locale.ROOT, "%s: %.2f GB%n", file, bytes / 1e9);
    measure(folder, file, false);
    measure(folder, file, true);
    try (AnonymousMemory memory = new AnonymousMemory()) {
      load(folder, true);
      double peak = memory.peakBytes();
      System.out.printf(
          Locale.ROOT,
          "peak memory %.0f MB for a file of %.0f MB: %.3f times its size%n",
          peak / 1e6,
          bytes / 1e6,
          peak / bytes);
    }
  }

  private static void measure(Path folder, Path file, boolean cold)
      throws IOException, InterruptedException {
    double[][] all = new double[SIDES][RUNS];
    for (int run = 0; run < RUNS; run++) {
      Work[] sides = {() -> readOver(file), () -> readFresh(file), () -> load(folder, false)};
      double[] seconds = new double[SIDES];
      for (int turn = 0; turn < SIDES; turn++) {
        // whatever the disk keeps of the one before helps each side once
        int side = (run + turn) % SIDES;
        if (cold) {
          drop(file);
        } else {
          readOver(file);
        }
        seconds[side] = seconds(sides[side]);
        all[side][run] = seconds[side];
      }
      print(cold ? "cold" : "warm", seconds);
    }
    double[] medians = new double[SIDES];
    for (int side = 0; side < SIDES; side++) {
      Arrays.sort(all[side]);
      medians[side] = all[side][RUNS / 2];
    }
    print(cold ? "cold, medians" : "warm, medians", medians);
  }

  private static void print(String state, double[] seconds) {
    System.out.printf(
        Locale.ROOT,
        "%s: read into one buffer %.2f s, into fresh memory %.2f s, load into a slot %.2f s (%.2f"
            + " of the speed of the read into fresh memory)%n",
        state,
        seconds[0],
        seconds[1],
        seconds[2],
        seconds[1] / seconds[2]);
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

  private static void readOver(Path file) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocateDirect(READ_BYTES);
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      while (channel.read(buffer) >= 0) {
        buffer.clear();
      }
    }
  }

  /** Memory of the C library, which unlike an arena's is not filled with zeros first. */
  private static void readFresh(Path file) throws IOException {
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
        RawMemory memory = new RawMemory(channel.size())) {
      long size = channel.size();
      for (long at = 0; at < size; ) {
        long bytes = Math.min(READ_BYTES, size - at);
        at += channel.read(memory.segment().asSlice(at, bytes).asByteBuffer());
      }
    }
  }

  private static void load(Path folder, boolean checked) throws IOException {
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 1, 8).withMaxTokens(1).withMaxRank(RANK).withWeightType(DType.BF16);
    try (MoeLora lora = MoeLora.open(config, "cpu");
        PeftAdapter adapter = PeftAdapter.open(folder)) {
      adapter.loadInto(lora, 0);
      if (checked) {
        check(lora);
      }
    }
  }

  /** The last expert of the last layer against plain loops. */
  private static void check(MoeLora lora) {
    int layer = MODEL.layers().getLast();
    Matrix x = matrix(1, MODEL.hiddenSize());
    int width = MODEL.outputWidth(Projection.GATE_UP);
    Matrix y = Matrix.ofFloats(8, width, new float[8 * width]);
    try (Step step = lora.newStep()) {
      int[] experts = IntStream.range(MODEL.experts() - 8, MODEL.experts()).toArray();
      step.plan(
          1,
          MemorySegment.ofArray(experts),
          MemorySegment.ofArray(new float[8]),
          MemorySegment.ofArray(new int[1]));
      step.run(ProjectionCall.gateUp(layer), x, y);
    }
    Matrix a = matrix(RANK, MODEL.hiddenSize());
    Matrix b = matrix(MODEL.intermediateSize(), RANK);
    for (int o = 0; o < width; o++) {
      double sum = 0;
      for (int r = 0; r < RANK; r++) {
        for (int h = 0; h < MODEL.hiddenSize(); h++) {
          sum += (double) b.get(o % MODEL.intermediateSize(), r) * a.get(r, h) * x.get(0, h);
        }
      }
      if (Math.abs(sum - y.get(7, o)) > 1e-3) {
        throw new IllegalStateException(
            "column %d must be %s, got %s".formatted(o, sum, y.get(7, o)));
      }
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
