package io.github.moelora.cache;

import java.lang.ref.Cleaner;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The right to use an adapter in a slot: until it is closed, the slot holds these very weights.
 * Safe for use by several threads.
 *
 * <p>Close it after the last {@code run} of a plan that names the slot. A lease that is dropped
 * without close is named in a warning and closed once the garbage collector finds it.
 */
public final class Lease implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(Lease.class);
  private static final Cleaner CLEANER = Cleaner.create();

  private final String name;
  private final Object version;
  private final int slot;
  private final Return whenClosed;
  private final Cleaner.Cleanable cleanable;

  Lease(String name, Object version, int slot, Runnable release) {
    this.name = name;
    this.version = version;
    this.slot = slot;
    this.whenClosed = new Return(name, slot, release);
    this.cleanable = CLEANER.register(this, whenClosed);
  }

  /** Runs once: at the first close, or when the lease is gone without one. */
  private static final class Return implements Runnable {
    private final String name;
    private final int slot;
    private final Runnable release;
    private volatile boolean closed;

    Return(String name, int slot, Runnable release) {
      this.name = name;
      this.slot = slot;
      this.release = release;
    }

    @Override
    public void run() {
      if (!closed) {
        LOG.warn(
            "lease of adapter {} in slot {} was dropped without close and kept the slot; close it,"
                + " as try-with-resources does",
            name,
            slot);
      }
      release.run();
    }
  }

  /** Name that was asked for. */
  public String name() {
    return name;
  }

  /** Version of the adapter, as its source told it when the load began. */
  public Object version() {
    return version;
  }

  /** Slot, in {@code [0, L)}, to be named in a step's {@code adapterIds}. */
  public int slot() {
    return slot;
  }

  /** Gives the slot back; closing twice does nothing. */
  @Override
  public void close() {
    whenClosed.closed = true;
    cleanable.clean();
  }

  @Override
  public String toString() {
    return "Lease[%s, slot %d]".formatted(name, slot);
  }
}
