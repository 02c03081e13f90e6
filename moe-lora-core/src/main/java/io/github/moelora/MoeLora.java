package io.github.moelora;

import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.BackendStep;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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
 * StalePlanException}; other plans go on.
 *
 * <p>All methods may be called from several threads; a {@link Step} belongs to one thread at a
 * time.
 */
public final class MoeLora implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(MoeLora.class);

  private final MoeLoraConfig config;
  private final String backendName;
  private final Backend backend;

  /** Runs and plans hold it for reading, changes of a slot for writing. */
  private final SlotLock lock = new SlotLock();

  /** Names only: an adapter's memory is the caller's again once it is loaded. */
  private final @Nullable String[] adapterNames;

  private final boolean[] enabled;
  private final boolean[] active;
  private final long[] generations;
  private final List<Step> steps = new ArrayList<>();
  private boolean closed;

  private MoeLora(MoeLoraConfig config, String backendName, Backend backend) {
    this.config = config;
    this.backendName = backendName;
    this.backend = backend;
    this.adapterNames = new @Nullable String[config.slots()];
    this.enabled = new boolean[config.slots()];
    this.active = new boolean[config.slots()];
    this.generations = new long[config.slots()];
    Arrays.fill(enabled, true);
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
   *     maxRank} or a weight exceeds the range of the weight type
   */
  public void load(int slot, LoraAdapter adapter) {
    requireSlot(slot);
    adapter.requireFits(config);
    try (Backend.PreparedAdapter prepared = prepare(slot, adapter)) {
      long stamp = lock.writeLock();
      try {
        requireOpen();
        prepared.commit();
        adapterNames[slot] = adapter.name();
        changed(slot);
      } finally {
        lock.unlockWrite(stamp);
      }
    }
  }

  private Backend.PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    long stamp = lock.readLock();
    try {
      requireOpen();
      return backend.prepare(slot, adapter);
    } finally {
      lock.unlockRead(stamp);
    }
  }

  /** Empties a slot; tokens that name it get no delta. */
  public void unload(int slot) {
    requireSlot(slot);
    long stamp = lock.writeLock();
    try {
      requireOpen();
      if (adapterNames[slot] != null) {
        backend.unload(slot);
        adapterNames[slot] = null;
        changed(slot);
      }
    } finally {
      lock.unlockWrite(stamp);
    }
  }

  /**
   * Switches a slot on or off without unloading it; tokens that name a slot that is off get no
   * delta. Slots start enabled.
   */
  public void setEnabled(int slot, boolean on) {
    requireSlot(slot);
    long stamp = lock.writeLock();
    try {
      requireOpen();
      if (enabled[slot] != on) {
        enabled[slot] = on;
        changed(slot);
      }
    } finally {
      lock.unlockWrite(stamp);
    }
  }

  /** Name of the adapter in a slot, or null if it is empty. */
  public @Nullable String adapterName(int slot) {
    requireSlot(slot);
    long stamp = lock.readLock();
    try {
      return adapterNames[slot];
    } finally {
      lock.unlockRead(stamp);
    }
  }

  /** Whether tokens that name the slot get a delta: it holds an adapter and is enabled. */
  public boolean isActive(int slot) {
    requireSlot(slot);
    long stamp = lock.readLock();
    try {
      return active[slot];
    } finally {
      lock.unlockRead(stamp);
    }
  }

  /**
   * Makes a step with its own buffers; an engine needs one for each batch that it keeps in flight.
   */
  public Step newStep() {
    long stamp = lock.writeLock();
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
      lock.unlockWrite(stamp);
    }
  }

  /** Closes all steps and frees the backend; closing twice does nothing. */
  @Override
  public void close() {
    long stamp = lock.writeLock();
    try {
      if (closed) {
        return;
      }
      closed = true;
      try {
        steps.forEach(Step::closeBackendStep);
        steps.clear();
      } finally {
        backend.close();
      }
    } finally {
      lock.unlockWrite(stamp);
    }
  }

  void close(Step step) {
    long stamp = lock.writeLock();
    try {
      if (steps.remove(step)) {
        step.closeBackendStep();
      }
    } finally {
      lock.unlockWrite(stamp);
    }
  }

  SlotLock lock() {
    return lock;
  }

  /** Which slots hold an enabled adapter; read under the lock. */
  boolean[] active() {
    return active;
  }

  /** Change count of each slot; read under the lock. */
  long[] generations() {
    return generations;
  }

  void requireOpen() {
    if (closed) {
      throw new IllegalStateException("MoeLora is closed");
    }
  }

  private void changed(int slot) {
    active[slot] = enabled[slot] && adapterNames[slot] != null;
    generations[slot]++;
  }

  private void requireSlot(int slot) {
    Checks.inRange("slot", slot, 0, config.slots());
  }
}
