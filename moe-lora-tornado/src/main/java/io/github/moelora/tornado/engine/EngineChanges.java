package io.github.moelora.tornado.engine;

import io.github.moelora.tornado.step.SlotStore;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntPredicate;

/**
 * Slots that changed since the engine's last step. Any thread hands changes over; the thread that
 * runs the engine's plan applies them where a step begins, so no step sees a slot change.
 */
public final class EngineChanges implements SlotStore {

  /** New weights of a slot; an empty list empties it. */
  private record Change(long version, List<ProjectionWeights.Packed> packed) {}

  private final EngineMemory memory;

  /** By slot, each in the order of the changes. */
  private final Map<Integer, List<Change>> changes = new TreeMap<>();

  private long version;

  public EngineChanges(EngineMemory memory) {
    this.memory = memory;
  }

  @Override
  public void change(int slot, List<ProjectionWeights.Packed> packed) {
    synchronized (changes) {
      version++;
      changes.computeIfAbsent(slot, any -> new ArrayList<>()).add(new Change(version, packed));
    }
  }

  @Override
  public long version() {
    synchronized (changes) {
      return version;
    }
  }

  /**
   * Brings changes to the device, of each slot the last one. Slots that a step leases get what they
   * held when it was planned, and keep later changes for the step after.
   *
   * @param weights of all projections, in the order in which packed weights come
   * @param leased slots that the step names
   * @param planned {@link #version} when it was planned
   */
  public void apply(List<ProjectionWeights> weights, IntPredicate leased, long planned) {
    Map<Integer, Change> taken = new TreeMap<>();
    synchronized (changes) {
      changes.forEach(
          (slot, list) -> {
            long last = leased.test(slot) ? planned : Long.MAX_VALUE;
            list.stream()
                .filter(change -> change.version() <= last)
                .forEach(change -> taken.put(slot, change));
            list.removeIf(change -> change.version() <= last);
          });
      changes.values().removeIf(List::isEmpty);
    }
    // all that goes makes room for all that comes, in whatever order
    for (ProjectionWeights each : weights) {
      taken.keySet().forEach(each::release);
    }
    taken.forEach((slot, change) -> apply(weights, slot, change.packed()));
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
