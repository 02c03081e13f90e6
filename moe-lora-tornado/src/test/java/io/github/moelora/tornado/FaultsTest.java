package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.step.TornadoBackend;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * What is left when memory ends or threads meet, each in a JVM of its own where that may end it.
 * These JVMs run at the same time.
 */
class FaultsTest {
  private static final MoeModel MODEL = new MoeModel(64, 48, 4, GateUp.HALVES, List.of(0, 1, 2));

  private static final Map<Class<?>, OwnJvm> RUNNING = new HashMap<>();

  @BeforeAll
  static void start(@TempDir Path cache) throws IOException {
    TestDevice.require();
    start(FullHeap.class, Map.of(), "-Xmx192m", "-XX:-UseGCOverheadLimit");
    // a driver's cache of compiled kernels is empty, too
    start(FirstUses.class, Map.of("POCL_CACHE_DIR", cache.toString()));
    start(Crowded.class, Map.of(), "-Dtornado.device.memory=24MB");
    start(LargeGraph.class, Map.of(), "-Dtornado.device.memory=24MB");
  }

  private static void start(Class<?> main, Map<String, String> environment, String... flags)
      throws IOException {
    RUNNING.put(main, OwnJvm.start(main, environment, flags));
  }

  private static String output(Class<?> main) throws InterruptedException {
    return Objects.requireNonNull(RUNNING.get(main)).output();
  }

  @AfterAll
  static void end() {
    RUNNING.values().forEach(OwnJvm::close);
    RUNNING.clear();
  }

  private static ProjectionCall[] calls(MoeModel model) {
    List<ProjectionCall> calls = new ArrayList<>();
    for (int layer : model.layers()) {
      calls.add(ProjectionCall.gateUp(layer));
      calls.add(ProjectionCall.down(layer));
    }
    return calls.toArray(ProjectionCall[]::new);
  }

  // ---- device memory ----

  @Test
  void openRefusesWhatTheDeviceHasNoRoomFor() {
    List<Integer> layers = IntStream.range(0, 48).boxed().toList();
    MoeModel model = new MoeModel(2048, 768, 128, GateUp.HALVES, layers);
    // within the limit of an array, and more than a device has altogether
    MoeLoraConfig config = MoeLoraConfig.of(model, 24, 8).withMaxTokens(1).withMaxRank(64);
    assertThatIllegalStateException()
        .isThrownBy(() -> MoeLora.open(config, "tornado"))
        .withMessageMatching(
            "the instance needs \\d+ bytes on .+, and \\d+ of the \\d+ that .+ left; .*open the"
                + " instance with fewer slots, a smaller MoeLoraConfig\\.withPool or a smaller"
                + " maxRank");
  }

  /** What an engine's graphs take beside the weights is known when they are attached. */
  @Test
  void attachRefusesPlansAndScratchMemoryThatDoNotFit() throws Exception {
    String output = output(LargeGraph.class);
    assertThat(output).contains("16 tokens reserved more, 8192 were refused");
  }

  /** Small weights beside a graph of many tokens. */
  static final class LargeGraph {
    private LargeGraph() {}

    public static void main(String[] args) {
      MoeModel model = new MoeModel(8, 8, 4, GateUp.HALVES, List.of(0));
      MoeLoraConfig config = MoeLoraConfig.of(model, 2, 4).withMaxTokens(8192).withMaxRank(128);
      try (MoeLora lora = MoeLora.open(config, "tornado")) {
        long before = reserved(lora);
        TornadoExecutionPlan small = attach(lora, 16);
        // a row of 2 * 128 floats for each pair, and the step
        if (reserved(lora) - before < 4 * 256 * 16 * 4) {
          throw new AssertionError("reserved " + before + ", then " + reserved(lora));
        }
        small.withAllGraphs().freeDeviceMemory();
      }
      try (MoeLora lora = MoeLora.open(config, "tornado")) {
        attach(lora, 8192);
      } catch (IllegalStateException e) {
        if (String.valueOf(e.getMessage()).startsWith("the instance needs ")) {
          System.out.println("16 tokens reserved more, 8192 were refused");
          return;
        }
        throw e;
      }
      throw new AssertionError("32 MB must not fit");
    }

    private static long reserved(MoeLora lora) {
      return ((TornadoBackend) lora.backend()).reservedBytes();
    }

    private static TornadoExecutionPlan attach(MoeLora lora, int tokens) {
      EngineTasks tasks = EngineTasks.of(lora);
      FloatArray x = new FloatArray(8 * tokens);
      FloatArray y = new FloatArray(16 * 4 * tokens);
      TaskGraph layer =
          new TaskGraph("layer").transferToDevice(DataTransferMode.EVERY_EXECUTION, x, y);
      tasks.append(
          new EngineGraph(layer, 0, tokens), ProjectionCall.gateUp(0), new EngineArrays(x, y, 16));
      List<ImmutableTaskGraph> graphs = new ArrayList<>();
      graphs.add(layer.transferToHost(DataTransferMode.EVERY_EXECUTION, y).snapshot());
      graphs.addAll(tasks.graphs());
      TornadoExecutionPlan plan =
          new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
      tasks.attach(plan, 1);
      return plan;
    }
  }

  /** Memory that nobody has told us of. */
  @Test
  void afterADeviceFailureAnInstanceSaysSo() throws Exception {
    assertThat(output(Crowded.class)).contains("refused and closed");
  }

  /** An instance on a device that others fill. */
  static final class Crowded {
    private Crowded() {}

    public static void copy(FloatArray from, FloatArray to) {
      for (int i = 0; i < 16; i++) {
        to.set(i, from.get(i));
      }
    }

    public static void main(String[] args) {
      MoeModel model = new MoeModel(64, 32, 8, GateUp.HALVES, List.of(0));
      MoeLoraConfig config = MoeLoraConfig.of(model, 20, 1).withMaxTokens(8).withMaxRank(64);
      FloatArray from = new FloatArray(4 << 20);
      FloatArray to = new FloatArray(16);
      from.init(1);
      TaskGraph graph =
          new TaskGraph("others")
              .transferToDevice(DataTransferMode.FIRST_EXECUTION, from)
              .task("copy", Crowded::copy, from, to)
              .transferToHost(DataTransferMode.EVERY_EXECUTION, to);
      TornadoExecutionPlan plan = new TornadoExecutionPlan(graph.snapshot());
      plan.execute();
      Problem problem = new Problem(1, model, 8, 1).addAdapter(64, false).route();
      try (MoeLora lora = MoeLora.open(config, "tornado")) {
        require(() -> problem.load(lora), "");
        require(() -> problem.load(lora), "has failed, and what it holds is unknown: close");
        require(() -> lora.unload(0), "");
      }
      System.out.println("refused and closed " + to.get(0));
    }

    private static void require(Runnable action, String message) {
      try {
        action.run();
      } catch (RuntimeException e) {
        if (String.valueOf(e.getMessage()).contains(message)) {
          return;
        }
        throw e;
      }
      // an empty slot needs no device
      if (!message.isEmpty()) {
        throw new AssertionError("must fail with " + message);
      }
    }
  }

  // ---- the Java heap ----

  /** Loads for which the heap has ever less room, one layer after another. */
  @Test
  void aLoadWithoutHeapLeavesTheSlotAsItWas() throws Exception {
    assertThat(output(FullHeap.class))
        .containsPattern("[1-9]\\d* loads failed, [1-9]\\d* did not, no slot was wrong");
  }

  /** Fills the heap but for some room before each load. */
  static final class FullHeap {
    private static final int TRIES = 12;
    private static final int UNIT = 16 << 10;

    /** Units that each load has more than the one before. */
    private static final int STEP = 16;

    /** Kept in a field, so that no compiler drops it. */
    private static List<byte[]> ballast = new ArrayList<>();

    private FullHeap() {}

    public static void main(String[] args) {
      Problem problem = new Problem(1, MODEL, 5, 2);
      List<LoraAdapter> adapters = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        adapters.add(problem.randomAdapter(16, i % 2 == 0, 1));
      }
      problem.addAdapter(adapters.getFirst()).route();
      MoeLoraConfig config = problem.config().withMaxRank(64);
      int failed = 0;
      try (MoeLora lora = MoeLora.open(config, "tornado")) {
        problem.check(lora, calls(MODEL));
        for (int i = 0; i < TRIES; i++) {
          LoraAdapter next = adapters.get((i + 1) % 4);
          if (loads(lora, next, i)) {
            problem.set(0, next);
          } else {
            failed++;
          }
          if (i % 3 == 2) {
            Thread.currentThread().interrupt();
          }
          checkWithoutLoading(problem, lora);
        }
      }
      System.out.printf("%d loads failed, %d did not, no slot was wrong%n", failed, TRIES - failed);
    }

    private static void checkWithoutLoading(Problem problem, MoeLora lora) {
      try (var step = lora.newStep()) {
        problem.plan(step);
        for (ProjectionCall call : calls(MODEL)) {
          problem.check(step, call);
        }
      }
    }

    private static boolean loads(MoeLora lora, LoraAdapter adapter, int room) {
      try {
        fill(room);
        lora.load(0, adapter);
        return true;
      } catch (OutOfMemoryError e) {
        return false;
      } finally {
        ballast = new ArrayList<>();
      }
    }

    /** Leaves so many units of the heap. */
    private static void fill(int room) {
      ballast = new ArrayList<>(1 << 15);
      try {
        while (true) {
          ballast.add(new byte[UNIT]);
        }
      } catch (OutOfMemoryError e) {
        for (int i = 0; i < STEP * room; i++) {
          ballast.removeLast();
        }
      }
    }
  }

  // ---- threads ----

  /** Nothing has been compiled in that JVM when they meet. */
  @Test
  void firstUseOfSeveralInstancesAtOnce() throws Exception {
    assertThat(output(FirstUses.class)).contains("4 instances at once");
  }

  /** Opens instances and uses them for the first time at the same moment. */
  static final class FirstUses {
    private FirstUses() {}

    public static void main(String[] args) throws Exception {
      int instances = 4;
      CyclicBarrier all = new CyclicBarrier(instances);
      List<Future<?>> running = new ArrayList<>();
      try (ExecutorService threads = Executors.newFixedThreadPool(instances)) {
        for (int i = 0; i < instances; i++) {
          MoeModel model = new MoeModel(16 + 8 * i, 24, 3, GateUp.HALVES, List.of(0));
          Problem problem =
              new Problem(Seeds.of("first " + i), model, 5, 2).addAdapter(4 + i, false).route();
          running.add(
              threads.submit(
                  () -> {
                    try (MoeLora lora = MoeLora.open(problem.config(), "tornado")) {
                      all.await();
                      problem.check(lora, calls(model));
                    }
                    return null;
                  }));
        }
        for (Future<?> each : running) {
          each.get();
        }
      }
      System.out.println(instances + " instances at once");
      // TornadoVM's own threads would keep the JVM
      System.exit(0);
    }
  }
}
