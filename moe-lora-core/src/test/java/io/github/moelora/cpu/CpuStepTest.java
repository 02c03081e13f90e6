package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.testkit.Allocation;
import io.github.moelora.testkit.Operands;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is particular to the CPU: work, garbage, threads, limits. */
class CpuStepTest {

  private static MoeLora open(MoeLoraConfig config, Kernels kernels, int threads) {
    BackendProvider provider = new CpuBackendTest.FixedProvider(kernels, threads);
    return MoeLora.open(config, provider);
  }

  /** Plain kernels that count the weights which they read and the products which they compute. */
  private static final class CountingKernels extends Kernels {
    private final Kernels plain = new PlainKernels();
    long read;
    long products;

    @Override
    String description() {
      return "counting";
    }

    @Override
    void widenRowBf16(RowMemory x, long from, int count, float[] out, int at) {
      plain.widenRowBf16(x, from, count, out, at);
    }

    @Override
    void multiply(Product p) {
      read += (long) p.depth * p.width;
      products += (long) (p.endRow - p.row) * p.depth * LANES;
      plain.multiply(p);
    }

    @Override
    void addF32(RowMemory y, long at, float[] delta, int from, int count, float factor) {
      plain.addF32(y, at, delta, from, count, factor);
    }

    @Override
    void addBf16(RowMemory y, long at, float[] delta, int from, int count, float factor) {
      plain.addBf16(y, at, delta, from, count, factor);
    }
  }

  /**
   * Every adapter costs its own rank, also beside one of rank 256 (vLLM #55158), and once per eight
   * pairs; a token without adapter costs nothing.
   */
  @Test
  void workIsThatOfTheAdaptersInTheBatch_vllm55158() {
    MoeModel model = new MoeModel(32, 48, 2, GateUp.HALVES, List.of(0));
    Problem problem =
        new Problem(Seeds.of("work"), model, 75, 1)
            .types(DType.BF16, DType.F32, DType.F32)
            .addAdapter(3, false)
            .addAdapter(256, true)
            .route();
    // 72 tokens on rank 3 (nine times eight), 1 on rank 256, 2 on none
    Arrays.fill(problem.expertIds(), 1);
    Arrays.fill(problem.adapterIds(), 0);
    problem.adapterIds()[5] = 1;
    problem.adapterIds()[6] = -1;
    problem.adapterIds()[74] = -1;
    CountingKernels kernels = new CountingKernels();
    try (MoeLora lora = open(problem.config(), kernels, 1);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.plan(step);
      assertThat(step.routing().blockSize()).isEqualTo(64);
      for (boolean add : new boolean[] {true, false}) {
        kernels.read = 0;
        kernels.products = 0;
        ProjectionCall call = ProjectionCall.gateUp(0);
        problem.check(step, add ? call : call.deltaOnly());
        // rank 3: two slices of 32 in and 48 out; rank 256: one of 32 in and 96 out
        long small = 2 * 3 * (32 + 48);
        long large = 256 * (32 + 96);
        assertThat(kernels.read).isEqualTo(9 * small + large);
        // a shrink computes whole panels of 16 ranks
        assertThat(kernels.products).isEqualTo(72 * 2 * (16 * 32 + 3 * 48) + large);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    // no two pairs share weights: nothing to sort
    "4, 4, 1",
    "5, 4, 16",
    "31, 4, 16",
    // from 8 pairs per group on, a larger block
    "32, 4, 64",
  })
  void blocksGrowWithTheGroups(int tokens, int experts, int blockSize) {
    MoeModel model = new MoeModel(5, 3, experts, GateUp.UP_ONLY, List.of(0));
    Problem problem = new Problem(1, model, tokens, 1).addAdapter(1, true).route().dealAdapters();
    Arrays.setAll(problem.expertIds(), p -> p % experts);
    try (MoeLora lora = open(problem.config(), new PlainKernels(), 1);
        Step step = lora.newStep()) {
      problem.load(lora);
      problem.plan(step);
      assertThat(step.routing().blockSize()).isEqualTo(blockSize);
      problem.check(step, ProjectionCall.gateUp(0));
    }
  }

  /** Rows of x that do not fit into a worker's memory, weights that do not fit into the cache. */
  @ParameterizedTest
  @EnumSource(DType.class)
  void wideLayersAreTakenInPieces(DType type) {
    MoeModel model = new MoeModel(1500, 1100, 2, GateUp.HALVES, List.of(0));
    Problem problem =
        new Problem(Seeds.of("wide"), model, 40, 1)
            .types(type, DType.F32, DType.F32)
            .addAdapter(250, false)
            .addAdapter(24, true)
            .route()
            .dealAdapters();
    for (Kernels kernels : List.of(new PlainKernels(), new VectorKernels())) {
      try (MoeLora lora = open(problem.config(), kernels, 2);
          Step step = lora.newStep()) {
        problem.load(lora);
        problem.plan(step);
        assertThat(step.routing().blockSize()).isEqualTo(64);
        problem.check(step, ProjectionCall.gateUp(0));
        problem.check(step, ProjectionCall.down(0));
      }
    }
  }

  /** Rows too long for a worker's memory, of which 3 and 5 to 7 do not share it evenly. */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7})
  void piecesBeginAtTheFirstStripe(int tokens) {
    MoeModel model = new MoeModel(8500, 40, 1, GateUp.HALVES, List.of(0));
    Problem problem =
        new Problem(Seeds.of("pieces"), model, tokens, 1).addAdapter(5, false).route();
    Arrays.fill(problem.adapterIds(), 0);
    checkWithBothKernels(problem, ProjectionCall.gateUp(0));
  }

  /**
   * The last panel of one slice and the first one of the next have the same width and lie in
   * stripes of different length: one product with both would read the wrong rows of one of them.
   */
  @ParameterizedTest
  @CsvSource({"16, 32", "32, 16", "16, 48", "16, 16", "32, 48", "16, 17"})
  void slicesOfDifferentRankAreMultipliedApart(int gateRank, int upRank) {
    MoeModel model = new MoeModel(37, 29, 2, GateUp.HALVES, List.of(0));
    Problem problem = new Problem(Seeds.of("ranks"), model, 11, 2);
    LoraAdapter.Builder adapter = LoraAdapter.builder("gate and up of different rank");
    for (int expert = 0; expert < model.experts(); expert++) {
      adapter.add(0, Projection.GATE_UP, expert, problem.slice(0, gateRank, 37, 29));
      adapter.add(0, Projection.GATE_UP, expert, problem.slice(29, upRank, 37, 29));
    }
    problem.addAdapter(adapter.build()).route();
    Arrays.fill(problem.adapterIds(), 0);
    checkWithBothKernels(problem, ProjectionCall.gateUp(0), ProjectionCall.gateUp(0).deltaOnly());
  }

  /** On one thread. */
  private static void checkWithBothKernels(Problem problem, ProjectionCall... calls) {
    for (Kernels kernels : List.of(new PlainKernels(), new VectorKernels())) {
      try (MoeLora lora = open(problem.config(), kernels, 1)) {
        problem.check(lora, calls);
      }
    }
  }

  /** Sums have one order, so the bits depend on neither the threads nor how the work is split. */
  @ParameterizedTest
  @CsvSource({"1", "3", "200"})
  void theNumberOfThreadsDoesNotChangeABit(int tokens) {
    MoeModel model = new MoeModel(70, 90, 3, GateUp.HALVES, List.of(0));
    Problem problem =
        new Problem(Seeds.of("threads"), model, tokens, 2)
            .addAdapter(17, false)
            .addAdapter(6, true)
            .route()
            .dealAdapters();
    for (ProjectionCall call :
        List.of(ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly())) {
      Operands operands = problem.operands(call);
      for (Kernels kernels : List.of(new PlainKernels(), new VectorKernels())) {
        byte[] first = null;
        for (int threads : new int[] {1, 2, 7}) {
          try (MoeLora lora = open(problem.config(), kernels, threads);
              Step step = lora.newStep()) {
            problem.load(lora);
            problem.plan(step);
            byte[] bits = operands.check(step);
            first = first == null ? bits : first;
            assertThat(bits).isEqualTo(first);
          }
        }
      }
    }
  }

  // ---- garbage ----

  /**
   * On plain kernels: those of the Vector API cease to allocate when the compiler has inlined them,
   * which takes longer than a test may.
   */
  @ParameterizedTest
  @EnumSource(DType.class)
  void runsAllocateNothingOnAnyThread(DType type) {
    MoeModel model =
        new MoeModel(40, 24, 4, GateUp.HALVES, List.of(0, 300))
            .withDense(DenseModule.inLayers("model.layers.*.q_proj", List.of(0, 300), 40, 56));
    Problem problem =
        new Problem(Seeds.of("garbage"), model, 24, 2)
            .types(type, type, type)
            .addAdapter(8, false)
            .addAdapter(3, true, 0.5)
            .route();
    try (MoeLora lora = open(problem.config(), new PlainKernels(), 2);
        Step step = lora.newStep()) {
      problem.load(lora);
      MemorySegment experts = MemorySegment.ofArray(problem.expertIds());
      MemorySegment weights = MemorySegment.ofArray(problem.routingWeights());
      MemorySegment adapters = MemorySegment.ofArray(problem.adapterIds());
      ProjectionCall gateUp = ProjectionCall.gateUp(300).deltaOnly();
      ProjectionCall down = ProjectionCall.down(300);
      ProjectionCall dense = ProjectionCall.dense(1);
      Operands gateUpOperands = problem.operands(gateUp);
      Operands denseOperands = problem.operands(dense);
      Matrix denseY = denseOperands.y();
      MemorySegment none = MemorySegment.ofArray(new int[24]);
      Operands downOperands = problem.operands(down);
      Matrix gateUpY = gateUpOperands.y();
      Matrix downY = downOperands.y();
      Runnable batch =
          () -> {
            step.plan(problem.tokens(), experts, weights, adapters);
            step.planDense(24, none);
            step.planDense(24, adapters);
            step.run(dense, denseOperands.x(), denseY);
            step.plan(problem.tokens(), experts, weights, adapters);
            step.run(gateUp, gateUpOperands.x(), gateUpY);
            step.run(down, downOperands.x(), downY);
          };
      assertThat(Allocation.bytesPerCall(batch)).isZero();
      assertThat(Allocation.bytesPerCall(batch, "moe-lora-cpu-")).isZero();
    }
  }

  // ---- limits ----

  @Test
  void confinedMemoryIsRefusedBeforeAnythingIsWritten() {
    MoeModel model = new MoeModel(8, 6, 2, GateUp.HALVES, List.of(0));
    Problem problem = new Problem(2, model, 40, 1).addAdapter(2, false).route().dealAdapters();
    Operands operands = problem.operands(ProjectionCall.gateUp(0));
    try (Arena arena = Arena.ofConfined();
        MoeLora lora = open(problem.config(), new PlainKernels(), 2);
        MoeLora single = open(problem.config(), new PlainKernels(), 1)) {
      problem.load(lora);
      problem.load(single);
      Matrix x = confined(arena, operands.x());
      Matrix y = confined(arena, operands.y());
      byte[] before = y.data().toArray(ValueLayout.JAVA_BYTE);
      String message =
          ".data must be accessible to all threads, as memory of Arena.ofShared() or the heap is,"
              + " got a confined segment";
      try (Step step = lora.newStep()) {
        problem.plan(step);
        assertThatIllegalArgumentException()
            .isThrownBy(() -> step.run(operands.call(), x, operands.y()))
            .withMessage("x" + message);
        assertThatIllegalArgumentException()
            .isThrownBy(() -> step.run(operands.call(), operands.x(), y))
            .withMessage("y" + message);
        assertThat(y.data().toArray(ValueLayout.JAVA_BYTE)).isEqualTo(before);
      }
      try (Step step = single.newStep()) {
        problem.plan(step);
        step.run(operands.call(), x, y);
        operands.check(y);
      }
    }
  }

  private static Matrix confined(Arena arena, Matrix source) {
    MemorySegment data = arena.allocate(source.data().byteSize());
    MemorySegment.copy(source.data(), 0, data, 0, data.byteSize());
    return Matrix.of(data, source.type(), source.rows(), source.columns());
  }

  @Test
  void batchesBeyondOneArrayAreRefusedOnOpen() {
    MoeModel narrow = new MoeModel(16, 16, 1, GateUp.HALVES, List.of(0));
    MoeLoraConfig large = MoeLoraConfig.of(narrow, 1, 1).withMaxTokens(1 << 22).withMaxRank(256);
    int most = Integer.MAX_VALUE / 512 - 2 * 63;
    assertThatNoException().isThrownBy(() -> CpuStep.requireFits(large.withMaxTokens(most)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CpuStep.requireFits(large.withMaxTokens(most + 1)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> open(large, new PlainKernels(), 1))
        .withMessage(
            "padded maxTokens * expertsPerToken * 2 * maxRank must be at most 2147483647, got %d",
            ((1L << 22) + 2 * 63) * 512);
    // dense modules have groups of their own, of all slots, though no expert is here
    MoeLoraConfig elsewhere =
        large.withExpertMap(ExpertMap.of(-1)).withMaxTokens(Integer.MAX_VALUE / 512 - 63);
    assertThatNoException().isThrownBy(() -> CpuStep.requireFits(elsewhere));
    MoeLoraConfig dense =
        new MoeLoraConfig(
            narrow.withDense(List.of(new DenseModule("q", 8, 8))),
            1,
            1,
            elsewhere.maxTokens(),
            256,
            DType.F32,
            elsewhere.expertMap());
    assertThatIllegalArgumentException().isThrownBy(() -> CpuStep.requireFits(dense));
  }

  @Test
  void theBackendItselfRefusesWhatItsOwnerWouldNotAsk() {
    MoeModel model = new MoeModel(8, 6, 2, GateUp.HALVES, List.of(0));
    MoeLoraConfig config = MoeLoraConfig.of(model, 1, 1).withMaxTokens(2);
    try (CpuBackend backend = new CpuBackend(config, new PlainKernels(), 1);
        CpuStep step = (CpuStep) backend.newStep()) {
      Matrix x = Matrix.ofFloats(1, 8, new float[8]);
      Matrix y = Matrix.ofFloats(1, 12, new float[12]);
      assertThatIllegalStateException()
          .isThrownBy(() -> step.run(ProjectionCall.gateUp(0), x, y))
          .withMessage("no run is under way");
    }
  }

  /** Loading over an adapter, unloading and closing free its native memory. */
  @Test
  void memoryOfReplacedAdaptersIsFreed() {
    MoeModel model = new MoeModel(8, 6, 2, GateUp.HALVES, List.of(0));
    MoeLoraConfig config = MoeLoraConfig.of(model, 1, 1);
    LoraAdapter adapter = new Problem(3, model, 1, 1).randomAdapter(2, false, 1);
    PackedAdapter[] slots = new PackedAdapter[1];
    CpuBackend backend = new CpuBackend(config, new PlainKernels(), 1, slots);
    load(backend, adapter);
    PackedAdapter first = slots[0];
    assertThat(first.weights(0).scope().isAlive()).isTrue();
    load(backend, adapter);
    assertThat(first.weights(0).scope().isAlive()).isFalse();
    PackedAdapter second = slots[0];
    backend.unload(0);
    assertThat(second.weights(0).scope().isAlive()).isFalse();
    assertThat(slots[0]).isNull();
    load(backend, adapter);
    PackedAdapter third = slots[0];
    // given up without effect
    backend.prepare(0, adapter).close();
    assertThat(slots[0]).isSameAs(third);
    backend.close();
    assertThat(third.weights(0).scope().isAlive()).isFalse();
  }

  private static void load(CpuBackend backend, LoraAdapter adapter) {
    try (Backend.PreparedAdapter prepared = backend.prepare(0, adapter)) {
      prepared.commit();
    }
  }
}
