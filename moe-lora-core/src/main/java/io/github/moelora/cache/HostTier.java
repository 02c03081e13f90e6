package io.github.moelora.cache;

import io.github.moelora.LoraAdapter;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Adapters kept in host memory, up to a number of bytes; the least recently used ones go first. Not
 * thread-safe: its owner's lock guards it.
 *
 * <p>A map with an order and not a cache library: what is kept must never exceed the limit, an
 * adapter that is being packed must not be freed, and the slots, which no library knows of, are
 * changed under the same lock.
 */
final class HostTier {

  /** An adapter in host memory. */
  static final class Held {
    private final String name;
    private final Object version;
    private final LoraAdapter adapter;
    private final Arena arena;

    /** Entries on their way into a slot that read from it. */
    private int users;

    private boolean kept;

    private Held(String name, Object version, LoraAdapter adapter, Arena arena) {
      this.name = name;
      this.version = version;
      this.adapter = adapter;
      this.arena = arena;
    }

    LoraAdapter adapter() {
      return adapter;
    }
  }

  private final long limit;
  private final Map<String, Held> kept = new LinkedHashMap<>(16, 0.75f, true);
  private long bytes;

  /** Arenas to close; the owner does so outside of its lock. */
  private List<Arena> unused = new ArrayList<>();

  HostTier(long limit) {
    this.limit = limit;
  }

  /** The adapter for use until {@link #release}, or null; one of another version is dropped. */
  @Nullable Held use(String name, Object version) {
    Held held = kept.get(name);
    if (held == null) {
      return null;
    }
    if (!held.version.equals(version)) {
      drop(held);
      return null;
    }
    held.users++;
    return held;
  }

  /** Notes a use of the adapter in its slot. */
  void touch(String name) {
    kept.get(name);
  }

  /** Takes over an adapter that was read, for use until {@link #release}; keeps it if it fits. */
  Held add(String name, Object version, LoraAdapter adapter, Arena arena) {
    Held held = new Held(name, version, adapter, arena);
    held.users = 1;
    remove(name);
    makeRoom(adapter.bytes());
    if (adapter.bytes() <= limit - bytes) {
      held.kept = true;
      kept.put(name, held);
      bytes += adapter.bytes();
    }
    return held;
  }

  private void makeRoom(long needed) {
    if (needed > limit) {
      return;
    }
    Iterator<Held> eldest = kept.values().iterator();
    while (bytes > limit - needed && eldest.hasNext()) {
      Held held = eldest.next();
      if (held.users == 0) {
        eldest.remove();
        forget(held);
      }
    }
  }

  void release(Held held) {
    held.users--;
    free(held);
  }

  /** Drops an adapter, whatever its version. */
  void remove(String name) {
    Held held = kept.get(name);
    if (held != null) {
      drop(held);
    }
  }

  /** Drops all. */
  void clear() {
    List.copyOf(kept.values()).forEach(this::drop);
  }

  private void drop(Held held) {
    kept.remove(held.name);
    forget(held);
  }

  private void forget(Held held) {
    held.kept = false;
    bytes -= held.adapter.bytes();
    free(held);
  }

  private void free(Held held) {
    if (held.users == 0 && !held.kept) {
      unused.add(held.arena);
    }
  }

  /** Bytes kept. */
  long bytes() {
    return bytes;
  }

  /** Hands over the arenas that nobody uses any more, to be closed. */
  List<Arena> takeUnused() {
    if (unused.isEmpty()) {
      return List.of();
    }
    List<Arena> taken = unused;
    unused = new ArrayList<>();
    return taken;
  }
}
