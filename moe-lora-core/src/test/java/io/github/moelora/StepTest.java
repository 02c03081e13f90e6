package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What a step refuses before any backend sees it. */
class StepTest {
  private static final int H = 6;
  private static final int I = 4;
  private static final int K = 2;
  private static final int TOKENS = 3;
  private static final int PAIRS = TOKENS * K;

  private final FakeBackend backend = new FakeBackend("fake");
  private final MoeLora lora =
      MoeLora.open(
          MoeLoraConfig.of(new MoeModel(H, I, 5, GateUp.HALVES, List.of(1)), 3, K).withMaxTokens(8),
          backend);
  private final Step step = lora.newStep();

  @AfterEach
  void close() {
    lora.close();
  }

  private static Matrix zeros(int rows, int columns) {
    return Matrix.of(MemorySegment.ofArray(new float[rows * columns]), DType.F32, rows, columns);
  }

  private void plan(int... adapterIds) {
    step.plan(
        adapterIds.length,
        MemorySegment.ofArray(new int[adapterIds.length * K]),
        MemorySegment.ofArray(new float[adapterIds.length * K]),
        MemorySegment.ofArray(adapterIds));
  }

  private static LoraAdapter adapter() {
    return LoraAdapter.builder("a")
        .add(1, Projection.DOWN, 0, new LoraSlice(0, zeros(1, I), zeros(H, 1), 1))
        .build();
  }

  private void assertRefused(ProjectionCall call, Matrix x, Matrix y, String message) {
    backend.calls.clear();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> step.run(call, x, y))
        .withMessage(message);
    assertThat(backend.calls).isEmpty();
  }

  @Test
  void whatFitsGoesToTheBackend() {
    plan(0, 1, 2);
    backend.calls.clear();
    step.run(ProjectionCall.gateUp(1), zeros(TOKENS, H), zeros(PAIRS, 2 * I));
    step.run(ProjectionCall.down(1), zeros(PAIRS, I), zeros(PAIRS, H));
    step.run(
        ProjectionCall.down(1).withPairRows(false).withColumnOffset(2),
        zeros(TOKENS, I),
        zeros(PAIRS + 1, H + 3));
    assertThat(backend.calls).containsExactly("run", "run", "run");
    assertThat(step.backendStep().maxBlockSize()).isEqualTo(4);
  }

  @Test
  void sizesThatDoNotFitAreRefused() {
    plan(0, 1, 2);
    ProjectionCall gateUp = ProjectionCall.gateUp(1);
    ProjectionCall down = ProjectionCall.down(1);
    Matrix x = zeros(TOKENS, H);
    Matrix y = zeros(PAIRS, 2 * I);
    assertRefused(ProjectionCall.gateUp(0), x, y, "layer must be one of [1], got 0");
    assertRefused(gateUp, zeros(TOKENS - 1, H), y, "x.rows must be at least 3, got 2");
    assertRefused(down, zeros(PAIRS - 1, I), zeros(PAIRS, H), "x.rows must be at least 6, got 5");
    assertRefused(gateUp, zeros(TOKENS, H + 1), y, "x.columns must be 6, got 7");
    assertRefused(down, zeros(PAIRS, H), zeros(PAIRS, H), "x.columns must be 4, got 6");
    assertRefused(gateUp, x, zeros(PAIRS - 1, 2 * I), "y.rows must be at least 6, got 5");
    assertRefused(gateUp, x, zeros(PAIRS, 2 * I - 1), "y.columns must be at least 8, got 7");
    assertRefused(gateUp.withColumnOffset(1), x, y, "y.columns must be at least 9, got 8");
    assertRefused(
        gateUp.withColumnOffset(Integer.MAX_VALUE),
        x,
        y,
        "y.columns must be at least 2147483655, got 8");
  }

  @Test
  void layoutsThatDoNotFitAreRefused() {
    plan(0, 1, 2);
    MemorySegment data = MemorySegment.ofArray(new float[200]);
    ProjectionCall call = ProjectionCall.gateUp(1);
    Matrix x = zeros(TOKENS, H);
    Matrix y = zeros(PAIRS, 2 * I);
    assertRefused(
        call,
        new Matrix(data, DType.F32, TOKENS, H, 0, 2 * H, 2),
        y,
        "x.columnStride must be 1, got 2");
    assertRefused(
        call,
        x,
        new Matrix(data, DType.F32, PAIRS, 2 * I, 0, 4 * I, 2),
        "y.columnStride must be 1, got 2");
    assertRefused(
        call,
        x,
        new Matrix(data, DType.F32, PAIRS, 2 * I, 0, 2 * I - 1, 1),
        "y.rowStride must be at least 8, got 7");
    assertRefused(
        call,
        x,
        Matrix.of(data.asReadOnly(), DType.F32, PAIRS, 2 * I),
        "y.data must be writable, got a read-only segment");
    // reading is another matter
    assertThatNoException()
        .isThrownBy(
            () -> step.run(call, new Matrix(data.asReadOnly(), DType.F32, TOKENS, H, 0, 0, 1), y));
  }

  @Test
  void oneRowMayHaveAnyStride() {
    MoeLoraConfig config = MoeLoraConfig.of(new MoeModel(H, I, 5, GateUp.HALVES, List.of(1)), 1, 1);
    try (MoeLora single = MoeLora.open(config, backend);
        Step one = single.newStep()) {
      one.plan(
          1,
          MemorySegment.ofArray(new int[1]),
          MemorySegment.ofArray(new float[1]),
          MemorySegment.ofArray(new int[1]));
      Matrix y = new Matrix(MemorySegment.ofArray(new float[8]), DType.F32, 1, 2 * I, 0, 0, 1);
      assertThatNoException().isThrownBy(() -> one.run(ProjectionCall.gateUp(1), zeros(1, H), y));
      Matrix two = new Matrix(MemorySegment.ofArray(new float[8]), DType.F32, 2, 2 * I, 0, 0, 1);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> one.run(ProjectionCall.gateUp(1), zeros(1, H), two))
          .withMessage("y.rowStride must be at least 8, got 0");
    }
  }

  @Test
  void anEmptyBatchIsCheckedAndCostsNothing() {
    plan();
    backend.calls.clear();
    step.run(ProjectionCall.gateUp(1), zeros(0, H), zeros(0, 2 * I));
    assertThat(backend.calls).isEmpty();
    assertRefused(
        ProjectionCall.gateUp(1), zeros(0, H + 1), zeros(0, 2 * I), "x.columns must be 6, got 7");
  }

  // ---- plan before run ----

  @Test
  void runNeedsAPlan() {
    assertThatIllegalStateException()
        .isThrownBy(() -> step.run(ProjectionCall.gateUp(1), zeros(TOKENS, H), zeros(PAIRS, 2 * I)))
        .withMessage("plan must be called before run");
    assertThatIllegalStateException()
        .isThrownBy(step::requireFresh)
        .withMessage("plan must be called before run");
    plan(0);
    assertThatNoException().isThrownBy(step::requireFresh);
  }

  @Test
  void aRefusedBatchLeavesTheLastPlan() {
    plan(0, 1, 2);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> plan(0, 3))
        .withMessage("adapterIds[1] must be in [-1, 3), got 3");
    assertThat(step.routing().tokens()).isEqualTo(3);
    assertThatNoException().isThrownBy(step::requireFresh);
  }

  @Test
  void aPlanThatTheBackendDoesNotTakeLeavesNone() {
    plan(0, 1, 2);
    backend.failing = "planned";
    assertThatIllegalStateException().isThrownBy(() -> plan(1)).withMessage("planned fails");
    backend.failing = null;
    assertThatIllegalStateException()
        .isThrownBy(step::requireFresh)
        .withMessage("plan must be called before run");
    plan(1);
    assertThatNoException().isThrownBy(step::requireFresh);
  }

  @Test
  void aFailureOfTheBackendDoesNotHoldTheLock() {
    plan(0);
    backend.failing = "run";
    assertThatIllegalStateException()
        .isThrownBy(() -> step.run(ProjectionCall.gateUp(1), zeros(1, H), zeros(K, 2 * I)))
        .withMessage("run fails");
    // needs the lock for writing
    lora.load(1, adapter());
  }

  // ---- dense modules ----

  @Test
  void denseModulesArePlannedOnceForTheSameAdapters() {
    MoeLoraConfig config =
        MoeLoraConfig.of(
                new MoeModel(H, I, 5, GateUp.HALVES, List.of(1))
                    .withDense(List.of(new DenseModule("q", 3, 7), new DenseModule("k", H, 2))),
                3,
                K)
            .withMaxTokens(8);
    FakeBackend fake = new FakeBackend("dense");
    try (MoeLora whole = MoeLora.open(config, fake);
        Step both = whole.newStep()) {
      fake.calls.clear();
      MemorySegment experts = MemorySegment.ofArray(new int[TOKENS * K]);
      both.planDense(TOKENS, MemorySegment.ofArray(new int[] {0, -1, 2}));
      assertThat(fake.calls).containsExactly("planned dense");
      assertThat(both.denseRouting().tokens()).isEqualTo(TOKENS);
      // as a router of every layer does
      for (int layer = 0; layer < 2; layer++) {
        both.plan(TOKENS, experts, experts, MemorySegment.ofArray(new int[] {0, -1, 2}));
        both.run(ProjectionCall.dense(0), zeros(TOKENS, 3), zeros(TOKENS, 7));
        both.run(ProjectionCall.gateUp(1), zeros(TOKENS, H), zeros(PAIRS, 2 * I));
      }
      assertThat(fake.calls)
          .containsExactly("planned dense", "planned", "run", "run", "planned", "run", "run");
      fake.calls.clear();
      both.plan(TOKENS, experts, experts, MemorySegment.ofArray(new int[] {0, -1, 1}));
      both.planDense(2, MemorySegment.ofArray(new int[] {0, -1}));
      whole.load(1, adapter());
      both.planDense(2, MemorySegment.ofArray(new int[] {0, -1}));
      assertThat(fake.calls)
          .containsExactly(
              "planned",
              "planned dense",
              "planned dense",
              "prepare 1",
              "commit 1",
              "close prepared 1",
              "planned dense");
      assertThat(both.denseRouting().tokens()).isEqualTo(2);
    }
  }

  @Test
  void callsOnDenseModulesAreChecked() {
    MoeLoraConfig config =
        MoeLoraConfig.of(
                new MoeModel(H, I, 5, GateUp.HALVES, List.of(1))
                    .withDense(List.of(new DenseModule("q", 3, 7))),
                3,
                K)
            .withMaxTokens(8);
    ProjectionCall call = ProjectionCall.dense(0);
    try (MoeLora whole = MoeLora.open(config, backend);
        Step both = whole.newStep()) {
      assertThatIllegalStateException()
          .isThrownBy(() -> both.run(call, zeros(2, 3), zeros(2, 7)))
          .withMessage("plan or planDense must be called before run");
      MemorySegment ids = MemorySegment.ofArray(new int[] {0, 2});
      both.planDense(2, ids);
      assertThatNoException().isThrownBy(both::requireFresh);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> both.planDense(2, MemorySegment.ofArray(new int[] {0, 3})))
          .withMessage("adapterIds[1] must be in [-1, 3), got 3");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> both.planDense(3, ids))
          .withMessage("adapterIds must hold 3 elements (12 bytes), got 8 bytes");
      assertThatNoException().isThrownBy(both::requireFresh);
      assertThatIllegalStateException()
          .isThrownBy(() -> both.run(ProjectionCall.down(1), zeros(4, I), zeros(4, H)))
          .withMessage("plan must be called before run");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> both.run(ProjectionCall.dense(1), zeros(2, 3), zeros(2, 7)))
          .withMessage("module must be one of the model's 1 dense modules, got 1");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> both.run(call, zeros(1, 3), zeros(2, 7)))
          .withMessage("x.rows must be at least 2, got 1");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> both.run(call, zeros(2, 3), zeros(1, 7)))
          .withMessage("y.rows must be at least 2, got 1");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> both.run(call.withColumnOffset(1), zeros(2, 3), zeros(2, 7)))
          .withMessage("y.columns must be at least 8, got 7");
      whole.setEnabled(2, false);
      assertThatExceptionOfType(StalePlanException.class)
          .isThrownBy(() -> both.run(call, zeros(2, 3), zeros(2, 7)));
      assertThatExceptionOfType(StalePlanException.class).isThrownBy(both::requireFresh);
      backend.failing = "planned dense";
      assertThatIllegalStateException()
          .isThrownBy(() -> both.planDense(2, ids))
          .withMessage("planned dense fails");
      backend.failing = null;
      assertThatIllegalStateException()
          .isThrownBy(both::requireFresh)
          .withMessage("plan must be called before run");
    }
  }

  @Test
  void aModelWithoutDenseModulesHasNoPlanOfThem() {
    String message = "the model must list dense modules (MoeModel.withDense), and lists none";
    MemorySegment ids = MemorySegment.ofArray(new int[1]);
    assertThatIllegalStateException().isThrownBy(() -> step.planDense(1, ids)).withMessage(message);
    assertThatIllegalStateException().isThrownBy(step::denseRouting).withMessage(message);
    plan(0);
    assertThat(backend.calls).doesNotContain("planned dense");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> step.run(ProjectionCall.dense(0), zeros(1, 1), zeros(1, 1)))
        .withMessage("module must be one of the model's 0 dense modules, got 0");
  }

  // ---- stale plans ----

  @Test
  void everyKindOfChangeMakesAPlanStale() {
    assertStale(0, () -> lora.load(0, adapter()));
    assertStale(0, () -> lora.load(0, adapter()));
    assertStale(2, () -> lora.setEnabled(2, false));
    assertStale(2, () -> lora.setEnabled(2, true));
    assertStale(0, () -> lora.unload(0));
  }

  private void assertStale(int slot, Runnable change) {
    plan(-1, slot, -1);
    change.run();
    assertThatExceptionOfType(StalePlanException.class)
        .isThrownBy(() -> step.run(ProjectionCall.gateUp(1), zeros(TOKENS, H), zeros(PAIRS, 2 * I)))
        .withMessage(
            "adapter slot %d changed after the step was planned; call plan again before run", slot);
    assertThatExceptionOfType(StalePlanException.class).isThrownBy(step::requireFresh);
    plan(-1, slot, -1);
    assertThatNoException().isThrownBy(step::requireFresh);
  }

  @Test
  void whatChangesNothingMakesNoPlanStale() {
    lora.load(0, adapter());
    plan(0, 1, -1);
    lora.setEnabled(0, true);
    lora.unload(1);
    // slots that the plan does not name
    lora.load(2, adapter());
    lora.setEnabled(2, false);
    assertThatNoException().isThrownBy(step::requireFresh);
    assertThatNoException()
        .isThrownBy(
            () -> step.run(ProjectionCall.gateUp(1), zeros(TOKENS, H), zeros(PAIRS, 2 * I)));
  }

  // ---- close ----

  @Test
  void aClosedStepIsRefused() {
    plan(0);
    step.close();
    assertThat(backend.calls).containsOnlyOnce("close step");
    assertThatIllegalStateException().isThrownBy(() -> plan(0)).withMessage("Step is closed");
    assertThatIllegalStateException()
        .isThrownBy(() -> step.run(ProjectionCall.gateUp(1), zeros(TOKENS, H), zeros(PAIRS, 2 * I)))
        .withMessage("Step is closed");
    assertThatIllegalStateException().isThrownBy(step::requireFresh).withMessage("Step is closed");
    step.close();
    lora.close();
    assertThat(backend.calls).containsOnlyOnce("close step");
  }

  @Test
  void closingTheOwnerClosesTheSteps() {
    Step other = lora.newStep();
    plan(0);
    lora.close();
    assertThat(backend.calls).endsWith("close step", "close step", "close backend");
    assertThatIllegalStateException().isThrownBy(step::requireFresh).withMessage("Step is closed");
    assertThatIllegalStateException().isThrownBy(other::requireFresh).withMessage("Step is closed");
    other.close();
    assertThat(backend.calls).endsWith("close backend");
  }
}
