package io.github.moelora.tornado.engine;

import io.github.moelora.tornado.step.SlotStore;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Slots that changed since the engine's last step. Any thread hands changes over; the thread that
 * runs the engine's plan applies them.
 */
public final class EngineChanges implements SlotStore {
  private final EngineMemory memory;

  /** By slot, in the order of the changes; an empty list empties the slot. */
  private final Map<Integer, List<ProjectionWeights.Packed>> changes = new LinkedHashMap<>();

  public EngineChanges(EngineMemory memory) {
    this.memory = memory;
  }

  @Override
  public void change(int slot, List<ProjectionWeights.Packed> packed) {
    synchronized (changes) {
      changes.remove(slot);
      changes.put(slot, packed);
    }
  }

  /**
   * Brings all changes to the device.
   *
   * @param weights of all projections, in the order in which packed weights come
   */
  public void apply(List<ProjectionWeights> weights) {
    Map<Integer, List<ProjectionWeights.Packed>> taken;
    synchronized (changes) {
      taken = new LinkedHashMap<>(changes);
      changes.clear();
    }
    // all that goes makes room for all that comes, in whatever order
    for (ProjectionWeights each : weights) {
      taken.keySet().forEach(each::release);
    }
    taken.forEach((slot, packed) -> apply(weights, slot, packed));
  }

  private void apply(
      List<ProjectionWeights> weights, int slot, List<ProjectionWeights.Packed> packed) {
    for (int i = 0; i < weights.size(); i++) {
      ProjectionWeights each = weights.get(i);
      if (memory.holds(each)) {
        if (packed.isEmpty()) {
          each.stageEmpty(slot);
        } else {
          packed.get(i).stage(slot);
        }
        do {
          memory.store(each);
        } while (!packed.isEmpty() && packed.get(i).stageNext());
        each.settle();
      }
    }
  }

  /** The memory is the engine's plan's, which the engine closes. */
  @Override
  public void close() {
    memory.close();
  }
}
