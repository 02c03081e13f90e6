package io.github.moelora.cache;

import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.BackendStep;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReferenceArray;

/** A backend that only remembers which adapter each slot holds. A test holds loads up. */
final class FakeSlots implements BackendProvider {
  private final Map<String, FakeSource.Gate> gates = new ConcurrentHashMap<>();
  private final AtomicReferenceArray<String> names;
  private volatile String failing = "";

  FakeSlots(int slots) {
    names = new AtomicReferenceArray<>(slots);
  }

  /** Opens a {@link MoeLora} whose model fits the adapters of {@link FakeSource}. */
  MoeLora open() {
    MoeModel model = new MoeModel(2, 2, 1, GateUp.HALVES, List.of(0));
    return MoeLora.open(
        MoeLoraConfig.of(model, names.length(), 1).withMaxTokens(4).withMaxRank(2), this);
  }

  /** Name of the adapter whose weights a slot holds. */
  String content(int slot) {
    return names.get(slot);
  }

  /** Holds up the next load of an adapter. */
  FakeSource.Gate hold(String adapter) {
    FakeSource.Gate gate = new FakeSource.Gate();
    gates.put(adapter, gate);
    return gate;
  }

  /** Lets loads of an adapter run out of memory; an empty name ends that. */
  void fail(String adapter) {
    failing = adapter;
  }

  @Override
  public String name() {
    return "slots";
  }

  @Override
  public Availability probe() {
    return new Availability.Usable("nowhere", 0);
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    return new Backend() {
      @Override
      public String device() {
        return "no device";
      }

      @Override
      public boolean changesBesideRuns() {
        return true;
      }

      @Override
      public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
        return FakeSlots.this.prepare(slot, adapter);
      }

      @Override
      public void unload(int slot) {
        names.set(slot, "");
      }

      @Override
      public BackendStep newStep() {
        throw new UnsupportedOperationException();
      }

      @Override
      public void close() {}
    };
  }

  private Backend.PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    FakeSource.Gate gate = gates.remove(adapter.name());
    if (gate != null) {
      try {
        gate.pass();
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
    if (adapter.name().equals(failing)) {
      throw new OutOfMemoryError("no room for " + adapter.name());
    }
    // as packing does: fails if the cache has freed the memory
    adapter.slices(0, Projection.DOWN, 0).getFirst().a().get(0, 0);
    return new Backend.PreparedAdapter() {
      @Override
      public void commit() {
        names.set(slot, adapter.name());
      }

      @Override
      public void close() {}
    };
  }
}
