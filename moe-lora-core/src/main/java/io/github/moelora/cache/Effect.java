package io.github.moelora.cache;

/** What is to be done once the lock of the cache is released. */
sealed interface Effect {

  /** Read the adapter from the source. */
  record Read(Entry entry) implements Effect {}

  /** Load the adapter, which is in host memory, into its slot. */
  record Load(Entry entry, HostTier.Held held) implements Effect {}

  /** Hand out a lease that has been counted. */
  record Grant(Request request, Entry entry) implements Effect {}

  /** Tell a request that it failed. */
  record Fail(Request request, RuntimeException cause) implements Effect {}

  /** Tell the listener that an adapter has left its slot. */
  record Evicted(String name, int slot) implements Effect {}
}
