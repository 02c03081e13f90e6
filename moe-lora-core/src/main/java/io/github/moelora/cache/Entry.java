package io.github.moelora.cache;

import java.util.ArrayDeque;
import org.jspecify.annotations.Nullable;

/** One version of an adapter on its way into a slot, or in one. Guarded by the cache's lock. */
final class Entry {

  /** Where it is; the order is that of its life. */
  enum Stage {
    /** In the queue; nothing of it is in memory. */
    WAITING,
    /** In the queue; a thread reads it. */
    READING,
    /** In the queue, and in host memory; needs a slot. */
    READ,
    /** Has a slot, into which a thread loads it. */
    LOADING,
    /** In its slot, leased or not. */
    READY,
    /** Nowhere any more. */
    GONE
  }

  final String name;
  final Object version;
  Stage stage = Stage.WAITING;

  /** Takes no new requests: its file has changed, or its slot is to become free. */
  boolean draining;

  /** Requests that wait, the oldest first. */
  final ArrayDeque<Request> requests = new ArrayDeque<>();

  /** The adapter in host memory from {@link Stage#READ} to the end of {@link Stage#LOADING}. */
  HostTier.@Nullable Held held;

  /** Whether it counts as one that is read ahead. */
  boolean readAhead;

  int slot = -1;
  int leases;

  /** Number of the last lease, for least recently used. */
  long lastUse;

  Entry(String name, Object version) {
    this.name = name;
    this.version = version;
  }
}
