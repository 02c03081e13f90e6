package io.github.moelora.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.DenseModule.Split;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Shard;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import io.github.moelora.spi.BackendProvider;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A problem computed in parts by several instances, whose results must add up to what {@link
 * Reference} computes of the whole. A part may err as much as its own bound says, the sum as much
 * as the bounds together.
 */
final class ShardedProblem {

  /** One call on the whole model: its x, and what the parts have added up to. */
  private record Sum(ProjectionCall call, Matrix x, double[][] values, double[][] bounds) {}

  private final Problem problem;
  private final MoeModel whole;
  private final List<Sum> sums = new ArrayList<>();

  /**
   * @param calls those that write the delta alone
   */
  ShardedProblem(Problem problem, List<ProjectionCall> calls) {
    this.problem = problem;
    whole = problem.model();
    for (ProjectionCall call : calls) {
      int rows = problem.pairs(call);
      int width = whole.outputWidth(call);
      sums.add(
          new Sum(
              call,
              problem.random(
                  call.pairRows() ? rows : problem.tokens(), whole.inputWidth(call), DType.F32),
              new double[rows][width],
              new double[rows][width]));
    }
  }

  /**
   * Computes all shards of a split, one after the other on one instance: their shapes are the same,
   * so each would open an instance like it.
   */
  void addShards(BackendProvider provider, int of) {
    ExpertMap experts = ExpertMap.identity(whole.experts());
    MoeLoraConfig config = config(new Shard(0, of), experts);
    try (MoeLora lora = MoeLora.open(config, provider)) {
      for (int index = 0; index < of; index++) {
        Shard shard = new Shard(index, of);
        assertThat(config(shard, experts)).isEqualTo(config);
        add(lora, shard);
      }
    }
  }

  /** Computes what an instance with some of the experts does. */
  void addExperts(BackendProvider provider, ExpertMap experts) {
    try (MoeLora lora = MoeLora.open(config(Shard.WHOLE, experts), provider)) {
      add(lora, Shard.WHOLE);
    }
  }

  private MoeLoraConfig config(Shard shard, ExpertMap experts) {
    MoeLoraConfig of = problem.config();
    return MoeLoraConfig.of(whole.shard(shard), of.slots(), of.expertsPerToken())
        .withMaxTokens(problem.tokens())
        .withMaxRank(of.maxRank())
        .withExpertMap(experts);
  }

  /** Runs all calls on an instance and adds up their results. */
  private void add(MoeLora lora, Shard shard) {
    List<@Nullable LoraAdapter> adapters = new ArrayList<>();
    for (LoraAdapter adapter : problem.adapters()) {
      adapters.add(adapter == null ? null : adapter.shard(whole, shard));
    }
    try (Step step = lora.newStep()) {
      for (int slot = 0; slot < adapters.size(); slot++) {
        if (adapters.get(slot) != null) {
          lora.load(slot, Objects.requireNonNull(adapters.get(slot)));
        }
      }
      problem.plan(step);
      for (Sum sum : sums) {
        add(sum, step, lora.config().model(), shard, adapters);
      }
    }
  }

  private void add(
      Sum sum, Step step, MoeModel part, Shard shard, List<@Nullable LoraAdapter> adapters) {
    ProjectionCall call = sum.call();
    if (isCopied(call) && shard.index() > 0) {
      return;
    }
    int inputs = part.inputWidth(call);
    int first = inputs < sum.x().columns() ? shard.index() * inputs : 0;
    Matrix x = sum.x().columns(first, inputs);
    int rows = problem.pairs(call);
    int width = part.outputWidth(call);
    float[] result = new float[rows * width];
    Arrays.fill(result, Float.NaN);
    Matrix y = Matrix.of(MemorySegment.ofArray(result), DType.F32, rows, width);
    step.run(call, x, y);
    Reference.Inputs inputsOfPart =
        new Reference.Inputs(
            part,
            call,
            adapters,
            problem.expertIds(),
            problem.routingWeights(),
            problem.adapterIds(),
            x,
            Matrix.ofFloats(rows, width, new float[rows * width]));
    double[][] bounds = Reference.compute(inputsOfPart).bounds();
    for (int row = 0; row < rows; row++) {
      for (int c = 0; c < width; c++) {
        int column = wholeColumn(call, shard, width, c);
        sum.values()[row][column] += y.get(row, c);
        sum.bounds()[row][column] += bounds[row][c];
      }
    }
  }

  /** Whether every shard computes all of it. */
  private boolean isCopied(ProjectionCall call) {
    return call.isDense() && whole.dense().get(call.module()).split() == Split.NONE;
  }

  private int wholeColumn(ProjectionCall call, Shard shard, int width, int column) {
    int wholeWidth = whole.outputWidth(call);
    if (width == wholeWidth) {
      return column;
    }
    boolean halves =
        call.isDense()
            ? whole.dense().get(call.module()).split() == Split.OUTPUT_HALVES
            : call.projection() == Projection.GATE_UP && whole.gateUp() == GateUp.HALVES;
    if (!halves) {
      return shard.index() * width + column;
    }
    int half = width / 2;
    return column / half * (wholeWidth / 2) + shard.index() * half + column % half;
  }

  /** Compares the sums with the whole. */
  void check() {
    for (Sum sum : sums) {
      Matrix y = problem.random(problem.pairs(sum.call()), sum.values()[0].length, DType.F32);
      double[][] expected = Reference.compute(problem.inputs(sum.call(), sum.x(), y)).values();
      for (int row = 0; row < expected.length; row++) {
        for (int c = 0; c < expected[row].length; c++) {
          double value = expected[row][c];
          // the last term: the references' own sums in float64, in another order
          double bound = sum.bounds()[row][c] + 1e-12 * Math.abs(value);
          if (!(Math.abs(sum.values()[row][c] - value) <= bound)) {
            throw new AssertionError(
                "sum of shards [%d,%d] must be %s within %s, got %s; %s; %s"
                    .formatted(row, c, value, bound, sum.values()[row][c], sum.call(), problem));
          }
        }
      }
    }
  }
}
