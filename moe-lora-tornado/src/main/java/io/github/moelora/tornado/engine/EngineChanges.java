package io.github.moelora.tornado.engine;

import io.github.moelora.tornado.step.SlotStore;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.function.IntPredicate;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Slots that changed since the engine's last step. Any thread hands changes over; the thread that
 * runs the engine's plan applies them where a step begins, so no step sees a slot change.
 *
 * <p>A slot that the step names is brought to the device whole. Others get a few pieces at each
 * step, so that a load ahead of its first request holds no step up for long.
 */
public final class EngineChanges implements SlotStore {
  /**
   * What a step spends on slots that it does not name, and at least a piece: a few percent of what
   * a token takes.
   */
  private static final long SPARE_NANOS = 500_000;

  /** Where weights go: {@link EngineMemory}, or a test's arrays. */
  interface Device {

    /** Whether tasks read weights. */
    boolean holds(ProjectionWeights weights);

    /** Stores what weights have staged. */
    void store(ProjectionWeights weights);

    /** Refuses what comes after. */
    void close();
  }

  /** New weights of a slot; an empty list empties it. */
  private record Change(long version, List<ProjectionWeights.Packed> packed) {}

  private final Device device;
  private final LongSupplier clock;

  /** By slot, each in the order of the changes. */
  private final Map<Integer, List<Change>> changes = new TreeMap<>();

  private long version;

  // of the thread that runs the plan

  /** By slot, taken from {@link #changes} and not begun. */
  private final NavigableMap<Integer, Change> waiting = new TreeMap<>();

  /** Begun; null without one. */
  private @Nullable Upload upload;

  public EngineChanges(EngineMemory memory) {
    this(memory, System::nanoTime);
  }

  /**
   * @param clock nanoseconds, for tests
   */
  EngineChanges(Device device, LongSupplier clock) {
    this.device = device;
    this.clock = clock;
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
   * What a step names.
   *
   * @param slots whether it names a slot
   * @param planned {@link #version} when it was planned: the slots that it names get what they held
   *     then, and keep later changes for the step after
   */
  public record Named(IntPredicate slots, long planned) {}

  /**
   * Brings changes to the device, of each slot the last one: all of the slots that a step names,
   * and some pieces of others.
   *
   * @param weights of all projections, in the order in which packed weights come
   */
  public void apply(List<ProjectionWeights> weights, Named named) {
    take(named);
    if (upload != null && (named.slots().test(upload.slot) || waiting.containsKey(upload.slot))) {
      finish(upload);
    }
    if (waiting.keySet().stream().anyMatch(named.slots()::test)) {
      if (upload != null) {
        finish(upload);
      }
      release(weights);
      Iterator<Map.Entry<Integer, Change>> all = waiting.entrySet().iterator();
      while (all.hasNext()) {
        Map.Entry<Integer, Change> each = all.next();
        if (named.slots().test(each.getKey())) {
          upload = new Upload(weights, each.getKey(), each.getValue().packed());
          all.remove();
          finish(upload);
        }
      }
    }
    applyMore(weights);
  }

  private void take(Named named) {
    synchronized (changes) {
      changes.forEach(
          (slot, list) -> {
            long last = named.slots().test(slot) ? named.planned() : Long.MAX_VALUE;
            list.stream()
                .filter(change -> change.version() <= last)
                .forEach(change -> waiting.put(slot, change));
            list.removeIf(change -> change.version() <= last);
          });
      changes.values().removeIf(List::isEmpty);
    }
  }

  /** Stores pieces of slots that the step does not name. */
  private void applyMore(List<ProjectionWeights> weights) {
    long end = clock.getAsLong() + SPARE_NANOS;
    while (upload != null || !waiting.isEmpty()) {
      if (upload == null) {
        release(weights);
        Map.Entry<Integer, Change> first = waiting.firstEntry();
        upload = new Upload(weights, first.getKey(), first.getValue().packed());
        waiting.remove(first.getKey());
      }
      upload.next();
      if (upload.isDone()) {
        upload = null;
      }
      if (clock.getAsLong() - end >= 0) {
        return;
      }
    }
  }

  /** All that goes makes room for all that comes, in whatever order. */
  private void release(List<ProjectionWeights> weights) {
    for (ProjectionWeights each : weights) {
      waiting.keySet().forEach(each::release);
    }
  }

  private void finish(Upload of) {
    while (!of.isDone()) {
      of.next();
    }
    upload = null;
  }

  /** A slot on its way to the device. */
  private final class Upload {
    private final List<ProjectionWeights> weights;
    private final int slot;
    private final List<ProjectionWeights.Packed> packed;
    private int site;
    private boolean staged;

    Upload(List<ProjectionWeights> weights, int slot, List<ProjectionWeights.Packed> packed) {
      this.weights = weights;
      this.slot = slot;
      this.packed = packed;
    }

    boolean isDone() {
      return site == weights.size();
    }

    /** Stores a piece; where weights move within a pool, all until the table tells where. */
    void next() {
      ProjectionWeights each = weights.get(site);
      if (!device.holds(each)) {
        site++;
        return;
      }
      if (!staged) {
        stage(each);
      }
      boolean moving;
      do {
        moving = each.isMoving();
        device.store(each);
        staged = !packed.isEmpty() && packed.get(site).stageNext();
      } while (moving);
      if (!staged) {
        each.settle();
        site++;
      }
    }

    private void stage(ProjectionWeights each) {
      if (packed.isEmpty()) {
        each.stageEmpty(slot);
      } else {
        packed.get(site).stage(slot);
      }
    }
  }

  /** The memory is the engine's plan's, which the engine closes. */
  @Override
  public void close() {
    device.close();
  }
}
