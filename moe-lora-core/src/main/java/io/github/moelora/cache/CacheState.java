package io.github.moelora.cache;

import io.github.moelora.LoraAdapter;
import io.github.moelora.cache.Entry.Stage;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Who is in which slot and who waits: the rules of {@link AdapterCache} without its threads. Does
 * nothing by itself; what is to be done outside of the lock is handed over by {@link #takeEffects}.
 * Not thread-safe: the cache's lock guards it.
 */
final class CacheState {
  private final CacheLimits limits;
  private final HostTier host;

  /** The entry of each name that takes new requests. */
  private final Map<String, Entry> current = new HashMap<>();

  /** Entries without a slot, the oldest first. */
  private final Set<Entry> queue = new LinkedHashSet<>();

  /** By slot: {@link Stage#LOADING} or {@link Stage#READY}. */
  private final @Nullable Entry[] slots;

  private final Set<String> pinned = new HashSet<>();
  private List<Effect> effects = new ArrayList<>();
  private int readAhead;
  private int waiting;
  private long uses;

  /** Leases granted without waiting since an adapter began to wait for a slot. */
  private int passed;

  // counters of CacheStats
  private long hits;
  private long misses;
  private long reads;
  private long hostHits;
  private long loads;
  private long failures;
  private long evictions;
  private long refusals;
  private long waitNanos;
  private long loadedBytes;
  private int leases;

  CacheState(int slotCount, CacheLimits limits) {
    this.limits = limits;
    this.host = new HostTier(limits.hostBytes());
    this.slots = new @Nullable Entry[slotCount];
  }

  List<Effect> takeEffects() {
    List<Effect> taken = effects;
    effects = new ArrayList<>();
    return taken;
  }

  List<Arena> takeUnused() {
    return host.takeUnused();
  }

  // ---- requests ----

  /** Whether new requests get another version of this adapter than the given one. */
  boolean holdsOther(String name, Object version) {
    Entry entry = current.get(name);
    return entry != null && !entry.version.equals(version);
  }

  /** Leases the adapter if it is in a slot; another version of it drains from now on. */
  @Nullable Entry leaseNow(String name, Object version) {
    Entry entry = current.get(name);
    if (entry != null && !entry.version.equals(version)) {
      drain(entry);
      advance();
      entry = null;
    }
    if (entry == null || entry.stage != Stage.READY) {
      return null;
    }
    hits++;
    lease(entry);
    notePassed();
    return entry;
  }

  /** Lets a request wait for the adapter; returns false if too many wait. */
  boolean enqueue(Request request, Object version) {
    if (waiting >= limits.maxWaiting()) {
      refusals++;
      return false;
    }
    Entry entry = current.get(request.name);
    if (entry == null) {
      entry = new Entry(request.name, version);
      current.put(request.name, entry);
      queue.add(entry);
    }
    misses++;
    waiting++;
    request.entry = entry;
    entry.requests.add(request);
    advance();
    return true;
  }

  /** Takes back a request; returns false if it does not wait any more. */
  boolean withdraw(Request request, boolean refused) {
    Entry entry = request.entry;
    if (entry == null) {
      return false;
    }
    entry.requests.remove(request);
    request.entry = null;
    waiting--;
    refusals += refused ? 1 : 0;
    if (entry.requests.isEmpty() && (entry.stage == Stage.WAITING || entry.stage == Stage.READ)) {
      leaveQueue(entry);
      end(entry);
      advance();
    }
    return true;
  }

  /** Gives back a lease. */
  void release(Entry entry) {
    leases--;
    entry.leases--;
    if (entry.leases == 0) {
      if (entry.draining) {
        vacate(entry);
      }
      advance();
    }
  }

  private void lease(Entry entry) {
    leases++;
    entry.leases++;
    entry.lastUse = ++uses;
    host.touch(entry.name);
  }

  // ---- pins, changes from outside ----

  /** Returns whether it was not pinned before. */
  boolean pin(String name) {
    if (pinned.contains(name)) {
      return false;
    }
    if (pinned.size() >= slots.length - 1) {
      throw new IllegalStateException(
          "pinned adapters must be at most %d, so that one slot of %d is left, got one more: %s"
              .formatted(slots.length - 1, slots.length, name));
    }
    return pinned.add(name);
  }

  void unpin(String name) {
    if (pinned.remove(name)) {
      advance();
    }
  }

  void invalidate(String name) {
    host.remove(name);
    Entry entry = current.get(name);
    if (entry != null) {
      drain(entry);
      advance();
    }
  }

  // ---- what threads report ----

  /** An entry was read; the adapter stays in host memory even if nobody waits for it any more. */
  void read(Entry entry, LoraAdapter adapter, Arena arena) {
    reads++;
    HostTier.Held held = host.add(entry.name, entry.version, adapter, arena);
    if (entry.requests.isEmpty()) {
      host.release(held);
      leaveQueue(entry);
      end(entry);
    } else {
      entry.held = held;
      entry.stage = Stage.READ;
    }
    advance();
  }

  void readFailed(Entry entry, Throwable cause) {
    leaveQueue(entry);
    fail(entry, cause);
  }

  void loaded(Entry entry, long bytes) {
    loads++;
    loadedBytes += bytes;
    releaseHeld(entry);
    entry.stage = Stage.READY;
    entry.lastUse = ++uses;
    for (Request request : takeRequests(entry)) {
      lease(entry);
      effects.add(new Effect.Grant(request, entry));
    }
    if (entry.draining && entry.leases == 0) {
      vacate(entry);
    }
    advance();
  }

  void loadFailed(Entry entry, Throwable cause) {
    releaseHeld(entry);
    slots[entry.slot] = null;
    fail(entry, cause);
  }

  /** Adds up how long a request waited; called when it has its lease. */
  void waited(long nanos) {
    waitNanos += nanos;
  }

  private void fail(Entry entry, Throwable cause) {
    failures++;
    for (Request request : takeRequests(entry)) {
      effects.add(new Effect.Fail(request, new AdapterLoadException(entry.name, cause)));
    }
    end(entry);
    advance();
  }

  private List<Request> takeRequests(Entry entry) {
    List<Request> taken = List.copyOf(entry.requests);
    entry.requests.clear();
    waiting -= taken.size();
    for (Request request : taken) {
      request.entry = null;
    }
    return taken;
  }

  /** Fails all requests that wait. */
  void close() {
    Set<Entry> entries = new LinkedHashSet<>(queue);
    for (Entry entry : slots) {
      if (entry != null) {
        entries.add(entry);
      }
    }
    for (Entry entry : entries) {
      for (Request request : takeRequests(entry)) {
        effects.add(new Effect.Fail(request, new IllegalStateException("AdapterCache is closed")));
      }
    }
    for (Entry entry : List.copyOf(queue)) {
      if (entry.stage != Stage.READING) {
        leaveQueue(entry);
        end(entry);
      }
    }
    host.clear();
  }

  /** After {@link #close} and the last report: nothing is left in host memory. */
  void clearHost() {
    host.clear();
  }

  // ---- queue and slots ----

  /** Does what can be done: starts reads, gives free slots to those that were read, in order. */
  private void advance() {
    for (Iterator<Entry> entries = queue.iterator(); entries.hasNext(); ) {
      Entry entry = entries.next();
      if (entry.stage == Stage.WAITING) {
        startRead(entry);
      }
      if (entry.stage == Stage.READ) {
        int slot = freeSlot();
        if (slot >= 0) {
          entries.remove();
          assign(entry, slot);
        }
      }
    }
  }

  private void startRead(Entry entry) {
    HostTier.Held held = host.use(entry.name, entry.version);
    if (held != null) {
      hostHits++;
      entry.held = held;
      entry.stage = Stage.READ;
    } else if (readAhead < limits.readers()) {
      readAhead++;
      entry.readAhead = true;
      entry.stage = Stage.READING;
      effects.add(new Effect.Read(entry));
    }
  }

  /** An empty slot, else that of the least recently used adapter without leases, else -1. */
  private int freeSlot() {
    int best = -1;
    long oldest = Long.MAX_VALUE;
    for (int slot = 0; slot < slots.length; slot++) {
      Entry entry = slots[slot];
      if (entry == null) {
        return slot;
      }
      if (entry.leases == 0 && isEvictable(entry) && entry.lastUse < oldest) {
        oldest = entry.lastUse;
        best = slot;
      }
    }
    return best;
  }

  private boolean isEvictable(Entry entry) {
    return entry.stage == Stage.READY && !entry.draining && !pinned.contains(entry.name);
  }

  private void assign(Entry entry, int slot) {
    Entry old = slots[slot];
    if (old != null) {
      vacate(old);
    }
    endReadAhead(entry);
    passed = 0;
    slots[slot] = entry;
    entry.slot = slot;
    entry.stage = Stage.LOADING;
    effects.add(new Effect.Load(entry, Objects.requireNonNull(entry.held)));
  }

  /** Counts a lease that was granted while others wait; after too many a slot is made free. */
  private void notePassed() {
    int wanting = 0;
    for (Entry entry : queue) {
      wanting += entry.stage == Stage.READ ? 1 : 0;
    }
    if (wanting == 0) {
      passed = 0;
      return;
    }
    passed++;
    if (passed < limits.maxPassed()) {
      return;
    }
    Entry victim = null;
    for (Entry entry : slots) {
      if (entry == null) {
        continue;
      }
      wanting -= entry.draining && entry.stage == Stage.READY ? 1 : 0;
      if (isEvictable(entry) && (victim == null || entry.lastUse < victim.lastUse)) {
        victim = entry;
      }
    }
    if (wanting > 0 && victim != null) {
      passed = 0;
      drain(victim);
    }
  }

  /** New requests for the name get another entry from now on; the slot ends with the last lease. */
  private void drain(Entry entry) {
    current.remove(entry.name, entry);
    entry.draining = true;
    if (entry.stage == Stage.READY && entry.leases == 0) {
      vacate(entry);
    }
  }

  private void vacate(Entry entry) {
    slots[entry.slot] = null;
    evictions++;
    effects.add(new Effect.Evicted(entry.name, entry.slot));
    end(entry);
  }

  private void leaveQueue(Entry entry) {
    queue.remove(entry);
    endReadAhead(entry);
    releaseHeld(entry);
  }

  private void endReadAhead(Entry entry) {
    if (entry.readAhead) {
      entry.readAhead = false;
      readAhead--;
    }
  }

  private void releaseHeld(Entry entry) {
    if (entry.held != null) {
      host.release(entry.held);
      entry.held = null;
    }
  }

  private void end(Entry entry) {
    current.remove(entry.name, entry);
    entry.stage = Stage.GONE;
  }

  CacheStats stats() {
    int resident = 0;
    for (Entry entry : slots) {
      resident += entry != null && entry.stage == Stage.READY ? 1 : 0;
    }
    return new CacheStats(
        hits,
        misses,
        reads,
        hostHits,
        loads,
        failures,
        evictions,
        refusals,
        waitNanos,
        loadedBytes,
        host.bytes(),
        resident,
        leases,
        waiting);
  }
}
