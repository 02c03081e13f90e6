package io.github.moelora.cache;

import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/** A request that waits for a lease. */
final class Request {
  final String name;
  final CompletableFuture<Lease> future = new CompletableFuture<>();

  /** {@link System#nanoTime} when it came. */
  final long start;

  /** Whether code of the caller may hang on the future, which must not hold up the cache. */
  final boolean async;

  /** What it waits for; null before and after. Guarded by the cache's lock. */
  @Nullable Entry entry;

  Request(String name, long start, boolean async) {
    this.name = name;
    this.start = start;
    this.async = async;
  }
}
