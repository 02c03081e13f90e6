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
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import uk.ac.manchester.tornado.api.TornadoProfilerResult;

/** What moves to the device and how often kernels are compiled, as TornadoVM's profiler counts. */
class DeviceTrafficTest {
  private static final String CAPTURE = "moelora.tornado.capture";
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

  private static MoeLora open(MoeModel model, int slots, DType type) {
    return MoeLora.open(
        MoeLoraConfig.of(model, slots, PER_TOKEN)
            .withMaxTokens(MAX_TOKENS)
            .withMaxRank(RANK)
            .withWeightType(type),
        "tornado");
  }

  /** What the profiler noted of the executions of one projection's graphs. */
  private static final class Profile {
    private int executions;
    private long bytes;
    private boolean compiled;

    private static List<Profile> all(MoeLora lora) {
      List<Profile> all = new ArrayList<>();
      for (ProjectionGraphs graphs : ((TornadoBackend) lora.backend()).graphs()) {
        all.add(new Profile());
        graphs.profile(all.getLast()::note);
      }
      return all;
    }

    private void note(TornadoProfilerResult result) {
      executions++;
      bytes += result.getTotalBytesCopyIn();
      compiled |= result.getTornadoCompilerTime() + result.getDriverInstallTime() > 0;
    }
  }

  private static Problem problem(long seed, int tokens, DType type) {
    return new Problem(seed, MODEL, tokens, PER_TOKEN).types(type, type, type);
  }

  /** Bytes to the device and executions, of a swap, and bytes of a run. */
  private record Traffic(long swap, long executions, long run) {}

  /**
   * All pieces of a swap together are one slot's weights: less would be lost, and more than an
   * eighth above would be others' weights, as the last piece may be partly filled. More slots make
   * neither dearer, but for the entries of the tables, one of each projection.
   */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aSwapMovesOneSlotAndARunNoWeights(DType type) {
    int few = 2;
    int many = 50;
    int experts = 32;
    // widths of which packed weights fill whole tiles
    MoeModel model = new MoeModel(192, 128, experts, GateUp.HALVES, List.of(0));
    Traffic withFew;
    Traffic withMany;
    // the profiler sees nothing of what a captured graph replays
    System.setProperty(CAPTURE, "false");
    try {
      withFew = traffic(model, few, type);
      withMany = traffic(model, many, type);
    } finally {
      System.clearProperty(CAPTURE);
    }
    long tableBytes = (SliceTable.INTS + LoraAdapter.MAX_SLICES) * 4L * experts;
    assertThat(withMany.executions()).isEqualTo(withFew.executions()).isGreaterThan(4);
    assertThat(withMany.swap() - withFew.swap()).isEqualTo(2 * tableBytes * (many - few));
    assertThat(withMany.run()).isEqualTo(withFew.run());
    // A and B of two slices, then of one
    long elements = (long) RANK * experts * (2 * 192 + 2 * 128 + 128 + 192);
    boolean narrow = type != DType.F32 && TestDevice.hasTensorCores();
    long weights = elements * (narrow ? type.bytes() : Float.BYTES);
    // arrays' headers, and where a piece belongs
    long small = 4096;
    assertThat(withFew.swap() - 2 * tableBytes * few)
        .isBetween(weights, weights + weights / 8 + withFew.executions() * small);
  }

  private static Traffic traffic(MoeModel model, int slots, DType type) {
    try (MoeLora lora = open(model, slots, type);
        Step step = lora.newStep()) {
      Problem problem =
          new Problem(Seeds.of("traffic"), model, 3, PER_TOKEN)
              .types(type, type, type)
              .addAdapter(RANK, false)
              .route();
      problem.load(lora);
      List<Profile> profiles = Profile.all(lora);
      problem.load(lora);
      long swap = profiles.stream().mapToLong(each -> each.bytes).sum();
      long executions = profiles.stream().mapToLong(each -> each.executions).sum();
      problem.dealAdapters().plan(step);
      problem.check(step, ProjectionCall.gateUp(0));
      // they go on counting
      long run = profiles.stream().mapToLong(each -> each.bytes).sum() - swap;
      return new Traffic(swap, executions, run);
    }
  }

  /** Each graph is compiled at its first use, and never again whatever the batch. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16"})
  void noBatchCompilesAKernelAgain(DType type) {
    Random random = new Random(Seeds.of("compilations " + type));
    try (MoeLora lora = open(MODEL, 4, type);
        Step step = lora.newStep()) {
      List<Profile> profiles = Profile.all(lora);
      int compiled = 0;
      int runs = 0;
      for (int i = 0; i < 40; i++) {
        int tokens = 1 + random.nextInt(i % 5 == 0 ? MAX_TOKENS : 40);
        Problem problem = randomProblem(lora, random, tokens);
        ProjectionCall up = CALLS.getFirst().withColumnOffset(random.nextInt(9));
        ProjectionCall down =
            new ProjectionCall(
                0, Projection.DOWN, random.nextBoolean(), random.nextBoolean(), false, 0);
        compiled += compilations(lora, step, profiles, problem, List.of(up, down));
        runs += 2;
      }
      List<ProjectionGraphs> plans = ((TornadoBackend) lora.backend()).graphs();
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
      List<Profile> profiles,
      Problem problem,
      List<ProjectionCall> calls) {
    problem.load(lora);
    problem.plan(step);
    int compiled = 0;
    for (ProjectionCall call : calls) {
      Profile profile = profiles.get(call.projection() == Projection.GATE_UP ? 0 : 1);
      profile.compiled = false;
      Operands operands = problem.operands(call);
      step.run(call, operands.x(), operands.y());
      compiled += profile.compiled ? 1 : 0;
    }
    return compiled;
  }
}
