package io.github.moelora.tornado.plan;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.launch.PlanLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import java.util.ArrayList;
import java.util.List;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * A block list that tasks of the engine's own graphs make from a {@link PairPlan}. Its arrays serve
 * all layers in turn.
 */
public final class SortedPlan implements PlanSource {
  private final String name;
  private final PlanLaunch.Shape shape;
  private final DevicePlan arrays;
  private final PlanLaunch.Chunks chunks;
  private final DevicePlan handles = DevicePlan.handles();
  private final PlanLaunch.Chunks chunkHandles = PlanLaunch.Chunks.handles();
  private final int maxActiveBlocks;

  /**
   * @param name of the graph that owns the arrays
   * @param limits the configuration with the most tokens of a step
   */
  public SortedPlan(String name, MoeLoraConfig limits, int blockSize) {
    this.name = name;
    shape = PlanLaunch.Shape.of(limits, blockSize);
    int pairs = limits.maxPairs();
    arrays = DevicePlan.of(PlanFormat.sortedCapacity(limits, blockSize), pairs, 1);
    chunks = PlanLaunch.Chunks.of(shape);
    maxActiveBlocks = blockSize == 1 ? pairs : Math.min(pairs, pairs / blockSize + shape.groups());
  }

  /** Name of the graph that owns the arrays on the device. */
  public String name() {
    return name;
  }

  @Override
  public int maxPairs() {
    return shape.maxPairs();
  }

  /** Most blocks with work. */
  public int maxActiveBlocks() {
    return maxActiveBlocks;
  }

  /**
   * Appends the tasks that make the plan of a layer.
   *
   * @param countErrors whether they count ids out of range
   */
  public void append(Target target, String task, PairPlan pairs, boolean countErrors) {
    PlanLaunch.Input input = new PlanLaunch.Input(pairs.step(), pairs.expertIds(), countErrors);
    PlanLaunch.append(target, task, shape, input, handles, chunkHandles);
  }

  /** The plan as kernels of the engine's graphs read it. */
  public DevicePlan reads(IntArray sizes, PairPlan pairs) {
    return new DevicePlan(
        sizes,
        handles.counts(),
        handles.sortedTokenIds(),
        handles.blockExperts(),
        handles.blockAdapters(),
        pairs.routingWeights());
  }

  /** The stand-ins in the engine's graphs. */
  public Object[] handles() {
    return list(handles, chunkHandles);
  }

  /** The arrays on the device, in the order of the handles. */
  public Object[] arrays() {
    return list(arrays, chunks);
  }

  private static Object[] list(DevicePlan plan, PlanLaunch.Chunks chunks) {
    List<Object> list =
        new ArrayList<>(
            List.of(
                plan.counts(), plan.sortedTokenIds(), plan.blockExperts(), plan.blockAdapters()));
    list.addAll(List.of(chunks.all()));
    return list.toArray();
  }

  /** Graph that owns the arrays on the device; it is run once. */
  public TaskGraph graph() {
    IntArray pairs = new IntArray(1);
    return new TaskGraph(name)
        .transferToDevice(DataTransferMode.EVERY_EXECUTION, arrays())
        .task("readPairs", SmallKernels::readPairs, arrays.counts(), pairs)
        .persistOnDevice(arrays())
        // named, so that closing the plan frees its device memory and its pinned host memory
        .persistOnDevice(pairs);
  }
}
