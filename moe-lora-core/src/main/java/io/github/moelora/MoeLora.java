package io.github.moelora;

import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.BackendStep;
import java.lang.ref.Cleaner;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Adapter slots of one model on one backend. Open it once, {@link #load} adapters, make a {@link
 * Step}, then for every batch plan once and run once per layer and projection.
 *
 * <pre>{@code
 * try (MoeLora lora = MoeLora.open(MoeLoraConfig.of(model, 16, 8));
 *     Step step = lora.newStep()) {
 *   lora.load(0, adapter);
 *   step.plan(tokens, expertIds, routingWeights, adapterIds);
 *   step.run(ProjectionCall.gateUp(layer), x, gateUp);
 *   step.run(ProjectionCall.down(layer), activations, y);
 * }
 * }</pre>
 *
 * <p>Slots may be loaded, replaced and unloaded while steps run. A run that is under way finishes
 * with the weights it began with; a plan that names a slot changed since is refused with {@link
 * StalePlanException}; other plans go on. On a backend that allows it ({@link
 * Backend#changesBesideRuns}) a load waits only for runs whose plans name its slot, on others for
 * all that are under way.
 *
 * <p>An instance that is dropped without {@link #close} is named in a warning once the garbage
 * collector finds it; its memory stays taken, since others may still use its {@link #backend}.
 *
 * <p>All methods may be called from several threads; a {@link Step} belongs to one thread at a
 * time.
 */
public final class MoeLora implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(MoeLora.class);

  private static final Cleaner CLEANER = Cleaner.create();

  private final MoeLoraConfig config;
  private final String backendName;
  private final Backend backend;
  private final SlotLocks locks;

  /** Guards the four arrays; held for moments only. */
  private final Object slotStates = new Object();

  /** Names only: an adapter's memory is the caller's again once it is loaded. */
  private final @Nullable String[] adapterNames;

  private final boolean[] enabled;
  private final boolean[] active;

  /** Change count of each slot; a slot's is written under its lock, too, so a run may read it. */
  private final long[] generations;

  private final List<Step> steps = new ArrayList<>();
  private final Watch watch;
  private final Cleaner.Cleanable dropped;
  private boolean closed;

  private MoeLora(MoeLoraConfig config, String backendName, Backend backend) {
    this.config = config;
    this.backendName = backendName;
    this.backend = backend;
    this.locks = new SlotLocks(config.slots(), backend.changesBesideRuns());
    this.watch =
        new Watch(
            "MoeLora with %d slots on backend %s, %s"
                .formatted(config.slots(), backendName, backend.device()));
    this.dropped = CLEANER.register(this, watch);
    this.adapterNames = new @Nullable String[config.slots()];
    this.enabled = new boolean[config.slots()];
    this.active = new boolean[config.slots()];
    this.generations = new long[config.slots()];
    Arrays.fill(enabled, true);
  }

  /** Told by the garbage collector that an instance is gone; knows whether it was closed. */
  private static final class Watch implements Runnable {
    private final String name;
    private volatile boolean closed;

    Watch(String name) {
      this.name = name;
    }

    @Override
    public void run() {
      if (!closed) {
        LOG.warn(
            "{} was dropped without close and keeps its memory; close it, as try-with-resources"
                + " does",
            name);
      }
    }
  }

  /**
   * Opens the usable backend of highest priority.
   *
   * @throws IllegalStateException if no backend is usable
   */
  public static MoeLora open(MoeLoraConfig config) {
    return open(config, Backends.best());
  }

  /**
   * Opens the backend of that name and no other.
   *
   * @throws IllegalArgumentException if there is none of that name
   * @throws IllegalStateException if it cannot run here, with reason and remedy
   */
  public static MoeLora open(MoeLoraConfig config, String backend) {
    return open(config, Backends.named(backend));
  }

  /**
   * Opens the backend of a provider that the caller has made or found among {@link Backends#all}.
   *
   * @throws IllegalStateException if it cannot run here, with reason and remedy
   */
  public static MoeLora open(MoeLoraConfig config, BackendProvider provider) {
    Objects.requireNonNull(config, "config must not be null");
    Objects.requireNonNull(provider, "provider must not be null");
    Backends.requireUsable(provider);
    MoeLora lora = new MoeLora(config, provider.name(), provider.open(config));
    LOG.info(
        "backend {} on {}: {} slots, rank up to {}, {} tokens, {} weights",
        lora.backendName,
        lora.backend.device(),
        config.slots(),
        config.maxRank(),
        config.maxTokens(),
        config.weightType());
    return lora;
  }

  /** Sizes and limits. */
  public MoeLoraConfig config() {
    return config;
  }

  /** Name of the backend in use. */
  public String backendName() {
    return backendName;
  }

  /** Device that the backend runs on, for people. */
  public String device() {
    return backend.device();
  }

  /** The backend itself, for what only it can do, such as joining an engine's own task graph. */
  public Backend backend() {
    return backend;
  }

  /**
   * Loads an adapter into a slot, in place of what is there. The adapter's memory is no longer used
   * afterwards. On failure the slot keeps what it had.
   *
   * @param slot in {@code [0, L)}
   * @throws IllegalArgumentException if the adapter does not fit the model, its rank exceeds {@code
   *     maxRank}, or a weight exceeds the range of the weight type or is not finite
   * @throws AdapterFormatException if its file has become shorter since it was mapped
   */
  public void load(int slot, LoraAdapter adapter) {
    requireSlot(slot);
    Objects.requireNonNull(adapter, "adapter must not be null");
    adapter.requireFits(config, backend.findsNonFinite());
    adapter.reading(
        () -> {
          FlightRecords.load(slot, adapter, () -> store(slot, adapter));
          return slot;
        });
  }

  private void store(int slot, LoraAdapter adapter) {
    try (Backend.PreparedAdapter prepared = prepare(slot, adapter)) {
      SlotLocks.Change change = locks.lockChange(slot);
      try {
        requireOpen();
        prepared.commit();
        changed(slot, adapter.name());
      } finally {
        locks.unlockChange(change);
      }
    }
  }

  private Backend.PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    long stamp = locks.lockShared();
    try {
      requireOpen();
      return backend.prepare(slot, adapter);
    } finally {
      locks.unlockShared(stamp);
    }
  }

  /** Empties a slot; tokens that name it get no delta. */
  public void unload(int slot) {
    requireSlot(slot);
    SlotLocks.Change change = locks.lockChange(slot);
    try {
      requireOpen();
      if (adapterNames[slot] != null) {
        backend.unload(slot);
        changed(slot, null);
      }
    } finally {
      locks.unlockChange(change);
    }
  }

  /**
   * Switches a slot on or off without unloading it; tokens that name a slot that is off get no
   * delta. Slots start enabled.
   */
  public void setEnabled(int slot, boolean on) {
    requireSlot(slot);
    SlotLocks.Change change = locks.lockChange(slot);
    try {
      requireOpen();
      synchronized (slotStates) {
        if (enabled[slot] != on) {
          enabled[slot] = on;
          countChange(slot);
        }
      }
    } finally {
      locks.unlockChange(change);
    }
  }

  /** Name of the adapter in a slot, or null if it is empty. */
  public @Nullable String adapterName(int slot) {
    requireSlot(slot);
    synchronized (slotStates) {
      return adapterNames[slot];
    }
  }

  /** Whether tokens that name the slot get a delta: it holds an adapter and is enabled. */
  public boolean isActive(int slot) {
    requireSlot(slot);
    synchronized (slotStates) {
      return active[slot];
    }
  }

  /**
   * Makes a step with its own buffers; an engine needs one for each batch that it keeps in flight.
   */
  public Step newStep() {
    long stamp = locks.lockAlone();
    try {
      requireOpen();
      BackendStep backendStep = backend.newStep();
      try {
        Step step = new Step(this, backendStep);
        steps.add(step);
        return step;
      } catch (RuntimeException | Error e) {
        backendStep.close();
        throw e;
      }
    } finally {
      locks.unlockAlone(stamp);
    }
  }

  /** Closes all steps and frees the backend; closing twice does nothing. */
  @Override
  public void close() {
    long stamp = locks.lockAlone();
    try {
      if (closed) {
        return;
      }
      closed = true;
      watch.closed = true;
      dropped.clean();
      try {
        steps.forEach(Step::closeBackendStep);
        steps.clear();
      } finally {
        backend.close();
      }
    } finally {
      locks.unlockAlone(stamp);
    }
  }

  void close(Step step) {
    long stamp = locks.lockAlone();
    try {
      if (steps.remove(step)) {
        step.closeBackendStep();
      }
    } finally {
      locks.unlockAlone(stamp);
    }
  }

  SlotLocks locks() {
    return locks;
  }

  /**
   * Copies the state of all slots at one moment.
   *
   * @param toActive out, {@code [L]}: whether a slot holds an enabled adapter
   * @param toGenerations out, {@code [L]}: how often a slot has changed
   */
  void copySlotStates(boolean[] toActive, long[] toGenerations) {
    synchronized (slotStates) {
      System.arraycopy(active, 0, toActive, 0, active.length);
      System.arraycopy(generations, 0, toGenerations, 0, generations.length);
    }
  }

  /** Change count of a slot; read under its lock. */
  long generation(int slot) {
    return generations[slot];
  }

  void requireOpen() {
    if (closed) {
      throw new IllegalStateException("MoeLora is closed");
    }
  }

  private void changed(int slot, @Nullable String newName) {
    String oldName;
    synchronized (slotStates) {
      oldName = adapterNames[slot];
      adapterNames[slot] = newName;
      countChange(slot);
    }
    if (oldName != null) {
      FlightRecords.evict(slot, oldName);
    }
  }

  private void countChange(int slot) {
    active[slot] = enabled[slot] && adapterNames[slot] != null;
    generations[slot]++;
  }

  private void requireSlot(int slot) {
    Checks.inRange("slot", slot, 0, config.slots());
  }
}
