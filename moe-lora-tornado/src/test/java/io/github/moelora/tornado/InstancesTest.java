package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.AdapterPool;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.layout.PoolSizes;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Several instances in one JVM, several threads on one, and what is left when they are closed. */
class InstancesTest {
  private static final MoeModel MODEL = new MoeModel(30, 22, 3, GateUp.HALVES, List.of(0));
  private static final ProjectionCall[] CALLS = {
    ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly()
  };

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  private static Problem problem(String name, int tokens) {
    return new Problem(Seeds.of(name), MODEL, tokens, 2);
  }

  @Test
  void instancesDoNotDisturbEachOther() {
    Problem first = problem("first", 11).addAdapter(4, false).addAdapter(7, true).route();
    Problem second = problem("second", 8).addAdapter(9, true).addEmptySlot().route();
    try (MoeLora a = MoeLora.open(first.config(), "tornado")) {
      first.check(a, CALLS);
      try (MoeLora b = MoeLora.open(second.config(), "tornado")) {
        second.check(b, CALLS);
        first.check(a, CALLS);
        second.check(b, CALLS);
      }
      // what the second has freed is none of the first's
      first.check(a, CALLS);
    }
  }

  /** Weights that go to the device in several parts. */
  @Test
  void adaptersLargerThanTheStagingArray() {
    MoeModel model = new MoeModel(640, 320, 10, GateUp.HALVES, List.of(0));
    Problem problem =
        new Problem(Seeds.of("large"), model, 3, 2)
            .addEmptySlot()
            .addAdapter(256, false)
            .addAdapter(256, true)
            .route()
            .dealAdapters();
    long elements = 256L * 10 * (2 * 640 + 640);
    int pool = PoolSizes.floats(problem.config(), Projection.GATE_UP);
    assertThat(elements).isGreaterThan(2L * PoolSizes.staged(pool, problem.config().slots()));
    try (MoeLora lora = MoeLora.open(problem.config(), "tornado")) {
      problem.check(lora, CALLS);
    }
  }

  @Test
  void stepsOfSeveralThreadsTakeTurns() throws Exception {
    Problem owner = problem("owner", 1).addAdapter(5, false).addAdapter(3, true).addEmptySlot();
    MoeLoraConfig config = owner.config().withMaxTokens(40);
    try (MoeLora lora = MoeLora.open(config, "tornado");
        ExecutorService threads = Executors.newFixedThreadPool(4)) {
      owner.load(lora);
      List<Future<?>> running = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        int thread = i;
        running.add(
            threads.submit(
                () -> {
                  try (Step step = lora.newStep()) {
                    for (int round = 0; round < 5; round++) {
                      Problem mine = problem(thread + "." + round, 1 + 9 * thread + round);
                      owner.adapters().forEach(adapter -> add(mine, adapter));
                      mine.route().plan(step);
                      for (ProjectionCall call : CALLS) {
                        mine.check(step, call);
                      }
                    }
                  }
                }));
      }
      for (Future<?> each : running) {
        each.get();
      }
    }
  }

  /** A step goes on with its slot while others are loaded, emptied and moved together. */
  @Test
  void stepsGoOnWhileOtherSlotsChange() throws Exception {
    Problem owner = problem("steps beside loads", 5);
    LoraAdapter small = owner.randomAdapter(12, false, 1);
    LoraAdapter large = owner.randomAdapter(40, true, 1);
    MoeLoraConfig config =
        MoeLoraConfig.of(MODEL, 3, 2)
            .withMaxTokens(5)
            .withMaxRank(40)
            .withPool(new AdapterPool(56, 2));
    owner.addEmptySlot().addAdapter(small).addEmptySlot().route();
    Arrays.setAll(owner.adapterIds(), t -> t == 3 ? -1 : 1);
    try (MoeLora lora = MoeLora.open(config, "tornado");
        Step step = lora.newStep();
        ExecutorService loader = Executors.newSingleThreadExecutor()) {
      int runs = 0;
      for (int round = 0; round < 2; round++) {
        lora.load(0, small);
        lora.load(1, small);
        lora.unload(0);
        owner.plan(step);
        // no gap holds it, so slot 1 moves to the front
        Future<?> load = loader.submit(() -> lora.load(2, large));
        while (!load.isDone()) {
          owner.check(step, CALLS[runs % CALLS.length]);
          runs++;
        }
        load.get();
        owner.check(step, CALLS[0]);
        lora.unload(2);
        lora.unload(1);
      }
      assertThat(runs).isGreaterThan(1);
    }
  }

  private static void add(Problem problem, @Nullable LoraAdapter adapter) {
    if (adapter == null) {
      problem.addEmptySlot();
    } else {
      problem.addAdapter(adapter);
    }
  }

  /** With device memory for one instance, many can still follow one another. */
  @Test
  void closingFreesDeviceMemory() throws Exception {
    String output = OwnJvm.run(Successive.class, Map.of(), "-Dtornado.device.memory=24MB");
    assertThat(output).contains("opened and closed 6 times");
  }

  /** Opens an instance of some 14 MB on the device again and again. */
  static final class Successive {
    private Successive() {}

    public static void main(String[] args) {
      MoeModel model = new MoeModel(64, 32, 8, GateUp.HALVES, List.of(0));
      MoeLoraConfig config = MoeLoraConfig.of(model, 20, 1).withMaxTokens(8).withMaxRank(64);
      int times = 0;
      for (int i = 0; i < 6; i++) {
        Problem problem = new Problem(i, model, 8, 1).addAdapter(64, false).route();
        try (MoeLora lora = MoeLora.open(config, "tornado")) {
          problem.check(lora, ProjectionCall.gateUp(0), ProjectionCall.down(0));
        }
        times++;
      }
      System.out.printf("opened and closed %d times%n", times);
    }
  }
}
