package io.github.moelora.tornado.step;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.testkit.Operands;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.TestDevice;
import io.github.moelora.tornado.layout.SliceTable;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import uk.ac.manchester.tornado.api.TornadoProfilerResult;
import uk.ac.manchester.tornado.api.enums.ProfilerMode;

/** What moves to the device and how often kernels are compiled, as TornadoVM's profiler counts. */
class DeviceTrafficTest {
  private static final int EXPERTS = 4;
  private static final int PER_TOKEN = 2;
  private static final int RANK = 16;
  private static final int MAX_TOKENS = 300;
  private static final MoeModel MODEL = new MoeModel(64, 48, EXPERTS, GateUp.HALVES, List.of(0));

  /** They run a graph whatever the batch. */
  private static final List<ProjectionCall> CALLS =
      List.of(ProjectionCall.gateUp(0).deltaOnly(), ProjectionCall.down(0).deltaOnly());

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  private static MoeLora open(int slots, DType type) {
    return MoeLora.open(
        MoeLoraConfig.of(MODEL, slots, PER_TOKEN)
            .withMaxTokens(MAX_TOKENS)
            .withMaxRank(RANK)
            .withWeightType(type),
        "tornado");
  }

  private static List<ProjectionGraphs> profiled(MoeLora lora) {
    List<ProjectionGraphs> plans = ((TornadoBackend) lora.backend()).graphs();
    plans.forEach(plan -> plan.executionPlan().withProfiler(ProfilerMode.SILENT));
    return plans;
  }

  private static TornadoProfilerResult last(ProjectionGraphs plan) {
    return Objects.requireNonNull(plan.lastResult()).getProfilerResult();
  }

  private static Problem problem(long seed, int tokens, DType type) {
    return new Problem(seed, MODEL, tokens, PER_TOKEN).types(type, type, type);
  }

  /** More slots make neither dearer, but for the table's entries, which a swap renews. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aSwapMovesOneSlotAndARunNoWeights(DType type) {
    int few = 2;
    int many = 50;
    long[] withFew = traffic(few, type);
    long[] withMany = traffic(many, type);
    long tableBytes = (SliceTable.INTS + LoraAdapter.MAX_SLICES) * 4L * EXPERTS;
    assertThat(withMany[0] - withFew[0]).isEqualTo(2L * (many - few) * tableBytes);
    assertThat(withMany[1]).isEqualTo(withFew[1]);
    // A and B of two slices, then of one
    long weights = (long) RANK * EXPERTS * (2 * 64 + 96 + 48 + 64) * type.bytes();
    // of a swap in several pieces, the profiler shows the last one
    assertThat(withFew[0]).isBetween(weights / 8, 3 * weights + 2L * few * tableBytes);
  }

  /** Bytes to the device of a swap and of a run. */
  private static long[] traffic(int slots, DType type) {
    try (MoeLora lora = open(slots, type);
        Step step = lora.newStep()) {
      Problem problem = problem(Seeds.of("traffic"), 3, type).addAdapter(RANK, false).route();
      problem.load(lora);
      List<ProjectionGraphs> plans = profiled(lora);
      problem.load(lora);
      long swap = plans.stream().mapToLong(plan -> last(plan).getTotalBytesCopyIn()).sum();
      problem.plan(step);
      problem.dealAdapters().plan(step);
      problem.check(step, ProjectionCall.gateUp(0));
      return new long[] {swap, last(plans.getFirst()).getTotalBytesCopyIn()};
    }
  }

  /** Each graph is compiled at its first use, and never again whatever the batch. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16"})
  void noBatchCompilesAKernelAgain(DType type) {
    Random random = new Random(Seeds.of("compilations " + type));
    try (MoeLora lora = open(4, type);
        Step step = lora.newStep()) {
      List<ProjectionGraphs> plans = profiled(lora);
      int compiled = 0;
      int runs = 0;
      for (int i = 0; i < 40; i++) {
        int tokens = 1 + random.nextInt(i % 5 == 0 ? MAX_TOKENS : 40);
        Problem problem = randomProblem(lora, random, tokens);
        ProjectionCall up = CALLS.getFirst().withColumnOffset(random.nextInt(9));
        ProjectionCall down =
            new ProjectionCall(
                0, Projection.DOWN, random.nextBoolean(), random.nextBoolean(), false, 0);
        compiled += compilations(lora, step, plans, problem, List.of(up, down));
        runs += 2;
      }
      int graphs = plans.stream().mapToInt(ProjectionGraphs::runGraphs).sum();
      assertThat(compiled).as("compilations").isBetween(plans.size(), graphs);
      assertThat(graphs).isLessThan(runs / 4);
    }
  }

  private static Problem randomProblem(MoeLora lora, Random random, int tokens) {
    Problem problem = problem(random.nextLong(), tokens, lora.config().weightType());
    for (int slot = 0; slot < lora.config().slots(); slot++) {
      if (random.nextInt(3) > 0) {
        problem.addAdapter(1 + random.nextInt(RANK), random.nextBoolean(), random.nextDouble());
      } else {
        problem.addEmptySlot();
        lora.unload(slot);
      }
    }
    return problem.route().skip(random.nextDouble() / 2);
  }

  /** Runs of the calls during which something was compiled; each run is one execution. */
  private static int compilations(
      MoeLora lora,
      Step step,
      List<ProjectionGraphs> plans,
      Problem problem,
      List<ProjectionCall> calls) {
    problem.load(lora);
    problem.plan(step);
    int compiled = 0;
    for (ProjectionCall call : calls) {
      Operands operands = problem.operands(call);
      step.run(call, operands.x(), operands.y());
      TornadoProfilerResult result =
          last(plans.get(call.projection() == Projection.GATE_UP ? 0 : 1));
      compiled += result.getTornadoCompilerTime() + result.getDriverInstallTime() > 0 ? 1 : 0;
    }
    return compiled;
  }
}
