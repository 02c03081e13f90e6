package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.spi.Availability;
import io.github.moelora.testkit.Logged;
import io.github.moelora.testkit.Operands;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Slots, failures and the life cycle. */
class MoeLoraTest {
  private static final MoeModel MODEL = new MoeModel(6, 4, 3, GateUp.HALVES, List.of(0));

  private final FakeBackend backend = new FakeBackend("fake");

  private MoeLora open() {
    return MoeLora.open(MoeLoraConfig.of(MODEL, 2, 1).withMaxRank(4).withMaxTokens(8), backend);
  }

  private static LoraAdapter adapter(String name, int rank, float weight) {
    Matrix a = Matrix.of(MemorySegment.ofArray(new float[rank * 4]), DType.F32, rank, 4);
    Matrix b = Matrix.of(MemorySegment.ofArray(new float[rank * 6]), DType.F32, 6, rank);
    b.set(5, rank - 1, weight);
    return LoraAdapter.builder(name).add(0, Projection.DOWN, 1, new LoraSlice(0, a, b, 1)).build();
  }

  private static boolean[] active(MoeLora lora) {
    boolean[] active = new boolean[2];
    lora.copySlotStates(active, new long[2]);
    return active;
  }

  private static long[] generations(MoeLora lora) {
    long[] generations = new long[2];
    lora.copySlotStates(new boolean[2], generations);
    return generations;
  }

  @Test
  void theBestBackendIsOpenedUnlessOneIsNamed() {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 1, 1).withMaxTokens(1);
    try (MoeLora best = MoeLora.open(config);
        MoeLora named = MoeLora.open(config, "cpu")) {
      assertThat(best.backendName()).isEqualTo("cpu");
      assertThat(named.backendName()).isEqualTo("cpu");
      assertThat(named.device()).startsWith("CPU, ").isEqualTo(named.backend().device());
      assertThat(named.config()).isEqualTo(config);
    }
  }

  @Test
  void anUnusableProviderIsRefused() {
    backend.availability(new Availability.Unusable("no device", "plug one in"));
    assertThatIllegalStateException()
        .isThrownBy(this::open)
        .withMessage("backend fake cannot run: no device. plug one in");
  }

  @Test
  void slotsHoldWhatWasLoadedLast() {
    try (MoeLora lora = open()) {
      assertThat(lora.backendName()).isEqualTo("fake");
      assertThat(lora.device()).isEqualTo("a fake device");
      assertThat(lora.adapterName(0)).isNull();
      lora.load(0, adapter("first", 1, 1));
      lora.load(1, adapter("second", 4, 1));
      assertThat(lora.adapterName(0)).isEqualTo("first");
      assertThat(lora.adapterName(1)).isEqualTo("second");
      lora.load(0, adapter("third", 2, 1));
      assertThat(lora.adapterName(0)).isEqualTo("third");
      lora.unload(0);
      assertThat(lora.adapterName(0)).isNull();
      assertThat(lora.adapterName(1)).isEqualTo("second");
      // an empty slot has nothing to unload
      lora.unload(0);
    }
    assertThat(backend.calls)
        .containsExactly(
            "prepare 0",
            "commit 0",
            "close prepared 0",
            "prepare 1",
            "commit 1",
            "close prepared 1",
            "prepare 0",
            "commit 0",
            "close prepared 0",
            "unload 0",
            "close backend");
  }

  @Test
  void aSlotIsActiveWhileItIsLoadedAndEnabled() {
    try (MoeLora lora = open()) {
      assertThat(active(lora)).containsExactly(false, false);
      lora.load(1, adapter("a", 1, 1));
      assertThat(active(lora)).containsExactly(false, true);
      lora.setEnabled(1, false);
      assertThat(active(lora)).containsExactly(false, false);
      lora.load(1, adapter("b", 1, 1));
      assertThat(active(lora)).containsExactly(false, false);
      lora.setEnabled(1, true);
      assertThat(active(lora)).containsExactly(false, true);
      lora.setEnabled(0, true);
      lora.unload(1);
      assertThat(active(lora)).containsExactly(false, false);
    }
  }

  @Test
  void slotsOutOfRangeAreRefused() {
    try (MoeLora lora = open()) {
      LoraAdapter adapter = adapter("a", 1, 1);
      for (int slot : new int[] {-1, 2}) {
        for (ThrowingCallable call :
            List.<ThrowingCallable>of(
                () -> lora.load(slot, adapter),
                () -> lora.unload(slot),
                () -> lora.setEnabled(slot, false),
                () -> lora.adapterName(slot))) {
          assertThatIllegalArgumentException()
              .isThrownBy(call)
              .withMessage("slot must be in [0, 2), got %d", slot);
        }
      }
      assertThat(backend.calls).isEmpty();
    }
  }

  // ---- failures ----

  @Test
  void anAdapterThatDoesNotFitIsRefusedAndTheSlotKeepsWhatItHad() {
    try (MoeLora lora = open()) {
      lora.load(0, adapter("good", 4, 1));
      backend.calls.clear();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> lora.load(0, adapter("large", 5, 1)))
          .withMessage("adapter large: rank must be at most maxRank 4, got 5");
      LoraAdapter elsewhere =
          LoraAdapter.builder("elsewhere")
              .add(
                  9,
                  Projection.DOWN,
                  0,
                  new LoraSlice(0, Matrix.ofFloats(1, 1, 1), Matrix.ofFloats(1, 1, 1), 1))
              .build();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> lora.load(0, elsewhere))
          .withMessage(
              "adapter elsewhere, layer 9, DOWN, expert 0: layer must be one of [0], got 9");
      assertThat(backend.calls).isEmpty();
      assertThat(lora.adapterName(0)).isEqualTo("good");
    }
  }

  @Test
  void weightsBeyondTheTypeOfTheSlotsAreRefused() {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 1, 1).withWeightType(DType.F16);
    try (MoeLora lora = MoeLora.open(config, backend)) {
      lora.load(0, adapter("largest", 1, -65504));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> lora.load(0, adapter("too large", 1, -65505)))
          .withMessage("adapter too large: weights must be at most 65504.0 for F16, got 65505.0");
      assertThat(lora.adapterName(0)).isEqualTo("largest");
    }
  }

  @Test
  void aFailureOfTheBackendLeavesTheSlotAsItWas() {
    try (MoeLora lora = open()) {
      lora.load(0, adapter("good", 1, 1));
      long[] generations = generations(lora);
      for (String failing : List.of("prepare 0", "commit 0")) {
        backend.calls.clear();
        backend.failing = failing;
        assertThatIllegalStateException()
            .isThrownBy(() -> lora.load(0, adapter("bad", 1, 1)))
            .withMessage("%s fails", failing);
        assertThat(lora.adapterName(0)).isEqualTo("good");
        assertThat(generations(lora)).isEqualTo(generations);
      }
      // what was prepared is given up
      assertThat(backend.calls).containsExactly("prepare 0", "commit 0", "close prepared 0");
      backend.failing = "unload 0";
      assertThatIllegalStateException().isThrownBy(() -> lora.unload(0));
      assertThat(lora.adapterName(0)).isEqualTo("good");
      backend.failing = null;
      lora.load(0, adapter("next", 1, 1));
      assertThat(lora.adapterName(0)).isEqualTo("next");
    }
  }

  @Test
  void aStepThatCannotBeMadeIsFreed() {
    try (MoeLora lora = open()) {
      backend.maxBlockSize(Integer.MAX_VALUE);
      assertThatIllegalArgumentException()
          .isThrownBy(lora::newStep)
          .withMessageContaining("padded maxTokens * expertsPerToken must be in");
      assertThat(backend.calls).containsExactly("new step", "close step");
    }
  }

  /** An adapter whose memory has been freed: the slot keeps its weights, bit for bit. */
  @Test
  void aLoadFromFreedMemoryKeepsTheSlot() {
    Problem problem = new Problem(Seeds.of("freed"), MODEL, 5, 1).addAdapter(3, false).route();
    problem.dealAdapters();
    LoraAdapter freed;
    try (Arena arena = Arena.ofConfined()) {
      Matrix a = Matrix.of(arena.allocate(16), DType.F32, 1, 4);
      freed =
          LoraAdapter.builder("freed")
              .add(
                  0,
                  Projection.DOWN,
                  1,
                  new LoraSlice(0, a, Matrix.ofFloats(6, 1, 1, 2, 3, 4, 5, 6), 1))
              .build();
    }
    try (MoeLora lora = MoeLora.open(problem.config(), "cpu");
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.plan(step);
      assertThatIllegalStateException().isThrownBy(() -> lora.load(0, freed));
      assertThat(lora.adapterName(0)).isEqualTo("rank 3");
      // the plan is still good
      problem.check(step, ProjectionCall.down(0));
    }
  }

  // ---- close ----

  @Test
  void closingTwiceDoesNothingAndUseAfterwardsIsRefused() {
    MoeLora lora = open();
    lora.load(0, adapter("a", 1, 1));
    lora.close();
    lora.close();
    assertThat(backend.calls).containsOnlyOnce("close backend");
    backend.calls.clear();
    LoraAdapter adapter = adapter("b", 1, 1);
    for (ThrowingCallable call :
        List.<ThrowingCallable>of(
            () -> lora.load(0, adapter),
            () -> lora.unload(0),
            () -> lora.setEnabled(0, false),
            lora::newStep)) {
      assertThatIllegalStateException().isThrownBy(call).withMessage("MoeLora is closed");
    }
    assertThat(backend.calls).isEmpty();
  }

  @Test
  void theBackendIsFreedEvenIfAStepCannotBe() {
    MoeLora lora = open();
    lora.newStep();
    backend.failing = "close step";
    assertThatIllegalStateException().isThrownBy(lora::close).withMessage("close step fails");
    assertThat(backend.calls).endsWith("close backend");
    lora.close();
    assertThat(backend.calls).containsOnlyOnce("close backend");
  }

  // ---- forgotten ----

  @Test
  @Timeout(60)
  void anInstanceThatIsDroppedIsNamed() {
    try (Logged log = new Logged(MoeLora.class)) {
      MoeLora closed = open();
      closed.close();
      open().newStep();
      while (log.lines().stream().noneMatch(line -> line.startsWith("WARN"))) {
        System.gc();
        Thread.onSpinWait();
      }
      assertThat(log.lines())
          .filteredOn(line -> line.startsWith("WARN"))
          .containsExactly(
              "WARN MoeLora with 2 slots on backend fake, a fake device was dropped without close"
                  + " and keeps its memory; close it, as try-with-resources does");
    }
  }

  // ---- several threads ----

  /**
   * One thread swaps slot 0 between two adapters while others run steps: slot 1 is never disturbed,
   * and a run on slot 0 gives the result of the one adapter or the other, never a mixture.
   */
  @Test
  @Timeout(60)
  void swapsWhileStepsRun() throws Exception {
    int tokens = 6;
    Problem one = new Problem(Seeds.of("swap"), MODEL, tokens, 1).addAdapter(3, false);
    one.addAdapter(2, true).route().dealAdapters();
    LoraAdapter first = Objects.requireNonNull(one.adapters().get(0));
    LoraAdapter second = one.randomAdapter(4, true, 1);
    Operands withFirst = one.operands(ProjectionCall.gateUp(0));
    try (MoeLora lora = MoeLora.open(one.config().withMaxRank(4), "cpu");
        ExecutorService threads = Executors.newFixedThreadPool(3)) {
      one.load(lora);
      byte[] firstBits = bits(lora, one, withFirst);
      lora.load(0, second);
      byte[] secondBits = bits(lora, one, withFirst);
      assertThat(secondBits).isNotEqualTo(firstBits);

      AtomicBoolean done = new AtomicBoolean();
      AtomicInteger runs = new AtomicInteger();
      List<Future<?>> runners = new ArrayList<>();
      for (int thread = 0; thread < 2; thread++) {
        runners.add(
            threads.submit(
                () -> {
                  try (Step step = lora.newStep()) {
                    while (!done.get()) {
                      byte[] bits;
                      try {
                        one.plan(step);
                        bits = run(step, withFirst);
                      } catch (StalePlanException e) {
                        // the documented answer to a swap between plan and run
                        continue;
                      }
                      assertThat(bits).isIn(firstBits, secondBits);
                      runs.incrementAndGet();
                    }
                  }
                }));
      }
      for (int swap = 0; swap < 60; swap++) {
        lora.load(0, swap % 2 == 0 ? first : second);
        int before = runs.get();
        while (runs.get() == before && runners.stream().noneMatch(Future::isDone)) {
          LockSupport.parkNanos(100_000);
        }
      }
      done.set(true);
      for (Future<?> runner : runners) {
        runner.get();
      }
      assertThat(runs.get()).isGreaterThanOrEqualTo(60);
    }
  }

  private static byte[] bits(MoeLora lora, Problem problem, Operands operands) {
    try (Step step = lora.newStep()) {
      problem.plan(step);
      return run(step, operands);
    }
  }

  private static byte[] run(Step step, Operands operands) {
    Matrix y = operands.y();
    step.run(operands.call(), operands.x(), y);
    return y.data().toArray(ValueLayout.JAVA_BYTE);
  }
}
