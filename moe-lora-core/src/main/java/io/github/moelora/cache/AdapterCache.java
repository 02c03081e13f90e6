package io.github.moelora.cache;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import java.lang.foreign.Arena;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * More adapters than slots: requests ask for an adapter by name and lease the slot that holds it.
 *
 * <pre>{@code
 * AdapterSource source = AdapterSource.directories(folder, model);
 * try (AdapterCache cache = new AdapterCache(lora, source, CacheLimits.of(4L << 30))) {
 *   try (Lease lease = cache.acquire("customer-17")) {
 *     // name lease.slot() in the adapterIds of steps
 *   }
 * }
 * }</pre>
 *
 * <p>All methods may be called from several threads, virtual ones too. The slots of the {@link
 * MoeLora} belong to the cache from its making to its closing: nobody else loads or unloads them.
 *
 * <h2>Design</h2>
 *
 * <p>A slot is <em>empty</em>; or <em>loading</em> an adapter that a thread packs into it; or
 * <em>ready</em>, with any number of leases; or <em>draining</em>: ready, but without new leases,
 * and empty when the last one is closed. A ready slot without leases is free for another adapter,
 * the least recently used first, unless it is pinned. A slot drains when the file of its adapter
 * has changed (requests under way keep the old weights, new ones get the new ones in another slot),
 * when it is invalidated, or when others have waited too long for a slot.
 *
 * <p>A request for an adapter that is not ready joins the line. All requests for a name share one
 * entry of the line, and so one load. An entry is first read into host memory, a few at a time,
 * while its future slot still serves another adapter; then it takes the first free slot. Entries
 * that were read get slots by age. Leases of adapters that are ready pass the line, but only so
 * many ({@link CacheLimits#maxPassed}): then a slot drains for the oldest entry, so none starves as
 * long as leases end.
 *
 * <p>One lock guards all state ({@link CacheState}) and is held for moments: reading, {@link
 * MoeLora#load}, closing of memory, listeners and completion of futures come after its release, as
 * effects that the state hands over. Loads run on platform threads of their own, since packing is
 * work for a processor and would hold up virtual threads.
 */
public final class AdapterCache implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(AdapterCache.class);
  private static final long IDLE_SECONDS = 10;

  private final MoeLora lora;
  private final AdapterSource source;
  private final CacheLimits limits;
  private final CacheListener listener;
  private final ReentrantLock lock = new ReentrantLock();
  private final CacheState state;
  private final ThreadPoolExecutor readers;
  private final ThreadPoolExecutor loaders;
  private volatile boolean closed;

  /** A cache without a listener. */
  public AdapterCache(MoeLora lora, AdapterSource source, CacheLimits limits) {
    this(lora, source, limits, CacheListener.NONE);
  }

  /**
   * @param lora stays open until after the cache is closed
   * @param source where adapters come from
   * @param listener told what happens
   */
  public AdapterCache(
      MoeLora lora, AdapterSource source, CacheLimits limits, CacheListener listener) {
    this.lora = Objects.requireNonNull(lora, "lora must not be null");
    this.source = Objects.requireNonNull(source, "source must not be null");
    this.limits = Objects.requireNonNull(limits, "limits must not be null");
    this.listener = Objects.requireNonNull(listener, "listener must not be null");
    this.state = new CacheState(lora.config().slots(), limits);
    this.readers = threads("moe-lora-read-", limits.readers());
    this.loaders = threads("moe-lora-load-", limits.readers());
  }

  private static ThreadPoolExecutor threads(String name, int count) {
    ThreadPoolExecutor threads =
        new ThreadPoolExecutor(
            count,
            count,
            IDLE_SECONDS,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(),
            Thread.ofPlatform().daemon().name(name, 1).factory());
    threads.allowCoreThreadTimeOut(true);
    return threads;
  }

  // ---- leases ----

  /**
   * Leases an adapter; waits for it at most {@link CacheLimits#maxWait}.
   *
   * @throws AdapterLoadException if it cannot be read or loaded
   * @throws AdapterRefusedException if too many requests wait, or this one waited too long
   * @throws IllegalStateException if the cache is closed, now or while it waits
   */
  public Lease acquire(String name) throws InterruptedException {
    return acquire(name, limits.maxWait());
  }

  /**
   * Leases an adapter; waits for it at most {@code timeout}.
   *
   * @param timeout positive
   * @throws AdapterLoadException if it cannot be read or loaded
   * @throws AdapterRefusedException if too many requests wait, or this one waited too long
   * @throws IllegalStateException if the cache is closed, now or while it waits
   */
  public Lease acquire(String name, Duration timeout) throws InterruptedException {
    CacheLimits.requirePositive(
        "timeout", Objects.requireNonNull(timeout, "timeout must not be null"));
    Request request = new Request(nonNull(name), System.nanoTime(), false);
    Lease lease = start(request);
    if (lease != null) {
      return lease;
    }
    try {
      return request.future.get(timeout.toNanos(), TimeUnit.NANOSECONDS);
    } catch (TimeoutException e) {
      if (withdraw(request, true)) {
        throw tooLong(name, timeout);
      }
      return granted(request);
    } catch (InterruptedException e) {
      if (!withdraw(request, false)) {
        closeWhenGranted(request);
      }
      throw e;
    } catch (ExecutionException e) {
      throw failure(e);
    }
  }

  /** The lease of a request that no longer waits, so it comes at any moment. */
  private static Lease granted(Request request) throws InterruptedException {
    try {
      return request.future.get();
    } catch (InterruptedException e) {
      closeWhenGranted(request);
      throw e;
    } catch (ExecutionException e) {
      throw failure(e);
    }
  }

  private static void closeWhenGranted(Request request) {
    CompletableFuture<Void> _ = request.future.thenAccept(Lease::close);
  }

  private static RuntimeException failure(ExecutionException e) {
    if (e.getCause() instanceof RuntimeException cause) {
      return cause;
    }
    throw new AssertionError("requests fail with RuntimeException", e);
  }

  private static AdapterRefusedException tooLong(String name, Duration timeout) {
    return new AdapterRefusedException(
        "adapter %s must be had within %s, but no slot became free or it was not loaded in time"
            .formatted(name, timeout));
  }

  /**
   * Leases an adapter without blocking, but for {@link AdapterSource#version}, which the caller's
   * thread asks. Cancelling the future takes the request back.
   *
   * @return fails as {@link #acquire} does; what hangs on it when it completes runs on a virtual
   *     thread and may block
   */
  public CompletableFuture<Lease> acquireAsync(String name) {
    Request request = new Request(nonNull(name), System.nanoTime(), true);
    try {
      Lease lease = start(request);
      if (lease != null) {
        return CompletableFuture.completedFuture(lease);
      }
    } catch (RuntimeException e) {
      return CompletableFuture.failedFuture(e);
    }
    watchTime(request);
    return request.future;
  }

  /** Takes the request back when it has waited too long or its future is cancelled. */
  private void watchTime(Request request) {
    CompletableFuture<Void> timer = new CompletableFuture<>();
    CompletableFuture<Void> late = timer.thenRun(() -> refuseLate(request));
    CompletableFuture<Lease> done =
        request.future.whenComplete(
            (lease, failure) -> {
              timer.cancel(false);
              if (request.future.isCancelled()) {
                withdraw(request, false);
              }
            });
    if (!late.isDone() && !done.isDone()) {
      timer.completeOnTimeout(null, limits.maxWait().toNanos(), TimeUnit.NANOSECONDS);
    }
  }

  private void refuseLate(Request request) {
    if (withdraw(request, true)) {
      AdapterRefusedException refusal = tooLong(request.name, limits.maxWait());
      Thread.startVirtualThread(() -> request.future.completeExceptionally(refusal));
    }
  }

  private static String nonNull(String name) {
    return Objects.requireNonNull(name, "name must not be null");
  }

  /** Leases at once, else returns null and lets the request wait. */
  private @Nullable Lease start(Request request) {
    String name = request.name;
    requireOpen();
    Object version = version(name);
    if (holdsOther(name, version)) {
      // another thread may have seen a newer state of the file before
      version = version(name);
    }
    Entry entry = leaseOrEnqueue(request, version);
    if (entry == null) {
      return null;
    }
    long nanos = System.nanoTime() - request.start;
    int slot = entry.slot;
    tell(() -> listener.acquired(name, slot, true, nanos));
    return lease(entry);
  }

  private boolean holdsOther(String name, Object version) {
    lock.lock();
    try {
      return state.holdsOther(name, version);
    } finally {
      lock.unlock();
    }
  }

  private @Nullable Entry leaseOrEnqueue(Request request, Object version) {
    lock.lock();
    try {
      requireOpen();
      Entry entry = state.leaseNow(request.name, version);
      if (entry != null || state.enqueue(request, version)) {
        return entry;
      }
    } finally {
      unlockAndApply();
    }
    tell(() -> listener.refused(request.name));
    throw new AdapterRefusedException(
        "adapter %s must wait, but waiting requests must be at most %d, got one more"
            .formatted(request.name, limits.maxWaiting()));
  }

  private Object version(String name) {
    try {
      return source.version(name);
    } catch (Exception e) {
      restoreInterrupt(e);
      throw new AdapterLoadException(name, e);
    }
  }

  private static void restoreInterrupt(Throwable e) {
    if (e instanceof InterruptedException) {
      Thread.currentThread().interrupt();
    }
  }

  private Lease lease(Entry entry) {
    return new Lease(entry.name, entry.version, entry.slot, () -> release(entry));
  }

  private void release(Entry entry) {
    lock.lock();
    try {
      state.release(entry);
    } finally {
      unlockAndApply();
    }
  }

  private boolean withdraw(Request request, boolean refused) {
    boolean waited;
    lock.lock();
    try {
      waited = state.withdraw(request, refused);
    } finally {
      unlockAndApply();
    }
    if (waited && refused) {
      tell(() -> listener.refused(request.name));
    }
    return waited;
  }

  // ---- pins and changes ----

  /**
   * Loads an adapter and keeps it in a slot until {@link #unpin}; when its file changes, the next
   * acquire loads the new version, which is pinned, too. Pinning twice does nothing.
   *
   * @throws IllegalStateException if no slot would be left for others, or the cache is closed
   * @throws AdapterLoadException if it cannot be read or loaded; then it is not pinned
   * @throws AdapterRefusedException as {@link #acquire}; then it is not pinned
   */
  public void pin(String name) throws InterruptedException {
    nonNull(name);
    boolean added;
    lock.lock();
    try {
      requireOpen();
      added = state.pin(name);
    } finally {
      lock.unlock();
    }
    boolean loaded = false;
    try {
      acquire(name).close();
      loaded = true;
    } finally {
      if (added && !loaded) {
        unpin(name);
      }
    }
  }

  /** Lets the slot of an adapter be used for others again; does nothing if it is not pinned. */
  public void unpin(String name) {
    nonNull(name);
    lock.lock();
    try {
      state.unpin(name);
    } finally {
      unlockAndApply();
    }
  }

  /**
   * Forgets an adapter, in host memory and, once its leases are closed, in its slot; the next
   * acquire reads it anew.
   */
  public void invalidate(String name) {
    nonNull(name);
    lock.lock();
    try {
      state.invalidate(name);
    } finally {
      unlockAndApply();
    }
  }

  /** Counters and contents at the moment. */
  public CacheStats stats() {
    lock.lock();
    try {
      return state.stats();
    } finally {
      lock.unlock();
    }
  }

  // ---- effects ----

  private void unlockAndApply() {
    List<Effect> effects = state.takeEffects();
    List<Arena> unused = state.takeUnused();
    lock.unlock();
    unused.forEach(AdapterCache::close);
    effects.forEach(this::apply);
  }

  private static void close(Arena arena) {
    try {
      arena.close();
    } catch (IllegalStateException e) {
      // a source that closes or keeps it has to be mended, but must not cost others their leases
      LOG.warn("the arena of an adapter must be left to the cache, but could not be closed", e);
    }
  }

  private void apply(Effect effect) {
    switch (effect) {
      case Effect.Read read ->
          execute(readers, () -> read(read.entry()), e -> reportReadFailed(read.entry(), e));
      case Effect.Load load ->
          execute(
              loaders,
              () -> load(load.entry(), load.held().adapter()),
              e -> reportLoadFailed(load.entry(), e));
      case Effect.Grant grant -> grant(grant.request(), grant.entry());
      case Effect.Fail fail ->
          complete(fail.request(), () -> fail.request().future.completeExceptionally(fail.cause()));
      case Effect.Evicted evicted -> tell(() -> listener.evicted(evicted.name(), evicted.slot()));
    }
  }

  /** Threads refuse a task only after close, which may come between the lock and here. */
  private static void execute(
      ThreadPoolExecutor threads, Runnable task, Consumer<RuntimeException> refused) {
    try {
      threads.execute(task);
    } catch (RejectedExecutionException e) {
      refused.accept(e);
    }
  }

  private void grant(Request request, Entry entry) {
    long nanos = System.nanoTime() - request.start;
    lock.lock();
    try {
      state.waited(nanos);
    } finally {
      lock.unlock();
    }
    tell(() -> listener.acquired(entry.name, entry.slot, false, nanos));
    Lease lease = lease(entry);
    complete(
        request,
        () -> {
          if (!request.future.complete(lease)) {
            // cancelled in the meantime
            lease.close();
          }
        });
  }

  private static void complete(Request request, Runnable completion) {
    if (request.async) {
      Thread.startVirtualThread(completion);
    } else {
      completion.run();
    }
  }

  @SuppressWarnings("MustBeClosedChecker") // the state hands the arena back to be closed
  private void read(Entry entry) {
    if (closed) {
      reportReadFailed(entry, new IllegalStateException("AdapterCache is closed"));
      return;
    }
    long start = System.nanoTime();
    Arena arena = Arena.ofShared();
    LoraAdapter adapter;
    try {
      adapter = Objects.requireNonNull(source.read(entry.name, arena), "source returned null");
      adapter.requireFits(lora.config());
    } catch (Throwable e) {
      close(arena);
      reportReadFailed(entry, e);
      return;
    }
    long nanos = System.nanoTime() - start;
    tell(() -> listener.read(entry.name, adapter.bytes(), nanos));
    lock.lock();
    try {
      state.read(entry, adapter, arena);
    } finally {
      unlockAndApply();
    }
  }

  private void reportReadFailed(Entry entry, Throwable cause) {
    report(entry, cause);
    lock.lock();
    try {
      state.readFailed(entry, cause);
    } finally {
      unlockAndApply();
    }
  }

  private void load(Entry entry, LoraAdapter adapter) {
    long start = System.nanoTime();
    try {
      lora.load(entry.slot, adapter);
    } catch (Throwable e) {
      reportLoadFailed(entry, e);
      return;
    }
    long nanos = System.nanoTime() - start;
    LOG.debug("adapter {} in slot {} after {} us", entry.name, entry.slot, nanos / 1000);
    tell(() -> listener.loaded(entry.name, entry.slot, adapter.bytes(), nanos));
    lock.lock();
    try {
      state.loaded(entry, adapter.bytes());
    } finally {
      unlockAndApply();
    }
  }

  private void reportLoadFailed(Entry entry, Throwable cause) {
    report(entry, cause);
    lock.lock();
    try {
      state.loadFailed(entry, cause);
    } finally {
      unlockAndApply();
    }
  }

  private void report(Entry entry, Throwable cause) {
    if (closed) {
      return;
    }
    int requests;
    lock.lock();
    try {
      requests = entry.requests.size();
    } finally {
      lock.unlock();
    }
    LOG.warn(
        "adapter {} could not be loaded, {} requests fail; the next one tries again: {}",
        entry.name,
        requests,
        cause.toString());
    tell(() -> listener.failed(entry.name, cause, requests));
  }

  private static void tell(Runnable call) {
    try {
      call.run();
    } catch (RuntimeException e) {
      LOG.warn("cache listener failed", e);
    }
  }

  // ---- end ----

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("AdapterCache is closed");
    }
  }

  /**
   * Fails the requests that wait, waits for loads under way and frees the host memory; closing
   * twice does nothing. Leases stay good until they are closed; the {@link MoeLora} stays open.
   */
  @Override
  public void close() {
    lock.lock();
    try {
      if (closed) {
        return;
      }
      closed = true;
      state.close();
    } finally {
      unlockAndApply();
    }
    readers.shutdown();
    loaders.shutdown();
    awaitEnd(readers);
    awaitEnd(loaders);
    lock.lock();
    try {
      state.clearHost();
    } finally {
      unlockAndApply();
    }
    LOG.info("adapter cache closed: {}", stats());
  }

  private static void awaitEnd(ThreadPoolExecutor threads) {
    boolean interrupted = false;
    boolean ended = false;
    while (!ended) {
      try {
        ended = threads.awaitTermination(Long.MAX_VALUE, TimeUnit.NANOSECONDS);
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
