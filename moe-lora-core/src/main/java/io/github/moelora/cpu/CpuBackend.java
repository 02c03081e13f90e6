package io.github.moelora.cpu;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendStep;
import org.jspecify.annotations.Nullable;

/** Holds the packed adapters and the threads; {@link CpuStep} computes. */
final class CpuBackend implements Backend {
  private final MoeLoraConfig config;
  private final Kernels kernels;
  private final WorkerPool pool;
  private final @Nullable PackedAdapter[] slots;

  CpuBackend(MoeLoraConfig config, Kernels kernels, int threads) {
    this(config, kernels, threads, new @Nullable PackedAdapter[config.slots()]);
  }

  /** Lets a test look into the slots. */
  CpuBackend(MoeLoraConfig config, Kernels kernels, int threads, @Nullable PackedAdapter[] slots) {
    CpuStep.requireFits(config);
    this.config = config;
    this.kernels = kernels;
    this.pool = new WorkerPool(threads);
    this.slots = slots;
  }

  @Override
  public String device() {
    return "CPU, %d threads, %s".formatted(pool.threads(), kernels.description());
  }

  /** A run reads the slots that its plan names, and no others. */
  @Override
  public boolean changesBesideRuns() {
    return true;
  }

  /** In the pass that packs them. */
  @Override
  public boolean findsNonFinite() {
    return true;
  }

  @Override
  public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    return new Prepared(slot, new PackedAdapter(config, adapter, pool.threads()));
  }

  @Override
  public void unload(int slot) {
    put(slot, null);
  }

  private void put(int slot, @Nullable PackedAdapter adapter) {
    PackedAdapter old = slots[slot];
    slots[slot] = adapter;
    if (old != null) {
      old.close();
    }
  }

  @Override
  public BackendStep newStep() {
    return new CpuStep(config, kernels, pool, slots);
  }

  @Override
  public void close() {
    for (int slot = 0; slot < slots.length; slot++) {
      unload(slot);
    }
    pool.close();
  }

  private final class Prepared implements PreparedAdapter {
    private final int slot;
    private @Nullable PackedAdapter adapter;

    Prepared(int slot, PackedAdapter adapter) {
      this.slot = slot;
      this.adapter = adapter;
    }

    @Override
    public void commit() {
      put(slot, adapter);
      adapter = null;
    }

    @Override
    public void close() {
      if (adapter != null) {
        adapter.close();
        adapter = null;
      }
    }
  }
}
