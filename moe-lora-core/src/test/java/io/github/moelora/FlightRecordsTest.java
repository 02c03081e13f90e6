package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.testkit.Allocation;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Events of Flight Recorder: off by default, and free then; with all fields when on. */
class FlightRecordsTest {
  private static final MoeModel MODEL = new MoeModel(2, 1, 1, GateUp.HALVES, List.of(5));
  private static final ProjectionCall CALL = ProjectionCall.down(5);

  private final FakeBackend backend = new FakeBackend("fake");
  private final MoeLora lora =
      MoeLora.open(MoeLoraConfig.of(MODEL, 2, 1).withMaxTokens(4), backend);

  @TempDir Path folder;

  @AfterEach
  void close() {
    lora.close();
  }

  private static LoraAdapter adapter(String name) {
    return LoraAdapter.builder(name)
        .add(
            5,
            Projection.DOWN,
            0,
            new LoraSlice(
                0, Matrix.ofFloats(3, 1, 1, 1, 1), Matrix.ofFloats(2, 3, new float[6]), 1))
        .build();
  }

  private static void work(MoeLora lora) {
    try (Step step = lora.newStep()) {
      lora.load(1, adapter("first"));
      lora.load(1, adapter("second"));
      step.plan(
          3,
          MemorySegment.ofArray(new int[3]),
          MemorySegment.ofArray(new float[3]),
          MemorySegment.ofArray(new int[] {1, -1, 1}));
      step.run(CALL, Matrix.ofFloats(3, 1, 1, 1, 1), Matrix.ofFloats(3, 2, new float[6]));
      lora.unload(1);
    }
  }

  private List<RecordedEvent> record(String... names) throws IOException {
    Path file = folder.resolve("events.jfr");
    try (Recording recording = new Recording()) {
      for (String name : names) {
        recording.enable("io.github.moelora." + name).withoutThreshold();
      }
      recording.start();
      work(lora);
      recording.stop();
      recording.dump(file);
    }
    return RecordingFile.readAllEvents(file).stream()
        .filter(event -> event.getEventType().getName().startsWith("io.github.moelora."))
        .toList();
  }

  @Test
  void aRecordingHasNoneUnlessItAsks() throws Exception {
    assertThat(record()).isEmpty();
  }

  @Test
  void loadsTellWhatWentWhere() throws Exception {
    List<RecordedEvent> events = record("AdapterLoad");
    assertThat(events).extracting(e -> e.getString("adapter")).containsExactly("first", "second");
    RecordedEvent event = events.getFirst();
    assertThat(event.getInt("slot")).isEqualTo(1);
    assertThat(event.getInt("rank")).isEqualTo(3);
    assertThat(event.getLong("bytes")).isEqualTo(4 * (3 + 6));
    assertThat(event.getBoolean("succeeded")).isTrue();
    assertThat(event.getDuration().toNanos()).isPositive();
  }

  @Test
  void aFailedLoadIsTold() throws Exception {
    Path file = folder.resolve("failed.jfr");
    try (Recording recording = new Recording()) {
      recording.enable("io.github.moelora.AdapterLoad").withoutThreshold();
      recording.start();
      backend.failing = "prepare 0";
      assertThatIllegalStateException().isThrownBy(() -> lora.load(0, adapter("bad")));
      recording.dump(file);
    }
    assertThat(RecordingFile.readAllEvents(file))
        .singleElement()
        .matches(event -> !event.getBoolean("succeeded"));
  }

  @Test
  void evictionsTellWhatLeft() throws Exception {
    List<RecordedEvent> events = record("AdapterEvict");
    assertThat(events).extracting(e -> e.getString("adapter")).containsExactly("first", "second");
    assertThat(events).extracting(e -> e.getInt("slot")).containsExactly(1, 1);
  }

  @Test
  void runsTellTheSizesOfTheirPlan() throws Exception {
    List<RecordedEvent> events = record("StepRun");
    assertThat(events).hasSize(1);
    RecordedEvent event = events.getFirst();
    assertThat(event.getInt("module")).isEqualTo(-1);
    assertThat(event.getInt("layer")).isEqualTo(5);
    assertThat(event.getString("projection")).isEqualTo("DOWN");
    assertThat(event.getInt("tokens")).isEqualTo(3);
    assertThat(event.getInt("pairs")).isEqualTo(3);
    assertThat(event.getInt("blocks")).isEqualTo(1);
    assertThat(event.getDuration().toNanos()).isPositive();
  }

  @Test
  void runsAllocateNothingWhileTheEventIsOff() throws Exception {
    assertThat(record("StepRun")).hasSize(1);
    backend.quiet = true;
    lora.load(0, adapter("a"));
    try (Step step = lora.newStep()) {
      MemorySegment ids = MemorySegment.ofArray(new int[3]);
      MemorySegment weights = MemorySegment.ofArray(new float[3]);
      Matrix x = Matrix.ofFloats(3, 1, 1, 1, 1);
      Matrix y = Matrix.ofFloats(3, 2, new float[6]);
      Runnable batch =
          () -> {
            step.plan(3, ids, weights, ids);
            step.run(CALL, x, y);
          };
      assertThat(Allocation.bytesPerCall(batch)).isZero();
    }
  }

  // ---- a runtime image without Flight Recorder ----

  /** Started by the test in a JVM without the module jdk.jfr. */
  static final class WithoutFlightRecorder {
    private WithoutFlightRecorder() {}

    public static void main(String[] args) {
      if (ModuleLayer.boot().findModule("jdk.jfr").isPresent()) {
        throw new IllegalStateException("jdk.jfr must be absent");
      }
      try (MoeLora lora = MoeLora.open(MoeLoraConfig.of(MODEL, 2, 1).withMaxTokens(4), "cpu")) {
        work(lora);
      }
      System.out.println("worked");
    }
  }

  @Test
  void theModuleMayBeAbsent() throws Exception {
    Path output = folder.resolve("output.txt");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--limit-modules",
                "java.se",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                System.getProperty("java.class.path"),
                WithoutFlightRecorder.class.getName())
            .redirectErrorStream(true)
            .redirectOutput(output.toFile())
            .start();
    int exit = process.waitFor();
    assertThat(Files.readString(output, StandardCharsets.UTF_8)).endsWith("worked\n");
    assertThat(exit).isZero();
  }
}
