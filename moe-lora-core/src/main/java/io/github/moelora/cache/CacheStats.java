package io.github.moelora.cache;

/**
 * Counters of an {@link AdapterCache} since it was made, and what it holds at the moment.
 *
 * @param hits leases of an adapter that was in a slot
 * @param misses requests that had to wait for a load
 * @param reads adapters read from the source
 * @param hostHits loads into a slot that found the adapter in host memory
 * @param loads adapters loaded into a slot
 * @param failures adapters that could not be read or loaded
 * @param evictions adapters that left their slot
 * @param refusals requests turned away: too many waited, or it waited too long
 * @param waitNanos total time from request to lease of the requests that had to wait
 * @param loadedBytes bytes of A and B of all loads
 * @param hostBytes bytes of A and B kept in host memory at the moment
 * @param resident adapters in slots at the moment, those included that take no new leases
 * @param leases open leases at the moment
 * @param waiting requests that wait at the moment
 */
public record CacheStats(
    long hits,
    long misses,
    long reads,
    long hostHits,
    long loads,
    long failures,
    long evictions,
    long refusals,
    long waitNanos,
    long loadedBytes,
    long hostBytes,
    int resident,
    int leases,
    int waiting) {}
