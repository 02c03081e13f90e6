package io.github.moelora.bench.gpu;

import io.github.moelora.LoraAdapter;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.List;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * What the plans of {@link BenchKernels} and {@link BenchLoops} begin with: a graph that uploads a
 * slot, and one that loads a batch.
 */
final class BenchGraphs {
  /** Position of the graph that stores what the weights have staged. */
  static final int UPLOAD = 0;

  /** Position of the graph {@code "load"}, which brings routing and arrays to the device. */
  static final int LOAD = 1;

  private BenchGraphs() {}

  /** All that later graphs find on the device: weights, routing, and these arrays. */
  static List<Object> resident(ProjectionWeights weights, DevicePlan routing, Object... arrays) {
    List<Object> resident = new ArrayList<>(List.of(weights.resident()));
    resident.addAll(List.of(routing.all()));
    resident.addAll(List.of(arrays));
    return resident;
  }

  /**
   * The two graphs, in a list that takes more.
   *
   * @param flag one of the arrays, for a task to touch
   * @param arrays loaded beside the routing
   */
  static List<ImmutableTaskGraph> first(
      ProjectionWeights weights, DevicePlan routing, IntArray flag, Object... arrays) {
    List<ImmutableTaskGraph> list = new ArrayList<>();
    list.add(weights.uploadGraph().snapshot());
    list.add(
        new TaskGraph("load")
            .consumeFromDevice(weights.uploadName(), weights.resident())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.all())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, arrays)
            .task("touch", BenchCopy::touch, flag)
            .persistOnDevice(resident(weights, routing, arrays).toArray())
            .snapshot());
    return list;
  }

  /** Uploads each adapter to the slot of its position. */
  static void upload(
      TornadoExecutionPlan plan, ProjectionWeights weights, List<LoraAdapter> adapters) {
    for (int slot = 0; slot < adapters.size(); slot++) {
      ProjectionWeights.Packed packed = weights.pack(adapters.get(slot));
      packed.stage(slot);
      do {
        plan.withGraph(UPLOAD).execute();
      } while (packed.stageNext());
    }
  }
}
