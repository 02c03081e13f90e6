package io.github.moelora.tornado;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoExecutionResult;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * What each measure of vLLM's PR #32770 is worth: the time of {@link MeasureKernels} without it
 * over that with all of them, {@code qwen3_30b_w13}, rank 16, bfloat16, 8 and 1024 tokens. Started
 * by {@code scripts/bench-gpu --measures --json FILE}.
 *
 * <p>Every variant's result is checked against the reference before it is timed, and the baseline
 * is timed before and after it.
 */
final class BenchMeasures {
  static final BenchShape SHAPE = BenchShape.named("qwen3_30b_w13");
  static final int RANK = 16;
  static final List<Integer> TOKENS = List.of(8, 1024);

  /** Every repeat is compiled on its own. */
  private static final int REPEATS = 9;

  private static final int SAMPLES = 6;
  private static final int LOAD = 0;

  private BenchMeasures() {}

  /** Measures all variants with a batch of so many tokens. */
  static List<MeasureReport.Cell> measure(int tokens, long seed) {
    BenchBatch random = BenchBatch.random(SHAPE, RANK, tokens, new SplittableRandom(seed + tokens));
    MeasureBatch batch = new MeasureBatch(random, SAMPLES, seed);
    TornadoExecutionPlan plan = plan(batch);
    try {
      BenchTimer timer = new BenchTimer(plan);
      List<MeasureReport.Cell> cells = new ArrayList<>();
      double before = 0;
      for (int i = 0; i < MeasureVariant.ALL.size(); i++) {
        MeasureVariant variant = MeasureVariant.ALL.get(i);
        batch.fillResults();
        plan.withGraph(LOAD).execute();
        TornadoExecutionResult result = plan.withGraph(one(i)).execute();
        result.transferToHost(batch.y());
        double worst = batch.worstError();
        double micros = micros(timer, i);
        double after = micros(timer, 0);
        before = i == 0 ? micros : before;
        double baseline = (before + after) / 2;
        cells.add(
            new MeasureReport.Cell(
                variant.measure(),
                variant.name(),
                variant.slots(),
                tokens,
                batch.programs(variant),
                micros,
                baseline,
                Math.abs(before - after) / baseline,
                worst));
        before = after;
      }
      return cells;
    } finally {
      // of the graph that brought the arrays; freeing one in a second graph is an error
      plan.withGraph(LOAD).freeDeviceMemory();
    }
  }

  private static double micros(BenchTimer timer, int variant) {
    return timer.measure(one(variant), one(variant) + 1, REPEATS).micros();
  }

  /** The graph that computes a variant once; the next one repeats it. */
  private static int one(int variant) {
    return 1 + 2 * variant;
  }

  private static TornadoExecutionPlan plan(MeasureBatch batch) {
    IntArray flag = new IntArray(16);
    flag.init(0);
    List<Object> resident = new ArrayList<>(List.of(batch.arrays()));
    resident.add(flag);
    Object[] arrays = resident.toArray();
    GridScheduler scheduler = new GridScheduler();
    List<ImmutableTaskGraph> graphs = new ArrayList<>();
    graphs.add(
        new TaskGraph("load")
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, arrays)
            .task("touch", BenchCopy::touch, flag)
            .persistOnDevice(arrays)
            .snapshot());
    for (int i = 0; i < MeasureVariant.ALL.size(); i++) {
      for (int repeats : new int[] {1, REPEATS}) {
        String name = "variant%d_%d".formatted(i, repeats);
        TaskGraph graph = new TaskGraph(name).consumeFromDevice("load", arrays);
        for (int repeat = 0; repeat < repeats; repeat++) {
          batch.append(graph, name, scheduler, "t" + repeat, MeasureVariant.ALL.get(i));
        }
        graph.persistOnDevice(arrays);
        graph.transferToHost(DataTransferMode.UNDER_DEMAND, batch.y());
        graphs.add(graph.snapshot());
      }
    }
    TornadoExecutionPlan plan = new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
    plan.withGridScheduler(scheduler);
    plan.withCUDAGraph();
    return plan;
  }
}
