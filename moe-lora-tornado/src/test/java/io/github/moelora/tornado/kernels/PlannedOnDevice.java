package io.github.moelora.tornado.kernels;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.emulator.KernelLoader;
import io.github.moelora.tornado.emulator.Launch;
import io.github.moelora.tornado.emulator.RecordedGraph;
import io.github.moelora.tornado.launch.PlanLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.layout.StepWords;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** A batch whose plan {@link PlanLaunch} makes, on the device or on the emulated one. */
final class PlannedOnDevice implements AutoCloseable {
  private final PlanLaunch.Shape shape;
  private final StepArrays step;
  private final IntArray expertIds;
  private final DevicePlan plan;
  private final PlanLaunch.Chunks chunks;
  private final GridScheduler grids = new GridScheduler();
  private @Nullable TornadoExecutionPlan execution;

  /**
   * @param shift of a chunk's size, or 0 for what production takes
   * @param threads of a work-group, if {@code shift} is given
   * @param counted whether chunks are counted, if {@code shift} is given
   */
  PlannedOnDevice(MoeLoraConfig config, int blockSize, int shift, int threads, boolean counted) {
    this(config, shape(config, blockSize, shift, threads, counted));
  }

  PlannedOnDevice(MoeLoraConfig config, PlanLaunch.Shape shape) {
    this.shape = shape;
    step = StepArrays.of(config);
    expertIds = new IntArray(config.maxPairs());
    int rows = PlanFormat.sortedCapacity(config, shape.blockSize());
    plan = DevicePlan.of(rows, config.maxPairs(), 1);
    chunks = PlanLaunch.Chunks.of(shape);
  }

  private static PlanLaunch.Shape shape(
      MoeLoraConfig config, int blockSize, int shift, int threads, boolean counted) {
    PlanLaunch.Shape production = PlanLaunch.Shape.of(config, blockSize);
    int groups = production.groups();
    return shift == 0
        ? production
        : new PlanLaunch.Shape(config.maxPairs(), blockSize, groups, shift, threads, counted);
  }

  /** Takes over a batch, and makes all that is to be written unwritten. */
  PlannedOnDevice with(PlanContract.Batch batch) {
    step.errors().init(0);
    step.step().set(StepWords.TOKENS, batch.adapterIds().length);
    for (int slot = 0; slot < batch.active().length; slot++) {
      step.step().set(StepWords.FIRST_SLOT + slot, batch.active()[slot] ? 1 : 0);
    }
    for (int t = 0; t < batch.adapterIds().length; t++) {
      step.adapterIds().set(t, batch.adapterIds()[t]);
    }
    for (int p = 0; p < batch.expertIds().length; p++) {
      expertIds.set(p, batch.expertIds()[p]);
    }
    for (Object each : written()) {
      ((IntArray) each).init(PlanContract.UNWRITTEN);
    }
    for (Object each : chunks.all()) {
      ((IntArray) each).init(PlanContract.UNWRITTEN);
    }
    return this;
  }

  PlanContract.Plan emulate(long seed) {
    launches().forEach(launch -> launch.run(seed));
    return result();
  }

  /** The same with the kernel that a loader has mutated. */
  PlanContract.Plan emulate(KernelLoader loader, long seed) {
    launches().forEach(launch -> launch.run(loader, seed));
    return result();
  }

  /** Whether a loader has mutated one of the kernels. */
  boolean mutates(KernelLoader loader) {
    return launches().stream().anyMatch(launch -> loader.mutates(launch.kernel()));
  }

  private List<Launch> launches() {
    RecordedGraph graph = new RecordedGraph("recorded");
    append(graph);
    return graph.launches(grids);
  }

  PlanContract.Plan run() {
    if (execution == null) {
      TaskGraph graph = new TaskGraph("plan");
      graph.transferToDevice(DataTransferMode.EVERY_EXECUTION, step.all());
      graph.transferToDevice(DataTransferMode.EVERY_EXECUTION, expertIds);
      graph.transferToDevice(DataTransferMode.EVERY_EXECUTION, chunks.all());
      graph.transferToDevice(DataTransferMode.EVERY_EXECUTION, written());
      append(graph);
      graph.transferToHost(DataTransferMode.EVERY_EXECUTION, written());
      graph.transferToHost(DataTransferMode.EVERY_EXECUTION, step.errors());
      execution = new TornadoExecutionPlan(graph.snapshot());
      execution.withGridScheduler(grids);
    }
    execution.execute();
    return result();
  }

  @Override
  public void close() {
    if (execution != null) {
      execution.freeDeviceMemory();
    }
  }

  private Object[] written() {
    return new Object[] {
      plan.counts(), plan.sortedTokenIds(), plan.blockExperts(), plan.blockAdapters()
    };
  }

  private void append(TaskGraph graph) {
    String name = graph instanceof RecordedGraph ? "recorded" : "plan";
    PlanLaunch.append(
        new Target(graph, name, grids),
        "lora",
        shape,
        new PlanLaunch.Input(step, expertIds, true),
        plan,
        chunks);
  }

  private PlanContract.Plan result() {
    return new PlanContract.Plan(
        plan.counts().toHeapArray(),
        plan.sortedTokenIds().toHeapArray(),
        plan.blockExperts().toHeapArray(),
        plan.blockAdapters().toHeapArray(),
        Arrays.stream(step.errors().toHeapArray()).sum());
  }
}
