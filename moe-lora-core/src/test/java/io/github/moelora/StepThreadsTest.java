package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Who waits for whom, who is refused, and what an overflowing stack leaves behind. */
@Timeout(60)
class StepThreadsTest {
  private static final MoeModel MODEL = new MoeModel(1, 1, 1, GateUp.HALVES, List.of(0));
  private static final ProjectionCall CALL = ProjectionCall.down(0);
  private static final Matrix X = Matrix.ofFloats(2, 1, 1, 1);

  private final FakeBackend backend = new FakeBackend("fake");
  private final CountDownLatch entered = new CountDownLatch(1);
  private final CountDownLatch leave = new CountDownLatch(1);
  private MoeLora lora = open(true);
  private Step step = lora.newStep();

  /** Made before any run, since newStep waits for runs. */
  private final Step spare = lora.newStep();

  private MoeLora open(boolean changesBesideRuns) {
    backend.changesBesideRuns = changesBesideRuns;
    MoeLora opened = MoeLora.open(MoeLoraConfig.of(MODEL, 3, 1).withMaxTokens(4), backend);
    for (int slot = 0; slot < 3; slot++) {
      opened.load(slot, adapter());
    }
    return opened;
  }

  @AfterEach
  void close() {
    leave.countDown();
    lora.close();
  }

  private static LoraAdapter adapter() {
    return LoraAdapter.builder("a")
        .add(
            0,
            Projection.DOWN,
            0,
            new LoraSlice(0, Matrix.ofFloats(1, 1, 1), Matrix.ofFloats(1, 1, 1), 1))
        .build();
  }

  private static void plan(Step step, int... adapterIds) {
    step.plan(
        adapterIds.length,
        MemorySegment.ofArray(new int[adapterIds.length]),
        MemorySegment.ofArray(new float[adapterIds.length]),
        MemorySegment.ofArray(adapterIds));
  }

  private static void run(Step step) {
    step.run(CALL, X, Matrix.ofFloats(2, 1, 0, 0));
  }

  /** Starts a run that stays in the backend until {@link #leave}. */
  private Thread startRun() throws InterruptedException {
    backend.running =
        () -> {
          entered.countDown();
          try {
            leave.await();
          } catch (InterruptedException e) {
            throw new IllegalStateException(e);
          }
        };
    Thread runner = Thread.ofPlatform().name("runner").start(() -> run(step));
    entered.await();
    return runner;
  }

  private static void awaitWaiting(Thread thread) {
    while (thread.getState() != Thread.State.WAITING
        && thread.getState() != Thread.State.TERMINATED) {
      Thread.onSpinWait();
    }
    assertThat(thread.getState()).isEqualTo(Thread.State.WAITING);
  }

  // ---- one step, two threads ----

  @Test
  void aSecondThreadIsRefused() throws Exception {
    plan(step, 0, 2);
    Thread runner = startRun();
    String message =
        "step must be used by one thread at a time, got %s while %s uses it; make a step for each"
                .formatted(Thread.currentThread(), runner)
            + " with newStep()";
    assertThatIllegalStateException().isThrownBy(() -> run(step)).withMessage(message);
    assertThatIllegalStateException().isThrownBy(() -> plan(step, 0)).withMessage(message);
    assertThatIllegalStateException().isThrownBy(step::requireFresh).withMessage(message);
    leave.countDown();
    runner.join();
    run(step);
    plan(step, 1);
    run(step);
  }

  @Test
  void changesOfOtherSlotsLeaveDensePlansGood() {
    lora.close();
    MoeModel model = MODEL.withDense(List.of(new DenseModule("q", 1, 1)));
    lora = MoeLora.open(MoeLoraConfig.of(model, 3, 1).withMaxTokens(4), "cpu");
    step = lora.newStep();
    MemorySegment ids = MemorySegment.ofArray(new int[] {1, 2});
    lora.load(1, adapter());
    step.planDense(2, ids);
    // a change of another slot leaves the plan good, one of its own does not
    lora.load(0, adapter());
    Matrix y = Matrix.ofFloats(2, 1, 0, 0);
    step.run(ProjectionCall.dense(0), X, y);
    lora.unload(1);
    assertThatExceptionOfType(StalePlanException.class)
        .isThrownBy(() -> step.run(ProjectionCall.dense(0), X, y));
    assertThatExceptionOfType(StalePlanException.class).isThrownBy(step::requireFresh);
    step.planDense(2, ids);
    step.run(ProjectionCall.dense(0), X, y);
  }

  @Test
  void aFailureFreesTheStep() {
    plan(step, 0, 2);
    backend.failing = "run";
    assertThatIllegalStateException().isThrownBy(() -> run(step)).withMessage("run fails");
    backend.failing = null;
    run(step);
  }

  // ---- loads beside runs ----

  @Test
  void aLoadWaitsOnlyForRunsThatNameItsSlot() throws Exception {
    plan(step, 0, 2);
    Thread runner = startRun();
    lora.load(1, adapter());
    lora.setEnabled(1, false);
    lora.unload(1);
    Thread loader = Thread.ofPlatform().start(() -> lora.load(2, adapter()));
    awaitWaiting(loader);
    // others go on meanwhile
    backend.running = () -> {};
    plan(spare, 0, 1);
    run(spare);
    spare.requireFresh();
    leave.countDown();
    runner.join();
    loader.join();
    assertThatExceptionOfType(StalePlanException.class).isThrownBy(() -> run(step));
  }

  @Test
  void whereTheBackendCannotDoBothALoadWaitsForAllRuns() throws Exception {
    lora.close();
    lora = open(false);
    step = lora.newStep();
    plan(step, 0, 2);
    Thread runner = startRun();
    Thread loader = Thread.ofPlatform().start(() -> lora.load(1, adapter()));
    awaitWaiting(loader);
    leave.countDown();
    runner.join();
    loader.join();
    run(step);
  }

  @Test
  void closeWaitsForRuns() throws Exception {
    plan(step, 0, 2);
    Thread runner = startRun();
    Thread closer = Thread.ofPlatform().start(lora::close);
    awaitWaiting(closer);
    assertThat(backend.calls).doesNotContain("close step", "close backend");
    leave.countDown();
    runner.join();
    closer.join();
    assertThat(backend.calls).endsWith("close step", "close step", "close backend");
  }

  // ---- overflowing stacks ----

  /** Wherever in a call the stack ends, no lock may stay behind. */
  @Test
  void anOverflowingStackLeavesNoLock() throws Exception {
    plan(step, 0, 2);
    AtomicInteger overflows = new AtomicInteger();
    AtomicInteger successes = new AtomicInteger();
    Runnable call = () -> run(step);
    // compiled code needs less stack than the interpreter, to which an error falls back
    backend.quiet = true;
    for (int i = 0; i < 30_000; i++) {
      call.run();
    }
    Thread digger =
        new Thread(
            null,
            () -> {
              for (int round = 0; round < 8; round++) {
                successes.set(0);
                callFromTheEnd(call, overflows, successes);
              }
            },
            "digger",
            1 << 17);
    digger.start();
    digger.join();
    assertThat(overflows.get()).isPositive();
    assertThat(successes.get()).isPositive();
    // each needs all locks
    lora.load(0, adapter());
    lora.load(1, adapter());
    lora.load(2, adapter());
    plan(step, 0, 2);
    run(step);
    lora.newStep().close();
  }

  /** Calls from each frame on the way back from the end of the stack, until most succeed. */
  @SuppressWarnings("InfiniteRecursion") // that is the point
  private static void callFromTheEnd(
      Runnable call, AtomicInteger overflows, AtomicInteger successes) {
    try {
      callFromTheEnd(call, overflows, successes);
    } catch (StackOverflowError e) {
      overflows.incrementAndGet();
    }
    if (successes.get() < 20) {
      try {
        call.run();
        successes.incrementAndGet();
      } catch (StackOverflowError e) {
        overflows.incrementAndGet();
      }
    }
  }
}
