package io.github.moelora.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.testkit.AdapterFiles;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Loading a file in one pass: what arrives, what a fault leaves, and how much memory it takes. */
final class LoadIntoTest {
  private static final int H = 12;
  private static final int I = 8;
  private static final MoeModel MODEL = new MoeModel(H, I, 2, GateUp.UP_ONLY, List.of(0));
  private static final MoeLoraConfig CONFIG =
      MoeLoraConfig.of(MODEL, 1, 1).withMaxTokens(2).withMaxRank(2);
  private static final String EXPERTS = "base_model.model.model.layers.0.mlp.experts.";

  @TempDir private Path folder;

  private Path write(String name, DType type, double sign, AdapterFiles.Element lastB)
      throws IOException {
    AdapterFiles files = new AdapterFiles();
    for (int e = 0; e < 2; e++) {
      String module = EXPERTS + e + ".up_proj.";
      double factor = sign * (e + 1);
      AdapterFiles.Element b = (i, j) -> factor * (i - 3 * j);
      files.tensor(module + "lora_A.weight", type, 2, H, (i, j) -> i + j);
      files.tensor(module + "lora_B.weight", type, I, 2, e == 0 ? b : lastB);
    }
    return files.write(folder.resolve(name));
  }

  /** What both experts add to x of ones. */
  private static float[] deltas(MoeLora lora) {
    float[] y = new float[2 * I];
    Arrays.fill(y, Float.NaN);
    float[] ones = new float[2 * H];
    Arrays.fill(ones, 1);
    try (Step step = lora.newStep()) {
      step.plan(
          2,
          MemorySegment.ofArray(new int[] {0, 1}),
          MemorySegment.ofArray(new float[2]),
          MemorySegment.ofArray(new int[2]));
      step.run(
          ProjectionCall.gateUp(0).deltaOnly(),
          Matrix.ofFloats(2, H, ones),
          Matrix.of(MemorySegment.ofArray(y), DType.F32, 2, I));
    }
    return y;
  }

  /** All sums are of small integers, so they are exact: z is 66 and 78, the scale 4. */
  private static float[] expected(double sign) {
    float[] y = new float[2 * I];
    for (int p = 0; p < 2; p++) {
      for (int i = 0; i < I; i++) {
        y[p * I + i] = (float) (4 * sign * (p + 1) * (i * 66 + (i - 3) * 78));
      }
    }
    return y;
  }

  private static AdapterFiles.Element sound(double sign) {
    return (i, j) -> sign * 2 * (i - 3 * j);
  }

  private static void load(MoeLora lora, Path adapter) throws IOException {
    try (PeftAdapter file = PeftAdapter.open(adapter)) {
      file.loadInto(lora, 0);
    }
  }

  @ParameterizedTest
  @EnumSource
  void theFileArrives(DType type) throws IOException {
    for (DType slotType : DType.values()) {
      try (MoeLora lora = MoeLora.open(CONFIG.withWeightType(slotType), "cpu")) {
        load(lora, write("sound", type, 1, sound(1)));
        assertThat(deltas(lora)).containsExactly(expected(1));
        assertThat(lora.adapterName(0)).isEqualTo("sound");
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void whatIsNotFiniteIsNamedAndTheSlotKeepsWhatItHad(DType type) throws IOException {
    try (MoeLora lora = MoeLora.open(CONFIG.withWeightType(type), "cpu")) {
      load(lora, write("before", type, -1, sound(-1)));
      Path bad = write("bad", type, 1, (i, j) -> i == 7 && j == 1 ? Double.NaN : 1);
      assertThatExceptionOfType(AdapterFormatException.class)
          .isThrownBy(() -> load(lora, bad))
          .withMessageContaining(
              EXPERTS + "1.up_proj.lora_B.weight: element [7,1] must be finite, got NaN");
      assertThat(lora.adapterName(0)).isEqualTo("before");
      assertThat(deltas(lora)).containsExactly(expected(-1));
    }
  }

  /** Between the check of the builder and the load. */
  @Test
  void aFileThatChangesAfterItWasCheckedIsRefusedAndTheSlotKeepsWhatItHad() throws IOException {
    try (MoeLora lora = MoeLora.open(CONFIG, "cpu")) {
      load(lora, write("before", DType.F32, -1, sound(-1)));
      Path later = write("later", DType.F32, 1, sound(1));
      try (PeftAdapter file = PeftAdapter.open(later)) {
        LoraAdapter checked = file.toLoraAdapter(MODEL);
        Path weights = later.resolve("adapter_model.safetensors");
        try (RandomAccessFile writer = new RandomAccessFile(weights.toFile(), "rw")) {
          writer.seek(Files.size(weights) - 4);
          writer.writeInt(Integer.reverseBytes(Float.floatToIntBits(Float.NaN)));
        }
        assertThatIllegalArgumentException()
            .isThrownBy(() -> lora.load(0, checked))
            .withMessage(
                "adapter later, layer 0, GATE_UP, expert 1: b[7,1] must be finite, got NaN");
      }
      assertThat(lora.adapterName(0)).isEqualTo("before");
      assertThat(deltas(lora)).containsExactly(expected(-1));
    }
  }

  /** Values of float32 beyond the slot's type are refused as by a load in two passes. */
  @Test
  void whatIsOutOfTheSlotsRangeIsRefused() throws IOException {
    try (MoeLora lora = MoeLora.open(CONFIG.withWeightType(DType.F16), "cpu")) {
      Path large = write("large", DType.F32, 1, (i, j) -> 70_000);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> load(lora, large))
          .withMessage("adapter large: weights must be at most 65504.0 for F16, got 70000.0");
      assertThat(lora.adapterName(0)).isNull();
    }
  }

  /** Experts that live elsewhere are not read. */
  @Test
  void onlyLocalExpertsAreRead() throws IOException {
    ExpertMap first = ExpertMap.of(0, -1);
    try (MoeLora lora = MoeLora.open(CONFIG.withExpertMap(first), "cpu")) {
      load(lora, write("half", DType.F32, 1, (i, j) -> Double.NaN));
      assertThat(Arrays.copyOf(deltas(lora), I)).containsExactly(Arrays.copyOf(expected(1), I));
    }
  }

  /**
   * A load takes the pool's memory and little else: neither on the heap nor beside it is there a
   * second copy.
   */
  @Test
  @EnabledOnOs(OS.LINUX)
  void thePoolIsAllThatALoadTakes() throws IOException, InterruptedException {
    MoeModel model = new MoeModel(2048, 2048, 32, GateUp.UP_ONLY, List.of(0));
    byte[] half = new byte[64 * 2048 * Short.BYTES * 2];
    // bfloat16 of 0.0115
    Arrays.fill(half, (byte) 0x3c);
    AdapterFiles files = new AdapterFiles().config("r", "128");
    for (int e = 0; e < 32; e++) {
      files.entry(EXPERTS + e + ".up_proj.lora_A.weight", "BF16", "[128,2048]", half);
      files.entry(EXPERTS + e + ".up_proj.lora_B.weight", "BF16", "[2048,128]", half);
    }
    Path large = files.write(folder.resolve("large"));
    long bytes = 2L * 32 * half.length;
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 1, 1).withMaxTokens(1).withMaxRank(128).withWeightType(DType.BF16);
    try (MoeLora lora = MoeLora.open(config, "cpu")) {
      load(lora, large);
      long heapBefore = allocated();
      long before = anonymousBytes();
      long peak = before;
      Thread loader = Thread.ofPlatform().unstarted(() -> loadUnchecked(lora, large));
      loader.start();
      while (loader.isAlive()) {
        peak = Math.max(peak, anonymousBytes());
        // each look allocates, too
        Thread.sleep(1);
      }
      loader.join();
      // the new one beside the old one, which it replaces
      assertThat(peak - before).isBetween(bytes / 2, bytes * 12 / 10 + (8 << 20));
      assertThat(anonymousBytes() - before).isLessThan(8 << 20);
      assertThat(allocated() - heapBefore).isLessThan(bytes / 4);
    }
  }

  private static void loadUnchecked(MoeLora lora, Path adapter) {
    try {
      load(lora, adapter);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  /** Bytes that all threads have allocated on the heap, freed or not. */
  private static long allocated() {
    return ((com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean())
        .getTotalThreadAllocatedBytes();
  }

  /** Memory of the process that is no part of a mapped file. */
  private static long anonymousBytes() throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("RssAnon:")) {
        return 1024 * Long.parseLong(line.replaceAll("[^0-9]", ""));
      }
    }
    throw new IOException("/proc/self/status has no RssAnon");
  }
}
