package io.github.moelora.tornado.tune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.spi.Tuner;
import io.github.moelora.testkit.Allocation;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.EngineTasks;
import io.github.moelora.tornado.TestDevice;
import io.github.moelora.tornado.TornadoBackendProvider;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.choice.TuningFile;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.step.TornadoBackend;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;

/** What the backend makes of a tuning file, and what the tuner writes, on the device. */
class TuningTest {
  private static final int PER_TOKEN = 2;
  private static final int MAX_TOKENS = 80;
  private static final MoeModel MODEL = new MoeModel(48, 36, 5, GateUp.HALVES, List.of(1));
  private static final double ANY = Double.POSITIVE_INFINITY;

  @TempDir private Path directory;
  private final ListAppender<ILoggingEvent> log = new ListAppender<>();
  private Logger logger;

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @BeforeEach
  void listen() {
    logger = (Logger) LoggerFactory.getLogger(Tuning.class);
    logger.setLevel(Level.INFO);
    log.start();
    logger.addAppender(log);
  }

  @AfterEach
  void leaveNothing() {
    System.clearProperty(Tuning.PROPERTY);
    logger.detachAppender(log);
    logger.setLevel(null);
  }

  private static Problem problem(int tokens) {
    return new Problem(Seeds.of("tuning " + tokens), MODEL, tokens, PER_TOKEN)
        .types(DType.BF16, DType.BF16, DType.BF16)
        .addAdapter(7, false)
        .addEmptySlot()
        .addAdapter(16, true)
        .route();
  }

  private static MoeLoraConfig config() {
    return MoeLoraConfig.of(MODEL, 3, PER_TOKEN)
        .withMaxTokens(MAX_TOKENS)
        .withMaxRank(100)
        .withWeightType(DType.BF16);
  }

  private static String device() {
    return DeviceTraits.name(TornadoExecutionPlan.getDevice(0, 0));
  }

  private static Tuning tuning(Tuning.Rule... rules) {
    return new Tuning(device(), Tuning.Shape.of(config()), List.of(77, 300), List.of(rules));
  }

  private Path use(Tuning tuning) throws IOException {
    Path file = directory.resolve("tuning.json");
    TuningFile.write(file, tuning);
    System.setProperty(Tuning.PROPERTY, file.toString());
    return file;
  }

  private List<String> messages() {
    return log.list.stream().map(ILoggingEvent::getFormattedMessage).toList();
  }

  /** Whatever block sizes a file asks for, results are right. */
  @Test
  void aFileDecidesTheBlockSizeAndResultsStayRight() throws IOException {
    List<Integer> sizes = BlockChoice.blockSizes(config(), TestDevice.hasTensorCores());
    assertThat(sizes).startsWith(1).contains(BlockChoice.SMALL_BLOCK);
    for (int size : sizes) {
      Path file = use(tuning(new Tuning.Rule(2 * MAX_TOKENS, ANY, size)));
      log.list.clear();
      try (MoeLora lora = MoeLora.open(config(), "tornado");
          Step step = lora.newStep()) {
        assertThat(messages()).containsExactly("block sizes: " + file);
        for (int tokens : new int[] {1, 5, MAX_TOKENS}) {
          Problem problem = problem(tokens);
          problem.load(lora);
          problem.plan(step);
          assertThat(step.routing().blockSize()).isEqualTo(size);
          problem.check(step, ProjectionCall.gateUp(1));
          problem.check(step, ProjectionCall.down(1).deltaOnly());
        }
      }
    }
  }

  @Test
  void batchesThatNoRuleTakesGetTheBuiltInChoice() throws IOException {
    use(tuning(new Tuning.Rule(4, ANY, 16), new Tuning.Rule(40, 1.5, 1)));
    TornadoBackend plain = new TornadoBackend(config(), ChosenDevice.first(), null);
    try (MoeLora lora = MoeLora.open(config(), "tornado")) {
      TornadoBackend backend = (TornadoBackend) lora.backend();
      assertThat(backend.blockSize(4, 4)).isEqualTo(16);
      assertThat(backend.blockSize(30, 20)).isEqualTo(1);
      assertThat(backend.blockSize(30, 19)).isEqualTo(plain.blockSize(30, 19));
      assertThat(backend.blockSize(41, 41)).isEqualTo(plain.blockSize(41, 41));
      assertThat(Allocation.bytesPerCall(() -> backend.blockSize(41, 41))).isZero();
    } finally {
      plain.close();
    }
  }

  /** An engine's kernels and arrays are made for the built-in block sizes. */
  @Test
  void insideAnEngineTheBuiltInChoiceStays() throws IOException {
    MoeLora plain = MoeLora.open(config(), "tornado");
    EngineTasks.of(plain);
    use(tuning(new Tuning.Rule(2 * MAX_TOKENS, ANY, 1)));
    try (plain;
        MoeLora lora = MoeLora.open(config(), "tornado")) {
      EngineTasks.of(lora);
      TornadoBackend expected = (TornadoBackend) plain.backend();
      TornadoBackend backend = (TornadoBackend) lora.backend();
      for (int pairs = 1; pairs <= 2 * MAX_TOKENS; pairs++) {
        for (int groups = 1; groups <= pairs; groups++) {
          assertThat(backend.blockSize(pairs, groups)).isEqualTo(expected.blockSize(pairs, groups));
        }
      }
      assertThat(backend.choice().ofGraph(1, Projection.GATE_UP))
          .isEqualTo(OneShotTiling.pairs().withTargetItems(77));
    }
  }

  @Test
  void withoutAFileTheLogSaysSo() {
    assertThat(Tuning.find(config(), device(), false)).isNull();
    assertThat(messages()).containsExactly("block sizes: built in");
  }

  @Test
  void aFileForAnotherDeviceIsIgnored() throws IOException {
    Path file = use(tuning(new Tuning.Rule(9, ANY, 99)));
    assertThat(Tuning.find(config(), "Other, CUDA", false)).isNull();
    assertThat(messages())
        .containsExactly(
            "block sizes: built in; %s is for device %s, not Other, CUDA"
                .formatted(file, device()));
    assertThat(log.list.getFirst().getLevel()).isEqualTo(Level.INFO);
  }

  @Test
  void aFileForAnotherShapeIsIgnored() throws IOException {
    Path file = use(tuning(new Tuning.Rule(9, ANY, 16)));
    assertThat(Tuning.find(config().withMaxRank(8), device(), false)).isNull();
    assertThat(messages()).hasSize(1);
    assertThat(messages().getFirst())
        .startsWith("block sizes: built in; %s is for Shape[hiddenSize=48,".formatted(file))
        .endsWith("maxRank=8, weights=BF16]");
    // what a batch may hold is no part of the shape
    assertThat(Tuning.find(config().withMaxTokens(3), device(), false)).isNotNull();
  }

  @Test
  void aBlockSizeThatTheBackendLacksIsRefused() throws IOException {
    Path file = use(tuning(new Tuning.Rule(4, ANY, 16), new Tuning.Rule(9, ANY, 24)));
    List<Integer> sizes = BlockChoice.blockSizes(config(), TestDevice.hasTensorCores());
    assertThatThrownBy(() -> MoeLora.open(config(), "tornado"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("%s: rules[1].block_size must be one of %s, got 24".formatted(file, sizes));
  }

  @Test
  void theTunerWritesWhatTheBackendReads() throws IOException {
    Path file = directory.resolve("measured.json");
    Problem small = problem(3);
    Problem large = problem(MAX_TOKENS);
    try (Tuner tuner = new TornadoBackendProvider().newTuner(config())) {
      assertThatThrownBy(() -> tuner.write(file)).isInstanceOf(IllegalStateException.class);
      tuner.load(0, small.randomAdapter(9, false, 1));
      tuner.load(2, small.randomAdapter(100, true, 1));
      for (Problem problem : List.of(small, large)) {
        problem.dealAdapters();
        Tuner.Measurement measurement =
            tuner.measure(
                problem.tokens(),
                MemorySegment.ofArray(problem.expertIds()),
                MemorySegment.ofArray(problem.routingWeights()),
                MemorySegment.ofArray(problem.adapterIds()));
        assertThat(measurement.activePairs())
            .isBetween(1, problem.tokens() * PER_TOKEN)
            .isGreaterThanOrEqualTo(measurement.groups());
        assertThat(measurement.choices())
            .hasSizeGreaterThanOrEqualTo(2)
            .allMatch(choice -> choice.nanos() > 0);
        assertThat(measurement.choices().stream().filter(Tuner.Choice::builtIn)).hasSize(1);
      }
      tuner.write(file);
      assertThat(tuner.usage(file)).isEqualTo("-Dmoelora.tuning=" + file);
    }
    System.setProperty(Tuning.PROPERTY, file.toString());
    try (MoeLora lora = MoeLora.open(config(), "tornado")) {
      assertThat(messages()).last().isEqualTo("block sizes: " + file);
      large.check(lora, ProjectionCall.gateUp(1), ProjectionCall.down(1));
    }
  }
}
