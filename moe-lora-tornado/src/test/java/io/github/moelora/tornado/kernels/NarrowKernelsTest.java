package io.github.moelora.tornado.kernels;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.TestDevice;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** 16-bit weights and activations: the narrow kernels where the device has tensor cores. */
class NarrowKernelsTest {
  /** The last one's widths are none that the narrow kernels take. */
  private static final List<DenseModule> DENSE =
      List.of(
          new DenseModule("q", 64, 132),
          new DenseModule("o", 132, 64),
          new DenseModule("head", 64, 5000),
          new DenseModule("odd", 33, 35));

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @ParameterizedTest
  @CsvSource({"1, 16, 21", "13, 40, 22", "60, 8, 23", "500, 64, 24"})
  void denseModulesMatchTheReference(int tokens, int rank, long seed) {
    // elsewhere these are the plain loops, which the contract test has covered
    if (!TestDevice.hasTensorCores() && seed != 22) {
      return;
    }
    MoeModel model = new MoeModel(64, 48, 3, GateUp.HALVES, List.of(0)).withDense(DENSE);
    for (DType type : new DType[] {DType.BF16, DType.F16}) {
      Problem problem =
          new Problem(seed, model, tokens, 2)
              .types(type, type, type)
              .addAdapter(rank, false)
              .addEmptySlot()
              .addAdapter(1, true, 0.5)
              .route();
      try (MoeLora lora = MoeLora.open(problem.config(), "tornado");
          Step step = lora.newStep()) {
        problem.load(lora);
        problem.planDense(step);
        for (int module = 0; module < DENSE.size(); module++) {
          problem.check(step, ProjectionCall.dense(module));
          problem.check(step, ProjectionCall.dense(module).deltaOnly().withColumnOffset(3));
        }
      }
    }
  }

  /**
   * One batch of ranks that tensor cores take and of ranks that they do not; of the wide model, a
   * row of x takes the one-shot kernel several segments, alone and beside a second one.
   */
  @ParameterizedTest
  @CsvSource({
    "5, 68, BF16",
    "5, 68, F16",
    "90, 68, BF16",
    "90, 68, F16",
    "3, 4100, BF16",
    "3, 4100, F16",
    "40, 2052, BF16",
    "40, 2052, F16"
  })
  void ranksBeyond256(int tokens, int hidden, DType type) {
    // elsewhere these are the plain loops, however many tokens there are
    if (tokens != 5 && !TestDevice.hasTensorCores()) {
      return;
    }
    MoeModel model = new MoeModel(hidden, 36, 3, GateUp.HALVES, List.of(0));
    Problem problem =
        new Problem(Seeds.of("ranks beyond 256"), model, tokens, 2).types(type, type, type);
    for (int rank : new int[] {8, 257, 320, 512}) {
      problem.addAdapter(rank, rank % 2 == 1);
    }
    problem.route().dealAdapters();
    try (MoeLora lora = MoeLora.open(problem.config(), "tornado")) {
      problem.check(
          lora, ProjectionCall.gateUp(0).withColumnOffset(4), ProjectionCall.down(0).deltaOnly());
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1, 2, 8, 64, 48, 8, 8, 11",
    "3, 2, 8, 64, 48, 16, 16, 12",
    "7, 3, 6, 66, 34, 3, 16, 13",
    "9, 3, 6, 68, 36, 3, 16, 18",
    "60, 2, 12, 132, 72, 40, 40, 19",
    "200, 2, 2, 132, 72, 17, 32, 14",
    "300, 2, 3, 256, 96, 64, 64, 15",
    "90, 4, 5, 36, 40, 5, 128, 16",
    "40, 2, 4, 96, 64, 200, 256, 17",
    "5, 2, 4, 2200, 1100, 20, 32, 20",
  })
  void matchesTheReference(
      int tokens,
      int perToken,
      int experts,
      int hidden,
      int inner,
      int rank,
      int maxRank,
      long seed) {
    // elsewhere these are the plain loops, which the contract test has covered: some do
    boolean all = TestDevice.hasTensorCores() || seed == 13;
    if (!all && seed != 17 && seed != 20) {
      return;
    }
    for (DType type : all ? new DType[] {DType.BF16, DType.F16} : new DType[] {DType.BF16}) {
      MoeModel model = new MoeModel(hidden, inner, experts, GateUp.HALVES, List.of(3));
      Problem problem =
          new Problem(seed, model, tokens, perToken)
              .types(type, type, type)
              .addAdapter(rank, false)
              .addEmptySlot()
              .addAdapter(Math.max(1, rank / 2), true)
              .addAdapter(1, false, 0.5)
              .route();
      MoeLoraConfig config =
          MoeLoraConfig.of(model, 4, perToken)
              .withMaxTokens(tokens)
              .withMaxRank(maxRank)
              .withWeightType(type);
      try (MoeLora lora = MoeLora.open(config, "tornado")) {
        problem.check(lora, ProjectionCall.gateUp(3));
        problem.check(lora, ProjectionCall.gateUp(3).deltaOnly().withColumnOffset(3));
        problem.check(lora, ProjectionCall.down(3));
        problem.check(lora, ProjectionCall.down(3).withRoutedWeight(false).deltaOnly());
      }
      if (!all) {
        continue;
      }
      MoeLoraConfig wide = config.withWeightType(type);
      Problem floats =
          new Problem(seed + 100, model, tokens, perToken)
              .types(type, DType.F32, DType.F32)
              .addAdapter(rank, false)
              .addAdapter(1, true, 0.5)
              .route();
      try (MoeLora lora = MoeLora.open(wide, "tornado")) {
        floats.check(lora, ProjectionCall.gateUp(3));
        floats.check(lora, ProjectionCall.down(3).deltaOnly());
      }
    }
  }
}
